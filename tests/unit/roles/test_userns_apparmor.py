# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AppArmor's restriction of user namespaces, which no test host has: the tasks run on files that say it is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _subid

UBUNTU = "abi <abi/4.0>,\nprofile podman /usr/bin/podman flags=(unconfined) {\n  userns,\n}\n"
BOTH = "profile podman /usr/{bin,local/bin}/podman flags=(unconfined) {\n  userns,\n}\n"
COMMENT = "# profile podman /usr/bin/podman flags=(unconfined) {\n"


@pytest.mark.parametrize(
    ("restriction", "profile", "podman", "written"),
    [
        pytest.param(None, "", "/usr/bin/podman", False, id="kernel without"),
        pytest.param("0\n", "", "/usr/bin/podman", False, id="switched off"),
        pytest.param("1\n", UBUNTU, "/usr/bin/podman", False, id="profile of Ubuntu"),
        pytest.param("1\n", BOTH, "/usr/bin/podman", False, id="profile for several places"),
        pytest.param("1\n", "", "/usr/bin/podman", True, id="no profile"),
        pytest.param("1\n", COMMENT, "/usr/bin/podman", True, id="only a comment"),
        pytest.param("1\n", UBUNTU, "/opt/podman/bin/podman", True, id="podman elsewhere"),
        pytest.param("0\n", UBUNTU, "/opt/podman/bin/podman", False, id="podman elsewhere, switched off"),
    ],
)
def test_profile_is_written_only_where_it_is_needed(tmp_path: Path, restriction, profile, podman, written) -> None:
    switch, directory = tmp_path / "switch", tmp_path / "apparmor.d"
    directory.mkdir()
    (directory / "podman").write_text(profile)
    if restriction is not None:
        switch.write_text(restriction)
    tasks = [{"ansible.builtin.include_role": {"name": "rootless.gitlab_runner.userns", "tasks_from": "apparmor"}}]
    playbook = tmp_path / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    variables = {
        "__userns_apparmor_switch": str(switch),
        "__userns_apparmor_directory": str(directory),
        "userns_podman_executable": podman,
        "ansible_python_interpreter": sys.executable,
    }
    result = subprocess.run(
        [sys.executable, "-m", "ansible.cli.playbook", "--inventory", "localhost,", "--connection", "local"]
        + ["--check", "--diff", "--extra-vars", json.dumps(variables), playbook],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(Path(_subid.__file__).parents[5]), "ANSIBLE_NOCOLOR": "1"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    line = f"profile rootless-gitlab-runner-podman {podman} flags=(unconfined) {{"
    assert (f"+{line}" in result.stdout) is written, result.stdout
