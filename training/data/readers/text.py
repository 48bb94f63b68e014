"""Files of text, JSON and XML; an XML element keeps its line number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from training.data.readers.reading import Position, Report


def read_bytes(path: Path, report: Report) -> bytes | None:
    """Read a file; ``None``, reported, where that fails."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        report.add(1, "missing file", "there is no such file")
    except OSError as error:
        report.add(1, "unreadable file", f"the file cannot be read: {error.strerror}")
    return None


def read_text(path: Path, report: Report) -> str | None:
    """Read a UTF-8 file; a byte order mark is dropped. ``None``, reported, where that fails."""
    content = read_bytes(path, report)
    if content is None:
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        report.add(line, "syntax", "the file is not UTF-8 text; nothing in it is read")
        return None


def number(text: str | None) -> float | None:
    """Read a number, or ``None``; words such as ``nan`` are numbers, and objects refuse them."""
    try:
        return float(text or "")
    except ValueError:
        return None


def whole_number(value: Any) -> int | None:
    """Read a whole number from 0 to 999 999 999, or ``None``."""
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def is_text(value: Any) -> TypeGuard[str]:
    """Tell whether a value is a string that can be written; JSON can escape half a character."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def stated_size(
    texts: Sequence[str | None], what: str, report: Report, place: Position
) -> tuple[int, int] | None:
    """Read the width and height that annotations state; ``None``, reported, where they have none.

    Args:
        texts: Width and height as they are written.
        what: Has them, at the start of a sentence.
        report: Receives the defect.
        place: Of the annotations.
    """
    width, height = map(whole_number, texts)
    if width and height:
        return width, height
    sentence = f"the {what} has no width and height, but {texts[0]!r} and {texts[1]!r}"
    report.add(place, "missing field", sentence)
    return None


class XmlFile:
    """The elements of an XML file, and the lines on which they begin.

    Args:
        content: Of the file, in the encoding that it declares.

    Attributes:
        root: The outermost element.

    Raises:
        xml.parsers.expat.ExpatError: The content is not well-formed XML; the error has the line.
    """

    def __init__(self, content: bytes) -> None:
        self._lines: dict[Element, int] = {}
        builder = TreeBuilder()
        parser = expat.ParserCreate()

        def start(tag: str, attributes: dict[str, str]) -> None:
            self._lines[builder.start(tag, attributes)] = parser.CurrentLineNumber

        parser.StartElementHandler = start
        parser.EndElementHandler = builder.end
        parser.CharacterDataHandler = builder.data
        parser.Parse(content, True)
        self.root = builder.close()

    def line(self, element: Element) -> int:
        """Return the line on which an element begins."""
        return self._lines[element]


def read_json(path: Path, report: Report) -> Any:
    """Read a JSON file; where it is none, that is reported."""
    text = read_text(path, report)
    if text is None:
        return None
    try:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            raise
        except ValueError:  # Python refuses a whole number of thousands of digits
            return json.loads(text, parse_int=_int_or_infinity)
    except json.JSONDecodeError as error:
        sentence = f"this is not JSON: {error.msg} in column {error.colno}; nothing is read"
        report.add(error.lineno, "syntax", sentence)
    except RecursionError:
        report.add(1, "syntax", "the JSON is nested too deeply; nothing is read")
    return None


def _int_or_infinity(digits: str) -> int | float:
    """Read a whole number; one beyond all floating-point numbers is infinite."""
    return int(digits) if len(digits) < 300 else float(digits)


def read_xml(path: Path, report: Report) -> XmlFile | None:
    """Read an XML file; ``None``, reported, where it is none."""
    content = read_bytes(path, report)
    if content is None:
        return None
    try:
        return XmlFile(content)
    except expat.ExpatError as error:
        sentence = f"this is not well-formed XML: {expat.ErrorString(error.code)}; nothing is read"
        report.add(error.lineno, "syntax", sentence)
    except (LookupError, ValueError) as error:
        sentence = f"the declared encoding cannot be read: {error}; save the file as UTF-8"
        report.add(1, "syntax", f"{sentence}; nothing is read")
    return None
