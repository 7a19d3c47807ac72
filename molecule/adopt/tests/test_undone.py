# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back: the hosts are what they were."""

from __future__ import annotations

import json
import subprocess

import pytest
import testinfra
from adopted_hosts import BACKUP, CONFIG, HOSTS, kind, play
from ci_host import IMAGE, USER


@pytest.fixture(scope="session")
def undone() -> str:
    # GitLab rotates a token of the second host while the undo waits for jobs: here when the runner has ended.
    dropin = "/run/systemd/system/gitlab-runner.service.d/rotate.conf"
    rotate = f"mkdir -p $(dirname {dropin}) && echo '[Service]' >{dropin} && "
    rotate += f"echo 'ExecStopPost=+/bin/sed -i s/token-1/token-4/ {CONFIG}' >>{dropin} && systemctl daemon-reload"
    subprocess.run(["podman", "exec", HOSTS[1], "sh", "-c", rotate], check=True)
    recap, output = play("adopt", "-e", "adopt_undo=true")
    assert [recap[host]["failed"] for host in HOSTS] == [0, 0], output
    subprocess.run(["podman", "exec", HOSTS[1], "sh", "-c", f"rm {dropin} && systemctl daemon-reload"], check=True)
    return output


def test_undo_brings_the_configuration_back(host, undone):
    before, after = "/root/before", "/etc/gitlab-runner"
    listing = "cd {} && find . -not -name '*~' -printf '%%p %%u %%g %%m\\n' | sort"
    assert host.check_output(listing.format(after)) == host.check_output(listing.format(before))
    expected = host.file(f"{before}/config.toml").content_string
    if kind(host) == "root":
        assert host.file(CONFIG).content_string == expected
    else:
        # The new token stays, and what jobs run in is what it was.
        text = host.file(CONFIG).content_string
        assert "token-4" in text and "token-1" not in text
        assert "FF_NETWORK_PER_BUILD" not in text
        assert [line for line in text.splitlines() if " host = " in line] == [
            line for line in expected.splitlines() if " host = " in line
        ]
    assert "glrt-" not in undone


def test_undo_brings_the_service_back(host, undone):
    service = host.service("gitlab-runner")
    assert service.is_enabled and service.is_running
    command = host.check_output("systemctl show gitlab-runner --property ExecStart")
    user = host.check_output("systemctl show gitlab-runner --property User")
    if kind(host) == "root":
        assert (user, "strace" in command) == ("User=", False)
        assert host.service("docker.socket").is_enabled and host.service("docker").is_running
        assert "docker" in host.user(USER).groups
    else:
        assert (user, "strace" in command) == (f"User={USER}", True)
    assert not host.file(BACKUP).exists
    assert host.run("ls /etc/systemd/system/gitlab-runner.service.d/rootless*").rc != 0
    assert host.file("/etc/apt/sources.list.d/runner_gitlab-runner.list").content_string.startswith("deb [signed-by=")
    assert not host.file("/etc/apt/sources.list.d/gitlab-runner.sources").exists
    above = "/etc /etc/apt /etc/apt/sources.list.d /etc/systemd /etc/systemd/system"
    assert set(host.check_output(f"stat --format '%U %a' {above}").splitlines()) == {"root 755"}


def test_jobs_run_again_as_before(host, undone, submit, as_runner):
    if kind(host) == "root":
        host.check_output(f"podman --root /home/docker image exists {IMAGE}")
        created = "podman --root /home/docker events --stream=false --filter event=create"
        before = host.check_output(created).count("\n")
        assert submit("echo $((6 * 7))")["status"] == "success"
        assert host.check_output(created).count("\n") > before
    else:
        assert submit("echo $((6 * 7))")["status"] == "success"


def test_there_is_nothing_to_undo_twice(undone):
    recap, output = play("adopt", "--limit", HOSTS[1], "-e", "adopt_undo=true")
    assert recap[HOSTS[1]]["failed"] == 1 and recap[HOSTS[1]]["changed"] == 0, output


def test_the_doctor_names_what_is_old_and_site_modernises_it_without_a_loss(undone):
    """The host of the procedure of 2021, as that left it: its configuration, its tokens and its images stay."""
    host = testinfra.get_host(f"podman://{HOSTS[1]}")
    before = host.file(CONFIG).content_string.splitlines()
    _recap, output = play("doctor", "--limit", HOSTS[1])
    for finding in ("tmpfs.huge", "runner.unit_user", "runner.config_owner", "storage.metacopy"):
        assert finding in output

    options = {"tmpfs_storage_path": "/mnt/gitlab-runner-volatile", "tmpfs_storage_size": "2G"}
    # As from the command line: "true" is a string there.
    options["tmpfs_storage_enabled"] = "true"
    recap, output = play("site", "--limit", HOSTS[1], "--extra-vars", json.dumps(options))
    assert recap[HOSTS[1]]["failed"] == 0, output
    assert "glrt-" not in output
    after = host.file(CONFIG).content_string.splitlines()
    assert [line for line in before if line not in after] == []
    images = f"runuser -u {USER} -- env -C / XDG_RUNTIME_DIR=/run/user/$(id -u {USER}) podman images"
    assert IMAGE.split(":")[0] in host.check_output(images)
    assert "strace" not in host.check_output("systemctl show gitlab-runner --property ExecStart")
    recap, output = play("doctor", "--limit", HOSTS[1], "-e", "doctor_fail_on=error")
    assert recap[HOSTS[1]]["failed"] == 0, output
