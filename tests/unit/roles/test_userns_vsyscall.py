# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""userns_vsyscall changes the files of the boot loader only where they are as the role knows them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _subid

LINE = '+GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX vsyscall=emulate"'


def run(directory: Path, files: tuple[str, ...], **variables: Any) -> subprocess.CompletedProcess[str]:
    """The tasks in check mode, on a host whose boot loader has these files."""
    for name in files:
        (directory / name).touch()
    tasks = [{"ansible.builtin.include_role": {"name": "rootless.gitlab_runner.userns", "tasks_from": "vsyscall"}}]
    playbook = directory / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    variables |= {
        "__userns_grub_defaults": str(directory / "grub"),
        "__userns_grub_update": str(directory / "update-grub"),
        "__userns_grub_config": str(directory / "grub.cfg"),
        "ansible_python_interpreter": sys.executable,
    }
    return subprocess.run(
        [sys.executable, "-m", "ansible.cli.playbook", "--inventory", "localhost,", "--connection", "local"]
        + ["--check", "--diff", "--extra-vars", json.dumps(variables), playbook],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(Path(_subid.__file__).parents[5]), "ANSIBLE_NOCOLOR": "1"},
    )


def look(directory: Path, *words: str) -> dict[str, str]:
    """What the look at a host prints, in place of this machine's processor and kernel."""
    return {"stdout": "\n".join([*words, f"{directory}/grub", f"{directory}/update-grub"])}


def test_parameter_is_added_and_a_reboot_asked_for(tmp_path: Path) -> None:
    result = run(tmp_path, ("grub", "update-grub"), __userns_vsyscall_look=look(tmp_path, "x86_64"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert LINE in result.stdout
    assert "Reboot the host" in result.stdout


def test_no_reboot_where_the_kernel_emulates_it_already(tmp_path: Path) -> None:
    mapping = "ffffffffff600000-ffffffffff601000 r-xp 00000000 00:00 0   [vsyscall]"
    result = run(tmp_path, ("grub", "update-grub"), __userns_vsyscall_look=look(tmp_path, "x86_64", mapping, "boots"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Reboot the host" not in result.stdout


@pytest.mark.parametrize(
    ("files", "machine", "said"),
    [
        ((), None, "does not boot with GRUB"),
        (("grub",), None, "does not boot with GRUB"),
        (("grub", "update-grub"), "aarch64", "this host is aarch64, and only x86_64 has vsyscall"),
    ],
    ids=["no GRUB", "not Debian's GRUB", "not x86-64"],
)
def test_other_hosts_are_refused_before_anything_is_changed(tmp_path: Path, files, machine, said) -> None:
    variables = {"__userns_vsyscall_look": look(tmp_path, machine)} if machine else {}
    result = run(tmp_path, files, **variables)
    assert result.returncode == 2, result.stdout + result.stderr
    assert said in result.stdout
    assert "changed=0" in result.stdout and LINE not in result.stdout
