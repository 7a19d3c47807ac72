# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _toml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._template_toml import (
    TemplateTomlError,
    set_values,
)
from hypothesis import given, settings
from hypothesis import strategies as st

FIXTURES = Path(__file__).parent / "fixtures/template_toml"
# Values files that others have published; they are not a part of this project.
PUBLISHED = Path(__file__).parents[5] / "shared/data/helm_values"
PRIVILEGED = {"runners": {"kubernetes": {"privileged": True}}}
SERVICES = {"runners": {"kubernetes": {"service_container_security_context": {"privileged": True}}}}
SERVICES_TABLE = "kubernetes.service_container_security_context"


def edit(text: str, wanted: dict[str, Any] | None = None) -> str:
    wanted = wanted or PRIVILEGED
    after = set_values(text, wanted).text
    assert set_values(after, wanted).text == after, "a second edit changes nothing"
    return after


def read(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        return file.read()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["umbrella", "branches", "scripts", "range"])
def test_whole_files(name: str, newline: str) -> None:
    before = read(FIXTURES / f"{name}.toml.tpl").replace("\n", newline)
    assert edit(before) == read(FIXTURES / f"{name}.expected.toml.tpl").replace("\n", newline)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="there is no folder shared/data/helm_values beside the checkout")
def test_published_files() -> None:
    paths = sorted(PUBLISHED.glob("*.toml.tpl"))
    assert paths
    for path in paths:
        before = read(path)
        after = edit(before)
        lines = after.splitlines(keepends=True)
        kept = [line for line in lines if not re.match(r"\s*(privileged = true|\[runners\.kubernetes\]$)", line)]
        old = [line for line in before.splitlines(keepends=True) if not re.match(r"\s*privileged = (true|false)", line)]
        old = [line for line in old if not re.match(r"\s*\[runners\.kubernetes\]$", line)]
        assert kept == old, path.name
        assert len(lines) - len(before.splitlines()) <= 2, path.name
        assert "privileged = true" in after, path.name


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "[[runners]]\n[runners.kubernetes]",
            "[[runners]]\n[runners.kubernetes]\n  privileged = true",
            id="no newline",
        ),
        pytest.param("[[runners]]", "[[runners]]\n  [runners.kubernetes]\n    privileged = true", id="only a runner"),
        pytest.param(
            "[[runners]]\n\n# end\n\n",
            "[[runners]]\n\n# end\n  [runners.kubernetes]\n    privileged = true\n\n",
            id="empty runner",
        ),
        pytest.param(
            "[[runners]]\n[runners.kubernetes]\nprivileged=false#no\n",
            "[[runners]]\n[runners.kubernetes]\nprivileged=true#no\n",
            id="value only",
        ),
        pytest.param(
            "[[runners]]\n[runners.kubernetes]\n'privileged' = \"false\"\n",
            "[[runners]]\n[runners.kubernetes]\n'privileged' = true\n",
            id="wrong type",
        ),
        pytest.param(
            "[[runners]]\n[runners.kubernetes]\nprivileged = false {{/* why */}} # {{ .x }}\n",
            "[[runners]]\n[runners.kubernetes]\nprivileged = true {{/* why */}} # {{ .x }}\n",
            id="comment of the template",
        ),
        pytest.param(
            "[[runners]]\n[runners.kubernetes]\n{{ if .a }}image = 'a'{{ else }}image = 'b'{{ end }}\n",
            "[[runners]]\n[runners.kubernetes]\n  privileged = true\n"
            "{{ if .a }}image = 'a'{{ else }}image = 'b'{{ end }}\n",
            id="branches on one line",
        ),
        pytest.param(
            "[[runners]]\nkubernetes.privileged = false\nkubernetes.image = 'a'\n",
            "[[runners]]\nkubernetes.privileged = true\nkubernetes.image = 'a'\n",
            id="dotted key",
        ),
        pytest.param(
            "[[runners]]\n[runners.docker]\nprivileged = false\n[runners.kubernetes]\n[runners.kubernetes.affinity]\n",
            "[[runners]]\n[runners.docker]\nprivileged = false\n[runners.kubernetes]\n  privileged = true\n"
            "[runners.kubernetes.affinity]\n",
            id="other tables",
        ),
        pytest.param(
            "[[runners]]\n  name = 'a'\n\n  # cache\n  [runners.cache]\n",
            "[[runners]]\n  name = 'a'\n"
            "  [runners.kubernetes]\n    privileged = true\n\n  # cache\n  [runners.cache]\n",
            id="before the comment of the next table",
        ),
        pytest.param(
            "[[runners]]\n{{ if .cache }}\n[runners.cache]\n{{ end }}\n[session_server]\n",
            "[[runners]]\n{{ if .cache }}\n[runners.cache]\n{{ end }}\n"
            "  [runners.kubernetes]\n    privileged = true\n[session_server]\n",
            id="behind a conditional table",
        ),
        pytest.param(
            "{{ if .a }}\n[[runners]]\n{{ if .b }}\n[runners.cache]\n{{ end }}\n{{ else }}\n[[runners]]\n{{ end }}\n",
            "{{ if .a }}\n[[runners]]\n{{ if .b }}\n[runners.cache]\n{{ end }}\n"
            "  [runners.kubernetes]\n    privileged = true\n"
            "{{ else }}\n[[runners]]\n  [runners.kubernetes]\n    privileged = true\n{{ end }}\n",
            id="runners in branches",
        ),
        pytest.param(
            "{{ if .a }}\n[[runners]]\nname = 'a'\n{{ else }}\n[[runners]]\nname = 'b'\n{{ end }}\n"
            "[runners.kubernetes]\n",
            "{{ if .a }}\n[[runners]]\nname = 'a'\n{{ else }}\n[[runners]]\nname = 'b'\n{{ end }}\n"
            "[runners.kubernetes]\n  privileged = true\n",
            id="a table that branches share",
        ),
        pytest.param(
            "[[runners]]\n[runners.kubernetes]\n  {{- if .a }}\n  image = 'a'\n  {{- end }}\n",
            "[[runners]]\n[runners.kubernetes]\n  privileged = true\n  {{- if .a }}\n  image = 'a'\n  {{- end }}\n",
            id="trim mark behind the header",
        ),
    ],
)
def test_small_templates(before: str, after: str) -> None:
    assert edit(before) == after


