# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.rootless.gitlab_runner.plugins.filter import template_toml_set as plugin
from ansible_collections.rootless.gitlab_runner.plugins.filter.template_toml_set import FilterModule

template_toml_set = FilterModule().filters()["template_toml_set"]

PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  vars:
    before: !unsafe |
      [[runners]]
        [runners.kubernetes]
          image = "{{ .Values.image }}"
  tasks:
    - ansible.builtin.copy:
        content: "{{ before | rootless.gitlab_runner.template_toml_set({'runners': {'kubernetes': wanted}}) }}"
        dest: "{{ dest }}"
        mode: "0600"
      vars:
        wanted: {privileged: true, cpu_limit: "{{ 1 + 1 }}", tolerations: ["{{ 'a' ~ 'b' }}"]}
"""


def test_in_a_playbook(tmp_path: Path) -> None:
    (tmp_path / "playbook.yml").write_text(PLAYBOOK)
    extra = json.dumps({"dest": str(tmp_path / "after")})
    command = [sys.executable, "-m", "ansible.cli.playbook", "playbook.yml", "--extra-vars", extra]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(Path(plugin.__file__).parents[5])}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "after").read_text() == (
        '[[runners]]\n  [runners.kubernetes]\n    privileged = true\n    cpu_limit = 2\n    tolerations = ["ab"]\n'
        '    image = "{{ .Values.image }}"\n'
    )


def test_says_why_it_refuses() -> None:
    with pytest.raises(AnsibleFilterError, match="template_toml_set: line 2: the template action"):
        template_toml_set("[[runners]]\nlimit = {{ .x }}\n", {"runners": {"limit": 1}})


@pytest.mark.parametrize(
    ("text", "config", "message"),
    [
        (None, {"a": 1}, "the input has to be text, not NoneType"),
        ("", "a", "config has to be a dict of tables, not str"),
    ],
)
def test_wrong_types(text: object, config: object, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        template_toml_set(text, config)
