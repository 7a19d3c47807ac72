# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Generated documents in all styles of TOML, and generated edits."""

from __future__ import annotations

from datetime import date, datetime, time, timezone

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _toml, _toml_edit
from hypothesis import given, settings
from hypothesis import strategies as st

try:
    import tomllib
except ImportError:
    tomllib = pytest.importorskip("tomli")

# Few keys, so that edits meet what is there.
KEYS = st.sampled_from(["a", "b", "c", "name", "x-1", "with space", "dot.ted", "é", '"'])
STRINGS = st.one_of(
    st.sampled_from(["", "v", "# no comment", "it's", '"', "\\", "a\nb\n", "''", '"""', "\t", "\x7f"]),
    st.text(max_size=6),
)
SCALARS = st.one_of(
    STRINGS,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.datetimes(timezones=st.just(timezone.utc)),
    st.dates(),
    st.times(),
)
ARRAYS = st.recursive(st.lists(SCALARS, max_size=3), lambda inner: st.lists(inner, max_size=2), max_leaves=4)


def tables(values):
    return st.dictionaries(KEYS, values, max_size=4)


DOCUMENTS = tables(
    st.recursive(
        st.one_of(SCALARS, ARRAYS),
        lambda inner: st.one_of(tables(inner), st.lists(tables(inner), min_size=1, max_size=3)),
        max_leaves=12,
    )
)
WANTED = tables(
    st.recursive(
        st.one_of(SCALARS, ARRAYS, st.none()),
        lambda inner: st.one_of(tables(inner), st.lists(tables(inner), min_size=1, max_size=3)),
        max_leaves=8,
    )
).filter(lambda wanted: not null_in_array(wanted))


# Tables in tables, most of which no header names, and so few keys that an edit meets most of them.
FEW_KEYS = st.sampled_from(["a", "b", "c"])
HEADERS = st.tuples(st.lists(FEW_KEYS, min_size=2, max_size=4), st.integers(0, 3)).map(
    lambda header: ("[{}]\n" if header[1] else "[[{}]]\n").format(".".join(header[0]))
)
NESTED_WANTED = st.recursive(
    st.dictionaries(FEW_KEYS, st.integers(0, 9), min_size=1),
    lambda inner: st.dictionaries(FEW_KEYS, st.integers(0, 9) | inner, min_size=1),
    max_leaves=8,
)


def null_in_array(value):
    if isinstance(value, dict):
        return any(null_in_array(item) for item in value.values())
    if isinstance(value, list):
        return any(item is None or null_in_array(item) for item in value)
    return False


