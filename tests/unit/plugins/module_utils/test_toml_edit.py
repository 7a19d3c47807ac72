# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import date

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _toml, _toml_edit
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._toml import (
    Equivalent,
    ExactKeys,
    TomlError,
)

# before, wanted, after
CASES = {
    "empty file": ("", {"a": 1}, "a = 1\n"),
    "byte order mark": ("\ufeffa = 1\n", {"a": 2, "b": 1}, "\ufeffa = 2\nb = 1\n"),
    "only a byte order mark": ("\ufeff", {"a": 1}, "\ufeffa = 1\n"),
    "only a comment": ("# mine\n", {"a": 1}, "# mine\na = 1\n"),
    "no newline at the end": ("a = 1", {"b": 2}, "a = 1\nb = 2\n"),
    "no newline after a comment": ("a = 1 # one", {"b": 2}, "a = 1 # one\nb = 2\n"),
    "CRLF": (
        "a = 1\r\n\r\n[t]\r\nb = 1\r\n",
        {"t": {"b": 2, "c": 3}},
        "a = 1\r\n\r\n[t]\r\nb = 2\r\nc = 3\r\n",
    ),
    "comment at the end of a line": ("a = 1 # why\n", {"a": 2}, "a = 2 # why\n"),
    "number formats": (
        "a = 0x10\nb = 1_000\nc = 0o17\nd = 1e3\ne = 5\n",
        {"a": 16, "b": 1000, "c": 15, "d": 1000.0, "e": 6},
        "a = 0x10\nb = 1_000\nc = 0o17\nd = 1e3\ne = 6\n",
    ),
    "types differ": ("a = 1\nb = true\nc = 1.0\n", {"a": True, "b": 1, "c": 1}, "a = true\nb = 1\nc = 1\n"),
    "dates": (
        "a = 2026-01-31\n",
        {"a": date(2026, 1, 31), "b": date(2026, 2, 1)},
        "a = 2026-01-31\nb = 2026-02-01\n",
    ),
    "quotes of the old value": ("a = 'x'\n", {"a": "y"}, "a = 'y'\n"),
    "quotes that cannot hold the value": ("a = 'x'\n", {"a": "it's"}, 'a = "it\'s"\n'),
    "quotes of the neighbour": ("a = 'x'\n", {"b": "y"}, "a = 'x'\nb = 'y'\n"),
    "multi-line string": ('a = """\nx\ny"""\n', {"a": "x\nz"}, 'a = """\nx\nz"""\n'),
    "multi-line string stays": (
        'a = """\nx \\\n   y"""\nb = 1\n',
        {"b": 2},
        'a = """\nx \\\n   y"""\nb = 2\n',
    ),
    "script of several lines": ("[a]\nx = 1\n", {"a": {"s": "a\nb\n"}}, '[a]\nx = 1\ns = """\na\nb\n"""\n'),
    "script in a CRLF file": ("x = 1\r\n", {"s": "a\nb\n"}, 'x = 1\r\ns = "a\\nb\\n"\r\n'),
    "backslashes and quotes": ("a = 1\n", {"b": 'C:\\x "y"\n'}, 'a = 1\nb = "C:\\\\x \\"y\\"\\n"\n'),
    "quoted keys": (
        "\"a b\" = 1\n'c.d' = 2\n",
        {"a b": 2, "c.d": 3, "e f": 4},
        '"a b" = 2\n\'c.d\' = 3\n"e f" = 4\n',
    ),
    "remove a key": ("# first\na = 1 # one\n# second\nb = 2\n", {"a": None}, "# first\n# second\nb = 2\n"),
    "remove a key that is not there": ("a = 1\n", {"b": None, "t": {"c": None}}, "a = 1\n"),
    "remove a multi-line value": (
        'a = [\n  1,\n]\nb = """\nx"""\nc = 1\n',
        {"a": None, "b": None},
        "c = 1\n",
    ),
    "remove a table": (
        "a = 1\n\n# of t\n[t]\nb = 1\n# last of t\n\n[t.u]\nc = 1\n\n# of z\n[z]\nd = 1\n",
        {"t": None},
        "a = 1\n\n# of z\n[z]\nd = 1\n",
    ),
    "remove a table, keep the blank line behind its group": (
        "[t]\na = 1\n[t.u]\nb = 1\n\n[z]\n",
        {"t": {"u": None}},
        "[t]\na = 1\n\n[z]\n",
    ),
    "remove the last table": ("a = 1\n\n[t]\nb = 1\n", {"t": None}, "a = 1\n"),
    "remove a table, keep the file's comment": ("# the file\n[t]\na = 1\n", {"t": None}, "# the file\n"),
    "keep a comment set off by blank lines": (
        "[t]\na = 1\n\n# --- others ---\n\n[u]\nb = 1\n",
        {"t": None},
        "# --- others ---\n\n[u]\nb = 1\n",
    ),
    "remove an implied table": ("[a.b.c]\nx = 1\n[z]\n", {"a": {"b": None}}, "[z]\n"),
    "remove a dotted table": ("a.b = 1\na.c.d = 2\ne = 3\n", {"a": None}, "e = 3\n"),
    "first top-level key": ("[t]\na = 1\n", {"x": 1}, "x = 1\n\n[t]\na = 1\n"),
    "first top-level key below the file's comment": (
        "# f\n\n[t]\na = 1\n",
        {"x": 1},
        "# f\n\nx = 1\n\n[t]\na = 1\n",
    ),
    "first top-level key above a table's comment": (
        "# f\n\n# of t\n[t]\na = 1\n",
        {"x": 1},
        "# f\n\nx = 1\n\n# of t\n[t]\na = 1\n",
    ),
    "key of a table, before its tables": (
        "[t]\n  a = 1\n  # b = 2\n\n  [t.u]\n    c = 1\n",
        {"t": {"d": 1}},
        "[t]\n  a = 1\n  d = 1\n  # b = 2\n\n  [t.u]\n    c = 1\n",
    ),
    "table in the file's style, indented": (
        "[t]\n  [t.u]\n    c = 1\n",
        {"t": {"v": {"d": 1, "w": {"e": 1}}}},
        "[t]\n  [t.u]\n    c = 1\n  [t.v]\n    d = 1\n    [t.v.w]\n      e = 1\n",
    ),
    "table in the file's style, flat": (
        "[t]\na = 1\n\n[t.u]\nc = 1\n\n[z]\n",
        {"t": {"v": {"d": 1}}},
        "[t]\na = 1\n\n[t.u]\nc = 1\n\n[t.v]\nd = 1\n\n[z]\n",
    ),
    "top-level table before the arrays of tables": (
        "a = 1\n\n[[r]]\n  b = 1\n",
        {"t": {"c": 1}},
        "a = 1\n\n[t]\n  c = 1\n\n[[r]]\n  b = 1\n",
    ),
    "table that was only implied": (
        "[[r]]\nx = 1\n\n# s3\n[r.cache.s3]\ny = 1\n",
        {"r": [{"cache": {"Type": "s3", "Path": "p"}}]},
        '[[r]]\nx = 1\n\n[r.cache]\nType = "s3"\nPath = "p"\n# s3\n[r.cache.s3]\ny = 1\n',
    ),
    "tables that were only implied, one in another": (
        '# f\n\n# of it\n[storage.options.overlay]\nmountopt = "nodev"\n',
        {"storage": {"driver": "overlay", "options": {"size": "1G"}, "graphroot": "/srv"}},
        '# f\n\n[storage]\ndriver = "overlay"\ngraphroot = "/srv"\n[storage.options]\nsize = "1G"\n'
        '# of it\n[storage.options.overlay]\nmountopt = "nodev"\n',
    ),
    "tables that were only implied, below an array of tables": (
        "[[b.a.b]]\n",
        {"b": {"name": "s", "a": {"a": "m", "e": {"a": [True]}}, "b": 1.5}},
        '[b]\nname = "s"\nb = 1.5\n[b.a]\na = "m"\n[[b.a.b]]\n\n[b.a.e]\na = [true]\n',
    ),
    "table that was only implied, below keys": (
        "x = 1\n[t.u]\na = 1\n[v]\n",
        {"t": {"w": {"b": 1}, "c": 1, "u": {"a": 2}}, "y": 1},
        "x = 1\ny = 1\n[t]\nc = 1\n[t.u]\na = 2\n\n[t.w]\nb = 1\n[v]\n",
    ),
    "table that was only implied, without its first table": (
        "[t.u]\na = 1\n[t.v]\n",
        {"t": {"u": None, "b": 1}},
        "[t]\nb = 1\n[t.v]\n",
    ),
    "out of order": (
        "[[r]]\n  a = 1\n[s]\n  b = 1\n[r.docker]\n  c = 1\n[[r]]\n  a = 2\n",
        {"r": [{"a": 1, "docker": {"c": 2, "d": 1}, "x": 1, "new": {"e": 1}}, {"a": 3}]},
        "[[r]]\n  a = 1\n  x = 1\n[s]\n  b = 1\n[r.docker]\n  c = 2\n  d = 1\n[r.new]\n  e = 1\n[[r]]\n  a = 3\n",
    ),
    "dotted keys": (
        "[t]\na.b = 1\na.c = 2\n\n[u]\n",
        {"t": {"a": {"b": 2, "d": 3}}},
        "[t]\na.b = 2\na.c = 2\na.d = 3\n\n[u]\n",
    ),
    "inline table": ("t = {a = 1, b = 2} # x\n", {"t": {"a": 3, "c": 4}}, "t = {a = 3, b = 2, c = 4} # x\n"),
    "empty inline table": ("t = {}\n", {"t": {"a": 1, "b": {"c": 1}}}, "t = { a = 1, b = { c = 1 } }\n"),
    "inline table in another": (
        "t = { u = { } }\n",
        {"t": {"v": 1, "u": {"a": 1}}},
        "t = { u = { a = 1 }, v = 1 }\n",
    ),
    "remove from an inline table": ("t = {a = 1,b = 2}\n", {"t": {"a": None}}, "t = {b = 2}\n"),
    "remove from an inline table, number formats": (
        "x = { a = 1, t = 1979-05-27T07:32:00.123456789Z, n = 0xFF }\n",
        {"x": {"a": None}},
        "x = { t = 1979-05-27T07:32:00.123456789Z, n = 0xFF }\n",
    ),
    "remove from an inline table, the middle": (
        "t = { a = 0x1 , b = 2 , c = 'x' }\n",
        {"t": {"b": None}},
        "t = { a = 0x1 , c = 'x' }\n",
    ),
    "remove from an inline table, the first and the last": (
        "t = { a = 1, b = 0x2, c = 3, d = 4 }\n",
        {"t": {"a": None, "c": None, "d": None}},
        "t = { b = 0x2 }\n",
    ),
    "remove from an inline table, the last, and add": (
        "t = { a = 0x1, b = 2 }\n",
        {"t": {"b": None, "c": 3}},
        "t = { a = 0x1, c = 3 }\n",
    ),
    "remove from an inline table, all": ("t = {a = 1, b = 2} # x\n", {"t": {"a": None, "b": None}}, "t = {} # x\n"),
    "remove from an inline table, all, and add": ("t = {a = 1}\n", {"t": {"a": None, "b": 2}}, "t = { b = 2 }\n"),
    "remove from an inline table, dotted keys": (
        "t = {a.b = 1, c = 0x2, a.d.e = 3, a.d.f = 0x4}\n",
        {"t": {"a": {"b": None, "d": {"e": None}}}},
        "t = {c = 0x2, a.d.f = 0x4}\n",
    ),
    "remove from an inline table in others": (
        "t = {u = {a = 1, b = 0x2}, v = [{a = 1, b = 0x2}]}\n",
        {"t": {"u": {"a": None}, "v": [{"a": None}], "w": 1}},
        "t = {u = {b = 0x2}, v = [{b = 0x2}], w = 1}\n",
    ),
    "table in place of a value, inline": (
        "t = {a = 1, b = 0x2}\n",
        {"t": {"a": {"c": 3}}},
        "t = {b = 0x2, a = { c = 3 }}\n",
    ),
    "value in place of a table, inline": (
        "t = {a.c = 1, a.d = 0x2, b = 0x2}\n",
        {"t": {"a": 3}},
        "t = {b = 0x2, a = 3}\n",
    ),
    "table in place of a value": ("t = 1\nb = 1\n", {"t": {"a": 1}}, "b = 1\n\n[t]\na = 1\n"),
    "value in place of a table": ("b = 1\n\n[t]\na = 1\n", {"t": 1}, "b = 1\nt = 1\n"),
    "array, one line": ('a = ["x", "y"]\n', {"a": ["x", "z", "y"]}, 'a = ["x", "z", "y"]\n'),
    "array, one line, shorter": ('a = [ "x", "y", "z" ]\n', {"a": ["x"]}, 'a = [ "x" ]\n'),
    "array, literal strings": ("a = ['x']\n", {"a": ["x", "y"]}, "a = ['x', 'y']\n"),
    "array, empty": ("a = [1] # x\n", {"a": []}, "a = [] # x\n"),
    "array, lines, append": (
        "a = [\n  1, # one\n  2, # two\n]\n",
        {"a": [1, 2, 3, 4]},
        "a = [\n  1, # one\n  2, # two\n  3,\n  4,\n]\n",
    ),
    "array, lines, append without a last comma": (
        "a = [\n  1, # one\n  2 # two\n]\n",
        {"a": [1, 2, 3]},
        "a = [\n  1, # one\n  2, # two\n  3\n]\n",
    ),
    "array, lines, append in CRLF": (
        "a = [\r\n  1,\r\n]\r\n",
        {"a": [1, 2]},
        "a = [\r\n  1,\r\n  2,\r\n]\r\n",
    ),
    "array, lines, insert": (
        "a = [\n  1, # one\n  3,\n]\n",
        {"a": [1, 2, 3]},
        "a = [\n  1, # one\n  2,\n  3,\n]\n",
    ),
    "array, lines, remove the first": ("a = [\n  1,\n  2, # two\n]\n", {"a": [2]}, "a = [\n  2, # two\n]\n"),
    "array, lines, remove the last": (
        "a = [\n  1, # one\n  2, # two\n]\n",
        {"a": [1]},
        "a = [\n  1, # one\n]\n",
    ),
    "array, lines, replace one": (
        "a = [\n  1, # one\n  2, # two\n]\n",
        {"a": [1, 3]},
        "a = [\n  1, # one\n  3, # two\n]\n",
    ),
    "array, lines, remove one with its comments": (
        "a = [ # all\n  1, # one\n  # about 2\n  # and more\n  2, # two\n  # about 3\n  3 # three\n  # end\n]\n",
        {"a": [1, 3]},
        "a = [ # all\n  1, # one\n  # about 3\n  3 # three\n  # end\n]\n",
    ),
    "array, lines, remove all but the last in CRLF": (
        "a = [\r\n  # about 1\r\n  1,\r\n  2, # two\r\n  # about 3\r\n  3,\r\n]\r\n",
        {"a": [3]},
        "a = [\r\n  # about 3\r\n  3,\r\n]\r\n",
    ),
    "array, lines, remove from a group": (
        "a = [\n  # heading\n\n  # about 1\n  1,\n\n  # another\n\n  # about 2\n  2,\n\n  3,\n]\n",
        {"a": [1]},
        "a = [\n  # heading\n\n  # about 1\n  1,\n\n  # another\n]\n",
    ),
    "array, lines, remove the first of a group": (
        "a = [\n  1,\n\n  2,\n\n  3,\n]\n",
        {"a": [3]},
        "a = [\n  3,\n]\n",
    ),
    "array, lines, one before the first and after its heading": (
        "a = [\n  # heading\n\n  # about 1\n  1,\n]\n",
        {"a": [0, 1]},
        "a = [\n  # heading\n\n  0,\n  # about 1\n  1,\n]\n",
    ),
    "array, lines, others in another order": (
        "a = [\n  # about 1\n  1, # one\n  # about 2\n  2, # two\n  # about 3\n  3 # three\n]\n",
        {"a": [3, 4, 2]},
        "a = [\n  # about 3\n  3, # three\n  4,\n  # about 2\n  2, # two\n]\n",
    ),
    "array, lines, another value between commented ones": (
        "a = [\n  # about 1\n  '1', # one\n  # about 2\n  '2', # two\n  # about 3\n  '3', # three\n]\n",
        {"a": ["1", "4", "3"]},
        "a = [\n  # about 1\n  '1', # one\n  # about 2\n  '4', # two\n  # about 3\n  '3', # three\n]\n",
    ),
    "array, lines, items of several lines": (
        'a = [\n  # 1\n  [\n    1, # in 1\n  ], # one\n  # about 2\n  """\n# 2\n""",\n  # about 3\n  {x = 3},\n]\n',
        {"a": ["# 2\n", {"x": 3}]},
        'a = [\n  # about 2\n  """\n# 2\n""",\n  # about 3\n  {x = 3},\n]\n',
    ),
    "array, lines, brackets on those of the items": (
        "a = [1, # one\n  # about 2\n  2, # two\n  # about 3\n  3]\n",
        {"a": [2, 3, 4]},
        "a = [\n  # about 2\n  2, # two\n  # about 3\n  3,\n  4]\n",
    ),
    "array, lines, brackets on those of the items, others": (
        "a = [1, # one\n  2, # two\n  # about 3\n  3 ]\n",
        {"a": [3, 1]},
        "a = [\n  # about 3\n  3,\n  1, # one\n ]\n",
    ),
    "array, two items in a line": (
        "a = [\n  1, 2, # two\n  3, # three\n]\n",
        {"a": [1, 3]},
        "a = [\n  1, 3, # three\n]\n",
    ),
    "array, commas before the items": (
        "a = [\n  1 # one\n  , 2\n  , 3\n]\n",
        {"a": [1, 3]},
        "a = [\n  1 # one\n  , 3\n]\n",
    ),
    "tables by name": (
        '[[s]]\nname = "a"\nx = 1\n[[s]]\nname = "b"\nx = 1\n',
        {"s": [{"name": "b", "x": 2}, {"name": "a", "y": 1}]},
        '[[s]]\nname = "a"\nx = 1\ny = 1\n[[s]]\nname = "b"\nx = 2\n',
    ),
    "tables by name, one more and one less": (
        '[[s]]\nname = "a"\n\n[[s]]\nname = "b"\n',
        {"s": [{"name": "b"}, {"name": "c"}]},
        '[[s]]\nname = "b"\n\n[[s]]\nname = "c"\n',
    ),
    "tables by name, the same name twice": (
        '[[s]]\nname = "a"\nx = 1\n[[s]]\nname = "a"\nx = 2\n',
        {"s": [{"name": "a", "x": 3}, {"name": "a", "x": 4}]},
        '[[s]]\nname = "a"\nx = 3\n[[s]]\nname = "a"\nx = 4\n',
    ),
    "tables by location": (
        '[[s]]\nlocation = "a"\nx = 1\n[[s]]\nlocation = "b"\ny = 2\n',
        {"s": [{"location": "b"}]},
        '[[s]]\nlocation = "b"\ny = 2\n',
    ),
    "tables by location, one in between": (
        '[[s]]\nlocation = "a"\nx = 1\n\n[[s]]\nlocation = "b"\nx = 2\n',
        {"s": [{"location": "a"}, {"location": "c"}, {"location": "b", "y": 3}]},
        '[[s]]\nlocation = "a"\nx = 1\n\n[[s]]\nlocation = "c"\n\n[[s]]\nlocation = "b"\ny = 3\n',
    ),
    "tables by location, inline and in another order": (
        'm = [{location = "a", x = 1}, {location = "b"}]\n',
        {"m": [{"location": "b"}, {"location": "a"}]},
        'm = [{ location = "b" }, { location = "a" }]\n',
    ),
    "tables by location, nested, the first one new": (
        '[[s]]\nlocation = "r"\n[[s.m]]\nlocation = "a"\nx = 1\n[[s]]\nlocation = "q"\n',
        {"s": [{"location": "r", "m": [{"location": "b"}, {"location": "a"}]}, {"location": "q"}]},
        '[[s]]\nlocation = "r"\n[[s.m]]\nlocation = "b"\n[[s.m]]\nlocation = "a"\n[[s]]\nlocation = "q"\n',
    ),
    "tables by position": ("[[s]]\nx = 1\n[[s]]\nx = 2\n", {"s": [{"x": 3}]}, "[[s]]\nx = 3\n"),
    "all tables of an array": ("a = 1\n\n[[s]]\nx = 1\n[[s]]\nx = 2\n", {"s": None}, "a = 1\n"),
    "array of inline tables": (
        's = [{name = "a"}, {name = "b", x = 1}] # in line\n',
        {"s": [{"name": "a", "x": 1}, {"name": "b"}]},
        's = [{name = "a", x = 1}, {name = "b", x = 1}] # in line\n',
    ),
    "array of inline tables, one more": (
        "s = [{x = 1}]\n",
        {"s": [{}, {"x": 2}]},
        "s = [{x = 1}, { x = 2 }]\n",
    ),
    "empty table": ("", {"t": {}}, "[t]\n"),
    "nothing wanted": ("a=1 #x\n", {}, "a=1 #x\n"),
}