@pytest.mark.parametrize(
    ("wanted", "before", "after"),
    [
        (
            SERVICES,
            "[[runners]]\n  [runners.kubernetes]\n    image = 'a'\n  [runners.cache]\n",
            "[[runners]]\n  [runners.kubernetes]\n    image = 'a'\n"
            "    [runners.kubernetes.service_container_security_context]\n      privileged = true\n  [runners.cache]\n",
        ),
        (
            SERVICES,
            "[[runners]]\n{{ if .a }}\n[runners.kubernetes]\n{{ else }}\n[runners.kubernetes]\n{{ end }}\na = 1\n",
            "[[runners]]\n{{ if .a }}\n[runners.kubernetes]\n{{ else }}\n[runners.kubernetes]\n{{ end }}\na = 1\n"
            "  [runners.kubernetes.service_container_security_context]\n    privileged = true\n",
        ),
        (
            SERVICES,
            "[[runners]]\n  {{- if .a }}\n  [runners.kubernetes]\n  {{- end }}\n  [runners.cache]\n",
            "[[runners]]\n  {{- if .a }}\n  [runners.kubernetes]\n  {{- end }}\n  [runners.cache]\n"
            "  [runners.kubernetes.service_container_security_context]\n    privileged = true\n",
        ),
        (
            SERVICES,
            "{{ if .a }}\n[[runners]]\nname = 'a'\n{{ else }}\n[[runners]]\n{{ end }}\n[runners.kubernetes]\n",
            "{{ if .a }}\n[[runners]]\nname = 'a'\n"
            "  [runners.kubernetes.service_container_security_context]\n    privileged = true\n"
            "{{ else }}\n[[runners]]\n"
            "  [runners.kubernetes.service_container_security_context]\n    privileged = true\n"
            "{{ end }}\n[runners.kubernetes]\n",
        ),
        # What the condition has before its table, a key or an action, belongs to the table above it.
        (
            SERVICES,
            "[[runners]]\n[runners.kubernetes]\n{{ if .a }}\ncpu_limit = '1'\n[runners.cache]\n{{ end }}\n",
            "[[runners]]\n[runners.kubernetes]\n{{ if .a }}\ncpu_limit = '1'\n[runners.cache]\n{{ end }}\n"
            "  [runners.kubernetes.service_container_security_context]\n    privileged = true\n",
        ),
        (
            SERVICES,
            "[[runners]]\n[runners.kubernetes]\n{{- if .a }}\n{{- .b }}\n[runners.cache]\n{{- end }}\n",
            "[[runners]]\n[runners.kubernetes]\n{{- if .a }}\n{{- .b }}\n[runners.cache]\n{{- end }}\n"
            "  [runners.kubernetes.service_container_security_context]\n    privileged = true\n",
        ),
        (
            {"runners": {"limit": 4, "kubernetes": {"image": 'b"c', "cpu_limit": "2", "tolerations": ["x", "y"]}}},
            "[[runners]]\n  limit = 3\n  [runners.kubernetes]\n    image = 'a' # old\n",
            "[[runners]]\n  limit = 4\n  [runners.kubernetes]\n"
            '    cpu_limit = "2"\n    tolerations = ["x", "y"]\n    image = \'b"c\' # old\n',
        ),
        ({"concurrent": 7}, "# global\n[[runners]]\n", "concurrent = 7\n# global\n[[runners]]\n"),
        ({"concurrent": 7}, "log_level = 'info'\nconcurrent = 1\n", "log_level = 'info'\nconcurrent = 7\n"),
        (
            {"session_server": {"session_timeout": 60}},
            "[[runners]]\n",
            "[[runners]]\n[session_server]\n  session_timeout = 60\n",
        ),
        (
            {"runners": {"kubernetes": {"volumes": {"empty_dir": {"medium": "Memory"}}}}},
            "[[runners]]\n[[runners.kubernetes.volumes.empty_dir]]\nname = 'a'\nmedium = ''\n"
            "[[runners.kubernetes.volumes.empty_dir]]\nname = 'b'\n",
            "[[runners]]\n[[runners.kubernetes.volumes.empty_dir]]\nname = 'a'\nmedium = 'Memory'\n"
            "[[runners.kubernetes.volumes.empty_dir]]\nmedium = \"Memory\"\nname = 'b'\n",
        ),
        (
            {"runners": {"environment": ["A=1"]}},
            "[[runners]]\nenvironment = [ # these\n  'B=2', # two\n]\n",
            '[[runners]]\nenvironment = ["A=1"]\n',
        ),
    ],
)
def test_any_table_and_key(wanted: dict[str, Any], before: str, after: str) -> None:
    assert edit(before, wanted) == after


