# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Read and write TOML 1.0 (https://toml.io/en/v1.0.0), and merge its data.

The reader remembers where each key, value and header stands, so that _toml_edit.py can change it there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, timezone
from typing import Any, Callable, NoReturn, Optional, Union

# Deeper nesting is no configuration; the limit keeps recursive functions away from Python's own limit.
MAX_DEPTH = 60

ROOT, HEADER, IMPLICIT, DOTTED, INLINE = "root", "header", "implicit", "dotted", "inline"

Data = dict[str, Any]


class TomlError(Exception):
    """The text is not TOML, or cannot be given the wanted data. C(line) counts from 1, None: not one line."""

    def __init__(self, message: str, line: Optional[int] = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


def array_of_tables_error(path: Sequence[str], line: Optional[int] = None) -> TomlError:
    """The error about wanted data that has a table, or keys of one, where the file has an array of tables."""
    return TomlError(f"'{format_path(path)}' is an array of tables: give a list of tables, or null to remove all", line)


class Equivalent:
    """A wanted value that other spellings may stand for: a present value that C(accepts) stays as it is."""

    __slots__ = ("accepts", "value")

    def __init__(self, value: Any, accepts: Callable[[Any], bool]) -> None:
        self.value = value
        self.accepts = accepts


class ExactKeys(dict[str, Any]):
    """A wanted table whose keys are free: they are compared exactly even where keys are otherwise folded."""


# -------------------------------------------------------------------------------------------- the document


class Entry:
    """A key and its value. C(start) is the key's place; lines are counted for entries of a section only.

    C(host) holds it: a section, or an inline table.
    """

    __slots__ = ("host", "indent", "keys", "line_end", "line_start", "node", "start")

    def __init__(self, keys: tuple[str, ...], start: int, line_start: int) -> None:
        self.keys = keys
        self.start = start
        self.line_start = line_start
        self.line_end = start
        self.indent = ""
        self.node: Optional[Node] = None
        self.host: Optional[Section | Table] = None


class Value:
    """A scalar or an array: its data, its place in the text, its quotes (strings) or items (arrays)."""

    __slots__ = ("data", "end", "entry", "items", "quotes", "start")

    def __init__(self, data: Any, start: int, end: int, quotes: str = "") -> None:
        self.data = data
        self.start = start
        self.end = end
        self.quotes = quotes
        self.items: Optional[list[Value | Table]] = None
        self.entry: Optional[Entry] = None


class Table:
    """A table of any C(kind). C(host) holds its entries: a section, or the inline table it is (in)."""

    __slots__ = ("end", "entries", "entry", "host", "items", "kind", "path", "prefix", "start")

    def __init__(self, kind: str, path: tuple[str, ...]) -> None:
        self.kind = kind
        self.path = path
        self.items: dict[str, Node] = {}
        self.host: Optional[Section | Table] = None
        # For dotted tables: the keys that lead from the host to this table.
        self.prefix: tuple[str, ...] = ()
        # For inline tables: their place, and their entries in order.
        self.start = 0
        self.end = 0
        self.entry: Optional[Entry] = None
        self.entries: list[Entry] = []


class Tables:
    """An array of tables, [[like this]]."""

    __slots__ = ("tables",)

    def __init__(self) -> None:
        self.tables: list[Table] = []


class Section:
    """A header line and the entries below it, or the part before the first header (C(number) 0)."""

    __slots__ = ("array", "entries", "header_end", "indent", "number", "parent", "start", "table")

    def __init__(self, table: Table, number: int, start: int) -> None:
        self.table = table
        self.number = number
        self.start = start
        self.header_end = start
        self.indent = ""
        self.array = False
        self.parent: Optional[Section] = None
        self.entries: list[Entry] = []

    @property
    def content_end(self) -> int:
        """The place after the line of the last entry, or after the header."""
        return self.entries[-1].line_end if self.entries else self.header_end


Node = Union[Value, Table, Tables]


class Document:
    """A parsed text: the C(root) table and the C(sections) in the order of the text."""

    __slots__ = ("root", "sections", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.root = Table(ROOT, ())
        self.sections: list[Section] = []

    @property
    def data(self) -> Data:
        """The document as plain dicts, lists and scalars."""
        return node_data(self.root)

    def line(self, place: int) -> int:
        """The number of the line, from 1, at a place of the text."""
        return self.text.count("\n", 0, place) + 1


def node_data(node: Node) -> Any:
    """The plain data of a table, array of tables or value."""
    if isinstance(node, Value):
        return node.data
    if isinstance(node, Tables):
        return [node_data(table) for table in node.tables]
    return {key: value.data if isinstance(value, Value) else node_data(value) for key, value in node.items.items()}


def loads(text: str) -> Data:
    """The data of a TOML text. Raises TomlError."""
    return parse(text).data


def parse(text: str) -> Document:
    """Read a TOML text, with or without byte order mark. Raises TomlError that names the line."""
    return _Parser(text).parse()


def decode(content: bytes) -> str:
    """The text of a TOML file, which is UTF-8 by definition. Raises TomlError."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TomlError("not UTF-8, which TOML files have to be", line) from None


def parse_key(text: str) -> tuple[str, ...]:
    """The parts of a dotted key such as C(storage.options."a.b"). Raises TomlError."""
    parser = _Parser(text.strip())
    try:
        keys, place = parser.key(0)
    except TomlError as error:
        raise TomlError(f"'{text}' is not a TOML key: {error}") from None
    if place != len(parser.text):
        raise TomlError(f"'{text}' is not a TOML key")
    return keys


# ---------------------------------------------------------------------------------------------- the reader

_BLANK = re.compile(r"[ \t]*")
_BLANK_LINES = re.compile(r"[ \t\n]*\n")
_COMMENT = re.compile(r"#[^\x00-\x08\x0a-\x1f\x7f]*")
_LINE_END = re.compile(r"[ \t]*(?:#[^\x00-\x08\x0a-\x1f\x7f]*)?(?:\r?\n|\Z)")
_SPACE = re.compile(r"[ \t\n]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'[^"\\\x00-\x08\x0a-\x1f\x7f]*')
_BASIC_LINES = re.compile(r'[^"\\\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*')
_LITERAL = re.compile(r"'([^'\x00-\x08\x0a-\x1f\x7f]*)'")
_LITERAL_LINES = re.compile(r"[^'\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*")
_TRIM = re.compile(r"[ \t]*\r?\n[ \t\r\n]*")
_LONE_RETURN = re.compile(r"\r(?!\n)")
_DATE_TIME = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](?P<time>\d{2}:\d{2}:\d{2}(?:\.\d+)?)(?P<zone>[Zz]|[+-]\d{2}:\d{2})?)?"
    r"|(?P<local>\d{2}:\d{2}:\d{2}(?:\.\d+)?)"
)
_NUMBER = re.compile(
    r"(?P<based>0x[0-9A-Fa-f](?:_?[0-9A-Fa-f])*|0o[0-7](?:_?[0-7])*|0b[01](?:_?[01])*)"
    r"|(?P<float>[+-]?(?:(?:0|[1-9](?:_?[0-9])*)(?:\.[0-9](?:_?[0-9])*(?:[eE][+-]?[0-9](?:_?[0-9])*)?"
    r"|[eE][+-]?[0-9](?:_?[0-9])*)|inf|nan))"
    r"|(?P<int>[+-]?(?:0|[1-9](?:_?[0-9])*))"
)
_WORD_END = re.compile(r"[ \t\r\n,\]}#]|\Z")
# The everyday line: a bare key, and a plain string, a boolean or a decimal number.
_SIMPLE = re.compile(
    r"([ \t]*)([A-Za-z0-9_-]+)[ \t]*=[ \t]*"
    r'(?:("[^"\\\x00-\x08\x0a-\x1f\x7f]*")(?!")|(true|false)|([+-]?(?:0|[1-9][0-9]{0,17})))'
    r"(?:[ \t]*(?:#[^\x00-\x08\x0a-\x1f\x7f]*)?(?:\r?\n|\Z))"
)
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.document = Document(text)

    def fail(self, place: int, message: str) -> NoReturn:
        # A key may be as long as the file.
        raise TomlError(message if len(message) < 200 else message[:200] + "...", self.document.line(place))

    def parse(self) -> Document:
        text, document = self.text, self.document
        place = 1 if text.startswith("\ufeff") else 0
        section = Section(document.root, 0, place)
        document.root.host = section
        document.sections.append(section)
        end = len(text)
        while place < end:
            simple = _SIMPLE.match(text, place)
            if simple:
                self.simple_entry(section, simple)
                place = simple.end()
                continue
            line_end = _BLANK_LINES.match(text, place) or _LINE_END.match(text, place)
            if line_end:
                place = line_end.end()
                continue
            start = _BLANK.match(text, place).end()  # type: ignore[union-attr]
            if text.startswith("[", start):
                section, place = self.header(place, start)
            else:
                place = self.section_entry(section, place, start)
        return document

    def simple_entry(self, section: Section, match: re.Match[str]) -> None:
        key = match.group(2)
        entry = Entry((key,), match.start(2), match.start())
        entry.indent = match.group(1)
        entry.line_end = match.end()
        kind = match.lastindex or 0
        word = match.group(kind)
        data: Any = word[1:-1] if kind == 3 else word == "true" if kind == 4 else int(word)
        value = Value(data, match.start(kind), match.end(kind), '"' if kind == 3 else "")
        self.place_entry(section.table, section, entry, value)

    def section_entry(self, section: Section, line_start: int, start: int) -> int:
        keys, place = self.key(start)
        entry = Entry(keys, start, line_start)
        entry.indent = self.text[line_start:start]
        node, place = self.entry_value(place, section.table.path + keys, 0)
        line_end = _LINE_END.match(self.text, place)
        if not line_end:
            self.fail(place, f"unexpected text after the value of '{format_path(keys)}'")
        entry.line_end = line_end.end()
        self.place_entry(section.table, section, entry, node)
        return line_end.end()

    def entry_value(self, place: int, path: tuple[str, ...], depth: int) -> tuple[Value | Table, int]:
        """The value after a key, with the equals sign between them."""
        place = self.skip_blank(place)
        if not self.text.startswith("=", place):
            # Without a value it may be no key at all, but a secret that lost its quotes.
            self.fail(place, "expected '=' and a value after a key")
        node = self.value(self.skip_blank(place + 1), path, depth)
        return node, node.end

    def place_entry(self, table: Table, host: Section | Table, entry: Entry, node: Value | Table) -> None:
        keys = entry.keys
        if len(keys) > 1:
            self.check_depth(entry.start, table.path + keys)
        for number, key in enumerate(keys[:-1], 1):
            child = table.items.get(key)
            if child is None:
                child = Table(DOTTED, table.path + (key,))
                child.host = host
                child.prefix = keys[:number]
                table.items[key] = child
            elif not (isinstance(child, Table) and child.kind == DOTTED and child.host is host):
                self.fail(entry.start, f"'{format_path(child_path(table, key))}' {self.defined(child)} already")
            table = child
        key = keys[-1]
        if key in table.items:
            self.fail(
                entry.start,
                f"'{format_path(child_path(table, key))}' {self.defined(table.items[key])} already",
            )
        entry.node = node
        entry.host = host
        node.entry = entry
        table.items[key] = node
        host.entries.append(entry)

    def defined(self, node: Node) -> str:
        while isinstance(node, Tables):
            node = node.tables[0]
        if node.entry is not None:
            return f"is set in line {self.document.line(node.entry.start)}"
        if isinstance(node, Table) and isinstance(node.host, Section) and node.host.number:
            return f"is set in line {self.document.line(node.host.start)}"
        return "is set as a table"

    def header(self, line_start: int, start: int) -> tuple[Section, int]:
        array = self.text.startswith("[[", start)
        path, place = self.key(self.skip_blank(start + (2 if array else 1)))
        self.check_depth(start, path)
        closing = "]]" if array else "]"
        if not self.text.startswith(closing, place):
            self.fail(place, f"expected '{closing}' at the end of the table's name")
        line_end = _LINE_END.match(self.text, place + len(closing))
        if not line_end:
            self.fail(place, "unexpected text after the table's name")
        parent = self.document.root
        for key in path[:-1]:
            child = parent.items.get(key)
            if child is None:
                child = parent.items[key] = Table(IMPLICIT, parent.path + (key,))
            elif isinstance(child, Tables):
                child = child.tables[-1]
            elif isinstance(child, Value) or child.kind == INLINE:
                self.fail(
                    start,
                    f"'{format_path(child_path(parent, key))}' {self.defined(child)} and takes no tables",
                )
            parent = child
        table = self.open_table(parent, path, array, start)
        section = Section(table, len(self.document.sections), line_start)
        section.header_end = line_end.end()
        section.indent = self.text[line_start:start]
        section.array = array
        if parent.kind == HEADER and isinstance(parent.host, Section):
            section.parent = parent.host
        table.host = section
        self.document.sections.append(section)
        return section, line_end.end()

    def open_table(self, parent: Table, path: tuple[str, ...], array: bool, start: int) -> Table:
        present = parent.items.get(path[-1])
        if array:
            if present is None:
                present = parent.items[path[-1]] = Tables()
            if isinstance(present, Tables):
                present.tables.append(Table(HEADER, path))
                return present.tables[-1]
        elif present is None:
            table = parent.items[path[-1]] = Table(HEADER, path)
            return table
        elif isinstance(present, Table) and present.kind == IMPLICIT:
            present.kind = HEADER
            return present
        self.fail(start, f"'{format_path(path)}' {self.defined(present)} already")

    def check_depth(self, place: int, path: tuple[str, ...]) -> None:
        if len(path) > MAX_DEPTH:
            self.fail(place, f"nested more than {MAX_DEPTH} levels deep")

    def skip_blank(self, place: int) -> int:
        return _BLANK.match(self.text, place).end()  # type: ignore[union-attr]

    def skip_space(self, place: int) -> int:
        """Over blanks, line ends and comments, as they may stand inside of an array."""
        text = self.text
        while True:
            place = _SPACE.match(text, place).end()  # type: ignore[union-attr]
            if text.startswith("#", place):
                place = _COMMENT.match(text, place).end()  # type: ignore[union-attr]
                if not text.startswith(("\n", "\r\n"), place) and place < len(text):
                    self.fail(place, "a control character in a comment")
            elif text.startswith("\r\n", place):
                place += 2
            else:
                return place

    def key(self, place: int) -> tuple[tuple[str, ...], int]:
        """A dotted key, and the place after it and the blanks that follow."""
        keys = []
        text = self.text
        while True:
            bare = _BARE_KEY.match(text, place)
            if bare:
                keys.append(bare.group())
                place = bare.end()
            elif text.startswith(('"', "'"), place) and not text.startswith(('"""', "'''"), place):
                value = self.string(place)
                keys.append(value.data)
                place = value.end
            else:
                self.fail(place, "expected a key: a bare word, or a name in quotes")
            place = self.skip_blank(place)
            if not text.startswith(".", place):
                return tuple(keys), place
            place = self.skip_blank(place + 1)

    def value(self, place: int, path: tuple[str, ...], depth: int) -> Value | Table:
        text = self.text
        first = text[place : place + 1]
        if first in ('"', "'"):
            return self.string(place)
        if first == "[":
            return self.array(place, path, depth + 1)
        if first == "{":
            return self.inline_table(place, path, depth + 1)
        for word, data in (("true", True), ("false", False)):
            if text.startswith(word, place) and _WORD_END.match(text, place + len(word)):
                return Value(data, place, place + len(word))
        value = self.date_time(place) or self.number(place, path)
        if value is None or not _WORD_END.match(text, value.end):
            self.fail(
                place,
                f"'{format_path(path)}' has no valid value (strings need quotes, numbers and dates a form)",
            )
        return value

    def number(self, place: int, path: tuple[str, ...]) -> Optional[Value]:
        match = _NUMBER.match(self.text, place)
        if not match:
            return None
        word = match.group()
        if match.lastgroup == "float":
            return Value(float(word), place, match.end())
        # The length first: Python's conversion of long numbers is slow, or refused.
        number = int(word, 0) if len(word) < 200 else 1 << 64
        if not -(1 << 63) <= number < 1 << 63:
            self.fail(place, f"'{format_path(path)}' is a number of more than 64 bits")
        return Value(number, place, match.end())

    def date_time(self, place: int) -> Optional[Value]:
        match = _DATE_TIME.match(self.text, place)
        if not match:
            return None
        try:
            return Value(_date_time(match), place, match.end())
        except ValueError as error:
            self.fail(place, f"'{match.group()}' is no date or time: {error}")

    def string(self, place: int) -> Value:
        text = self.text
        if text.startswith('"""', place):
            return self.basic_lines(place)
        if text.startswith("'''", place):
            return self.literal_lines(place)
        if text[place] == "'":
            match = _LITERAL.match(text, place)
            if not match:
                self.fail(place, "a string without its closing quote, or with a control character")
            return Value(match.group(1), place, match.end(), "'")
        parts = []
        start, place = place, place + 1
        while True:
            end = _BASIC.match(text, place).end()  # type: ignore[union-attr]
            parts.append(text[place:end])
            if text.startswith('"', end):
                return Value("".join(parts), start, end + 1, '"')
            if not text.startswith("\\", end):
                self.fail(start, "a string without its closing quote, or with a control character")
            part, place = self.escape(end + 1)
            parts.append(part)

    def basic_lines(self, start: int) -> Value:
        text = self.text
        place = self.skip_first_newline(start + 3)
        parts = []
        while True:
            end = _BASIC_LINES.match(text, place).end()  # type: ignore[union-attr]
            parts.append(self.lines(place, end))
            place = end
            if text.startswith('"""', place):
                # Up to two quotes may stand just before the closing three.
                extra = 2 if text.startswith('"""""', place) else 1 if text.startswith('""""', place) else 0
                parts.append('"' * extra)
                return Value("".join(parts), start, place + extra + 3, '"""')
            if text.startswith('"', place):
                parts.append('"')
                place += 1
            elif text.startswith("\\", place):
                trim = _TRIM.match(text, place + 1)
                if trim:
                    self.lines(trim.start(), trim.end())
                    place = trim.end()
                else:
                    part, place = self.escape(place + 1)
                    parts.append(part)
            else:
                self.fail(start, "a string without its closing quotes, or with a control character")

    def literal_lines(self, start: int) -> Value:
        text = self.text
        place = self.skip_first_newline(start + 3)
        parts = []
        while True:
            end = _LITERAL_LINES.match(text, place).end()  # type: ignore[union-attr]
            parts.append(self.lines(place, end))
            place = end
            if text.startswith("'''", place):
                extra = 2 if text.startswith("'''''", place) else 1 if text.startswith("''''", place) else 0
                parts.append("'" * extra)
                return Value("".join(parts), start, place + extra + 3, "'''")
            if not text.startswith("'", place):
                self.fail(start, "a string without its closing quotes, or with a control character")
            parts.append("'")
            place += 1

    def lines(self, start: int, end: int) -> str:
        """A part of a multi-line string, with line ends as Python has them."""
        part = self.text[start:end]
        if "\r" in part:
            lone = _LONE_RETURN.search(self.text, start, end + 1)
            if lone:
                self.fail(lone.start(), "a carriage return that ends no line")
            part = part.replace("\r\n", "\n")
        return part

    def skip_first_newline(self, place: int) -> int:
        for newline in ("\n", "\r\n"):
            if self.text.startswith(newline, place):
                return place + len(newline)
        return place

    def escape(self, place: int) -> tuple[str, int]:
        letter = self.text[place : place + 1]
        if letter in _ESCAPES:
            return _ESCAPES[letter], place + 1
        length = {"u": 4, "U": 8}.get(letter, 0)
        digits = self.text[place + 1 : place + 1 + length]
        if not length or not re.fullmatch(r"[0-9A-Fa-f]+", digits) or len(digits) != length:
            self.fail(place, f"unknown escape sequence in a string: \\{letter}")
        code = int(digits, 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            self.fail(place, f"the escape sequence \\{letter}{digits} is no character")
        return chr(code), place + 1 + length

    def array(self, start: int, path: tuple[str, ...], depth: int) -> Value:
        if depth > MAX_DEPTH:
            self.fail(start, f"nested more than {MAX_DEPTH} levels deep")
        text = self.text
        items: list[Value | Table] = []
        place = self.skip_space(start + 1)
        while not text.startswith("]", place):
            item = self.value(place, path, depth)
            items.append(item)
            place = self.skip_space(item.end)
            if text.startswith(",", place):
                place = self.skip_space(place + 1)
            elif not text.startswith("]", place):
                self.fail(place, f"expected ',' or ']' in the array '{format_path(path)}'")
        value = Value([node_data(item) for item in items], start, place + 1)
        value.items = items
        return value

    def inline_table(self, start: int, path: tuple[str, ...], depth: int) -> Table:
        if depth > MAX_DEPTH:
            self.fail(start, f"nested more than {MAX_DEPTH} levels deep")
        text = self.text
        table = Table(INLINE, path)
        table.host = table
        table.start = start
        place = self.skip_blank(start + 1)
        if not text.startswith("}", place):
            while True:
                keys, after = self.key(place)
                entry = Entry(keys, place, place)
                node, place = self.entry_value(after, path + keys, depth)
                self.place_entry(table, table, entry, node)
                place = self.skip_blank(place)
                if text.startswith("}", place):
                    break
                if not text.startswith(",", place):
                    self.fail(place, f"expected ',' or '}}' in the inline table '{format_path(path)}'")
                place = self.skip_blank(place + 1)
        table.end = place + 1
        return table


def _date_time(match: re.Match[str]) -> datetime | date | time:
    groups = match.groupdict()
    if groups["local"]:
        return time.fromisoformat(_microseconds(groups["local"]))
    day = date.fromisoformat(groups["date"])
    if not groups["time"]:
        return day
    moment = datetime.combine(day, time.fromisoformat(_microseconds(groups["time"])))
    zone = groups["zone"]
    if not zone:
        return moment
    if zone in "Zz":
        return moment.replace(tzinfo=timezone.utc)
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError("the time zone is out of range")
    offset = timedelta(hours=hours, minutes=minutes)
    return moment.replace(tzinfo=timezone(-offset if zone[0] == "-" else offset))


def _microseconds(text: str) -> str:
    """Python 3.9 reads three or six digits of a second only."""
    whole, point, fraction = text.partition(".")
    return f"{whole}.{fraction[:6]:0<6}" if point else whole


def parse_date_time(text: str) -> Optional[datetime | date | time]:
    """The date or time that a string spells in TOML's form, or None."""
    match = _DATE_TIME.fullmatch(text.strip())
    try:
        return _date_time(match) if match else None
    except ValueError:
        return None


def child_path(table: Table, key: str) -> tuple[str, ...]:
    """The full path of a table's key."""
    return (*table.path, key)


# ---------------------------------------------------------------------------------------------- the writer

_ESCAPED = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_TO_ESCAPE = re.compile(r'["\\\x00-\x1f\x7f\ud800-\udfff]')
_TO_ESCAPE_LINES = re.compile(r'\\|"""|"(?=\Z)|[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]')


def format_key(key: str) -> str:
    """One key as TOML: bare where that is possible."""
    return key if _BARE_KEY.fullmatch(key) else format_string(key)


def format_path(keys: Sequence[str]) -> str:
    """A dotted key as TOML."""
    return ".".join(format_key(key) for key in keys)


def _escape(match: re.Match[str]) -> str:
    return "".join(
        _ESCAPED.get(character, f"\\u{ord(character):04X}") if character != '"' else '\\"'
        for character in match.group()
    )


def format_string(text: str, quotes: str = '"') -> str:
    """A string as TOML, in the given kind of quotes where that kind can hold it. Raises TomlError."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise TomlError("a string holds half of a surrogate pair, which no TOML file can")
    if quotes == "'" and not re.search(r"['\x00-\x08\x0a-\x1f\x7f]", text):
        return f"'{text}'"
    if quotes == "'''" and "\n" in text and not re.search(r"'''|'\Z|[\x00-\x08\x0b-\x1f\x7f]", text):
        return f"'''\n{text}'''"
    if quotes in ('"""', "'''") and "\n" in text:
        return '"""\n' + _TO_ESCAPE_LINES.sub(_escape, text) + '"""'
    return '"' + _TO_ESCAPE.sub(_escape, text) + '"'


def format_value(value: Any, quotes: str = '"') -> str:
    """A value as TOML on one line, but for strings where C(quotes) asks for several. Raises TomlError."""
    if isinstance(value, Equivalent):
        value = value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return format_string(value, quotes)
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise TomlError("a number has more than 64 bits")
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (datetime, time)):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        inner = "'" if quotes in ("'", "'''") else '"'
        return "[" + ", ".join(format_value(item, inner) for item in value) + "]"
    if isinstance(value, dict):
        inner = "'" if quotes in ("'", "'''") else '"'
        pairs = [f"{format_key(key)} = {format_value(item, inner)}" for key, item in value.items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    if value is None:
        raise TomlError("null removes a key, it cannot stand inside an array")
    raise TomlError(f"a value of the type {type(value).__name__} has no form in TOML")


# -------------------------------------------------------------------------------------- semantics, as data


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same TOML type (1, 1.0 and true all differ)."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and bool(one == other)


def without_empty(data: Any) -> Any:
    """The data without empty tables: a table that no header names is gone from the text with its last key."""
    if isinstance(data, dict):
        pruned = {key: without_empty(value) for key, value in data.items()}
        return {key: value for key, value in pruned.items() if value != {}}
    if isinstance(data, list):
        return [without_empty(value) for value in data]
    return data


def spelling(present: dict[str, Any], key: str, wanted: Data, fold_case: bool) -> str:
    """The present spelling of a key: the exact one, else, with C(fold_case), one of another case."""
    if fold_case and key not in present and not isinstance(wanted, ExactKeys):
        folded = key.lower()
        for name in present:
            if name.lower() == folded:
                return name
    return key


def is_tables(value: Any) -> bool:
    """Whether a value is an array of tables: a list that holds tables and nothing else."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def is_removal(wanted: Data) -> bool:
    """Whether a wanted table only removes keys, so that it need not be created for them."""
    return bool(wanted) and all(
        value is None or (isinstance(value, dict) and is_removal(value)) for value in wanted.values()
    )


def plain(wanted: Any) -> Any:
    """Wanted data as it stands in a file where nothing was before: without null and without Equivalent."""
    if isinstance(wanted, Equivalent):
        return plain(wanted.value)
    if isinstance(wanted, dict):
        return {
            key: plain(value)
            for key, value in wanted.items()
            if value is not None and not (isinstance(value, dict) and is_removal(value))
        }
    if isinstance(wanted, list):
        return [plain(value) for value in wanted]
    return wanted


Plan = list[tuple[Optional[int], Data]]


def match_tables(present: Sequence[Any], wanted: Sequence[Data], fold_case: bool = False) -> tuple[Plan, list[int]]:
    """Pair the wanted tables of an array with the present ones.

    Takes the data of both. Returns a list of (index of the present table or None, wanted table) and the
    indexes of the present tables that are not wanted. They pair by C(name) if each wanted one has that (the
    second of a name with the second of that name), else by C(location) if each has that, else by position.

    New tables go behind the others. The order of locations matters (mirrors are tried in it), so a location
    that is to be behind a new one is new, too.
    """

    def text_of(table: Data, key: str) -> Optional[str]:
        text = table.get(spelling(table, key, {}, fold_case))
        return text if isinstance(text, str) else None

    names = [text_of(table, "name") for table in wanted]
    if None not in names:
        return _match_names(names, [text_of(table, "name") for table in present], wanted)
    locations = [text_of(table, "location") for table in wanted]
    if None not in locations:
        return _match_locations(locations, [text_of(table, "location") for table in present], wanted)
    paired: Plan = [(index if index < len(present) else None, table) for index, table in enumerate(wanted)]
    return paired, list(range(len(wanted), len(present)))


def _match_names(
    names: Sequence[Optional[str]], present: Sequence[Optional[str]], wanted: Sequence[Data]
) -> tuple[Plan, list[int]]:
    places: dict[Optional[str], list[int]] = {}
    for index, name in enumerate(present):
        places.setdefault(name, []).append(index)
    plan: Plan = []
    used: set[Optional[int]] = set()
    for name, table in zip(names, wanted):
        queue = places.get(name, [])
        place = queue.pop(0) if queue else None
        used.add(place)
        plan.append((place, table))
    return plan, [index for index in range(len(present)) if index not in used]


def _match_locations(
    locations: Sequence[Optional[str]], present: Sequence[Optional[str]], wanted: Sequence[Data]
) -> tuple[Plan, list[int]]:
    plan: Plan = []
    place: Optional[int] = -1
    used: set[Optional[int]] = set()
    for location, table in zip(locations, wanted):
        if place is not None:
            place = next((index for index in range(place + 1, len(present)) if present[index] == location), None)
            used.add(place)
        plan.append((place, table))
    return plan, [index for index in range(len(present)) if index not in used]


def merge_tables(present: Sequence[Data], plan: Plan, removed: Sequence[int], fold_case: bool = False) -> list[Data]:
    """The data of an array of tables after a plan of match_tables."""
    changed = {index: table for index, table in plan if index is not None}
    after = [
        merge(table, changed[index], fold_case) if index in changed else table
        for index, table in enumerate(present)
        if index not in removed
    ]
    return after + [plain(table) for index, table in plan if index is None]


def merge(present: Data, wanted: Data, fold_case: bool = False) -> Data:
    """The data after wanted data was merged into present data.

    A listed key is set, None removes it, an unlisted key stays; tables merge, arrays are replaced, arrays of
    tables become the wanted ones, where those that match_tables() pairs are merged. No argument is changed.

    Raises TomlError for a wanted table where an array of tables is present: which one it means is not clear.
    """
    after = dict(present)
    for key, want in wanted.items():
        name = spelling(after, key, wanted, fold_case)
        old = after.get(name)
        if isinstance(want, Equivalent):
            if name in after and want.accepts(old):
                continue
            want = want.value
        if want is None:
            after.pop(name, None)
        elif isinstance(want, dict):
            if isinstance(old, dict):
                after[name] = merge(old, want, fold_case)
            elif is_tables(old):
                raise array_of_tables_error([name])
            elif not is_removal(want):
                after[name] = plain(want)
        elif is_tables(want) and is_tables(old):
            after[name] = merge_tables(old, *match_tables(old, want, fold_case), fold_case)  # type: ignore[arg-type]
        else:
            after[name] = plain(want)
    return after