def edited(text, wanted, **options):
    editor = _toml_edit.Editor(_toml.parse(text), **options)
    editor.merge(wanted)
    return editor.text()


@pytest.mark.parametrize(("before", "wanted", "after"), CASES.values(), ids=CASES.keys())
def test_before_wanted_after(before, wanted, after):
    assert edited(before, wanted) == after
    assert edited(after, wanted) == after
    assert _toml.same(
        _toml.without_empty(_toml.loads(after)),
        _toml.without_empty(_toml.merge(_toml.loads(before), wanted)),
    )


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a = 1\nb\n", 2, "expected '=' and a value after a key"),
        ("a = 1\na = 2\n", 2, "'a' is set in line 1 already"),
        ("[a]\n\n[a]\n", 3, "'a' is set in line 1 already"),
        ("[[a]]\n[a]\n", 2, "'a' is set in line 1 already"),
        ("a = 1\n[a.b]\n", 2, "'a' is set in line 1 and takes no tables"),
        ("a = [1,\n", 2, "'a' has no valid value"),
        ('a = "x\n', 1, "a string without its closing quote"),
        ("a = yes\n", 1, "'a' has no valid value"),
        ("a = 01\n", 1, "'a' has no valid value"),
        ("a = 2026-13-01\n", 1, "'2026-13-01' is no date or time"),
        ("a = 99999999999999999999\n", 1, "more than 64 bits"),
        ("[a\n", 1, "expected ']'"),
        ("a = 1 b = 2\n", 1, "unexpected text after the value of 'a'"),
        ('a = "\\x"\n', 1, "unknown escape sequence"),
        ("a = {b = 1,\n c = 2}\n", 1, "expected a key"),
        ("a = " + "[" * 1000 + "\n", 1, "nested more than"),
        (".".join("a" * 1000) + " = 1\n", 1, "nested more than"),
        ("[" + ".".join("a" * 1000) + "]\n", 1, "nested more than"),
        ("a = 1\rb = 2\n", 1, "unexpected text"),
        ("a = 1\n\x00\n", 2, "expected a key"),
    ],
)
def test_errors_name_line_and_key(text, line, message):
    with pytest.raises(TomlError) as error:
        _toml.parse(text)
    assert error.value.line == line and message in str(error.value)