@pytest.mark.parametrize(
    ("wanted", "before", "after"),
    [
        (
            PRIVILEGED,
            "[[runners]]\n[runners.kubernetes]\nPrivileged = false\n",
            "[[runners]]\n[runners.kubernetes]\nPrivileged = true\n",
        ),
        (
            PRIVILEGED,
            "[[Runners]]\n[Runners.Kubernetes]\nimage = 'a'\n",
            "[[Runners]]\n[Runners.Kubernetes]\nprivileged = true\nimage = 'a'\n",
        ),
        (
            {"runners": {"Kubernetes": {"PRIVILEGED": True}}},
            "[[runners]]\n[runners.kubernetes]\n",
            "[[runners]]\n[runners.kubernetes]\n  PRIVILEGED = true\n",
        ),
        (PRIVILEGED, "[[Runners]]\n", "[[Runners]]\n  [Runners.kubernetes]\n    privileged = true\n"),
        (
            PRIVILEGED,
            "[[runners]]\n[runners.Kubernetes.affinity]\n",
            "[[runners]]\n[runners.Kubernetes]\n  privileged = true\n[runners.Kubernetes.affinity]\n",
        ),
        (
            SERVICES,
            "[[runners]]\n[runners.Kubernetes]\n",
            "[[runners]]\n[runners.Kubernetes]\n  [runners.Kubernetes.service_container_security_context]\n"
            "    privileged = true\n",
        ),
        (
            PRIVILEGED,
            "[[runners]]\nKubernetes.Privileged = false\n",
            "[[runners]]\nKubernetes.Privileged = true\n",
        ),
        # Labels are free: there case matters.
        (
            {"runners": {"kubernetes": {"node_selector": {"Arch": "b", "arch": "c"}}}},
            "[[runners]]\n[runners.kubernetes.Node_selector]\narch = 'a'\n",
            "[[runners]]\n[runners.kubernetes.Node_selector]\nArch = \"b\"\narch = 'c'\n",
        ),
        (
            PRIVILEGED,
            "[[runners]]\n[runners.kubernetes]\nprivileged = true\nPrivileged = false\n",
            "[[runners]]\n[runners.kubernetes]\nprivileged = true\nPrivileged = true\n",
        ),
    ],
)
def test_keeps_the_case_of_present_keys(wanted: dict[str, Any], before: str, after: str) -> None:
    assert edit(before, wanted) == after


