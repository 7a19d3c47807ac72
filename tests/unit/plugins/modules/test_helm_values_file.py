# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.modules import helm_values_file

TOKEN = "glrt-t3st1ng0123456789ab"
VALUES = f"""\
runnerToken: {TOKEN}
runners:
  config: |
    [[runners]]
      token = "{TOKEN}"
      # comment
      [runners.kubernetes]
        image = "{{{{ .Values.image }}}}"
"""
EDITED = VALUES.replace("        image", "        privileged = true\n        image")


@pytest.fixture
def values(tmp_path):
    path = tmp_path / "values.yaml"
    path.write_text(VALUES)
    path.chmod(0o640)
    return path


def arguments(path, **others):
    return {"path": str(path), "config": {"runners": {"kubernetes": {"privileged": True}}}, **others}


def test_edits_once(run_module, values):
    result = run_module(helm_values_file, arguments(values))
    assert result["changed"]
    assert result["values_path"] == "runners.config"
    assert values.read_text() == EDITED
    assert values.stat().st_mode & 0o777 == 0o640
    assert TOKEN not in str(result)
    assert "+" not in result["diff"]["before"] and "privileged = true" in result["diff"]["after"]
    again = run_module(helm_values_file, arguments(values), diff=False)
    assert not again["changed"] and not again.keys() & {"diff", "backup_file"}


def test_secrets_do_not_show(run_module, values):
    others = "password: hidden horse\ntoken: >-\n  hidden\n  hidden\nenvVars:\n- name: DB_PASSWORD\n  value: hidden2y\n"
    values.write_text(others + EDITED.replace(TOKEN, "hidden-2") + "    # environment = ['DB_PASSWORD=hidden-3']\n")
    config = {"runners": {"kubernetes": {"cpu_limit": "1"}, "token": 12345678}}
    result = run_module(helm_values_file, arguments(values, config=config))
    assert result["changed"] and "hidden" not in str(result) and "12345678" not in str(result)
    assert "- name: DB_PASSWORD\n  value: VALUE_REDACTED " in result["diff"]["after"]
    assert "token = 12345678\n" in values.read_text()


def test_secrets_of_the_file_do_not_show_in_errors(run_module, values):
    values.write_text("password: .Values.hidden\n" + VALUES + "        privileged = {{ .Values.hidden }}\n")
    result = run_module(helm_values_file, arguments(values))
    assert "the template action {{ ****" in result["msg"] and "hidden" not in str(result)


def test_check_mode_touches_nothing(run_module, values):
    result = run_module(helm_values_file, arguments(values), check_mode=True)
    assert result["changed"]
    assert values.read_text() == VALUES


def test_keeps_a_private_backup(run_module, values):
    result = run_module(helm_values_file, arguments(values, backup=True))
    backup = values.parent / result["backup_file"]
    assert backup.read_text() == VALUES
    assert backup.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\n", "there is no text at runners.config"),
        (b"a: 1\nb: \xff\n", "line 2: not UTF-8"),
        (VALUES.replace("[runners.kub", "[runners.{{ .x }}kub").encode(), "line 3: in the template at runners.config"),
    ],
)
def test_refuses_and_changes_nothing(run_module, values, content, message):
    values.write_bytes(content)
    result = run_module(helm_values_file, arguments(values))
    assert message in result["msg"]
    assert result["msg"].startswith(str(values))
    assert values.read_bytes() == content
    assert TOKEN not in str(result)


def test_does_not_make_a_file(run_module, tmp_path):
    result = run_module(helm_values_file, arguments(tmp_path / "missing.yaml"))
    assert "does not exist" in result["msg"]
    assert list(tmp_path.iterdir()) == []


def test_warns(run_module, values):
    values.write_text(VALUES + "        {{ .Values.more }}\n")
    result = run_module(helm_values_file, arguments(values))
    assert "may write privileged a second time" in str(result["warnings"])