def test_not_utf8():
    with pytest.raises(TomlError, match="line 2: not UTF-8"):
        _toml.decode(b"a = 1\nb = '\xff'\n")


@pytest.mark.parametrize(
    ("text", "wanted", "line", "key"),
    [
        ("a = 1\n[[r]]\nx = 1\n[[r]]\nx = 2\n", {"r": {"x": True}}, 2, "r"),
        ("[[r]]\nx = 1\n", {"r": {"x": None}}, 1, "r"),
        ("[[r]]\nx = 1\n", {"r": {}}, 1, "r"),
        ("[t]\n[[t.'a b']]\n", {"t": {"a b": {"x": 1}}}, 2, 't."a b"'),
        ("t.u = [\n  {x = 1},\n]\n", {"t": {"u": {"x": 1}}}, 1, "t.u"),
        ("[[s]]\n[[s.r]]\nx = 1\n", {"s": [{"r": {"x": 2}}]}, 2, "s.r"),
        ("s = [{r = [{x = 1}]}, {}]\n", {"s": [{"r": {"x": 2}}]}, None, "r"),
    ],
)
def test_a_table_does_not_replace_an_array_of_tables(text, wanted, line, key):
    with pytest.raises(TomlError, match="is an array of tables: give a list of tables") as error:
        edited(text, wanted)
    assert error.value.line == line and f"'{key}' is an array of tables" in str(error.value)
    with pytest.raises(TomlError, match="is an array of tables: give a list of tables"):
        _toml.merge(_toml.loads(text), wanted)


