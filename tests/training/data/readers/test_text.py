from __future__ import annotations

from pathlib import Path

import pytest

from training.data.readers.reading import Report
from training.data.readers.text import XmlFile, read_json, read_xml


def test_lines_of_elements() -> None:
    file = XmlFile(b"<a>\n<b/><c>text\n<d\n e='1'/>\n</c></a>")
    lines = {element.tag: file.line(element) for element in file.root.iter()}
    assert lines == {"a": 1, "b": 2, "c": 2, "d": 3}
    assert file.root.findtext("c") == "text\n"


def test_declared_encoding_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes('<?xml version="1.0" encoding="iso-8859-1"?><a>\u00e4</a>'.encode("latin-1"))
    file = read_xml(path, Report(path))
    assert file is not None
    assert file.root.text == "\u00e4"


def test_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert read_json(path, Report(path)) == {}


def test_unreadable_file(tmp_path: Path) -> None:
    report = Report(tmp_path)
    assert read_json(tmp_path, report) is None
    assert [defect.sentence for defect in report.defects] == [
        "the file cannot be read: Is a directory"
    ]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "a.json",
            b"[" * 100_000 + b"]" * 100_000,
            "the JSON is nested too deeply; nothing is read",
        ),
        (
            "a.xml",
            b'<?xml version="1.0" encoding="gb2312"?><a/>',
            "the declared encoding cannot be read: multi-byte encodings are not supported; "
            "save the file as UTF-8; nothing is read",
        ),
        (
            "a.xml",
            b'<?xml version="1.0" encoding="none"?><a/>',
            "the declared encoding cannot be read: unknown encoding: none; "
            "save the file as UTF-8; nothing is read",
        ),
    ],
)
def test_file_that_python_refuses(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    report = Report(path)
    assert (read_json if name.endswith("json") else read_xml)(path, report) is None
    assert [(defect.place, defect.sentence) for defect in report.defects] == [(1, sentence)]


def test_whole_numbers_of_thousands_of_digits(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 7, "b": [' + "9" * 5000 + "]}")
    assert read_json(path, Report(path)) == {"a": 7, "b": [float("inf")]}
