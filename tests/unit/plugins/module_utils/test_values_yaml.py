# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import ndiff
from pathlib import Path

import pytest
import yaml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _values_yaml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._template_toml import (
    TemplateTomlError,
)
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._template_toml import (
    set_values as set_in_template,
)
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._values_yaml import (
    ValuesYamlError,
    find_configs,
    format_path,
    parse_path,
    redact,
    secrets,
    set_values,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

PUBLISHED = Path(__file__).parents[5] / "shared/data/helm_values"
PRIVILEGED = {"runners": {"kubernetes": {"privileged": True}}}

# The umbrella chart with its MinIO, where the table of the cache depends on a condition.
UMBRELLA = """\
# values of the release
global:
    minio: {enabled: true}   # also for the cache
gitlab-runner:
  runners:
    config: |
      [[runners]]
        [runners.kubernetes]
        image = "debian:12"
        {{- if .Values.global.minio.enabled }}
        [runners.cache]
          Type = "s3"
          [runners.cache.s3]
            ServerAddress = {{ include "runner.cache.address" . }}
        {{ end }}


  # not yet
  rbac:
    create: true
"""


def read(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        return file.read()


def edit(text: str, path: str | None = None) -> str:
    after = set_values(text, PRIVILEGED, path).text
    assert set_values(after, PRIVILEGED, path).text == after
    return after


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_adds_exactly_one_line(newline: str) -> None:
    before = UMBRELLA.replace("\n", newline)
    changes = [line for line in ndiff(before.splitlines(True), edit(before).splitlines(True)) if line[0] in "+-?"]
    assert changes == ["+         privileged = true" + newline]


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="there is no folder shared/data/helm_values beside the checkout")
def test_published_files() -> None:
    paths = sorted(PUBLISHED.glob("*.values.yaml"))
    assert paths
    for path in paths:
        before = read(path)
        changes = [line for line in ndiff(before.splitlines(True), edit(before).splitlines(True)) if line[0] in "+-"]
        assert len(changes) <= 2, path.name
        assert all("privileged = " in line or "[runners.kubernetes]" in line for line in changes), path.name


TEMPLATE = "[[runners]]\n[runners.kubernetes]\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "runners:\n  config: |-\n    [[runners]]\n    [runners.kubernetes]",
            "runners:\n  config: |-\n    [[runners]]\n    [runners.kubernetes]\n      privileged = true",
            id="no newline at the end of the file",
        ),
        pytest.param(
            "runners: # first\n  config: |2+ # kept\n      [[runners]]\n    [runners.kubernetes]\n\n\n  other: 1\n",
            "runners: # first\n  config: |2+ # kept\n      [[runners]]\n    [runners.kubernetes]\n"
            "      privileged = true\n\n\n  other: 1\n",
            id="indicators",
        ),
        pytest.param(
            "runners:\n  config: |\n    [[runners]]\n   \n    x = 1\n  \n    [runners.kubernetes]\n"
            "    image = 'a'\n \n# end\n",
            "runners:\n  config: |\n    [[runners]]\n   \n    x = 1\n  \n    [runners.kubernetes]\n"
            "    privileged = true\n    image = 'a'\n \n# end\n",
            id="blank lines with blanks",
        ),
        pytest.param(
            'runners:\n  config: "[[runners]]\\n[runners.kubernetes]\\n"   # here\n  other: 1\n',
            'runners:\n  config: "[[runners]]\\n[runners.kubernetes]\\n  privileged = true\\n"   # here\n  other: 1\n',
            id="double quotes",
        ),
        pytest.param(
            "runners:\n  config: '[[runners]]\n\n    [runners.kubernetes]\n\n    '\n  other: 1\n",
            'runners:\n  config: "[[runners]]\\n[runners.kubernetes]\\n  privileged = true\\n"\n  other: 1\n',
            id="single quotes",
        ),
        pytest.param(
            '{"runners": {"config": "[[runners]]\\n[runners.kubernetes]\\n", "x": 1}}',
            '{"runners": {"config": "[[runners]]\\n[runners.kubernetes]\\n  privileged = true\\n", "x": 1}}',
            id="JSON",
        ),
        pytest.param(
            "runners:\n  config: >\n    [[runners]]\n\n    [runners.kubernetes]\n\n  # below\n  other: 1\n",
            "runners:\n  config: |\n    [[runners]]\n    [runners.kubernetes]\n"
            "      privileged = true\n\n  # below\n  other: 1\n",
            id="folded",
        ),
        pytest.param(
            "runners:\n  config: >2- # Ask before editing\n    [[runners]]\n\n    [runners.kubernetes]\n",
            "runners:\n  config: |- # Ask before editing\n    [[runners]]\n    [runners.kubernetes]\n"
            "      privileged = true\n",
            id="folded with a comment",
        ),
        pytest.param(
            "a: 1\n---\n# second\nrunners:\n  config: |\n    [[runners]]\n    [runners.kubernetes]\n...\n---\nb: 2\n",
            "a: 1\n---\n# second\nrunners:\n  config: |\n    [[runners]]\n    [runners.kubernetes]\n"
            "      privileged = true\n...\n---\nb: 2\n",
            id="documents",
        ),
        pytest.param(
            "base: &base {a: 1}\nrunners:\n  tags: *base\n  config: |\n    [[runners]]\n    [runners.kubernetes]\n",
            "base: &base {a: 1}\nrunners:\n  tags: *base\n  config: |\n    [[runners]]\n    [runners.kubernetes]\n"
            "      privileged = true\n",
            id="aliases elsewhere",
        ),
        pytest.param(
            "copy: |\n  [[runners]]\n  [runners.kubernetes]\n"
            "runners:\n  config: |\n    [[runners]]\n    [runners.kubernetes]\n",
            "copy: |\n  [[runners]]\n  [runners.kubernetes]\n"
            "runners:\n  config: |\n    [[runners]]\n    [runners.kubernetes]\n"
            "      privileged = true\n",
            id="the same text elsewhere",
        ),
    ],
)
def test_forms_of_the_scalar(before: str, after: str) -> None:
    assert edit(before) == after


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (None, "spec:\n  values:\n    runners:\n      config: |\n"),
        ("spec.values.runners.config", "runners:\n  config: x\nspec:\n  values:\n    runners:\n      config: |\n"),
        ("a\\.b.toml", "a: {b: {toml: x}}\na.b:\n      toml: |\n"),
    ],
)
def test_finds_the_template(path: str | None, text: str) -> None:
    block = "".join(f"        {line}\n" for line in TEMPLATE.splitlines())
    assert edit(text + block, path) == text + block + "          privileged = true\n"


