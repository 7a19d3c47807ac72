# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._gotemplate import (
    MAX_COMBINATIONS,
    Template,
    TemplateError,
)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("a = 1", []),
        ("{{ .a }}{{- .b -}}", ["output", "output"]),
        ("{{/* }} */}}{{- /* x */ -}}", ["comment", "comment"]),
        ('{{ printf "}}" }}', ["output"]),
        ('{{ "\\"}}" }}', ["output"]),
        ("{{ `}}\"` }}{{ '}' }}", ["output", "output"]),
        ("{{ $x := 1 }}{{ $x = 2 }}{{ $i, $x := .a }}{{ $x }}", ["silent", "silent", "silent", "output"]),
        ("{{if .a}}{{else if .b}}{{else}}{{end}}", ["open", "else", "else", "end"]),
        ("{{range .a}}{{break}}{{end}}", ["open", "silent", "end"]),
        ("{{ ifs }}{{ -3 }}{{-3}}", ["output", "output", "output"]),
        ("{{ include\n  .a }}", ["output"]),
    ],
)
def test_finds_actions(text: str, kinds: list[str]) -> None:
    template = Template(text)
    assert [action.kind for action in template.actions] == kinds
    if kinds:
        assert template.actions[-1].end == len(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n{{ .a", "line 2: the template action {{ has no end"),
        ('{{ "a }}', 'line 1: a " in a template action is not closed'),
        ("{{/* a }}", "line 1: this comment of a template has no end"),
        ("{{ if .a }}\n{{ range .b }}{{ end }}", "line 1: {{ if }} without {{ end }}"),
        ("\n\n{{ end }}", "line 3: {{ end }} without a beginning"),
        ("{{ else }}", "line 1: {{ else }} without a beginning"),
    ],
)
def test_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as error:
        Template(text)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "results"),
    [
        # Trim marks reach across lines, up to the next text or action.
        ("a \n {{- .x -}} \n b", {"aXb"}),
        ("a {{- /* no */}} b", {"a b"}),
        ("a{{if .x}}b{{end}}c", {"abc", "ac"}),
        ("a{{if .x}}b{{else}}c{{end}}d", {"abd", "acd"}),
        ("{{if .x}}a{{else if .y}}b{{else with .z}}c{{end}}", {"a", "b", "c", ""}),
        ("{{range .x}}a{{.}},{{else}}none{{end}}", {"aX,", "aX,aX,", "none"}),
        ("{{range .x}}a{{end}}", {"a", "aa", ""}),
        ("{{block `x` .}}a{{end}}b", {"ab"}),
        ("{{if .a}}1{{if .b}}2{{end}}{{end}}", {"1", "12", ""}),
    ],
)
def test_renders_all_branches(text: str, results: set[str]) -> None:
    template = Template(text)
    outputs = ["X" if action.kind == "output" else "" for action in template.actions]
    assert {template.render(combination, outputs)[0] for combination in template.combinations()} == results


def test_a_definition_writes_nothing() -> None:
    template = Template("{{define `x`}}a{{end}}b")
    assert {template.render(combination, ["", ""])[0] for combination in template.combinations()} == {"b"}


def test_tells_where_rendered_text_comes_from() -> None:
    template = Template("a\n{{ .x }}\nb\n")
    text, origins = template.render([], ["X"])
    assert text == "a\nX\nb\n"
    assert origins == [(0, 0), (2, 2), (3, 10)]


def test_varies_each_of_many_blocks() -> None:
    blocks = 20
    template = Template("".join(f"{{{{if .x}}}}{number} {{{{end}}}}" for number in range(blocks)))
    texts = {template.render(combination, [""] * 2 * blocks)[0] for combination in template.combinations()}
    assert len(texts) <= MAX_COMBINATIONS
    everything = " ".join(map(str, range(blocks))) + " "
    assert {everything, ""} <= texts
    for number in range(blocks):
        assert f"{number} " in texts
        assert " ".join(str(other) for other in range(blocks) if other != number) + " " in texts
