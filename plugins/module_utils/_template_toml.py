# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Set keys in TOML that stands between Go template actions, as in C(runners.config) of GitLab Runner's chart.

Such a text is no TOML: branches of an C(if) repeat tables, and an action may stand wherever text may. So the
actions are masked, the rest is read as statements (headers, keys, lines that an action writes), and of these
only the span of one value is replaced, or lines are inserted. Where that would be a guess, it is refused. The
result is verified in each combination of the template's branches.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, zip_longest
from typing import Any, NoReturn, Optional, Union

from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _toml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._config_schema import SCHEMA
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._gotemplate import (
    Action,
    Context,
    Template,
    TemplateError,
    closes,
    first_line,
)

Path = tuple[str, ...]
# Numbers of headers: those that a place may be under, depending on which branches are taken. -1: none.
Owners = frozenset[int]

# In the masked text, each character of an action is one of two characters that the text does not have.
_PRIVATE = [chr(code) for code in range(0xE000, 0xE100)]

_BASIC_LINES = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"""(?:"{0,2})', re.DOTALL)
_LITERAL_LINES = re.compile(r"'''(?:[^']|'(?!''))*'''(?:'{0,2})")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_BLANK = re.compile(r"[ \t]*")
_LINE_END = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
# Documentation shortens examples like this. It means nothing, as a comment does.
_ELLIPSIS = re.compile(r"^[ \t]*(?:\.\.\.|<\.\.\.>)[ \t]*\r?$", re.MULTILINE)

_MISSING = object()


class TemplateTomlError(Exception):
    """The text cannot be read, or the edit would be a guess. C(line) counts from 1, None: not one line.

    The message quotes names of keys and template actions only: values may be secret.
    """

    def __init__(self, message: str, line: Optional[int] = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


@dataclass
class Edited:
    """The edited text, and what may make the edit mean something else than intended."""

    text: str
    warnings: list[str] = field(default_factory=list)


@dataclass
class Header:
    """A header such as C([runners.kubernetes]), or, as number -1, the beginning of the text."""

    number: int
    # The path as it is spelled, and folded.
    spelling: Path
    path: Path
    array: bool
    start: int
    end: int
    context: Context
    templated: bool = False
    # For each path of an array of tables, the headers of it that this one may be under.
    arrays: dict[Path, Owners] = field(default_factory=dict)


@dataclass
class Pair:
    """A key with its value. C(path) is that of the key alone, as it is spelled; actions may be a part of either."""

    path: Path
    start: int
    value_start: int
    end: int
    context: Context
    templated_key: bool
    templated_value: bool
    owners: Owners = frozenset()


@dataclass
class Opaque:
    """A line on which only actions stand, one of which writes something."""

    start: int
    end: int
    context: Context
    owners: Owners = frozenset()


Statement = Union[Header, Pair, Opaque]
Insertion = tuple[int, int, str]


def set_values(text: str, wanted: dict[str, Any]) -> Edited:
    """Set keys in each table of the given path.

    Takes the template, and nested dicts of tables and keys with their values, such as
    C({"runners": {"kubernetes": {"privileged": True}}}). An array of tables is meant with each of its tables. Keys are
    matched as C(fold) does, and stay as they are spelled.
    Returns the text with as little changed as possible; the same text where all is set already.

    Raises TemplateTomlError: the text cannot be read, or the edit would be a guess; the text says why.
    """
    values = dict(leaves(wanted))
    if not values:
        raise TemplateTomlError("there is nothing to set: not one key with a value is given")
    folded = fold_all(values)
    edited = Edited(text)
    try:
        # Each is put at the top of its table, so that the first key has to come last.
        for path, value in reversed(list(values.items())):
            editor = _Editor(Reader(edited.text), path, value)
            edited.text = editor.edit()
            edited.warnings.extend(warning for warning in editor.warnings if warning not in edited.warnings)
        if edited.text != text:
            _verify(Reader(text), Reader(edited.text), folded)
    except TemplateError as error:
        raise TemplateTomlError(f"not a Go template, {error}") from None
    return edited


def leaves(wanted: dict[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The path of each key that is to be set, with its value. Raises TemplateTomlError."""
    for key, value in wanted.items():
        here = (*path, str(key))
        name = _toml.format_path(here)
        if isinstance(value, dict):
            yield from leaves(value, here)
        elif value is None:
            raise TemplateTomlError(f"{name} is null, but keys can only be set here, not removed")
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            raise TemplateTomlError(
                f"{name} is a list of tables, which cannot be set; a dict sets keys in each present table"
            )
        else:
            try:
                source = f"{_toml.format_path(here)} = {_toml.format_value(value)}"
            except _toml.TomlError as error:
                raise TemplateTomlError(f"{name}: {error}") from None
            if "{{" in source:
                raise TemplateTomlError(
                    f"{name} has {{{{ in it, which the chart would run as an action of its template; write it into the"
                    ' template by hand, with {{ "{{" }} in place of each {{'
                )
            yield here, value