@pytest.mark.parametrize("wanted", [{"a": [None]}, {"a": 1 << 63}, {"a": "\ud800"}, {"a": object()}])
def test_what_toml_cannot_say(wanted):
    with pytest.raises(TomlError):
        edited("", wanted)


def test_wanted_data_of_great_depth():
    wanted = {}
    for _level in range(1000):
        wanted = {"a": wanted}
    with pytest.raises(TomlError, match="nested more than"):
        edited("", wanted)


def test_folded_keys():
    text = "[T]\nConcurrent = 1\n[T.Labels]\nApp = 1\n"
    wanted = {"t": {"concurrent": 2, "labels": ExactKeys(app=2)}}
    after = "[T]\nConcurrent = 2\n[T.Labels]\nApp = 1\napp = 2\n"
    assert edited(text, wanted, fold_case=True) == after
    assert _toml.merge(_toml.loads(text), wanted, fold_case=True) == _toml.loads(after)


def test_folded_name_of_a_table():
    text = '[[s]]\nName = "pg"\nalias = "db"\n'
    wanted = {"s": [{"name": "pg", "x": 1}]}
    after = '[[s]]\nName = "pg"\nalias = "db"\nx = 1\n'
    assert edited(text, wanted, fold_case=True) == after
    assert _toml.merge(_toml.loads(text), wanted, fold_case=True) == _toml.loads(after)
    inline = 's = [{Name = "pg", alias = "db"}]\n'
    assert edited(inline, wanted, fold_case=True) == 's = [{Name = "pg", alias = "db", x = 1}]\n'
    assert edited(text, wanted) == '[[s]]\nname = "pg"\nx = 1\n'


