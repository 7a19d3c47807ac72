# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml stops at bad input before it changes anything, and names the variable and the way out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEBIAN_13 = {"distribution": "Debian", "distribution_release": "trixie", "distribution_version": "13.1"}
RUNNER = {"name": "one", "url": "https://gitlab.example.com", "token": "glrt-secret-token", "executor": "docker"}


def site(tmp_path: Path, variables: dict, facts: dict | None = None) -> subprocess.CompletedProcess:
    """Run site.yml in check mode on this machine, as if it had the facts of a host."""
    inventory = tmp_path / "hosts.json"
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    host |= {"runner_runners": [RUNNER], **variables}
    inventory.write_text(json.dumps({"ci_hosts": {"hosts": {"host": host}}}))
    # Facts of an earlier play are not gathered again.
    known = {"ansible.builtin.set_fact": {**(facts or DEBIAN_13), "cacheable": True}}
    playbook = tmp_path / "playbook.json"
    playbook.write_text(
        json.dumps(
            [
                {"hosts": "all", "gather_facts": False, "tasks": [known]},
                {"import_playbook": "rootless.gitlab_runner.site"},
            ]
        )
    )
    return subprocess.run(
        ["ansible-playbook", "--check", "-i", inventory, playbook],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"runner_runners": [{**RUNNER, "token": ""}]},
            r"runner_runners\[0\]\.token is missing; create the runner in GitLab",
        ),
        (
            {"runner_runners": [{**RUNNER, "token": "GR1348941xyz"}]},
            r"runner_runners\[0\]\.token is a registration token",
        ),
        (
            {"runner_runners": [{**RUNNER, "token": "glrt-abc\n"}]},
            r"runner_runners\[0\]\.token holds a line break or another character",
        ),
        ({"runner_runners": [{**RUNNER, "url": None}]}, r"runner_runners\[0\]\.url is missing"),
        (
            {"runner_runners": [{**RUNNER, "executor": "podman"}]},
            r'executor: "podman" is not an executor; .* it is docker',
        ),
        ({"runner_runners": [{k: v for k, v in RUNNER.items() if k != "name"}]}, r"runner_runners\[0\] has no name"),
        ({"tmpfs_storage_enabled": True, "tmpfs_storage_size": "lots"}, r'tmpfs_storage_size: "lots" is not a size'),
        ({"tmpfs_storage_enabled": True, "tmpfs_storage_path": "/srv"}, r'tmpfs_storage_path: "/srv"'),
        ({"rootless_user": "Jürgen"}, r'userns_user: "Jürgen" is not a user name'),
        ({"rootless_user": "root"}, r"root cannot be the runner user"),
        ({"userns_subid_count": 1000}, r"userns_subid_count: 1000 is too small"),
        ({"runner_install_method": "binary"}, r"runner_binary_url and runner_binary_checksum"),
        ({"runner_ca_certificates": {"own": "not a certificate"}}, r'runner_ca_certificates\["own"\]'),
        ({"ansible_become": False}, "ansible_become is false for this host"),
        ({"ansible_become_user": "ci"}, "ansible_become_user is ci for this host"),
    ],
)
def test_bad_variable(tmp_path: Path, variables: dict, message: str) -> None:
    result = site(tmp_path, variables)
    assert result.returncode == 2, result.stdout + result.stderr
    assert re.search(message, result.stdout.replace('\\"', '"')), result.stdout
    assert re.search(r"ok=1 +changed=0 .*failed=1", result.stdout), result.stdout
    assert "glrt-secret-token" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            {"distribution": "Ubuntu", "distribution_release": "focal", "distribution_version": "20.04"},
            r"Ubuntu 20\.04 is not supported: its archive has no Podman",
        ),
        (
            {"distribution": "Ubuntu", "distribution_release": "jammy", "distribution_version": "22.04"},
            r"Ubuntu 22\.04 ships Podman 3\.4\.4, and GitLab Runner needs 4\.2 or later",
        ),
        (
            {"distribution": "Debian", "distribution_release": "bullseye", "distribution_version": "11.9"},
            r"Debian 11 ships Podman 3\.0\.1",
        ),
        (
            {
                "distribution": "Fedora",
                "distribution_release": "",
                "distribution_version": "43",
                "distribution_major_version": "43",
            },
            r"Fedora 43 is not supported",
        ),
    ],
)
def test_unsupported_release(tmp_path: Path, facts: dict, message: str) -> None:
    result = site(tmp_path, {}, facts)
    assert result.returncode == 2, result.stdout + result.stderr
    assert re.search(message, result.stdout), result.stdout
    assert re.search(r"ok=1 +changed=0 .*failed=1", result.stdout), result.stdout