INDENTED = "".join(f"    {line}\n" for line in TEMPLATE.splitlines())
BLOCK = f"config: |\n{INDENTED}"
SAME_PATH = (
    "2 documents of the file have a template for the runner at runners.config; split the file or edit it by hand"
)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("a: 1\n", None, "there is no text at runners.config, neither at the top level nor in a subchart's values"),
        ("", None, "there is no text at runners.config"),
        ("runners:\n  config: ''\n", None, "there is no text at runners.config"),
        ("runners:\n  config: 7\n", None, "there is no text at runners.config"),
        (f"runners:\n  {BLOCK}", "gitlab-runner.runners.config", "there is no text at gitlab-runner.runners.config"),
        (
            f"runners:\n  {BLOCK}a:\n runners:\n  {BLOCK}",
            None,
            "there are 2 templates for the runner (a.runners.config, runners.config); say which by values_path",
        ),
        (f"runners:\n  {BLOCK}---\nrunners:\n  {BLOCK}", None, SAME_PATH),
        (f"runners:\n  {BLOCK}---\nrunners:\n  {BLOCK}", "runners.config", SAME_PATH),
        ("a: [\n", None, "line 2: not YAML"),
        ("a: {{ .Values.a }}\nb: '\n", None, "not YAML"),
        ("a: \x00\n", None, "not YAML"),
        (f"runners:\n  config: &c |\n{INDENTED}", None, "line 2: an anchor, alias or tag"),
        (f"runners: &r\n  {BLOCK}", None, "line 1: an anchor, alias or tag"),
        (f"x: &c |\n{INDENTED}runners:\n  config: *c\n", None, "an anchor, alias or tag"),
        (f"x: &r\n  {BLOCK}runners: *r\n", None, "an anchor, alias or tag"),
        (f"runners:\n  config: !!str |\n{INDENTED}", None, "line 2: an anchor, alias or tag"),
        (f"x: &x {{a: 1}}\nrunners:\n  <<: *x\n  {BLOCK}", None, "line 4: a merge key (<<) is on the way"),
        (f"x: &r\n  {BLOCK}runners:\n  <<: *r\n", "runners.config", "line 6: runners has a merge key (<<)"),
        (f"runners:\n  {BLOCK}  {BLOCK}", None, "line 5: runners.config is there twice"),
        (f"runners:\n  {BLOCK}sops:\n  mac: abc\n", None, "encrypted with SOPS"),
        ("runners:\n  config: ENC[AES256_GCM,data:abc]\n", None, "line 2: the text is encrypted with SOPS"),
        (
            "runners:\n  config: |\n    [[runners]]\n    x\n",
            None,
            "line 2: in the template at runners.config, line 2: this is neither",
        ),
        ("runners:\n  config: |\n    x = 1\n", None, "in the template at runners.config, there is no line [[runners]]"),
    ],
)
def test_refuses(text: str, path: str | None, message: str) -> None:
    with pytest.raises(ValuesYamlError) as error:
        set_values(text, PRIVILEGED, path)
    assert message in str(error.value)