def test_exact_key_before_folded_key():
    assert edited("A = 1\na = 1\n", {"a": 2}, fold_case=True) == "A = 1\na = 2\n"


def test_equivalent_values():
    wanted = {"a": Equivalent("1h", lambda old: old in ("1h", "60m"))}
    assert edited('a = "60m"\n', wanted) == 'a = "60m"\n'
    assert edited('a = "61m"\n', wanted) == 'a = "1h"\n'
    assert edited("", {"t": wanted}) == '[t]\na = "1h"\n'


def test_indentation_where_the_file_shows_none():
    wanted = {"r": [{"name": "x", "t": {"a": 1}}]}
    assert edited("", wanted, indent="  ") == '[[r]]\n  name = "x"\n  [r.t]\n    a = 1\n'
    assert edited("", wanted) == '[[r]]\nname = "x"\n\n[r.t]\na = 1\n'


@pytest.mark.parametrize(
    ("key", "path"),
    [("a", ("a",)), ("a.b-c", ("a", "b-c")), ('a."b.c" . d', ("a", "b.c", "d")), ("'x y'", ("x y",))],
)
def test_dotted_keys(key, path):
    assert _toml.parse_key(key) == path


@pytest.mark.parametrize("key", ["", "a b", "a.", ".a", "a..b", "a =", '"a'])
def test_what_is_no_dotted_key(key):
    with pytest.raises(TomlError, match="is not a TOML key"):
        _toml.parse_key(key)


def test_removals_and_content():
    assert _toml_edit.with_removals({"a": {"b": 1}}, ["a.c", "d.e"]) == {
        "a": {"b": 1, "c": None},
        "d": {"e": None},
    }
    with pytest.raises(TomlError, match="'a' to a value that is not a table"):
        _toml_edit.with_removals({"a": 1}, ["a.b"])


def test_second_parser_finds_a_wrong_edit():
    _toml_edit.verify("a = 1\n", {"a": 1})
    with pytest.raises(TomlError, match="would not say what it should"):
        _toml_edit.verify("a = 1\n", {"a": 2})
    with pytest.raises(TomlError, match="is not TOML for a second parser"):
        _toml_edit.verify("a = \n", {"a": 1})
