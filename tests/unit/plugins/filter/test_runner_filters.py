# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of the role runner with values as Ansible has them: templates, vaulted text, undefined variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.utils.vars import merge_hash
from ansible_collections.rootless.gitlab_runner.plugins.filter import (
    runner_adoption,
    runner_answers,
    runner_problems,
    runner_wanted,
)
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _runner_role
from hypothesis import given
from hypothesis import strategies as st

adoption = runner_adoption.FilterModule().filters()["runner_adoption"]
answers = runner_answers.FilterModule().filters()["runner_answers"]
problems = runner_problems.FilterModule().filters()["runner_problems"]
wanted = runner_wanted.FilterModule().filters()["runner_wanted"]

PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  vars:
    vaulted: !vault |
      %s
    plain: glrt-templated
    url: https://gitlab.example.com
    runners:
      - {name: vaulted, token: "{{ vaulted }}", executor: docker, docker: {image: "{{ 'al' ~ 'pine' }}"}}
      - {name: templated, token: "{{ plain }}", executor: "{{ missing | default('docker') }}"}
      - {name: literal, token: !unsafe "{{glrt-x}}", executor: shell, limit: "{{ 1 + 1 }}"}
    variables:
      runner_api_token: null
      runner_binary_checksum: null
      runner_binary_url: null
      runner_ca_certificates: {}
      runner_config_path: /etc/gitlab-runner/config.toml
      runner_create: {}
      runner_drain_timeout: "7200"
      runner_install_method: repository
      runner_package_files: []
      runner_runners: "{{ runners }}"
      runner_runners_defaults: {url: "{{ url }}"}
      runner_token_update: always
      runner_user: gitlab-runner
      runner_working_directory: /var/lib/gitlab-runner
  tasks:
    - ansible.builtin.copy:
        content: "{{ {'wanted': runners | rootless.gitlab_runner.runner_wanted('unix:///x', network_per_build='no'),
                      'problems': variables | rootless.gitlab_runner.runner_problems} | to_json }}"
        dest: "{{ dest }}"
        mode: "0600"
"""


def play(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    secret = VaultLib([("default", VaultSecret(b"password"))]).encrypt("glrt-vaulted").decode()
    (tmp_path / "playbook.yml").write_text(PLAYBOOK % secret.strip().replace("\n", "\n      "))
    (tmp_path / "password").write_text("password")
    command = [sys.executable, "-m", "ansible.cli.playbook", "playbook.yml", "-e", f"dest={tmp_path / 'after'}"]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(Path(runner_wanted.__file__).parents[5])}
    environment["ANSIBLE_VAULT_PASSWORD_FILE"] = str(tmp_path / "password")
    return subprocess.run(
        [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )


def test_in_a_playbook(tmp_path: Path) -> None:
    result = play(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    added = {"docker": {"host": "unix:///x"}, "feature_flags": {"FF_NETWORK_PER_BUILD": None}}
    docker = {"executor": "docker", **added}
    assert json.loads((tmp_path / "after").read_text()) == {
        "wanted": [
            {"name": "vaulted", "token": "glrt-vaulted", **docker, "docker": {"host": "unix:///x", "image": "alpine"}},
            {"name": "templated", "token": "glrt-templated", **docker},
            {"name": "literal", "token": "{{glrt-x}}", "executor": "shell", "limit": 2},
        ],
        "problems": [],
    }


def test_an_undefined_variable_is_named(tmp_path: Path) -> None:
    result = play(tmp_path, "-e", json.dumps({"plain": "{{ nowhere_to_be_found }}"}))
    assert result.returncode == 2 and "'nowhere_to_be_found' is undefined" in result.stdout + result.stderr
    assert "glrt-" not in result.stdout + result.stderr


RESULTS = {"drift": [], "unknown_keys": [], "deprecated_keys": [], "invalid_values": []}
VARIABLES = dict.fromkeys(runner_problems.VARIABLES, {}) | {"runner_runners": []}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: problems([]), "runner_problems: the input has to be a dictionary of variables"),
        (lambda: problems({"runner_user": "a"}), "runner_problems: the input has to have runner_api_token, "),
        (lambda: problems(VARIABLES | {"runner_create": "glrt-"}), "runner_problems: runner_create has to be a dict"),
        (lambda: problems(VARIABLES | {"runner_runners": ["glrt-"]}), "runner_problems: runner_runners has to be a"),
        (lambda: wanted("glrt-", ""), "runner_wanted: the input has to be a list of dictionaries"),
        (lambda: wanted([], "", present=["glrt-"]), "runner_wanted: present has to be a list of dictionaries"),
        (lambda: wanted([], "", defaults="glrt-"), "runner_wanted: defaults has to be a dictionary"),
        (lambda: answers({"results": ["glrt-"]}), "runner_answers: the input has to be the results of a loop"),
        (lambda: answers([], "glrt-"), "runner_answers: done has to be created or deleted"),
        (lambda: adoption({"runners": ["glrt-"]}, "ci"), "runner_adoption: the input has to be a result of runner_con"),
        (lambda: adoption({"runners": [], **RESULTS}, "ci", sockets="glrt-"), "runner_adoption: .*'sockets'"),
    ],
)  # fmt: skip
def test_wrong_types_are_refused_without_their_values(call, message):
    with pytest.raises(AnsibleFilterError, match=message) as refused:
        call()
    assert "glrt-" not in str(refused.value)


def test_volumes_without_their_secrets_are_refused():
    present = [{"name": "a", "docker": {"volumes": ["VALUE_REDACTED"]}}]
    with pytest.raises(AnsibleFilterError, match='runner_wanted: the runner "a" has a secret in docker.volumes'):
        wanted(
            [{"name": "a", "executor": "docker"}], "", ca_certificates={"c": "x"}, ca_volumes=["/c"], present=present
        )


def test_answers():
    result = {"item": {"name": "a", "id": 7}, "status": 201, "json": {"id": 7, "token": "glrt-new"}}
    assert answers([result]) == {"refused": [], "fields": {"a": {"id": 7, "token": "glrt-new"}}}
    [said] = answers([{**result, "status": 500, "msg": "why"}], done="deleted")["refused"]
    assert said == 'GitLab has not deleted the runner "a" (id 7): why (HTTP status 500)'


@pytest.mark.parametrize("purge", ["false", False, "true", True])
def test_switches_may_be_text(purge):
    runner = {"name": "a", "executor": "shell"}
    report = adoption({"runners": [runner], **RESULTS}, "ci", purge=purge)["report"]
    assert any("REMOVED" in line for line in report) is (purge in ("true", True))


KEYS = st.sampled_from("abcd")
TABLES = st.dictionaries(
    KEYS,
    st.recursive(
        st.none() | st.booleans() | st.lists(st.integers(), max_size=2), lambda values: st.dictionaries(KEYS, values)
    ),
)


@given(TABLES, TABLES)
def test_tables_are_merged_as_the_filter_combine_does(below, above):
    assert _runner_role._merged(below, above) == merge_hash(below, above)
