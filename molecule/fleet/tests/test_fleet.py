# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks on a fleet, in this order: all is well, a rolling upgrade, then hosts that are down, full and broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

SCENARIO = Path(__file__).resolve().parents[1]
SIZE = int(os.environ.get("FLEET_SIZE", "8"))
HOSTS = [f"fleet-{number}" for number in range(1, SIZE + 1)]
DOWN, FULL, BROKEN = HOSTS[2], HOSTS[4], HOSTS[6]
HEALTHY = [host for host in HOSTS if host not in (DOWN, FULL, BROKEN)]


def on_host(host: str, command: str) -> str:
    return subprocess.run(
        ["podman", "exec", host, "sh", "-c", command], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def play(name: str, **variables: object) -> tuple[dict[str, dict[str, int]], str]:
    """Run a playbook of the collection on the fleet; return the recap by host, and the output."""
    limit = variables.pop("limit", "all")
    command = ["ansible-playbook", "-i", str(SCENARIO / "inventory"), f"rootless.gitlab_runner.{name}"]
    command += ["--limit", str(limit), "--extra-vars", json.dumps(variables)]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    output = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    ).stdout
    recap = {
        host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", rest)}
        for host, rest in re.findall(r"^(fleet-\d+) +: (.*)$", output, re.M)
    }
    return recap, output


def version(host: str) -> str:
    return on_host(host, "dpkg-query --show --showformat '${Version}' gitlab-runner")


def outcome(recap: dict[str, dict[str, int]], hosts: list[str]) -> set[tuple[int, int]]:
    """How the play has ended on the hosts, as pairs of failed tasks and unreachable hosts."""
    return {(recap[host]["failed"], recap[host]["unreachable"]) for host in hosts}


def test_doctor_of_a_fleet_that_is_well(tmp_path):
    recap, output = play("doctor", doctor_report_dir=str(tmp_path))
    assert outcome(recap, HOSTS) == {(0, 0)}, output
    fleet = json.loads((tmp_path / "fleet.json").read_text())
    assert sorted(fleet) == sorted(HOSTS)
    severities = {finding["severity"] for report in fleet.values() for finding in report["findings"]}
    assert "error" not in severities, output


def test_rolling_upgrade_begins_with_one_host():
    recap, output = play("upgrade", runner_version="19.4.0-1", upgrade_serial=[1, "100%"])
    assert outcome(recap, HOSTS) == {(0, 0)}, output
    assert {version(host) for host in HOSTS} == {"19.4.0-1"}
    users = {on_host(host, "stat -c %U /proc/$(systemctl show -P MainPID gitlab-runner)") for host in HOSTS}
    assert users == {"gitlab-runner"}
    assert output.count("PLAY [Upgrade GitLab Runner]") == 2


@pytest.fixture(scope="module")
def broken():
    """One host does not answer, one has no room for packages, and apt of one has a source that it cannot read."""
    on_host(FULL, "mount -t tmpfs -o size=16k tmpfs /var/cache/apt/archives && mkdir /var/cache/apt/archives/partial")
    on_host(BROKEN, "echo 'deb without sense' >/etc/apt/sources.list.d/broken.list")
    subprocess.run(["podman", "pause", DOWN], check=True)


def mend() -> None:
    subprocess.run(["podman", "unpause", DOWN], check=True)
    on_host(FULL, "umount /var/cache/apt/archives")
    on_host(BROKEN, "rm /etc/apt/sources.list.d/broken.list")


def test_the_others_finish(broken):
    recap, output = play("site", runner_version="19.3.0-1")
    assert outcome(recap, HEALTHY) == {(0, 0)}, output
    assert {version(host) for host in HEALTHY} == {"19.3.0-1"}
    assert outcome(recap, [DOWN]) == {(0, 1)}
    assert outcome(recap, [FULL, BROKEN]) == {(1, 0)}
    assert "No space left on device" in output and "broken.list" in output
    # What could not be changed goes on as it was.
    for host in (FULL, BROKEN):
        assert version(host) == "19.4.0-1"
        assert on_host(host, "systemctl is-active gitlab-runner") == "active"


def test_doctor_reports_of_the_others_and_names_the_one_that_is_down(broken, tmp_path):
    recap, output = play("doctor", doctor_report_dir=str(tmp_path))
    assert outcome(recap, [DOWN]) == {(0, 1)}
    assert outcome(recap, [host for host in HOSTS if host != DOWN]) == {(0, 0)}, output
    fleet = json.loads((tmp_path / "fleet.json").read_text())
    assert sorted(fleet) == sorted(HOSTS)
    assert not fleet[DOWN]
    assert all(fleet[host]["passed_checks"] for host in HOSTS if host != DOWN)
    assert DOWN in (tmp_path / "fleet.html").read_text()


def test_rolling_upgrade_stops_at_the_first_host_that_fails(broken):
    before, after = HOSTS[1], HOSTS[3]
    recap, output = play("upgrade", runner_version="19.4.0-1", limit=f"{before},{DOWN},{after}")
    assert outcome(recap, [DOWN]) == {(0, 1)}, output
    assert (version(before), version(after)) == ("19.4.0-1", "19.3.0-1")


def test_rolling_upgrade_in_batches_stops_too(broken):
    """After a batch in which a host failed when its runner had been stopped, and was started again."""
    first, beside, after = HOSTS[3], HOSTS[5], HOSTS[7]
    on_host(first, """echo 'DPkg::Pre-Invoke {"exit 1";};' >/etc/apt/apt.conf.d/99refuse""")
    options = {"runner_version": "19.4.0-1", "upgrade_serial": 2, "limit": f"{first},{beside},{after}"}
    recap, output = play("upgrade", **options)
    on_host(first, "rm /etc/apt/apt.conf.d/99refuse")
    assert outcome(recap, [first, after]) == {(1, 0)} and outcome(recap, [beside]) == {(0, 0)}, output
    assert (version(first), version(beside), version(after)) == ("19.3.0-1", "19.4.0-1", "19.3.0-1")
    assert f"{first} failed before" in " ".join(output.split())
    assert on_host(first, "systemctl is-active gitlab-runner") == "active"


def test_they_catch_up_when_they_are_mended(broken):
    mend()
    recap, output = play("site", runner_version="19.4.0-1", site_serial=["25%", "100%"])
    assert outcome(recap, HOSTS) == {(0, 0)}, output
    assert output.count("PLAY [Turn machines into GitLab CI hosts") == 2
    assert {version(host) for host in HOSTS} == {"19.4.0-1"}