@cache
def fold(path: Path) -> Path:
    """A path in lower case, in which GitLab Runner finds its keys, but for those of tables with free keys (maps)."""
    schema: Any = SCHEMA
    folded = []
    for key in path:
        if isinstance(schema, str):
            folded.append(key)
            continue
        lower = key.lower()
        folded.append(lower)
        schema = next((inner for name, inner in schema.items() if name.lower() == lower), {})
        schema = schema[0] if isinstance(schema, list) else schema
    return tuple(folded)


def fold_all(values: dict[Path, Any]) -> dict[Path, Any]:
    """Values by folded paths. Raises TemplateTomlError: two of them are the same."""
    folded: dict[Path, Any] = {}
    for path, value in values.items():
        if fold(path) in folded:
            raise TemplateTomlError(f"{_toml.format_path(path)} is there twice, in different case")
        folded[fold(path)] = value
    return folded


# ------------------------------------------------------------------------------------------------ the reader


class Reader:
    """The statements of a template, in order, and where each action stands in them."""

    def __init__(self, text: str) -> None:
        """Raises TemplateTomlError, TemplateError."""
        self.text = text
        self.template = Template(text)
        # What an action may write, as it has to be for the place that it stands in.
        self.outputs = [""] * len(self.template.actions)
        self._actions = {action.start: number for number, action in enumerate(self.template.actions)}
        unused = (character for character in _PRIVATE if character not in text)
        self.control, self.output = next(unused), next(unused)
        self.masked = self._mask()
        masks = self.control + self.output
        self._masks = re.compile(f"[{masks}]")
        self._key = re.compile(rf"[A-Za-z0-9_\-{masks}]+")
        self._skip = re.compile(rf"[ \t\r\n{self.control}]*")
        self._opaque = re.compile(rf"{self.output}[ \t{masks}]*(?=#|\r?\n|\Z)")
        self.statements: list[Statement] = []
        self._read()
        self._find_owners()

    @property
    def headers(self) -> list[Header]:
        """The headers in the order of the text; the number of each is its index."""
        return [statement for statement in self.statements if isinstance(statement, Header)]

    def fail(self, place: int, message: str) -> NoReturn:
        raise TemplateTomlError(message, self.template.line(place))

    def line_start(self, place: int) -> int:
        """Where the line of a place begins; lines inside of an action do not count."""
        return self.masked.rfind("\n", 0, place) + 1

    def line_end(self, place: int) -> int:
        """Where the line after that of a place begins, or the end of the text."""
        newline = self.masked.find("\n", place)
        return len(self.text) if newline < 0 else newline + 1

    def has_actions(self, start: int, end: int) -> bool:
        return self._masks.search(self.masked, start, end) is not None

    def literal(self, path: Path) -> Path:
        """The keys of a path that stand before the first one with a template action."""
        number = next((number for number, key in enumerate(path) if self._masks.search(key)), len(path))
        return path[:number]

    def action_in(self, start: int, end: int) -> Action:
        """The first action of a part of the text that has_actions."""
        match = self._masks.search(self.masked, start, end)
        if match is None:
            raise AssertionError
        return max(
            (action for action in self.template.actions if action.start <= match.start()),
            key=lambda action: action.start,
        )

    def _mask(self) -> str:
        parts = []
        place = 0
        for action in self.template.actions:
            parts.append(self.text[place : action.start])
            mask = self.output if action.kind == "output" else self.control
            if action.kind == "comment" and not action.trim_left and not action.trim_right:
                mask = " "
            parts.append(mask * (action.end - action.start))
            place = action.end
        return "".join(parts) + self.text[place:]

    def _read(self) -> None:
        text, place = self.masked, 0
        while True:
            skipped = self._skip.match(text, place)
            if skipped is None:
                raise AssertionError
            place = skipped.end()
            if place == len(text):
                return
            line = self.line_start(place)
            ellipsis = _ELLIPSIS.match(text, line)
            opaque = self._opaque.match(text, place)
            if text[place] == "#":
                place = self.line_end(place)
            elif ellipsis:
                place = ellipsis.end()
            elif text[place] == "[":
                place = self._after(self._read_header(place))
            elif opaque:
                self.statements.append(Opaque(place, opaque.end(), self.template.context(place)))
                place = opaque.end()
            else:
                place = self._after(self._read_pair(place))

    def _after(self, place: int) -> int:
        """The place of the next statement; on the same line only behind an action."""
        end = _LINE_END.match(self.masked, place)
        if end is not None:
            return end.end()
        place = self._blank(place)
        if self._masks.match(self.masked, place) is None:
            self.fail(place, "only a comment can follow here, behind a header or a value; this is not TOML")
        return place

    def _read_header(self, start: int) -> int:
        array = self.masked.startswith("[[", start)
        brackets = 2 if array else 1
        path, place = self._read_path(start + brackets)
        if not self.masked.startswith("]" * brackets, place):
            self.fail(start, "a header is expected here, [table] or [[table]]; this is not TOML")
        end = place + brackets
        self._expect(start, end, "x")
        templated = self.has_actions(start, end)
        number = len(self.headers)
        context = self.template.context(start)
        self.statements.append(Header(number, path, fold(path), array, start, end, context, templated))
        return end

    def _read_pair(self, start: int) -> int:
        path, place = self._read_path(start)
        if not self.masked.startswith("=", place):
            self.fail(start, "this is neither a header nor a key with a value")
        templated_key = self.has_actions(start, place)
        self._expect(start, place, "x")
        context = self.template.context(start)
        value_start = self._blank(place + 1)
        end = self._read_value(value_start, context)
        if end == value_start:
            self.fail(start, f"{_toml.format_path(path)} has no value")
        # 1 stands for a value, and can also be a part of a number.
        self._expect(value_start, end, "1")
        templated = self.has_actions(value_start, end)
        self.statements.append(Pair(path, start, value_start, end, context, templated_key, templated))
        return end

    def _read_path(self, place: int) -> tuple[Path, int]:
        """The keys of a dotted key, and the place behind it and behind blanks."""
        keys = []
        while True:
            place = self._blank(place)
            if self.masked[place : place + 1] in ('"', "'"):
                end = self._read_string(place)
                source = self.masked[place:end]
                try:
                    key = source if self._masks.search(source) else _toml.parse_key(source)[0]
                except _toml.TomlError:
                    self.fail(place, "the string that is a key here is not TOML")
            else:
                match = self._key.match(self.masked, place)
                if match is None:
                    self.fail(place, "a key is expected here; this is not TOML")
                end, key = match.end(), match[0]
            keys.append(key)
            place = self._blank(end)
            if self.masked[place : place + 1] != ".":
                return tuple(keys), place
            place += 1

    def _read_value(self, start: int, context: Context) -> int:
        """The place behind a value, of which nothing is interpreted but strings, brackets and comments."""
        text, place, depth = self.masked, start, 0
        while place < len(text):
            character = text[place]
            number = self._actions.get(place)
            if character in "\"'":
                place = self._read_string(place)
                continue
            if number is not None:
                action = self.template.actions[number]
                if depth == 0 and closes(action, context):
                    break
                place = action.end
                continue
            if character == "\n" and depth == 0:
                break
            if character == "#":
                if depth == 0:
                    break
                place = self.line_end(place)
                continue
            depth += (character in "[{") - (character in "]}")
            place += 1
        if depth > 0:
            self.fail(start, "a bracket of this value is not closed")
        return start + len(text[start:place].rstrip(" \t\r"))

    def _read_string(self, start: int) -> int:
        pattern = _BASIC if self.masked[start] == '"' else _LITERAL
        if self.masked.startswith(('"""', "'''"), start):
            pattern = _BASIC_LINES if pattern is _BASIC else _LITERAL_LINES
        match = pattern.match(self.masked, start)
        if match is None:
            self.fail(start, "this string is not closed")
        self._expect(start, match.end(), "x")
        return match.end()

    def _expect(self, start: int, end: int, output: str) -> None:
        """Say what the actions of a part of the text may write, where that was not said already."""
        for number, action in enumerate(self.template.actions):
            if start <= action.start < end and not self.outputs[number]:
                # Keys have to differ.
                self.outputs[number] = f"x{number}" if output == "x" else output

    def _blank(self, place: int) -> int:
        match = _BLANK.match(self.masked, place)
        if match is None:
            raise AssertionError
        return match.end()

    def _find_owners(self) -> None:
        """Follow the headers through the branches: what each statement may be under."""
        state = _State(frozenset((-1,)), {})
        stack: list[tuple[_State, list[_State]]] = []
        events: list[Action | Statement] = [*self.template.actions, *self.statements]
        events.sort(key=lambda event: event.start)
        for event in events:
            if isinstance(event, Header):
                event.arrays = state.arrays
                state = state.under(event)
            elif isinstance(event, (Pair, Opaque)):
                event.owners = state.owners
            elif event.kind == "open":
                stack.append((state, []))
            elif event.kind == "else":
                stack[-1][1].append(state)
                state = stack[-1][0]
            elif event.kind == "end":
                before, ends = stack.pop()
                block = self.template.blocks[event.block]
                ends.append(state)
                if not block.complete and block.keyword != "block":
                    ends.append(before)
                # What a define block says is not said here.
                state = before if block.keyword == "define" else _State.union(ends)