def test_does_not_follow_aliases_into_themselves() -> None:
    text = "a: &a\n  b: *a\n"
    with pytest.raises(ValuesYamlError, match="there is no text"):
        set_values(text, PRIVILEGED)
    assert redact(text, b"key") == text and secrets(text) == []
    with pytest.raises(ValuesYamlError, match="an alias of YAML is a part of what it stands for"):
        set_values(f"{text}runners:\n  {BLOCK}", PRIVILEGED)


@pytest.mark.parametrize(
    "function", [lambda text: set_values(text, PRIVILEGED), secrets, lambda text: redact(text, b"")]
)
def test_refuses_deep_nesting(function: Callable[[str], object]) -> None:
    with pytest.raises(ValuesYamlError, match="nested too deeply"):
        function("[" * 5000)


@pytest.mark.parametrize(
    ("text", "shown", "found"),
    [
        ("password: hidden hidden # why\n", "password: * # why\n", ["hidden hidden"]),
        ("token: >-\n  hidden\n  hidden\n\na: b\n", "token: *\n\na: b\n", ["hidden hidden"]),
        ("token: |\n  hidden\n  hidden\na: b\n", "token: *\na: b\n", ["hidden\nhidden\n"]),
        ("token: hidden\n  hidden\na: b\n", "token: *\na: b\n", ["hidden hidden"]),
        ("token: &t 'hidden'\na: *t\n", "token: *\na: *t\n", ["hidden"]),
        ("a: &t hidden\ntoken: *t\n", "a: *\ntoken: *t\n", ["hidden"]),
        ("{token: 12345678, a: 12345678}\n", "{token: *, a: 12345678}\n", ["12345678"]),
        ("password: null\ntoken: true\nsecret: ''\n", "password: null\ntoken: true\nsecret: ''\n", []),
        ("- name: DB_PASSWORD\n  value: hidden\n", "- name: DB_PASSWORD\n  value: *\n", ["hidden"]),
        ("- {value: hidden, name: API_KEY}\n", "- {value: *, name: API_KEY}\n", ["hidden"]),
        ("- name: A\n  value: b\n", "- name: A\n  value: b\n", []),
        ("tokens:\n  token: [hidden, 'hidden']\n", "tokens:\n  token: [*, *]\n", ["hidden", "hidden"]),
        ("- A_TOKEN=hidden hidden\n", "- A_TOKEN=*\n", ["hidden hidden"]),
        ('- "A_TOKEN=\\"hidden\\""\n', '- "A_TOKEN=*"\n', ['"hidden"']),
        ("- 'x\n  A_TOKEN=hidden'\n", '- "x A_TOKEN=*"\n', ["hidden"]),
        ("- >\n  x\n  A_TOKEN=hidden\n# c\n", '- "x A_TOKEN=*\\n"\n# c\n', ["hidden"]),
        ('- "a = 1\\ntoken = \\"hidden\\""\n', '- "a = 1\\ntoken = \\"*\\""\n', ["hidden"]),
        ("- 'a = 1\n\n  token = \"hidden\"'\n", '- "a = 1\\ntoken = \\"*\\""\n', ["hidden"]),
        ("a: | # token: hidden\n  b\n", "a: | # token: *\n  b\n", []),
        ("a: > # token: hidden\n  b\n", "a: > # token: *\n  b\n", []),
        ("passwords: [hidden, 'hidden']\n", "passwords: [*, *]\n", ["hidden", "hidden"]),
        (
            "a: |\n  patch = '''\n  - name: A_TOKEN\n    value: hidden\n  - name: A\n    value: b\n  '''\n",
            "a: |\n  patch = '''\n  - name: A_TOKEN\n    value: *\n  - name: A\n    value: b\n  '''\n",
            ["hidden"],
        ),
        ("a: b # password: hidden hidden\n", "a: b # password: *\n", []),
        ("# a\npasswords: {a: b}\n", "# a\npasswords: {a: b}\n", []),
        ("# - name: A\n#   token: 'hidden'\na: b\n", "# - name: A\n#   token: *\na: b\n", []),
        (
            "extraEnv:\n  DB_PASS: hidden\n  SSH_KEY: hidden\n  GITLAB_PAT: hidden\n  registry_auth: hidden\n  A: b\n",
            "extraEnv:\n  DB_PASS: *\n  SSH_KEY: *\n  GITLAB_PAT: *\n  registry_auth: *\n  A: b\n",
            ["hidden"] * 4,
        ),
        ("token: {a: hidden, b: [{c: hidden}]}\n", "token: {a: *, b: [{c: *}]}\n", ["hidden", "hidden"]),
        ("token: {hidden}\na: b\n", "token: {*}\na: b\n", ["hidden"]),
        ("args: [--token, hidden, x]\n", "args: [--token, *, x]\n", ["hidden"]),
        ("args:\n- --api-key\n- 12345678\n", "args:\n- --api-key\n- *\n", ["12345678"]),
        # The names of Secrets are no reason to hide them wherever they are.
        ("secret: {name: gitlab-runner}\n", "secret: {name: gitlab-runner}\n", []),
        ("secret: gitlab-runner\n", "secret: *\n", []),
        (
            "config: |\n  [[runners]]\n    token = 'hidden'\n    {{ if .a }}\n    environment = ['A_TOKEN=hidden']\n",
            "config: |\n  [[runners]]\n    token = *\n    {{ if .a }}\n    environment = ['A_TOKEN=*']\n",
            ["hidden", "hidden"],
        ),
        (
            "config: |2\n    a = 1\n    token = 'hidden' # x\n",
            "config: |2\n    a = 1\n    token = '*' # x\n",
            ["hidden"],
        ),
        ("a: b\n---\ntoken: hidden\n...\n", "a: b\n---\ntoken: *\n...\n", ["hidden"]),
        ("\r\ntoken: hidden\r\na: |\r\n  x\r\n", "\r\ntoken: *\r\na: |\r\n  x\r\n", ["hidden"]),
        ("", "", []),
    ],
)
def test_hides_secrets(text: str, shown: str, found: list[str]) -> None:
    redacted = redact(text, b"key")
    assert "hidden" not in redacted
    assert re.sub(r"VALUE_REDACTED [0-9a-f]{8}", "*", redacted) == shown
    assert secrets(text) == found


