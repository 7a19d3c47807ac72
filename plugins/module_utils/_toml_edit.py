# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Change single values of a TOML text in place.

The editor turns wanted data into deletions and insertions at the places that the reader noted down, so that
everything else keeps its bytes: it is never written anew.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time
from difflib import SequenceMatcher
from itertools import dropwhile, zip_longest
from typing import Any, NamedTuple, Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils._toml import (
    DOTTED,
    HEADER,
    IMPLICIT,
    INLINE,
    MAX_DEPTH,
    ROOT,
    Data,
    Document,
    Entry,
    Equivalent,
    Node,
    Plan,
    Section,
    Table,
    Tables,
    TomlError,
    Value,
    array_of_tables_error,
    child_path,
    format_key,
    format_path,
    format_value,
    is_removal,
    is_tables,
    loads,
    match_tables,
    merge,
    merge_tables,
    node_data,
    parse_date_time,
    parse_key,
    plain,
    same,
    spelling,
    without_empty,
)

try:
    import tomllib
except ImportError:
    tomllib = None  # type: ignore[assignment]

try:
    import tomlkit
except ImportError:
    tomlkit = None  # type: ignore[assignment]

# The oldest version that reads all that it should; older ones refuse some strings and lose some tables.
TOMLKIT_MIN = (0, 8, 0)
# Its time grows with the square of the length of a string; longer texts are not given to it.
TOMLKIT_MAX_CHARACTERS = 250_000


# What ends the line of an item, or of the bracket before the first one: a comma, a comment.
_ROW_END = re.compile(r"([ \t]*,)?[ \t]*(?:#[^\n]*|\r)?\n")
_LAST_ROW_END = re.compile(r"([ \t]*,)?(?=[ \t]*\])")
_ARRAY_END = re.compile(r"(?:[ \t]*(?:#[^\n]*|\r)?\n)*[ \t]*\]")
_LINE = re.compile(r"[^\n]*\n")


class _Row(NamedTuple):
    """An item of an array, from the comment lines directly above it to the end of its last line."""

    gap: list[str]
    """The lines between the row before it and this one."""
    start: int
    item: Value | Table
    end: int
    comma: bool