class Renderer:
    """Writes data as TOML, in a style that is drawn for each part."""

    def __init__(self, draw):
        self.draw = draw
        self.newline = draw(st.sampled_from(["\n", "\r\n"]))
        self.indent = draw(st.sampled_from(["", "  ", "\t"]))
        self.comments = 0
        self.lines = []

    def render(self, data):
        self.table((), data, 0)
        text = self.newline.join(self.lines)
        if self.lines and self.draw(st.booleans()):
            text += self.newline
        return self.draw(st.sampled_from(["", "", "\ufeff"])) + text

    def chance(self, one_in=3):
        return self.draw(st.integers(1, one_in)) == 1

    def comment(self):
        self.comments += 1
        return f"# comment {self.comments}"

    def extras(self, indent):
        if self.chance(5):
            self.lines.append("")
        if self.chance(5):
            self.lines.append(indent + self.comment())

    def key(self, key):
        if _toml.format_key(key) == key and self.chance(8):
            return f"'{key}'"
        return _toml.format_key(key)

    def value(self, value):
        if isinstance(value, dict):
            return "{" + ", ".join(f"{self.key(k)} = {self.value(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            if value and self.chance():
                inner = [f"{self.indent * 2}{self.value(item)}," for item in value]
                if self.chance():
                    inner[-1] += " " + self.comment()
                elif self.chance():
                    inner[-1] = inner[-1][:-1]
                return self.newline.join(["[", *inner, self.indent + "]"])
            return "[" + ", ".join(self.value(item) for item in value) + "]"
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            return _toml.format_value(value)
        if isinstance(value, str):
            quotes = self.draw(st.sampled_from(['"', "'", '"""', "'''"])) if self.newline == "\n" else '"'
            return _toml.format_string(value, quotes)
        if value >= 0 and self.chance():
            return self.draw(st.sampled_from([hex, oct, bin]))(value)
        return str(value)

    def entry(self, keys, value, indent):
        self.extras(indent)
        spaces = self.draw(st.sampled_from([" = ", "=", "  =\t"]))
        line = f"{indent}{'.'.join(self.key(key) for key in keys)}{spaces}{self.value(value)}"
        if self.chance(5):
            line += "  " + self.comment()
        self.lines.append(line)

    def dotted(self, keys, table, indent):
        for key, value in table.items():
            if isinstance(value, dict) and value and self.chance(2):
                self.dotted((*keys, key), value, indent)
            else:
                self.entry((*keys, key), value, indent)

    def table(self, path, data, level):
        indent = self.indent * level
        deeper = []
        for key, value in data.items():
            tabular = isinstance(value, dict) or (_toml.is_tables(value))
            if tabular and self.chance(2):
                deeper.append((key, value))
            elif isinstance(value, dict) and value and self.chance(2):
                self.dotted((key,), value, indent)
            else:
                self.entry((key,), value, indent)
        if path == () and self.chance(2):
            deeper = self.draw(st.permutations(deeper))
        for key, value in deeper:
            self.tabular((*path, key), value, level)

    def tabular(self, path, value, level):
        name = ".".join(self.key(part) for part in path)
        if not isinstance(value, dict):
            for table in value:
                self.header(f"[[{name}]]", path, table, level)
        elif (
            value and all(isinstance(item, dict) or _toml.is_tables(item) for item in value.values()) and self.chance(2)
        ):
            # A table that no header names.
            for key, item in value.items():
                self.tabular((*path, key), item, level)
        else:
            self.header(f"[{name}]", path, value, level)

    def header(self, header, path, table, level):
        self.extras(self.indent * level)
        self.lines.append(self.indent * level + header)
        self.table(path, table, level + 1)


@st.composite
def texts(draw):
    return Renderer(draw).render(draw(DOCUMENTS))


def read(text):
    return tomllib.loads(text.lstrip("\ufeff"))


def edited(text, wanted):
    editor = _toml_edit.Editor(_toml.parse(text))
    editor.merge(wanted)
    return editor.text()


def entries(text):
    """All entries outside of arrays of tables, by path: the bytes from the key to the end of the line."""
    document = _toml.parse(text)
    found = {}
    for section in document.sections:
        parts = section.table.path
        in_array = any(isinstance(at(document.root, parts[:n]), _toml.Tables) for n in range(1, len(parts) + 1))
        if not in_array:
            for entry in section.entries:
                found[parts + entry.keys] = text[entry.start : entry.line_end].rstrip("\r\n")
    return found


def inline_entries(text):
    """All entries of inline tables that are the value of a key, by path: the bytes of key and value."""
    found = {}

    def collect(path, node):
        if isinstance(node, _toml.Table):
            for entry in node.entries:
                found[path + entry.keys] = text[entry.start : entry.node.end]
                collect(path + entry.keys, entry.node)

    document = _toml.parse(text)
    for section in document.sections:
        parts = section.table.path
        if not any(isinstance(at(document.root, parts[:n]), _toml.Tables) for n in range(1, len(parts) + 1)):
            for entry in section.entries:
                collect(parts + entry.keys, entry.node)
    return found


def at(node, path):
    for key in path:
        if isinstance(node, _toml.Tables):
            return node
        node = node.items[key]
    return node


def expected(text, wanted):
    """The data after an edit; None if it has to be refused, and is, since a table meets an array of tables."""
    try:
        return _toml.merge(read(text), wanted)
    except _toml.TomlError:
        with pytest.raises(_toml.TomlError, match="is an array of tables"):
            edited(text, wanted)
        return None


def touches(wanted, path):
    """Whether wanted data says anything about a path or about what is above or below it."""
    for key in path:
        if not isinstance(wanted, dict):
            return True
        if key not in wanted:
            return False
        wanted = wanted[key]
    return True


@settings(max_examples=50, deadline=None)
@given(texts())
def test_reads_what_a_second_parser_reads(text):
    assert _toml.same(_toml.loads(text), read(text))


@settings(max_examples=100, deadline=None)
@given(texts(), WANTED)
def test_edit_reaches_the_wanted_data_and_nothing_else(text, wanted):
    data = expected(text, wanted)
    if data is None:
        return
    result = edited(text, wanted)
    assert _toml.same(_toml.without_empty(read(result)), _toml.without_empty(data))
    assert edited(result, wanted) == result
    for found in (entries, inline_entries):
        after = found(result)
        for path, source in found(text).items():
            if not touches(wanted, path):
                assert after[path] == source
    assert result.startswith("\ufeff") == text.startswith("\ufeff")


@settings(max_examples=200, deadline=None)
@given(st.lists(HEADERS, min_size=1, max_size=4), NESTED_WANTED)
def test_edit_of_tables_in_tables(headers, wanted):
    text = "".join(f"{header}x = {number}\n" for number, header in enumerate(headers))
    try:
        read(text)
    except tomllib.TOMLDecodeError:
        return
    data = expected(text, wanted)
    if data is None:
        return
    result = edited(text, wanted)
    assert _toml.same(_toml.without_empty(read(result)), _toml.without_empty(data))
    assert edited(result, wanted) == result


@st.composite
def commented_arrays(draw):
    """An array with comments above its items and behind them, and these by item."""
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    values = draw(
        st.lists(st.integers(0, 9) | st.sampled_from(["#", "a, b", "]"]), min_size=1, max_size=6, unique=True)
    )
    comma = draw(st.sampled_from(["", ","]))
    text, comments = "a = [", {}
    joined = len(values) > 1 and draw(st.integers(1, 4)) == 1
    if not joined:
        text += draw(st.sampled_from(["", " # all"])) + newline
    for number, value in enumerate(values):
        above = [f"  # about {number} {line}" for line in range(draw(st.integers(0, 2)))]
        behind = draw(st.sampled_from(["", f" # item {number}"]))
        item = _toml.format_value(value) + ("," if number < len(values) - 1 else comma) + behind
        if number or not joined:
            gap = draw(st.sampled_from([[], [], [""], [f"# group {number}", ""]]))
            text += "".join(line + newline for line in [*gap, *above]) + "  " + item
        else:
            above = []
            text += item
        comments[value] = (above, behind)
        if behind or number < len(values) - 1:
            text += newline
    if text.endswith("\n") or draw(st.booleans()):
        text += ("" if text.endswith("\n") else newline) + draw(st.sampled_from(["", f"  # end{newline}"]))
    return f"{text}]{newline}b = 1 # last{newline}", comments


def lines_of(text):
    return text.replace("\r\n", "\n").replace("[", "[\n  ").replace("]\nb", "\n]\nb").split("\n")


@settings(max_examples=300, deadline=None)
@given(commented_arrays(), st.data())
def test_items_of_an_array_keep_their_own_comments(array, data):
    text, comments = array
    items = st.sampled_from(sorted(comments, key=str)) | st.integers(20, 22)
    wanted = data.draw(st.lists(items, min_size=1, unique=True))
    result = edited(text, {"a": wanted})
    assert read(result) == {"a": wanted, "b": 1}
    assert edited(result, {"a": wanted}) == result
    lines = lines_of(result)
    for value in wanted:
        if value in comments:
            above, behind = comments[value]
            item = f"  {_toml.format_value(value)}"
            place = next(number for number, line in enumerate(lines) if line in (item + behind, f"{item},{behind}"))
            first = place
            while lines[first - 1].startswith("  # about"):
                first -= 1
            assert lines[first:place] == above
    kept = [line.strip() for line in lines if line.strip().startswith(("# group", "# end"))]
    assert kept == [line.strip() for line in lines_of(text) if line.strip().startswith(("# group", "# end"))]
    assert [line for line in lines if line.startswith("b")] == ["b = 1 # last"]


@settings(max_examples=50, deadline=None)
@given(texts(), st.data())
def test_setting_values_keeps_every_other_line(text, data):
    """New values for some keys, and new keys: all other lines stay, comments and blank ones included."""
    flat = {path: line for path, line in entries(text).items() if "\n" not in line}
    chosen = data.draw(st.lists(st.sampled_from(sorted(flat)), unique=True, max_size=3)) if flat else []
    wanted = {"new": 1, "table": {"new": {"deep": [1, 2]}}}
    for path in chosen:
        table = wanted
        for key in path[:-1]:
            table = table.setdefault(key, {})
        table[path[-1]] = 424242
    result = edited(text, wanted).lstrip("\ufeff").split("\n")
    left = iter([line.rstrip("\r") for line in result])
    for line in text.lstrip("\ufeff").rstrip("\n").split("\n"):
        if text and not any(line.strip().endswith(flat[path]) for path in chosen):
            assert line.rstrip("\r") in left, line


@settings(max_examples=100, deadline=None)
@given(texts())
def test_what_is_there_already_changes_nothing(text):
    assert edited(text, read(text)) == text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["[a]", "[[a]]", "[a.b]", "a", "a.b", "b.a", "[[a.b]]"]), max_size=5))