class _State:
    """At one place of the text: the headers it may be under, also for each path of an array of tables."""

    def __init__(self, owners: Owners, arrays: dict[Path, Owners]) -> None:
        self.owners = owners
        self.arrays = arrays

    def under(self, header: Header) -> _State:
        arrays = self.arrays
        if header.array:
            # Tables of arrays inside of the former one are not inside of the new one.
            arrays = {
                path: owners
                for path, owners in arrays.items()
                if path[: len(header.path)] != header.path or path == header.path
            }
            arrays[header.path] = frozenset((header.number,))
        return _State(frozenset((header.number,)), arrays)

    @staticmethod
    def union(states: Sequence[_State]) -> _State:
        arrays: dict[Path, Owners] = {}
        for state in states:
            for path, owners in state.arrays.items():
                arrays[path] = arrays.get(path, frozenset()) | owners
        return _State(frozenset().union(*(state.owners for state in states)), arrays)


# ------------------------------------------------------------------------------------------------ the editor


class _Editor:
    """Sets one key in every table of one path."""

    def __init__(self, reader: Reader, path: Path, value: Any) -> None:
        self.reader = reader
        self.spelling, self.key = path[:-1], path[-1]
        self.path = fold(path)
        self.table = self.path[:-1]
        self.name = _toml.format_path(path)
        self.table_name = _toml.format_path(self.spelling)
        self.value = value
        self.headers = reader.headers
        self.root = Header(-1, (), (), False, 0, 0, ())
        self.warnings: list[str] = []
        self.insertions: list[Insertion] = []

    def edit(self) -> str:
        """The text with the key set. Raises TemplateTomlError."""
        self._refuse_other_forms()
        for header in self._targets():
            self._set(header)
        text = self.reader.text
        for start, end, insertion in sorted(self.insertions, reverse=True):
            text = text[:start] + insertion + text[end:]
        return text

    def _refuse_other_forms(self) -> None:
        """Refuse what makes it unclear where the table is, or what is no table with a header."""
        for header in self.headers:
            self._refuse_header(header)
        dotted = any(self._sets(pair) and len(pair.path) > 1 for pair in self._pairs())
        for pair in self._pairs():
            for owner in sorted(pair.owners):
                self._refuse_pair(pair, self._header(owner).spelling, dotted)

    def _refuse_header(self, header: Header) -> None:
        reader, path = self.reader, self.path
        literal = reader.literal(header.path)
        if header.templated and len(literal) < len(path) and path[: len(literal)] == literal:
            reader.fail(
                header.start,
                f"a template action is a part of this header, so that it may be [{self.table_name}] or not;"
                " set the key by hand",
            )
        if header.path[: len(path)] == path:
            reader.fail(header.start, f"{self.name} is a table here, it cannot become a value")
        blocks = [reader.template.blocks[number] for number, _branch in header.context]
        if any(block.keyword == "define" for block in blocks) and path[: len(header.path)] == header.path:
            reader.fail(header.start, "this header is inside of {{ define }}, so that it is not known where it ends up")

    def _refuse_pair(self, pair: Pair, owner: Path, dotted: bool) -> None:
        reader, path = self.reader, self.path
        spelling = (*owner, *pair.path)
        full = fold(spelling)
        if full == path:
            return
        if full[: len(path)] == path:
            reader.fail(pair.start, f"{self.name} is a table here, it cannot become a value")
        if full == path[: len(full)]:
            reader.fail(pair.start, f"{_toml.format_path(spelling)} is not a table with a header; give it one first")
        # A table that dotted keys define cannot have a header, too.
        if full[: len(self.table)] == self.table and len(owner) < len(self.table) and not dotted:
            reader.fail(pair.start, f"dotted keys make the table [{self.table_name}]; give it a header first")

    def _targets(self) -> list[Header]:
        """The headers of the table. Where one is missing, it is inserted with the key, and not returned."""
        if not self.table:
            return [self.root]
        if self.table[0] == "runners" and not any(
            header.path == ("runners",) and header.array for header in self.headers
        ):
            raise TemplateTomlError(
                "there is no line [[runners]]. GitLab Runner needs exactly one; add it first, or set the key"
                " where the template action that writes it gets its text from"
            )
        targets = [header for header in self.headers if header.path == self.table]
        if any(self._sets(pair) for pair in self._pairs() if len(pair.path) > 1):
            # A dotted key can be replaced, but then a header cannot be added.
            return [*targets, *self._dotted_owners()]
        for top in self._tops():
            parent = self._parent(top)
            if parent is not None:
                self._insert_table(parent)
        return targets

    def _dotted_owners(self) -> list[Header]:
        """The headers that have the key as a dotted one."""
        owners = {owner for pair in self._pairs() if self._sets(pair) and len(pair.path) > 1 for owner in pair.owners}
        return [self._header(owner) for owner in sorted(owners)]

    def _tops(self) -> list[Header]:
        """Where the table is wanted: each header of the first table of the path, or the whole text."""
        tops = [header for header in self.headers if header.path == self.table[:1]]
        if len(tops) > 1 and self.table[0] == "runners":
            for header in tops:
                if header.arrays.get(("runners",)):
                    self._warn(header.start, "GitLab Runner accepts only one [[runners]] in its template")
        return tops if any(header.array for header in tops) else [self.root]

    def _parent(self, top: Header) -> Optional[Header]:
        """The header of the nearest table that the wanted one is in, or None: the table has a header."""
        inside = [header for header in self.headers if self._is_under(header, top)]
        if any(header.path == self.table for header in inside):
            return None
        for length in range(len(self.table) - 1, len(top.path), -1):
            found = [header for header in inside if header.path == self.table[:length]]
            # A table of a branch is not always there, but the top one is, and all are inside of that.
            if len(found) == 1 and found[0].context == top.context and not self._moves_keys(found[0]):
                return found[0]
        return top

    def _moves_keys(self, parent: Header) -> bool:
        """Whether a table inserted for a parent would get keys, or what actions write, that are others' now."""
        place, _indent = self._table_place(parent)
        return any(
            statement.start >= place and any(self._header(owner).start < place for owner in statement.owners)
            for statement in self.reader.statements
            if not isinstance(statement, Header)
        )

    def _is_under(self, header: Header, top: Header) -> bool:
        return top is self.root or header is top or top.number in header.arrays.get(top.path, ())

    def _set(self, header: Header) -> None:
        reader = self.reader
        self._warn_of_condition(header)
        found = [pair for pair in self._pairs() if header.number in pair.owners and self._sets(pair)]
        for pair in found:
            if pair.owners != {header.number}:
                reader.fail(pair.start, f"it depends on the template's branches whether this {self.key} is {self.name}")
            if pair.context != header.context:
                reader.fail(
                    pair.start,
                    f"{self.name} is set under a condition; set it there, or remove the condition first",
                )
            self._replace(pair)
        if not found:
            self._insert_key(header)

    def _warn_of_condition(self, header: Header) -> None:
        contexts = {other.context for other in self.headers if other.path == header.path}

        def has(context: Context) -> bool:
            """Whether the table is there whenever this branch is taken."""
            inside = {other[len(context)][0] for other in contexts - {context} if other[: len(context)] == context}
            return context in contexts or any(in_all_branches(context, number) for number in inside)

        def in_all_branches(context: Context, number: int) -> bool:
            block = self.reader.template.blocks[number]
            return block.complete and all(has((*context, (number, branch))) for branch in range(len(block.branches)))

        blocks = enumerate(header.context)
        if not all(in_all_branches(header.context[:depth], number) for depth, (number, _branch) in blocks):
            brackets = "[[{}]]" if header.array else "[{}]"
            name = brackets.format(_toml.format_path(header.spelling))
            self._warn(header.start, f"{name} is conditional: elsewhere the key is not set")

    def _replace(self, pair: Pair) -> None:
        reader = self.reader
        source = reader.text[pair.value_start : pair.end]
        if pair.templated_value:
            action = first_line(reader.text, reader.action_in(pair.value_start, pair.end))
            reader.fail(pair.start, f"the template action {action} gives the value of {self.name}; change that")
        try:
            node = _toml.parse(f"x = {source}\n").root.items["x"]
        except _toml.TomlError:
            reader.fail(pair.start, f"the value of {self.name} is not TOML")
        if isinstance(node, _toml.Value) and not _toml.same(node.data, self.value):
            self.insertions.append((pair.value_start, pair.end, _toml.format_value(self.value, node.quotes)))
        elif not isinstance(node, _toml.Value):
            reader.fail(pair.start, f"{self.name} is a table here, it cannot become a value")

    def _insert_key(self, header: Header) -> None:
        """Insert it as the first key, which is always in the right table and never in a deeper block."""
        reader = self.reader
        place = 0
        if header is not self.root:
            place = reader.line_end(header.start)
            line = reader.line_start(header.start)
            if reader.has_actions(line, place) or reader.masked[line : header.start].strip():
                reader.fail(header.start, f"the header shares its line, so that {self.key} cannot be put under it")
        indent = self._key_indent(header)
        self._insert_lines(place, [f"{indent}{_toml.format_key(self.key)} = {_toml.format_value(self.value)}"])
        self._warn_of_actions({header.number}, self.key, keys=True)

    def _warn_of_actions(self, owners: set[int], what: str, keys: bool) -> None:
        """Warn of actions under one of these headers, and of such in keys, that may write what is inserted."""
        reader = self.reader
        for statement in reader.statements:
            if isinstance(statement, Header) or not owners & statement.owners:
                continue
            if isinstance(statement, Opaque) or (keys and statement.templated_key):
                action = first_line(reader.text, reader.action_in(statement.start, statement.end))
                self._warn(statement.start, f"{action} may write {what} a second time")

    def _key_indent(self, header: Header) -> str:
        for pair in self._pairs():
            if pair.owners == {header.number} and pair.context == header.context:
                indent = self._indent(pair.start)
                if indent is not None:
                    return indent
        return "" if header is self.root else self._deeper(self._indent(header.start) or "")

    def _insert_table(self, parent: Header) -> None:
        """Insert a header with the key."""
        place, indent = self._table_place(parent)
        self._warn_of_condition(parent)
        inside = {header.number for header in self.headers if self._is_inside(header, parent)}
        self._warn_of_actions({parent.number} | inside, f"[{self.table_name}]", keys=False)
        self._insert_lines(
            place,
            [
                f"{indent}[{_toml.format_path(self._spelling(parent))}]",
                f"{self._deeper(indent)}{_toml.format_key(self.key)} = {_toml.format_value(self.value)}",
            ],
        )

    def _table_place(self, parent: Header) -> tuple[int, str]:
        """The place before the first table that is inside of the parent, else at its end, and the indentation there."""
        reader = self.reader
        following = self.headers[parent.number + 1 :]
        inner = following[0] if following else None
        if parent is self.root:
            return len(reader.text), ""
        if inner and inner.context == parent.context and self._is_inside(inner, parent) and not self._has_parts(parent):
            indent = self._indent(inner.start)
            if indent is None:
                reader.fail(inner.start, f"the header shares its line, so that no [{self.table_name}] can be added")
            return self._before_comments(reader.line_start(inner.start)), indent
        return self._section_end(parent), self._deeper(self._indent(parent.start) or "")

    def _spelling(self, parent: Header) -> Path:
        """The path of the table for a header inside of the parent, with the keys spelled as they are there already."""

        def shared(header: Header) -> int:
            pairs = list(zip(header.path, self.table))
            return next((number for number, (one, other) in enumerate(pairs) if one != other), len(pairs))

        inside = [header for header in self.headers if header.spelling[: len(parent.path)] == parent.spelling]
        nearest = max(inside, key=shared, default=parent)
        length = shared(nearest)
        return (*nearest.spelling[:length], *self.spelling[length:])

    def _has_parts(self, parent: Header) -> bool:
        """Whether tables between the parent and the wanted one have headers; then it comes behind those."""
        between = range(len(parent.path) + 1, len(self.table))
        return any(header.path == self.table[:length] for header in self.headers for length in between)

    def _section_end(self, parent: Header) -> int:
        """The place after all tables inside of the parent, in the block that the parent is in."""
        reader, depth = self.reader, len(parent.context)
        events: list[Action | Header] = [*reader.template.actions, *self.headers]
        events.sort(key=lambda event: event.start)
        for event in events:
            if event.start <= parent.start:
                continue
            if isinstance(event, Header):
                if self._is_inside(event, parent):
                    continue
                place = event.start
                if event.context != parent.context:
                    opener = reader.template.blocks[event.context[depth][0]].opener
                    place = reader.template.actions[opener].start
            elif event.kind in ("else", "end") and parent.context and event.block == parent.context[-1][0]:
                place = event.start
            else:
                continue
            if self._indent(place) is None:
                reader.fail(place, f"this shares its line, so that no [{self.table_name}] can be added before it")
            return self._before_comments(reader.line_start(place))
        return self._before_comments(len(reader.text))

    def _before_comments(self, place: int) -> int:
        """The place before comments, and then before blank lines, that stand directly above a line."""
        reader = self.reader
        floor = max(
            (reader.line_end(statement.end) for statement in reader.statements if statement.end < place),
            default=0,
        )
        for pattern in (re.compile(r"[ \t]*#[^\n]*\n"), re.compile(r"[ \t]*\r?\n")):
            while place > floor:
                start = reader.line_start(place - 1)
                if not pattern.fullmatch(reader.text, start, place) or reader.has_actions(start, place):
                    break
                place = start
        return place

    def _insert_lines(self, place: int, lines: Sequence[str]) -> None:
        text = self.reader.text
        newline = "\r\n" if "\r\n" in text else "\n"
        if place and not text[:place].endswith("\n"):
            # Behind the last line, which has no end: then the new one has none either.
            self.insertions.append((place, place, newline + newline.join(lines)))
        else:
            self.insertions.append((place, place, "".join(line + newline for line in lines)))

    def _indent(self, place: int) -> Optional[str]:
        """The blanks before a place, None if something else is on its line before it."""
        indent = self.reader.masked[self.reader.line_start(place) : place]
        return None if indent.strip(" \t") else indent

    def _deeper(self, indent: str) -> str:
        return indent + ("\t" if "\t" in indent else "  ")

    def _is_inside(self, header: Header, parent: Header) -> bool:
        return len(header.path) > len(parent.path) and header.path[: len(parent.path)] == parent.path

    def _pairs(self) -> Iterator[Pair]:
        return (statement for statement in self.reader.statements if isinstance(statement, Pair))

    def _sets(self, pair: Pair) -> bool:
        """Whether a pair sets the key, at least if it is under the first of the headers it may be under."""
        return any(fold((*self._header(owner).path, *pair.path)) == self.path for owner in pair.owners)

    def _header(self, number: int) -> Header:
        return self.headers[number] if number >= 0 else self.root

    def _warn(self, place: int, message: str) -> None:
        self.warnings.append(f"line {self.reader.template.line(place)}: {message}")


