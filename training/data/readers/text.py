"""JSON and XML that remember their line numbers."""

from __future__ import annotations

import json
import json.decoder
import json.scanner
import re
from bisect import bisect_right
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from training.data.readers.defects import Report


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


class JsonFile:
    """The content of a JSON file, and the lines on which its objects and lists begin.

    Args:
        text: Of the file.

    Attributes:
        content: The decoded value.

    Raises:
        json.JSONDecodeError: The text is not JSON; the error has the line.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        try:
            self.content: Any = json.loads(text)
        except json.JSONDecodeError:
            raise
        except ValueError:  # Python refuses a whole number of thousands of digits
            self.content = json.loads(text, parse_int=_whole_number)

    def line(self, *keys: str | int) -> int:
        """Return the line on which an object or a list begins.

        Args:
            keys: The way to it from the top: keys of objects and positions in lists. What is
                neither has the line of what is around it.
        """
        node, offsets = self._located
        offset = 0
        for key in keys:
            if not isinstance(node, (dict, list)):
                break
            node = node[key]  # type: ignore[index]  # the caller has walked here before
            offset = offsets.get(id(node), offset)
        return bisect_right(self._line_starts, offset)

    @cached_property
    def _located(self) -> tuple[Any, dict[int, int]]:
        """The content, decoded again, and the offsets of objects and lists in the text by their id.

        Only needed where there is a defect, so that sound files are decoded at full speed.
        """
        decoder = _LocatingDecoder()
        try:
            content = decoder.decode(self._text)
        except RecursionError:  # which this decoder meets earlier than the one in C
            return None, {}
        return content, decoder.offsets

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(end.end() for end in re.finditer("\n", self._text))]


def _whole_number(digits: str) -> int | float:
    """Decode a whole number; one beyond all floating-point numbers is infinite."""
    return int(digits) if len(digits) < 300 else float(digits)


class _LocatingDecoder(json.JSONDecoder):
    """Notes where each object and each list begins.

    The standard library's decoder in Python, unlike the one in C, calls ``parse_object`` and
    ``parse_array``, with the text and the offset behind the opening bracket.
    """

    def __init__(self) -> None:
        super().__init__(parse_int=_whole_number)
        self.offsets: dict[int, int] = {}
        self.parse_object = self._noting(json.decoder.JSONObject)  # type: ignore[attr-defined]
        self.parse_array = self._noting(json.decoder.JSONArray)  # type: ignore[attr-defined]
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]

    def _noting(self, parse: Callable[..., tuple[Any, int]]) -> Callable[..., tuple[Any, int]]:
        def noted(text_and_end: tuple[str, int], *context: Any) -> tuple[Any, int]:
            content, end = parse(text_and_end, *context)
            self.offsets[id(content)] = text_and_end[1] - 1
            return content, end

        return noted


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


def read_json(path: Path, report: Report) -> JsonFile | None:
    """Read a JSON file; ``None``, reported, where it is none."""
    text = read_text(path, report)
    if text is None:
        return None
    try:
        return JsonFile(text)
    except json.JSONDecodeError as error:
        sentence = f"this is not JSON: {error.msg} in column {error.colno}; nothing is read"
        report.add(error.lineno, "syntax", sentence)
    except RecursionError:
        report.add(1, "syntax", "the JSON is nested too deeply; nothing is read")
    return None


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
