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
        env={
            **os.environ,
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(Path(_subid.__file__).parents[5]),
            "ANSIBLE_NOCOLOR": "1",
        },
    )


PARSER = """#!/bin/sh
# Test double of apparmor_parser, which needs a kernel that has AppArmor.
echo "$@" >>"${0%/*}/loaded"
for file do
    [ "$file" = --replace ] || ! grep -q "no profile" "$file" || { echo "syntax error in $file" >&2; exit 1; }
done
"""


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """Variables for a host whose AppArmor restricts user namespaces, and has no profile."""
    directory, parser = tmp_path / "apparmor.d", tmp_path / "bin/apparmor_parser"
    (directory / "abstractions").mkdir(parents=True)
    parser.parent.mkdir()
    parser.write_text(PARSER)
    parser.chmod(0o755)
    (tmp_path / "switch").write_text("1\n")
    (tmp_path / "interface").touch()
    return {
        "__userns_apparmor_switch": str(tmp_path / "switch"),
        "__userns_apparmor_interface": str(tmp_path / "interface"),
        "__userns_apparmor_directory": str(directory),
        "userns_podman_executable": "/usr/bin/podman",
    }


@pytest.mark.parametrize(
    ("restriction", "profile", "podman", "written", "signals"),
    [
        pytest.param(None, "", "/usr/bin/podman", False, False, id="kernel without"),
        pytest.param("0\n", "", "/usr/bin/podman", False, False, id="switched off"),
        pytest.param("0\n", UBUNTU, "/usr/bin/podman", False, True, id="switched off, profile of Ubuntu"),
        pytest.param("1\n", UBUNTU, "/usr/bin/podman", False, True, id="profile of Ubuntu"),
        pytest.param("1\n", BOTH, "/usr/bin/podman", False, True, id="profile for several places"),
        pytest.param("1\n", "", "/usr/bin/podman", True, True, id="no profile"),
        pytest.param("1\n", COMMENT, "/usr/bin/podman", True, True, id="only a comment"),
        pytest.param("1\n", UBUNTU, "/opt/podman/bin/podman", True, True, id="podman elsewhere"),
        pytest.param("0\n", UBUNTU, "/opt/podman/bin/podman", False, False, id="podman elsewhere, switched off"),
    ],
)
def test_only_what_is_needed_is_written(tmp_path: Path, place, restriction, profile, podman, written, signals) -> None:
    directory = tmp_path / "apparmor.d"
    (directory / "podman").write_text(profile)
    (tmp_path / "switch").unlink()
    if restriction is not None:
        (tmp_path / "switch").write_text(restriction)
    result = run(tmp_path, "apparmor", {**place, "userns_podman_executable": podman}, "--check", "--diff")
    assert result.returncode == 0, result.stdout + result.stderr
    line = f"profile rootless-gitlab-runner-podman {podman} flags=(unconfined) {{"
    assert (f"+{line}" in result.stdout) is written, result.stdout
    assert ("+signal (receive) peer=podman," in result.stdout) is signals, result.stdout
    assert not (tmp_path / "bin/loaded").exists()


def test_both_are_loaded_once(tmp_path: Path, place) -> None:
    directory = tmp_path / "apparmor.d"
    (directory / "usr.bin.pasta").touch()
    first, second = run(tmp_path, "apparmor", place), run(tmp_path, "apparmor", place)
    assert "changed=4 " in first.stdout and "changed=0 " in second.stdout, first.stdout + second.stdout
    profile = directory / "rootless-gitlab-runner-podman"
    assert (tmp_path / "bin/loaded").read_text().splitlines() == [
        f"--replace {profile}",
        f"--replace {directory}/usr.bin.pasta",
    ]
    assert (directory / "abstractions/base.d/rootless-gitlab-runner").is_file()


def test_nothing_is_done_where_no_profile_can_be_loaded(tmp_path: Path, place) -> None:
    """Such as in a container, which sees the switch of its host."""
    result = run(tmp_path, "apparmor", {**place, "__userns_apparmor_interface": str(tmp_path / "missing")})
    assert result.returncode == 0 and "changed=0 " in result.stdout, result.stdout
    assert [path.name for path in (tmp_path / "apparmor.d").iterdir()] == ["abstractions"]


def test_what_cannot_be_loaded_is_tried_again_by_the_next_run(tmp_path: Path, place) -> None:
    pasta = tmp_path / "apparmor.d/usr.bin.pasta"
    pasta.write_text("no profile\n")
    signals = tmp_path / "apparmor.d/abstractions/base.d/rootless-gitlab-runner"
    result = run(tmp_path, "apparmor", place)
    assert result.returncode != 0 and f"{signals} cannot be loaded: syntax error in {pasta}" in result.stdout, (
        result.stdout
    )
    assert not signals.exists()