def test_accepts_and_refuses_the_same_structures(parts):
    text = "".join(f"{part}\n" if part.startswith("[") else f"{part} = 1\n" for part in parts)
    try:
        expected = read(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(_toml.TomlError):
            _toml.loads(text)
    else:
        assert _toml.loads(text) == expected


@settings(max_examples=100, deadline=None)
@given(SCALARS, st.sampled_from(['"', "'", '"""', "'''"]))
def test_each_value_survives_writing_and_reading(value, quotes):
    text = f"a = {_toml.format_value(value, quotes)}\n"
    assert _toml.same(read(text), {"a": value})
    assert _toml.same(_toml.loads(text), {"a": value})


def test_kinds_of_values_all_differ():
    values = [1, 1.0, True, "1", date(2026, 1, 1), datetime(2026, 1, 1), time(1), [1], {"a": 1}]
    for number, one in enumerate(values):
        for other in values[number + 1 :]:
            assert not _toml.same(one, other)


@settings(max_examples=50, deadline=None)
@given(texts(), WANTED)
def test_edits_pass_the_check_by_tomlkit(text, wanted):
    """On hosts without tomllib, tomlkit is the second parser: it must not find faults where there are none."""
    if _toml_edit.tomlkit_version() < _toml_edit.TOMLKIT_MIN:
        pytest.skip("no tomlkit, or an older one, which is not used")
    data = expected(text, wanted)
    if data is None:
        return
    result = edited(text, wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_toml_edit, "tomllib", None)
        _toml_edit.verify(result, data)
