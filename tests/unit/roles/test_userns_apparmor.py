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


def run(
    tmp_path: Path, tasks_from: str, variables: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Some tasks of the role, on this machine."""
    role = {"name": "rootless.gitlab_runner.userns", "tasks_from": tasks_from}
    playbook = tmp_path / "play.yml"
    tasks = [{"ansible.builtin.include_role": role}]
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    extra = json.dumps({**variables, "ansible_python_interpreter": sys.executable})
    return subprocess.run(
        [sys.executable, "-m", "ansible.cli.playbook", "--inventory", "localhost,", "--connection", "local"]
        + [*arguments, "--extra-vars", extra, playbook],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(Path(_subid.__file__).parents[5]), "ANSIBLE_NOCOLOR": "1"},
    )


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
    variables = {
        "__userns_apparmor_switch": str(switch),
        "__userns_apparmor_directory": str(directory),
        "userns_podman_executable": podman,
    }
    result = run(tmp_path, "apparmor", variables, "--check", "--diff")
    assert result.returncode == 0, result.stdout + result.stderr
    line = f"profile rootless-gitlab-runner-podman {podman} flags=(unconfined) {{"
    assert (f"+{line}" in result.stdout) is written, result.stdout


def test_a_profile_that_cannot_be_loaded_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    profile = tmp_path / "rootless-gitlab-runner-podman"
    profile.write_text("no profile\n")
    result = run(tmp_path, "apply_apparmor", {"__userns_apparmor_directory": str(tmp_path)})
    assert result.returncode != 0 and "rootless-gitlab-runner-podman cannot be loaded" in result.stdout, result.stdout
    assert not profile.exists()
