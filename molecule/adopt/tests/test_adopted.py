# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an adopted host has of its own, that site.yml leaves it alone then, and that there is a way back."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from ci_host import IMAGE, USER

SCENARIO = Path(__file__).resolve().parents[1]
BACKUP = "/var/backups/gitlab-runner-adopt"
CONFIG = "/etc/gitlab-runner/config.toml"
HOSTS = ("adopt-root", "adopt-strace")


def play(name: str, *options: str) -> tuple[dict[str, dict[str, int]], str]:
    """Run a playbook of the collection on the hosts; return the recap by host, and the output."""
    command = ["ansible-playbook", "-i", str(SCENARIO / "inventory"), f"rootless.gitlab_runner.{name}", *options]
    output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
    recap = {
        host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", rest)}
        for host, rest in re.findall(r"^(adopt-\S+) +: (.*)$", re.sub(r"\x1b\[[0-9;]*m", "", output), re.M)
    }
    return recap, output


def kind(host) -> str:
    return host.check_output("hostname").removeprefix("adopt-")


def job(host, number: str) -> dict:
    code = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:8929/_test/jobs/{number}').read().decode())"
    return json.loads(host.check_output("python3 -c %s", code))


def test_the_job_that_was_running_has_finished(host):
    result = job(host, host.file("/srv/gate/job").content_string)
    assert result["status"] == "success", result
    assert "I have finished" in result["trace"]


def test_only_what_had_to_change_in_the_configuration_has_changed(host, uid):
    before = host.file("/root/before/config.toml").content_string.splitlines()
    after = host.file(CONFIG).content_string.splitlines()
    removed = [line.strip() for line in before if line not in after]
    added = [line.strip() for line in after if line not in before]
    socket = f'host = "unix:///run/user/{uid}/podman/podman.sock"'
    globals_of_the_role = {'log_level = "info"', 'log_format = "text"', 'listen_address = "127.0.0.1:9252"'}
    if kind(host) == "root":
        assert removed == ['log_level = "warning"', 'host = "unix:///var/run/docker.sock"']
        assert added.count(socket) == 2
        assert 'host = "tcp://192.0.2.1:2376"' in [line.strip() for line in after]
    else:
        assert removed == []
    assert set(added) - globals_of_the_role <= {
        socket,
        "[runners.feature_flags]",
        "FF_NETWORK_PER_BUILD = true",
        "",
    }
    assert "# copied from the old server" in "\n".join(after) or kind(host) == "strace"


def test_what_was_there_is_kept_for_root_only(host):
    directory = host.file(BACKUP)
    assert (directory.user, directory.mode) == ("root", 0o700)
    kept = host.file(BACKUP + CONFIG)
    assert kept.content == host.file("/root/before/config.toml").content
    assert kept.user == "root"


def test_certificates_are_where_the_runner_looks_for_them(host):
    certificate = host.file(f"/home/{USER}/.gitlab-runner/certs/gitlab.example.com.crt")
    assert certificate.user == USER


def test_docker_is_left_alone(host):
    if kind(host) == "root":
        assert host.service("docker.socket").is_enabled and host.service("docker").is_running
        assert "docker" in host.user(USER).groups


def test_the_procedures_drop_in_is_overridden_not_removed(host):
    if kind(host) == "strace":
        assert host.file("/etc/systemd/system/gitlab-runner.service.d/override.conf").exists
    assert "strace" not in host.check_output("systemctl show gitlab-runner --property ExecStart")


def test_nothing_remains_of_the_draining(host):
    assert not host.file("/run/systemd/system/gitlab-runner.service.d/zz-rootless-drain.conf").exists


def test_jobs_run_in_the_podman_of_the_runner_user(host, submit, as_runner):
    before = as_runner("podman events --stream=false --filter event=create").count("\n")
    result = submit("echo $((6 * 7))")
    assert result["status"] == "success", result
    assert as_runner("podman events --stream=false --filter event=create").count("\n") > before


def test_site_has_nothing_to_do():
    recap, output = play("site")
    assert [recap[host]["changed"] + recap[host]["failed"] for host in HOSTS] == [0, 0], output


def test_it_stops_because_of_a_socket_in_jobs_before_anything_is_changed():
    # The host is adopted, so the earlier state has to be looked for: without the mark of the end it is "interrupted".
    subprocess.run(["podman", "exec", HOSTS[0], "rm", f"{BACKUP}/adopted"], check=True)
    recap, output = play("adopt", "--limit", HOSTS[0], "-e", '{"runner_acknowledge": []}')
    assert recap[HOSTS[0]]["failed"] == 1 and recap[HOSTS[0]]["changed"] == 0, output
    assert "/var/run/docker.sock:/var/run/docker.sock" in output and "socket_mount" in output


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


@pytest.fixture(scope="session")
def undone() -> str:
    # Between adoption and undo, GitLab has rotated a token of the second host.
    subprocess.run(["podman", "exec", HOSTS[1], "sed", "-i", "s/token-1/token-4/", CONFIG], check=True)
    recap, output = play("adopt", "-e", "adopt_undo=true")
    assert [recap[host]["failed"] for host in HOSTS] == [0, 0], output
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
    assert host.file("/etc/apt/sources.list.d/runner_gitlab-runner.list").exists
    assert not host.file("/etc/apt/sources.list.d/gitlab-runner.sources").exists


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