# ------------------------------------------------------------------------------------------- the verification


def _verify(before: Reader, after: Reader, values: dict[Path, Any]) -> None:
    """Check, in each combination of branches, that the edit changes what it should and nothing else.

    Each is checked twice: the actions on lines of their own write nothing, and each of them writes a key.
    The paths of the values are folded.
    """
    problem: Optional[str] = None
    readable = effective = False
    templates = [Template(_ELLIPSIS.sub(_blanked, reader.text)) for reader in (before, after)]
    lines = _Lines(before, after)
    for combination in templates[0].combinations():
        texts = [template.render(combination, before.outputs) for template in templates]
        try:
            old = _toml.loads(texts[0][0])
        except _toml.TomlError as error:
            # Conditions can exclude each other: not all combinations are possible.
            problem = problem or _origin(templates[0], texts[0], error)
        else:
            readable = True
            try:
                new = _toml.loads(texts[1][0])
            except _toml.TomlError as error:
                raise TemplateTomlError(
                    f"with the edit it would not be TOML any more, {_origin(templates[1], texts[1], error)}."
                    " Set the key by hand"
                ) from None
            for path, value in differences(old, new):
                if fold(path) not in values or not _toml.same(value, values[fold(path)]):
                    raise TemplateTomlError(
                        f"the edit would also change {_toml.format_path(path)}; set the key by hand"
                    )
            for path, value in values.items():
                found = list(settings(new, path))
                if not all(all_same(setting, value) for setting in found):
                    raise TemplateTomlError(
                        f"with the edit, {_toml.format_path(path)} would not be set everywhere; set it by hand"
                    )
                effective = effective or bool(found)
        if lines.actions:
            lines.verify(*(template.render(combination, lines.outputs)[0] for template in templates))
    if not readable:
        raise TemplateTomlError(f"not TOML, whichever branches are taken: {problem}")
    if not effective:
        raise TemplateTomlError("the edit would have no effect, whichever branches are taken; set the key by hand")