KUBERNETES = "[[runners]]\n[runners.kubernetes]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no line [[runners]]"),
        ("concurrent = 1\n{{ include `runners` . }}\n", "there is no line [[runners]]"),
        ("[runners]\n", "there is no line [[runners]]"),
        (
            KUBERNETES + "{{ if .a }}\nprivileged = false\n{{ end }}\n",
            "line 4: runners.kubernetes.privileged is set under",
        ),
        (
            KUBERNETES + "{{ if .a }}privileged = true{{ else }}privileged = false{{ end }}",
            "line 3: runners.kubernetes.",
        ),
        (KUBERNETES + "privileged = {{ .Values.p }}\n", "line 3: the template action {{ .Values.p }} gives the value"),
        (
            KUBERNETES + "privileged = {{ if .a }}true{{ else }}false{{ end }}\n",
            "line 3: the template action {{ if .a }}",
        ),
        ("[[runners]]\n[runners.{{ .executor }}]\n", "line 2: a template action is a part of this header"),
        ("[[{{ .x }}]]\n[[runners]]\n", "line 1: a template action is a part of this header"),
        ("[[runners]]\nkubernetes = { image = 'a' }\n", "line 2: runners.kubernetes is not a table with a header"),
        ("[[runners]]\nKubernetes = { image = 'a' }\n", "line 2: runners.Kubernetes is not a table with a header"),
        ("[[runners]]\nkubernetes.image = 'a'\n", "line 2: dotted keys make the table [runners.kubernetes]"),
        (KUBERNETES + "[runners.kubernetes.privileged]\n", "line 3: runners.kubernetes.privileged is a table"),
        (KUBERNETES + "privileged.a = 1\n", "line 3: runners.kubernetes.privileged is a table"),
        (KUBERNETES + "privileged = { a = 1 }\n", "line 3: runners.kubernetes.privileged is a table"),
        (KUBERNETES + "privileged = yes\n", "line 3: the value of runners.kubernetes.privileged is not TOML"),
        ("[[runners]]\n{{ if .a }}[runners.kubernetes]{{ end }}\n", "line 2: the header shares its line"),
        ("[[runners]]\n[runners.kubernetes] # {{ .a }}\n", "line 2: the header shares its line"),
        ("{{ if .a }}\n[[runners]]{{ end }}", "line 2: this shares its line"),
        (
            "[[runners]]\n[runners.kubernetes]\n{{ if .a }}\n[runners.cache]\n{{ end }}\nprivileged = false\n",
            "line 6: it depends on the template's branches",
        ),
        ("{{ define `x` }}\n[[runners]]\n{{ end }}\n", "line 2: this header is inside of {{ define }}"),
        # The trim mark glues the header to the comment.
        ("[[runners]]\n# a{{ if .a -}}\n[runners.kubernetes]\n{{ end }}\n", "the edit would"),
        (KUBERNETES + "# {{ if .a -}}\n[runners.cache]\n{{ end }}\nprivileged = false\n", "line 6: it depends on"),
        (
            KUBERNETES + "{{ if .a }}x = 1{{ else }}privileged = false{{ end }}",
            "line 3: runners.kubernetes.privileged is set",
        ),
        (
            "[[runners]]\n{{- if .a }}\n{{- .b }}\n[session_server]\n{{- end }}\n",
            "line 3: the edit would move what {{- .b }} writes into another table",
        ),
        (
            "[[runners]]\n{{ .b -}}\n",
            "line 2: what is inserted would be on one line with what {{ .b -}} writes",
        ),
        (KUBERNETES + "image = 'a\n", "line 3: this string is not closed"),
        (KUBERNETES + 'image = """a\n', "line 3: this string is not closed"),
        (KUBERNETES + "image = ['a'\n", "line 3: a bracket of this value is not closed"),
        (KUBERNETES + "image =\n", "line 3: image has no value"),
        (KUBERNETES + "image\n", "line 3: this is neither a header nor a key with a value"),
        (KUBERNETES + "image: a\n", "line 3: this is neither a header nor a key with a value"),
        (KUBERNETES + "<html>\n", "line 3: a key is expected here"),
        (KUBERNETES + "[runners.cache\n", "line 3: a header is expected here"),
        (KUBERNETES + "[runners.cache] x = 1\n", "line 3: only a comment can follow here"),
        (KUBERNETES + "image = 'a'\nimage = 'b'\n", "not TOML, whichever branches are taken: line 4"),
        (KUBERNETES + "image = a\n", "not TOML, whichever branches are taken: line 3"),
        (KUBERNETES + "{{ if .a }}\n", "not a Go template, line 3: {{ if }} without {{ end }}"),
        (KUBERNETES + "{{ .a\n", "not a Go template, line 3: the template action {{ has no end"),
    ],
)
def test_refuses_what_would_be_a_guess(text: str, message: str) -> None:
    with pytest.raises(TemplateTomlError) as error:
        set_values(text, PRIVILEGED)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "there is nothing to set"),
        ({"runners": {"kubernetes": {}}}, "there is nothing to set"),
        ({"runners": {"limit": None}}, "runners.limit is null"),
        ({"runners": {"limit": 1}, "Runners": {"Limit": 2}}, "Runners.Limit is there twice, in different case"),
        ({"runners": [{"limit": 1}]}, "runners is a list of tables"),
        ({"runners": {"a": "docker ps --format {{.Names}}"}}, "runners.a has {{ in it, which the chart would run"),
        ({"runners": {"a": [["x", "{{"]]}}, 'by hand, with {{ "{{" }} in place of each {{'),
        ({"runners": {"kubernetes": {"node_selector": {"{{ .a }}": "b"}}}}, "has {{ in it"),
        ({"runners": {"limit": 1 << 64}}, "runners.limit: a number has more than 64 bits"),
    ],
)
def test_refuses_what_cannot_be_set(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(TemplateTomlError) as error:
        set_values("[[runners]]\n", wanted)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (KUBERNETES, []),
        (
            KUBERNETES + "{{- include `more` . | nindent 2 }}\n",
            ["line 3: {{- include `more` . | nindent 2 }} may write"],
        ),
        (KUBERNETES + "{{ .key }} = 1\n", ["line 3: {{ .key }} may write privileged"]),
        (KUBERNETES + "privileged = false\n{{ .more }}\n", []),
        ("[[runners]]\n{{ toToml\n .x }}\n", ["line 2: {{ toToml... may write [runners.kubernetes] a second time"]),
        (
            "[[runners]]\n{{ if .a }}\n[runners.kubernetes]\n{{ end }}\n",
            ["line 3: [runners.kubernetes] is conditional"],
        ),
        (
            "[[runners]]\n{{ if .a }}\n[runners.kubernetes]\n{{ else }}\n[runners.kubernetes]\n{{ end }}\n",
            [],
        ),
        (
            "[[runners]]\n{{ if .a }}\n{{ if .b }}\n[runners.kubernetes]\n{{ else }}\n[runners.kubernetes]\n"
            "{{ end }}\n{{ end }}\n",
            ["line 4: [runners.kubernetes] is conditional", "line 6: [runners.kubernetes] is conditional"],
        ),
        (
            "[[runners]]\n{{ if .a }}\n{{ if .b }}\n[runners.kubernetes]\n{{ else }}\n[runners.kubernetes]\n"
            "{{ end }}\n{{ else }}\n[runners.kubernetes]\n{{ end }}\n",
            [],
        ),
        ("{{ if .a }}\n[[runners]]\n{{ end }}\n", ["line 2: [[runners]] is conditional"]),
        (KUBERNETES + KUBERNETES, ["line 3: GitLab Runner accepts only one [[runners]]"]),
        ("{{ if .a }}\n[[runners]]\n{{ else }}\n[[runners]]\n{{ end }}\n", []),
    ],
)
def test_warns_of_what_it_cannot_know(text: str, warnings: list[str]) -> None:
    found = set_values(text, PRIVILEGED).warnings
    assert len(found) == len(warnings), found
    for one, start in zip(found, warnings):
        assert one.startswith(start)