class Editor:
    """Collects changes of a parsed text, and applies them at once.

    C(indent) is the indentation per level for files that show no style of their own; C(fold_case) finds a
    present key that differs from the wanted one in case only, as GitLab Runner does.
    """

    def __init__(self, document: Document, indent: str = "", fold_case: bool = False) -> None:
        self.document = document
        self.source = document.text
        self.newline = "\r\n" if "\r\n" in self.source[: self.source.find("\n") + 1] else "\n"
        self.fold_case = fold_case
        self._inserts: list[tuple[int, int, int, str]] = []
        self._deletes: list[tuple[int, int]] = []
        self._section_ends: set[int] = set()
        self._opened: set[int] = set()
        # The inline tables that change, with the entries that go and the texts of those that come.
        self._inline: dict[int, tuple[Table, list[Entry], list[str]]] = {}
        # The lines of headers that are new above those of their children: place, depth of the table, and lines.
        self._implied: dict[int, tuple[int, int, list[str]]] = {}
        self._step, self._nest, self._blank = self._style(indent)

    # ----------------------------------------------------------------------------------------------- public

    def merge(self, wanted: Data) -> None:
        """Merge wanted data into the document, by the rules of merge(). Raises TomlError."""
        _check_depth(wanted, 0)
        self._merge(self.document.root, wanted)

    def merge_tables(self, key: str, plan: Plan, removed: Sequence[int]) -> None:
        """Change a top-level array of tables by a plan of match_tables(). Raises TomlError."""
        for _index, wanted in plan:
            _check_depth(wanted, 1)
        if not plan and not removed:
            return
        node = self.document.root.items.get(key)
        if node is None or isinstance(node, Tables):
            self._edit_tables(self.document.root, key, node, plan, removed)
        elif isinstance(node, Value) and isinstance(node.data, list):
            self._edit_array(node, merge_tables(node.data, plan, removed, self.fold_case))
        else:
            raise TomlError(f"'{format_key(key)}' is not an array of tables")

    def text(self) -> str:
        """The text with all changes."""
        for place, depth, lines in self._implied.values():
            # Tables around others first.
            self._insert_line(place, 1000 + depth, "".join(lines))
        for changes in self._inline.values():
            self._edit_inline_table(*changes)
        self._implied.clear()
        self._inline.clear()
        if not self._inserts and not self._deletes:
            return self.source
        parts: list[str] = []
        place = 0
        deletes = self._joined_deletes()
        inserts = sorted(self._inserts)
        # Insertions are made even inside of what is deleted, so the text is cut at both.
        for start, end, insert in _events(inserts, deletes):
            if start > place:
                parts.append(self.source[place:start])
                place = start
            if insert is None:
                place = max(place, end)
                continue
            if insert.startswith("\0"):
                insert = self._on_own_line(insert[1:], parts)
            parts.append(insert)
        parts.append(self.source[place:])
        return "".join(parts)

    def _joined_deletes(self) -> list[tuple[int, int]]:
        """The deletions in order and without overlap, with the blank lines that go with them."""
        joined: list[tuple[int, int]] = []
        for start, end in sorted(self._deletes):
            if joined and start <= joined[-1][1]:
                start, end = joined[-1][0], max(end, joined[-1][1])
                joined.pop()
            # Blank lines behind a section go with it if there are some before it; else they part what is left.
            if end in self._section_ends and self._blank_before(start):
                while end < len(self.source) and self._blank_line_at(end):
                    end = self._line_after(end)
            joined.append((start, end))
        if joined and joined[-1][1] == len(self.source):
            # What ends the file takes the blank lines before it along.
            start = joined.pop()[0]
            while start > 0 and self._blank_before(start):
                start = self.source.rfind("\n", 0, start - 1) + 1
            joined.append((start, len(self.source)))
        return joined

    def _on_own_line(self, insert: str, parts: list[str]) -> str:
        """Give inserted lines what they need before them: the end of the last line, a blank one if marked."""
        tail = ""
        for part in reversed(parts):
            tail = part[-4:] + tail
            if len(tail) >= 4:
                break
        tail = tail.lstrip("\ufeff").replace("\r", "")
        blank, insert = insert.startswith("\1"), insert.lstrip("\1")
        if blank and tail and not tail.endswith("\n\n"):
            insert = self.newline + insert
        if tail and not tail.endswith("\n"):
            insert = self.newline + insert
        return insert

    # ------------------------------------------------------------------------------------------------ style

    def _style(self, indent: str) -> tuple[str, str, bool]:
        """Indentation of keys below a header, of headers below their parent's, and blanks before these."""
        step: Optional[str] = None
        nest: Optional[str] = None
        blank: Optional[bool] = None
        for section in self.document.sections[1:]:
            if step is None and section.entries:
                step = _deeper(section.indent, section.entries[0].indent)
            if nest is None and section.parent is not None:
                nest = _deeper(section.parent.indent, section.indent)
                blank = self._blank_before(self._lead_start(section))
            if step is not None and nest is not None:
                break
        if step is None:
            step = indent
        if nest is None:
            nest = step
        return step, nest, not nest if blank is None else blank

    def _blank_before(self, place: int) -> bool:
        line_start = self.source.rfind("\n", 0, max(place - 1, 0)) + 1
        return place == 0 or not self.source[line_start:place].strip()

    def _lead_start(self, section: Section) -> int:
        """Where the comment lines start that stand directly above a header, at its indentation."""
        place = section.start
        while place > 0:
            start = self.source.rfind("\n", 0, place - 1) + 1
            if not self.source.startswith(section.indent + "#", start):
                break
            place = start
        # What a file starts with is about the file.
        return section.start if place == 0 else place

    def _own_end(self, section: Section) -> int:
        """The end of a section with the comment lines that directly follow its last entry."""
        place = section.content_end
        limit = len(self.source)
        if section.number + 1 < len(self.document.sections):
            limit = self._lead_start(self.document.sections[section.number + 1])
        while place < limit:
            end = self._line_after(place)
            if not self.source[place:end].lstrip(" \t").startswith("#"):
                break
            place = end
        return place

    def _line_after(self, place: int) -> int:
        end = self.source.find("\n", place)
        return len(self.source) if end < 0 else end + 1

    # ---------------------------------------------------------------------------------------------- merging

    def _merge(self, table: Table, wanted: Data) -> None:
        for key, want in wanted.items():
            name = spelling(table.items, key, wanted, self.fold_case)
            node = table.items.get(name)
            if isinstance(want, Equivalent):
                if node is not None and want.accepts(node_data(node)):
                    continue
                want = want.value
            self._set(table, name, node, want)

    def _set(self, table: Table, key: str, node: Optional[Node], want: Any) -> None:
        if want is None:
            if node is not None:
                self._remove(node)
        elif isinstance(want, dict):
            if isinstance(node, Table):
                self._merge(node, want)
            elif node is not None and is_tables(node_data(node)):
                place = node.start if isinstance(node, Value) else node.tables[0].host.start  # type: ignore[union-attr]
                raise array_of_tables_error(child_path(table, key), self.document.line(place))
            elif not is_removal(want):
                if node is not None:
                    self._remove(node)
                self._add_table(table, key, want)
        elif is_tables(want) and isinstance(node, Tables):
            self._edit_tables(table, key, node, *match_tables(node_data(node), want, self.fold_case))
        elif is_tables(want) and isinstance(node, Value) and is_tables(node.data):
            plan, removed = match_tables(node.data, want, self.fold_case)
            self._edit_inline_tables(node, plan, removed)
        elif is_tables(want) and node is None:
            self._edit_tables(table, key, None, [(None, item) for item in want], [])
        elif isinstance(node, Value):
            want = plain(want)
            if not same(node.data, want):
                self._replace_value(node, want)
        else:
            if node is not None:
                self._remove(node)
            self._add_key(table, key, plain(want))

    def _edit_tables(self, table: Table, key: str, node: Optional[Tables], plan: Plan, removed: Sequence[int]) -> None:
        for index in removed:
            self._remove(node.tables[index])  # type: ignore[union-attr]
        new: list[Data] = []
        for place_before, wanted in plan:
            if place_before is None:
                new.append(plain(wanted))
            else:
                self._merge(node.tables[place_before], wanted)  # type: ignore[union-attr]
        if not new:
            return
        if node is None and table.kind in (INLINE, DOTTED):
            self._add_key(table, key, new)
            return
        # A new table of a top-level array goes to the end of the file, else to the end of the array.
        path = child_path(table, key)
        place = len(self.source) if table.kind == ROOT else self._group_end(node or table)
        indent = self._child_indent(table, node)
        for wanted in new:
            self._insert_tables(place, path, wanted, indent, True)

    def _edit_inline_tables(self, node: Value, plan: Plan, removed: Sequence[int]) -> None:
        """An array of inline tables: changed table by table if the same ones stay, else as an array."""
        after = merge_tables(node.data, plan, removed, self.fold_case)
        if not removed and all(index is not None for index, _wanted in plan):
            for index, wanted in plan:
                self._merge(node.items[index], wanted)  # type: ignore[arg-type, index]
        elif not same(node.data, after):
            self._edit_array(node, after)

    def _changes_of(self, table: Table) -> tuple[Table, list[Entry], list[str]]:
        return self._inline.setdefault(id(table), (table, [], []))

    def _edit_inline_table(self, table: Table, gone: Sequence[Entry], new: Sequence[str]) -> None:
        kept = [entry for entry in table.entries if entry not in gone]
        if not kept:
            self._replace(table.start, table.end, f"{{ {', '.join(new)} }}" if new else "{}")
            return
        first = table.entries.index(kept[0])
        for number, entry in enumerate(table.entries):
            # One comma goes with it: the one behind it if nothing stays before it, else the one before it.
            if number < first:
                self._delete(entry.start, table.entries[number + 1].start)
            elif entry in gone:
                self._delete(node_end(table.entries[number - 1]), node_end(entry))
        self._insert(node_end(table.entries[-1]), 0, "".join(", " + text for text in new))

    # --------------------------------------------------------------------------------------------- removing

    def _remove(self, node: Node) -> None:
        if isinstance(node, Tables):
            for table in node.tables:
                self._remove(table)
        elif node.entry is not None:
            if isinstance(node.entry.host, Table):
                self._changes_of(node.entry.host)[1].append(node.entry)
            else:
                self._delete(node.entry.line_start, node.entry.line_end)
        elif isinstance(node, Table):
            # Deletions may overlap: entries of a section that goes need no care.
            for child in node.items.values():
                if node.kind == DOTTED or not isinstance(child, Value):
                    self._remove(child)
            if node.kind == HEADER and isinstance(node.host, Section):
                self._remove_section(node.host)

    def _remove_section(self, section: Section) -> None:
        start, end = self._lead_start(section), self._own_end(section)
        self._section_ends.add(end)
        self._delete(start, end)

    # ----------------------------------------------------------------------------------------------- adding

    def _add_key(self, table: Table, key: str, value: Any) -> None:
        host = table.host
        if table.kind == IMPLICIT:
            self._add_to_implicit(table, key, value)
        elif isinstance(host, Section):
            keys = (*table.prefix, key)
            if host.entries:
                place, indent = host.entries[-1].line_end, host.entries[-1].indent
                quotes = self._neighbour_quotes(host)
            elif host.number == 0:
                place, indent, quotes = self._root_place(), "", '"'
                if id(table) not in self._opened and len(self.document.sections) > 1:
                    self._opened.add(id(table))
                    self._insert(place, 1, self.newline)
            else:
                place, indent, quotes = host.header_end, host.indent + self._step, '"'
            text = f"{indent}{format_path(keys)} = {self._format(value, quotes)}{self.newline}"
            self._insert_line(place, 0, text)
        elif isinstance(host, Table):
            text = f"{format_path((*table.prefix, key))} = {format_value(value)}"
            self._changes_of(host)[2].append(text)

    def _add_to_implicit(self, table: Table, key: str, value: Any) -> None:
        """Add to a table that only its children's headers imply: it gets its own header before the first."""
        first = min(_sections_of(table), key=lambda section: section.number)
        header = f"{first.indent}[{format_path(table.path)}]{self.newline}"
        _place, _depth, lines = self._implied.setdefault(
            id(table), (self._lead_start(first), len(table.path), [header])
        )
        lines.append(f"{first.indent}{self._step}{format_key(key)} = {self._format(value)}{self.newline}")

    def _add_table(self, table: Table, key: str, wanted: Data) -> None:
        wanted = plain(wanted)
        if table.kind in (INLINE, DOTTED):
            self._add_key(table, key, wanted)
            return
        place = self._end_of_top_tables() if table.kind == ROOT else self._group_end(table)
        self._insert_tables(place, child_path(table, key), wanted, self._child_indent(table, None), False)

    def _insert_tables(self, place: int, path: tuple[str, ...], wanted: Data, indent: str, array: bool) -> None:
        lines: list[str] = []
        self._table_lines(lines, path, wanted, indent, array)
        text = self.newline.join(lines) + self.newline
        # Deeper tables first: a table after another one's header would no longer belong to the table above.
        if len(path) == 1 or self._blank:
            text = "\1" + text
        self._insert_line(place, 500 - len(path), text)
        if place < len(self.source) and len(path) == 1 and not self._blank_line_at(place):
            self._insert(place, 600, self.newline)

    def _blank_line_at(self, place: int) -> bool:
        return not self.source[place : self._line_after(place)].strip()

    def _table_lines(self, lines: list[str], path: tuple[str, ...], wanted: Data, indent: str, array: bool) -> None:
        name = format_path(path)
        lines.append(f"{indent}[[{name}]]" if array else f"{indent}[{name}]")
        inner = indent + self._step
        deeper = []
        for key, value in wanted.items():
            if isinstance(value, dict) or is_tables(value):
                deeper.append((key, value))
            else:
                lines.append(f"{inner}{format_key(key)} = {self._format(value)}")
        for key, value in deeper:
            for table in [value] if isinstance(value, dict) else value:
                if self._blank:
                    lines.append("")
                self._table_lines(lines, (*path, key), table, indent + self._nest, not isinstance(value, dict))

    def _child_indent(self, table: Table, node: Optional[Tables]) -> str:
        """The indentation of a new header below a table: that of its siblings, else one level more."""
        if node is not None:
            return node.tables[-1].host.indent  # type: ignore[union-attr]
        for child in table.items.values():
            sections = list(_sections_of(child))
            if table.kind != ROOT and sections and len(sections[0].table.path) == len(table.path) + 1:
                return sections[0].indent
        if table.kind == ROOT:
            return ""
        if isinstance(table.host, Section):
            return table.host.indent + self._nest
        return self._nest * len(table.path)

    def _group_end(self, node: Table | Tables) -> int:
        """The end of the last section that belongs to a table or to one below it."""
        return self._own_end(max(_sections_of(node), key=lambda section: section.number))

    def _end_of_top_tables(self) -> int:
        """Where a new top-level table goes: after the last one that is no array, else after the keys."""
        last = self.document.sections[0]
        for child in self.document.root.items.values():
            if isinstance(child, Table):
                for section in _sections_of(child):
                    if section.number > last.number:
                        last = section
        if last.number == 0 and not last.entries:
            return self._root_place()
        return self._own_end(last)

    def _root_place(self) -> int:
        """Where the first top-level key goes: after the file's comment, before the first header's comment."""
        if len(self.document.sections) == 1:
            return len(self.source)
        return self._lead_start(self.document.sections[1])

    def _neighbour_quotes(self, host: Section) -> str:
        for entry in reversed(host.entries):
            if isinstance(entry.node, Value) and entry.node.quotes in ('"', "'"):
                return entry.node.quotes
        return '"'

    def _format(self, value: Any, quotes: str = '"') -> str:
        """A value as TOML in the file's style: scripts of several lines stay readable."""
        if isinstance(value, str) and "\n" in value.rstrip("\n") and self.newline == "\n":
            quotes = {"'": "'''", '"': '"""'}.get(quotes, quotes)
        elif self.newline == "\r\n" and len(quotes) == 3:
            # The line ends of a multi-line string would be the file's, not the value's.
            quotes = '"'
        return format_value(value, quotes)

    # -------------------------------------------------------------------------------------------- replacing

    def _replace_value(self, node: Value, want: Any) -> None:
        if isinstance(want, list) and node.items is not None:
            self._edit_array(node, want)
        else:
            quotes = node.quotes or '"'
            self._replace(node.start, node.end, self._format(want, quotes))

    def _edit_array(self, node: Value, want: list[Any]) -> None:
        """Change an array where it differs: the items that it starts and ends with stay, with comments."""
        items = node.items or []
        old = [node_data(item) for item in items]
        if not old or not want:
            self._replace(node.start, node.end, format_value(want))
            return
        rows = self._rows(node)
        if rows:
            self._edit_rows(rows, want)
            return
        head = 0
        while head < min(len(old), len(want)) and same(old[head], want[head]):
            head += 1
        tail = 0
        while tail < min(len(old), len(want)) - head and same(old[-1 - tail], want[-1 - tail]):
            tail += 1
        quotes = _quotes_of(items)
        new = [format_value(value, quotes) for value in want[head : len(want) - tail]]
        start = items[0].start
        line_start = self.source.rfind("\n", 0, start) + 1
        lines = line_start > node.start and not self.source[line_start:start].strip()
        separator = "," + self.newline + self.source[line_start:start] if lines else ", "
        if tail:
            following = items[len(old) - tail].start
            place = items[head].start
            self._delete(place, following)
            self._insert(place, 0, "".join(text + separator for text in new))
        elif head == len(old):
            self._append_items(node, new, separator, lines)
        elif new:
            self._replace(items[head].start, items[-1].end, separator.join(new))
        else:
            self._delete(*self._end_items(node, head))

    def _append_items(self, node: Value, new: list[str], separator: str, lines: bool) -> None:
        last = (node.items or [])[-1]
        rest = self.source[last.end : node.end - 1]
        if not lines or "\n" not in rest:
            self._insert(last.end, 0, "".join(separator + text for text in new))
            return
        trailing = re.match(r"(?:[ \t\r\n]|#[^\n]*\n)*,", rest)
        if not trailing:
            self._insert(last.end, 0, ",")
        place = last.end + (trailing.end() if trailing else 0)
        place = self.source.find("\n", place)
        if self.source[place - 1] == "\r":
            place -= 1
        text = separator[1:] + separator.join(new)
        self._insert(place, 0, text + ("," if trailing else ""))

    def _end_items(self, node: Value, head: int) -> tuple[int, int]:
        """The part to delete so that an array ends after its first items (at least one)."""
        items = node.items or []
        kept, last = items[head - 1], items[-1]
        kept_line = self.source.find("\n", kept.end)
        last_line = self.source.find("\n", last.end)
        comma = re.match(r"[ \t]*,", self.source[kept.end : items[head].start])
        if comma and kept.end < kept_line < items[head].start and last_line < node.end - 1 and last_line > 0:
            rest = self.source[last.end : node.end - 1]
            trailing = re.match(r"[ \t]*,?[ \t]*(?:#[^\n]*)?\r?\n", rest)
            if trailing and not re.match(r"(?:[ \t\r\n]|#[^\n]*\n)*,", rest[trailing.end() :]):
                # The kept item's comma becomes the trailing one, and its comment stays.
                return kept_line + 1, last.end + trailing.end()
        return kept.end, last.end

    def _rows(self, node: Value) -> list[_Row]:
        """The items of an array that starts a line for each of them; none if the array has another layout.

        The first of several may be on the line of the bracket, and the last one before that of the other bracket.
        """
        rows: list[_Row] = []
        items = node.items or []
        opening = _ROW_END.match(self.source, node.start + 1)
        if not opening and len(items) == 1:
            return []
        place = opening.end() if opening else items[0].start
        for number, item in enumerate(items, 1):
            start = max(self.source.rfind("\n", 0, item.start) + 1, place)
            end = _ROW_END.match(self.source, item.end)
            if number == len(items):
                end = end or _LAST_ROW_END.match(self.source, item.end)
            if self.source[start : item.start].strip() or not end or not (end.group(1) or number == len(items)):
                return []
            gap = _LINE.findall(self.source, place, start)
            while gap and gap[-1].lstrip(" \t").startswith("#"):
                start -= len(gap.pop())
            rows.append(_Row(gap, start, item, end.end(), bool(end.group(1))))
            place = end.end()
        return rows if _ARRAY_END.match(self.source, place) else []

    def _edit_rows(self, rows: list[_Row], want: list[Any]) -> None:
        """Change an array row by row: a wanted item that is there already keeps its row, wherever it goes.

        The blank lines and comments between rows stay where they are, and those before the first one before it.
        """
        old = [_identity(node_data(row.item)) for row in rows]
        new = [_identity(value) for value in want]
        steps = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        # The rows that leave their places, and what comes to other places.
        loose: dict[Any, list[_Row]] = {}
        coming = set()
        for tag, start, end, new_start, new_end in steps:
            if tag != "equal":
                coming.update(new[new_start:new_end])
                for number in range(start, end):
                    loose.setdefault(old[number], []).append(rows[number])
        quotes = _quotes_of([row.item for row in rows])
        # Whether the first row is on the line of the bracket; the others then show the indentation.
        joined = self.source[rows[0].start - 1] != "\n"
        place = rows[joined].item.start
        indent = self.source[self.source.rfind("\n", 0, place) + 1 : place]
        ends = ("," if rows[-1].comma else "") + (self.newline if self.source[rows[-1].end - 1] == "\n" else "")
        lines = list(rows[0].gap)
        gone = False
        for tag, start, end, new_start, new_end in steps:
            # Another value in the place of one is as that of a key, whose comments stay.
            in_place = (end - start, new_end - new_start) == (1, 1) and old[start] not in coming
            for number, wanted in zip_longest(range(start, end), range(new_start, new_end)):
                if number:
                    lines += _without_doubles(lines, rows[number].gap) if gone else rows[number].gap
                gone = wanted is None
                if wanted is None:
                    continue
                last = wanted == len(want) - 1
                if tag == "equal":
                    lines.append(self._row_text(rows[number], indent, last))
                elif loose.get(new[wanted]):
                    lines.append(self._row_text(loose[new[wanted]].pop(0), indent, last))
                elif in_place:
                    lines.append(self._row_text(rows[start], indent, last, format_value(want[wanted], quotes)))
                else:
                    lines.append(indent + format_value(want[wanted], quotes) + (ends if last else "," + self.newline))
        while gone and lines and not lines[-1].strip():
            lines.pop()
        # The last row may have had no line end.
        text = "".join(line if line.endswith("\n") else line + self.newline for line in lines[:-1]) + lines[-1]
        if joined:
            text = text.lstrip(" \t")
            text = self.newline + indent + text if text.startswith("#") else text
        self._replace(rows[0].start - len("".join(rows[0].gap)), rows[-1].end, text)

    def _row_text(self, row: _Row, indent: str, last: bool, value: Optional[str] = None) -> str:
        """The lines of a row, maybe with another value. Only the last one may lack the comma."""
        before = self.source[row.start : row.item.start] if self.source[row.start - 1] == "\n" else indent
        value = value or self.source[row.item.start : row.item.end]
        comma = "" if last or row.comma else ","
        return before + value + comma + self.source[row.item.end : row.end]

    # ---------------------------------------------------------------------------------------------- changes

    def _insert(self, place: int, priority: int, text: str) -> None:
        self._inserts.append((place, priority, len(self._inserts), text))

    def _insert_line(self, place: int, priority: int, text: str) -> None:
        self._insert(place, priority, "\0" + text)

    def _delete(self, start: int, end: int) -> None:
        if end > start:
            self._deletes.append((start, end))

    def _replace(self, start: int, end: int, text: str) -> None:
        self._delete(start, end)
        self._insert(start, 0, text)