def test_equal_secrets_look_equal() -> None:
    lines = redact("token: abc\npassword: 'abc'\napiKey: >-\n  abc\nsecret: abcd\n", b"key").split("\n")
    digests = [line.rpartition(" ")[2] for line in lines[:4]]
    assert digests[0] == digests[1] == digests[2] != digests[3]


@pytest.mark.parametrize("path", ["runners.config", "a\\.b.c", "a"])
def test_paths(path: str) -> None:
    assert format_path(parse_path(path)) == path


def test_finds_templates_in_plain_values() -> None:
    values = {
        "runners": {"config": "a"},
        "x": {"runners": {"config": " "}, "y": {"runners": {"config": "b"}}},
        "z": [1],
    }
    assert list(find_configs(values)) == [(("runners", "config"), "a"), (("x", "y", "runners", "config"), "b")]


@settings(max_examples=100, deadline=None)
@given(
    lines=st.lists(
        st.sampled_from(["", "x = 1", "  y = ' '", "\tz = 2", "# c", "{{- if .a }}", "{{ end }}", "s = '''\n \n'''"]),
        unique=True,
        max_size=6,
    ),
    ends=st.integers(0, 3),
    indent=st.integers(1, 5),
    style=st.sampled_from(["|", ">", '"', "'"]),
    around=st.tuples(
        st.sampled_from(["", "# head\n", "a: [1,   2]\n"]), st.sampled_from(["", "\n# foot\n", "b:\n- 1\n"])
    ),
)
def test_reads_back_as_the_edited_template(
    lines: list[str], ends: int, indent: int, style: str, around: tuple[str, str]
) -> None:
    template = "\n".join(["[[runners]]", "[runners.kubernetes]", *lines]) + "\n" * ends
    scalar = yaml.safe_dump(template, default_style=style, width=1000).removesuffix("...\n")
    head, *rest = scalar.splitlines(keepends=True)
    scalar = head + "".join(" " * indent + line if line.strip() else line for line in rest)
    before = f"{around[0]}runners:\n {indent * ' '}config: {scalar}{around[1]}"
    assume(yaml.safe_load(before)["runners"]["config"] == template)
    try:
        wanted = set_in_template(template, PRIVILEGED).text
    except TemplateTomlError:
        assume(False)
    after = edit(before)
    assert yaml.safe_load(after)["runners"]["config"] == wanted
    assert after.startswith(around[0])
    assert after.endswith(around[1])


def test_an_edit_that_changes_more_is_refused(monkeypatch):
    monkeypatch.setattr(_values_yaml._Splicer, "_edit_block", lambda self, source, old, new: source + "other: 1\n")
    text = "runners:\n  config: |\n    [[runners]]\n    [runners.kubernetes]\n"
    with pytest.raises(ValuesYamlError, match="would change more"):
        set_values(text, {"runners": {"kubernetes": {"privileged": True}}})