@pytest.mark.parametrize(
    "line",
    [
        "glpat-hidden",
        "token glpat-hidden",
        "- glpat-hidden",
        "[glpat-hidden",
        "[cache] glpat-hidden",
        "name = 'a'\n[x] {{ .a }} glpat-hidden",
        "'glpat-hidden\\' glpat-hidden",
        '"\\hidden" = 1',
        "token = glpat-hidden",
        "token = 'glpat-hidden",
        "token = ['glpat-hidden'",
    ],
)
def test_errors_do_not_show_the_text(line: str) -> None:
    with pytest.raises(TemplateTomlError) as error:
        set_values(f"[[runners]]\n{line}\n", PRIVILEGED)
    assert "hidden" not in str(error.value)


# ------------------------------------------------------------------------------------------ property tests

BLANK = st.sampled_from(["", " ", "  ", "\t"])
TAIL = st.sampled_from(["", " ", " # why", "  # privileged = false", " {{/* [runners.kubernetes] */}}", "\t# '"])
ACTION = st.sampled_from(
    ["{{ .Values.a }}", '{{ include "a" . | quote }}', "{{- .b }}", '{{ printf "%s]" "x" }}', "{{ `}}'` }}"]
)
STRING = st.one_of(
    st.builds('"a{}b"'.format, ACTION),
    st.builds("'{}'".format, ACTION),
    st.sampled_from(['""', "'x'", '"\\" # ["', "'[[runners]]'"]),
)
VALUE = st.one_of(
    STRING,
    ACTION,
    st.sampled_from(["1", "-2.5", "true", "2026-01-31", "{ privileged = false }"]),
    st.lists(STRING, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
    st.lists(STRING, min_size=1, max_size=2).map(lambda items: "[\n" + ",  # ]\n".join(items) + ",\n]"),
    st.builds('"""\n[runners.kubernetes]\nprivileged = false\n{}\n"""'.format, ACTION),
    st.builds("'''\n# {}\n[[runners]]'''".format, ACTION),
)
FILLER = st.sampled_from(
    ["\n", "  \n", "# a comment\n", "  # {{ if .a }} [x] {{ end }}\n", "{{- /* y */}}\n", "{{ $x := 1 }}\n"]
)


@st.composite
def pair(draw: st.DrawFn, numbers: st.SearchStrategy[int]) -> str:
    key = f"key{draw(numbers)}"
    line = f"{draw(BLANK)}{key}{draw(BLANK)}={draw(BLANK)}{draw(VALUE)}{draw(TAIL)}\n"
    if draw(st.integers(0, 4)) == 0:
        return f"{{{{- if .Values.{key} }}}}\n{line}{{{{- end }}}}\n"
    return line


@st.composite
def body(draw: st.DrawFn) -> list[str]:
    keys = draw(st.lists(st.integers(0, 99), max_size=3, unique=True))
    lines = [draw(pair(st.just(key))) for key in keys]
    return [text for line in lines for text in (draw(st.one_of(st.just(""), FILLER)), line)]


@st.composite
def template(draw: st.DrawFn) -> tuple[str, str]:
    """A template, and what it is with the key set: put together from parts, so that no code of the editor is used."""
    indent = draw(BLANK)
    before: list[str] = ["[[runners]]\n", *draw(body())]
    for name in draw(st.lists(st.sampled_from(["cache", "docker"]), unique=True)):
        table = [f"{indent}[runners.{name}]{draw(TAIL).split('{{')[0]}\n", *draw(body())]
        if draw(st.booleans()):
            table += ["privileged = false\n"]
        if draw(st.booleans()):
            table = ["{{- if .Values." + name + " }}\n", *table, "{{- end }}\n"]
        before += table
    before += [f"{indent}[runners.kubernetes]{draw(TAIL).split('{{')[0]}\n"]
    after = list(before)
    keys, value, tail = draw(body()), draw(st.sampled_from(["", "true", "false", "'x'"])), draw(TAIL)
    present = f"{draw(BLANK)}privileged{draw(BLANK)}={draw(BLANK)}"
    if value:
        keys.insert(draw(st.integers(0, len(keys))), f"{present}{value}{tail}\n")
        before += keys
        after += [line if line != f"{present}{value}{tail}\n" else f"{present}true{tail}\n" for line in keys]
    else:
        before += keys
        first = next((line for line in keys if re.match(r"[ \t]*key", line)), "")
        own = first[: len(first) - len(first.lstrip())] if first else indent + ("\t" if "\t" in indent else "  ")
        after += [f"{own}privileged = true\n", *keys]
    end = ["[runners.kubernetes.affinity]\n", *draw(body())]
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return "".join(before + end).replace("\n", newline), "".join(after + end).replace("\n", newline)


@settings(max_examples=100, deadline=None)
@given(template())
def test_only_the_value_changes(texts: tuple[str, str]) -> None:
    before, after = texts
    assert edit(before) == after


CONDITIONS = ["a", "b"]
TABLES = ["runners.kubernetes", "runners.kubernetes", f"runners.{SERVICES_TABLE}", "runners.cache", "session_server"]


@st.composite
def branches(draw: st.DrawFn, depth: int = 0) -> list[str]:
    """Lines of a template in which tables and keys, and actions that write keys, stand under conditions, too."""
    lines = []
    for _line in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["table", "table", "key", "action", "action", *["if", "if"][depth:]]))
        if kind == "table":
            lines.append(f"[{draw(st.sampled_from(TABLES))}]")
        elif kind == "if":
            other = ["{{ else }}", *draw(branches(depth + 1))] if draw(st.booleans()) else []
            condition = draw(st.sampled_from(CONDITIONS))
            lines += [f"{{{{ if .{condition} }}}}", *draw(branches(depth + 1)), *other, "{{ end }}"]
        else:
            name = draw(st.integers(0, 99))
            lines.append(f"key{name} = 1" if kind == "key" else f"{{{{ .written{name} }}}}")
    return lines