class _Lines:
    """What becomes of the keys that the actions on lines of their own may write."""

    def __init__(self, before: Reader, after: Reader) -> None:
        self.reader = before
        self.outputs = list(before.outputs)
        self.actions = [
            number
            for number, action in enumerate(before.template.actions)
            if action.kind == "output"
            and any(
                isinstance(statement, Opaque) and statement.start <= action.start < statement.end
                for statement in before.statements
            )
        ]
        mark = next(character for character in _PRIVATE if character not in before.text + after.text)
        self._pattern = re.compile(f"{mark}([0-9]+){mark}")
        for number in self.actions:
            self.outputs[number] = f"{mark}{number}{mark}"

    def verify(self, old: str, new: str) -> None:
        """Check a text with the C(outputs), before and after the edit. Raises TemplateTomlError."""
        keys = list(self._keys(old))
        names = {key.strip().partition(" ")[0] for key in keys}
        # Each other part is the number of an action, and the keys are in the same order in both texts.
        texts = [
            "".join(chain.from_iterable(zip_longest(self._pattern.split(text)[::2], keys, fillvalue="")))
            for text in (old, new)
        ]
        try:
            data = _toml.loads(texts[0])
        except _toml.TomlError:
            return
        try:
            changed = list(differences(data, _toml.loads(texts[1])))
        except _toml.TomlError as error:
            line = "".join(texts[1].split("\n")[(error.line or 1) - 1 :][:1])
            number = next((number for number in self.actions if f"-{number} = 1" in line), self.actions[0])
            self._fail(number, "what is inserted would be on one line with what {} writes")
        for path, _value in changed:
            if path[-1] in names:
                self._fail(int(path[-1].rpartition("-")[2]), "the edit would move what {} writes into another table")

    def _keys(self, text: str) -> Iterator[str]:
        """For each of the actions in a text, a line with a key, as far as it is not on a line of its own."""
        for match in self._pattern.finditer(text):
            before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
            after = _LINE_END.match(text, match.end())
            lead, end = "\n" if before.strip() else "", "" if after else "\n"
            yield f"{lead}written-{match.start()}-{match[1]} = 1{end}"

    def _fail(self, number: int, message: str) -> NoReturn:
        action = self.reader.template.actions[number]
        source = first_line(self.reader.text, action)
        self.reader.fail(action.start, f"{message.format(source)}; set the key by hand")