def edit(document: Document, wanted: Data, indent: str = "") -> str:
    """The text of a document after wanted data was merged into it. Raises TomlError."""
    editor = Editor(document, indent)
    editor.merge(wanted)
    text = editor.text()
    if text != document.text:
        verify(text, merge(document.data, wanted))
    return text


def verify(text: str, wanted: Data) -> None:
    """Read a text that is about to be written with a second parser, and compare the data with what is wanted.

    The second parser is Python's own (from 3.11 on), else tomlkit (from TOMLKIT_MIN on, for texts that are not too
    long for it), else the collection's reader once more. Raises TomlError.
    """
    try:
        data = _second_parser(len(text))(text.lstrip("\ufeff"))
    except Exception as error:
        raise TomlError(f"the edited text is not TOML for a second parser: {error}") from error
    if not same(without_empty(data), without_empty(wanted)):
        raise TomlError("the edited text would not say what it should; please report this as a fault of the collection")


def with_removals(content: Data, absent: Sequence[str]) -> Data:
    """Wanted data that also removes the keys of a list of dotted keys. Raises TomlError for a key in both."""
    wanted = _copy(content)
    for key in absent:
        table = wanted
        path = parse_key(key)
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise TomlError(f"'{key}' is in absent, but content sets '{part}' to a value that is not a table")
        if table.setdefault(path[-1], None) is not None:
            raise TomlError(f"'{key}' is in absent and in content")
    return wanted