def executed(text: str, true: tuple[str, ...]) -> str:
    """What a template of C(branches) writes where these conditions are true."""
    stack, written = [True], []
    for line in text.splitlines():
        word = line.strip("{} ").split(" .")
        if line.startswith("{{ if"):
            stack.append(word[1] in true)
        elif line == "{{ else }}":
            stack[-1] = not stack[-1]
        elif line == "{{ end }}":
            stack.pop()
        elif all(stack):
            written.append(f"{word[0].strip('.')} = 1" if line.startswith("{{") else line)
    return "\n".join(written) + "\n"


@settings(max_examples=300, deadline=None)
@given(branches(), st.booleans())
def test_sets_only_the_key_whatever_branches_are_taken(lines: list[str], services: bool) -> None:
    wanted = SERVICES if services else PRIVILEGED
    before = "\n".join(["[[runners]]", *lines, ""])
    try:
        edited = set_values(before, wanted)
    except TemplateTomlError:
        return
    conditional = any("is conditional" in warning for warning in edited.warnings)
    for true in (taken for length in range(3) for taken in combinations(CONDITIONS, length)):
        try:
            expected = _toml.loads(executed(before, true))
        except _toml.TomlError:
            continue
        found = _toml.loads(executed(edited.text, true))
        if conditional and found == expected:
            continue
        table = expected["runners"][0].setdefault("kubernetes", {})
        if services:
            table = table.setdefault(SERVICES_TABLE.partition(".")[2], {})
        table["privileged"] = True
        assert found == expected


PIECES = '[[runners]] [runners.kubernetes] [runners.cache] privileged = true \' " """ {{ .x }} # [ ] { } ... .'


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([*PIECES.split(), "{{ if .a }}", "{{ else }}", "{{ end }}", "{{-", "-}}", " ", "\n", "\n"]),
        max_size=25,
    ).map("".join)
)
def test_never_fails_in_another_way(text: str) -> None:
    for wanted in (PRIVILEGED, SERVICES):
        try:
            after = set_values("[[runners]]\n" + text, wanted).text
        except TemplateTomlError:
            continue
        actions = re.compile(r"\{\{.*?\}\}", re.DOTALL)
        assert actions.findall(after) == actions.findall("[[runners]]\n" + text)
        assert set_values(after, wanted).text == after