def _blanked(match: re.Match[str]) -> str:
    return re.sub(r"[.<>]", " ", match[0])


def _origin(template: Template, rendered: tuple[str, list[tuple[int, int]]], error: _toml.TomlError) -> str:
    """The message of an error, with the line in the template instead of that in the rendered text."""
    if error.line is None:
        return str(error)
    text, origins = rendered
    place = sum(len(line) for line in text.splitlines(keepends=True)[: error.line - 1])
    start, origin = max((pair for pair in origins if pair[0] <= place), default=(0, 0))
    message = str(error).partition(": ")[2]
    return f"line {template.line(origin + place - start)}: {message}"


def differences(old: Any, new: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The paths at which two documents differ, with the new values; tables of an array have the array's path."""
    if isinstance(new, dict) and (isinstance(old, dict) or old is _MISSING):
        old = {} if old is _MISSING else old
        for key in {**old, **new}:
            yield from differences(old.get(key, _MISSING), new.get(key, _MISSING), (*path, key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and _toml.is_tables(new):
        for one, other in zip(old, new):
            yield from differences(one, other, path)
    elif not _toml.same(old, new):
        yield path, new


def settings(data: Any, path: Path, length: int = 1) -> Iterator[list[Any]]:
    """The values of a key in each table that it can be in: none, or several if it is there in different case.

    The path is folded.
    """
    if isinstance(data, list):
        for item in data:
            yield from settings(item, path, length)
    elif isinstance(data, dict):
        found = [value for key, value in data.items() if fold((*path[: length - 1], key)) == path[:length]]
        if length == len(path):
            yield found
        else:
            yield from settings(found, path, length + 1)


def all_same(setting: list[Any], value: Any) -> bool:
    """Whether one of the C(settings) is this value, whichever spelling of the key is read."""
    return bool(setting) and all(_toml.same(found, value) for found in setting)