def with_times(wanted: Any, present: Any) -> Any:
    """Wanted data in which a string that reads as a date or time is one where the present data have one.

    Ansible hands dates and times to a module as strings.
    """
    if isinstance(wanted, dict) and isinstance(present, dict):
        return {key: with_times(value, present.get(key)) for key, value in wanted.items()}
    if is_tables(wanted) and is_tables(present):
        plan, _removed = match_tables(present, wanted)
        return [table if index is None else with_times(table, present[index]) for index, table in plan]
    if isinstance(wanted, list) and isinstance(present, list) and present:
        # In an array that has changed, the items behind the last one are of its kind.
        return [with_times(item, present[min(index, len(present) - 1)]) for index, item in enumerate(wanted)]
    if isinstance(wanted, str) and isinstance(present, (date, time)):
        read = parse_date_time(wanted)
        return wanted if read is None else read
    return wanted


def _copy(data: Data) -> Data:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in data.items()}


def _identity(value: Any) -> Any:
    """Something that can be hashed and is equal for values that are same()."""
    if isinstance(value, dict):
        return dict, frozenset((key, _identity(item)) for key, item in value.items())
    if isinstance(value, list):
        return list, tuple(map(_identity, value))
    if isinstance(value, str):
        return str, str(value)
    return type(value), "nan" if isinstance(value, float) and math.isnan(value) else value


