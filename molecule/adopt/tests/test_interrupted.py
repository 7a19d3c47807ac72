# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An adoption that was interrupted goes on; before that it stops where jobs would break."""

from __future__ import annotations

import json
import subprocess

import pytest
from adopted_hosts import BACKUP, HOSTS, play
from ci_host import USER


def interrupt() -> None:
    # The host is adopted, so the earlier state has to be looked for: without the mark of the end it is "interrupted".
    subprocess.run(["podman", "exec", HOSTS[0], "rm", "-f", f"{BACKUP}/adopted"], check=True)


def invocation() -> str:
    command = ["systemctl", "show", "--property=InvocationID", "--property=ActiveState", "gitlab-runner.service"]
    said = subprocess.run(["podman", "exec", HOSTS[0], *command], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "ActiveState=active" in said
    return said


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"runner_acknowledge": []}, ("/var/run/docker.sock:/var/run/docker.sock", "socket_mount")),
        ({"runner_runners": [{"name": "new", "executor": "dokcer"}]}, ("is not an executor", "token is missing")),
    ],
    ids=["a socket in jobs", "a bad runner"],
)
def test_it_stops_before_anything_is_changed_because_of(variables, said):
    interrupt()
    recap, output = play("adopt", "--limit", HOSTS[0], "-e", json.dumps(variables))
    assert recap[HOSTS[0]]["failed"] == 1 and recap[HOSTS[0]]["changed"] == 0, output
    assert [text for text in said if text not in output] == [], output


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"runner_version": "99.0.0-1"}, "GitLab Runner cannot be installed from"),
        ({"tmpfs_storage_enabled": True, "tmpfs_storage_size": "64000G"}, "is more than"),
    ],
    ids=["no package", "no memory"],
)
def test_the_old_service_goes_on_where_the_new_one_has(variables, said):
    interrupt()
    before = invocation()
    recap, output = play("adopt", "--limit", HOSTS[0], "-e", json.dumps(variables))
    assert recap[HOSTS[0]]["failed"] == 1 and recap[HOSTS[0]]["changed"] == 0, output
    assert said in output
    assert invocation() == before


def test_an_interrupted_run_goes_on_and_docker_is_stopped_when_told():
    recap, output = play("adopt", "--limit", HOSTS[0], "-e", "adopt_docker=stop")
    assert recap[HOSTS[0]]["failed"] == 0, output
    state = subprocess.run(
        ["podman", "exec", HOSTS[0], "systemctl", "is-active", "docker.socket", "docker.service", "gitlab-runner"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    ).stdout.split()
    assert state == ["inactive", "inactive", "active"]
    groups = subprocess.run(
        ["podman", "exec", HOSTS[0], "id", "-nG", USER], stdout=subprocess.PIPE, text=True, check=True
    )
    assert "docker" not in groups.stdout.split()
    assert "glrt-" not in output