def _quotes_of(items: Sequence[Any]) -> str:
    """The quotes that new strings of an array take: those of its first string."""
    return next((item.quotes for item in items if isinstance(item, Value) and item.quotes in ('"', "'")), '"')


def _without_doubles(lines: list[str], gap: list[str]) -> list[str]:
    """Lines to put behind others, without blank ones at their start if there is a blank one, or nothing, before."""
    if not lines or not lines[-1].strip():
        return list(dropwhile(lambda line: not line.strip(), gap))
    return gap


def node_end(entry: Entry) -> int:
    """The end of the value of an entry."""
    return entry.node.end  # type: ignore[union-attr]


def tomlkit_version() -> tuple[int, ...]:
    """The version of tomlkit; (0,) if there is none."""
    if tomlkit is None:
        return (0,)
    return tuple(int(number) for number in re.findall(r"\d+", tomlkit.__version__)[:3])


def _second_parser(length: int) -> Callable[[str], Any]:
    if tomllib is not None:
        return tomllib.loads
    if tomlkit_version() >= TOMLKIT_MIN and length <= TOMLKIT_MAX_CHARACTERS:
        return lambda text: _unwrapped(tomlkit.parse(text))
    return loads


def _unwrapped(value: Any) -> Any:
    """tomlkit's data as plain data; its old versions have no function for that."""
    if isinstance(value, dict):
        return {str(key): _unwrapped(value[key]) for key in value}
    if isinstance(value, list):
        return [_unwrapped(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, (datetime, date, time)):
        return parse_date_time(value.isoformat())
    return value.value


def _sections_of(node: Node) -> Iterator[Section]:
    """All sections of a table and of those below it."""
    if isinstance(node, Tables):
        for table in node.tables:
            yield from _sections_of(table)
    elif isinstance(node, Table):
        if isinstance(node.host, Section):
            yield node.host
        for child in node.items.values():
            if not isinstance(child, Value):
                yield from _sections_of(child)


def _deeper(outer: str, inner: str) -> str:
    return inner[len(outer) :] if inner.startswith(outer) else ""


def _check_depth(wanted: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TomlError(f"the wanted data is nested more than {MAX_DEPTH} levels deep")
    if isinstance(wanted, Equivalent):
        wanted = wanted.value
    if isinstance(wanted, dict):
        for value in wanted.values():
            _check_depth(value, depth + 1)
    elif isinstance(wanted, list):
        for value in wanted:
            _check_depth(value, depth + 1)


def _events(
    inserts: list[tuple[int, int, int, str]], deletes: list[tuple[int, int]]
) -> Iterator[tuple[int, int, Optional[str]]]:
    """Insertions and deletions in the order of the text; at one place the insertions come first."""
    number = 0
    for place, _priority, _order, text in inserts:
        while number < len(deletes) and deletes[number][0] < place:
            yield deletes[number][0], deletes[number][1], None
            number += 1
        yield place, place, text
    for start, end in deletes[number:]:
        yield start, end, None
