# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of the packages: upgrade, downgrade, hold, mirror, expired key, files, binary, removal."""

from __future__ import annotations

import datetime
import subprocess
import sys

import pytest
from ci_host import USER
from conftest import ROOT, until

NAMES = ("gitlab-runner", "gitlab-runner-helper-images")
PRUNED = "/var/log/gitlab-runner-standin-prune.log"
REPOSITORY = ROOT / ".cache/standin/repo"
OLD, NEW = "19.3.0-1", "19.4.0-1"
DROPINS = "/etc/systemd/system/gitlab-runner.service.d"


@pytest.fixture(scope="module")
def versions(host):
    return lambda: {host.package(name).version for name in NAMES}


@pytest.fixture(scope="module", autouse=True)
def old_version(play):
    play(runner_version=OLD)


def test_apt_alone_upgrades_and_the_job_that_runs_succeeds(
    host, job, main_pid, show, config, versions, runs_unprivileged
):
    assert versions() == {OLD}
    before, was, running = main_pid(), config(), job()
    packages = " ".join(f"{name}={NEW}" for name in NAMES)
    apt = f"DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet {packages}"
    command = ["podman", "exec", host.backend.name, "sh", "-c", apt]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        until(lambda: show("ActiveState") == "deactivating")
        assert main_pid() == before and running.status() == "running"
        assert running.finish()["status"] == "success"
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert versions() == {NEW}
    assert "--user" in host.file("/etc/systemd/system/gitlab-runner.service").content_string, (
        "the unit is the package's"
    )
    assert config() == was
    runs_unprivileged()
    # Only a play can keep the package from pruning; apt alone has done it.
    host.check_output("rm -f %s", PRUNED)


def test_downgrade_pin_and_hold(play, host, versions, runs_unprivileged):
    play(runner_version=OLD, runner_package_hold=True)
    assert versions() == {OLD}
    runs_unprivileged()
    assert set(host.check_output("apt-mark showhold").split()) == set(NAMES)
    host.run("apt-get upgrade --yes --quiet")
    assert versions() == {OLD}
    assert play(runner_version=OLD, runner_package_hold=True).changed == 0
    assert not host.file(PRUNED).exists


def test_the_upgrade_playbook_drains_upgrades_and_is_idempotent(play, host, submit, versions, runs_unprivileged):
    playbook = str(ROOT / "playbooks/upgrade.yml")
    assert play(playbook=playbook).changed > 0
    assert versions() == {NEW}
    runs_unprivileged()
    assert submit("echo ok")["status"] == "success"
    assert set(host.check_output("apt-mark showhold").split()) == set(NAMES)
    assert play(playbook=playbook).changed == 0
    assert not host.file(PRUNED).exists
    play(runner_package_hold=False)
    assert host.check_output("apt-mark showhold") == ""


def test_the_upgrade_stops_at_the_first_host_that_fails(play, host, tmp_path, versions):
    play(runner_version=OLD)
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("broken: {hosts: {no-such-host: {ansible_connection: containers.podman.podman}}}\n")
    hosts = f"broken:{host.backend.name}"
    result = play("-i", str(inventory), playbook=str(ROOT / "playbooks/upgrade.yml"), fails=True, rootless_hosts=hosts)
    assert "no-such-host" in result.output
    assert versions() == {OLD}, "the host after the broken one was upgraded"


@pytest.fixture(scope="module")
def mirror(tmp_path_factory, serve):
    """A mirror below another path, whose key has expired; a call renews it."""
    place = tmp_path_factory.mktemp("mirror")

    def build(*arguments: str) -> None:
        command = [sys.executable, str(ROOT / "tests/support/build_repository.py"), str(place / "apt/gitlab")]
        command += ["--version", NEW, "--key-home", str(place / "keys"), "--suite", "bookworm", "--suite", "trixie"]
        subprocess.run([*command, *arguments], check=True, capture_output=True)

    build("--faked-time", f"{datetime.datetime.now().year - 2}0101T000000")
    base = f"{serve(repository=place).url}/repo/apt/gitlab"
    return build, {"runner_repository_url": f"{base}/debian", "runner_repository_key": f"{base}/gpg.key"}


def test_a_mirror_with_an_expired_key_stops_the_play_until_the_key_is_renewed(
    play, mirror, main_pid, show, versions, runs_unprivileged
):
    build, variables = mirror
    before = main_pid()
    result = play(**variables, runner_version=NEW, fails=True)
    assert "EXPKEYSIG" in result.output or "expired" in result.output.lower(), result.output
    assert main_pid() == before and show("ActiveState") == "active"
    build()
    play(**variables, runner_version=NEW)
    assert versions() == {NEW}
    runs_unprivileged()
    play(runner_version=NEW)


def test_package_files(play, versions, runs_unprivileged):
    pool = REPOSITORY / "debian/pool/main/g/gitlab-runner"
    files = [str(pool / f"{name}_{OLD}_all.deb") for name in NAMES]
    play(runner_install_method="deb", runner_package_files=files)
    assert versions() == {OLD}
    runs_unprivileged()
    assert play(runner_install_method="deb", runner_package_files=files).changed == 0


def test_removal_keeps_the_configuration_unless_told_otherwise_and_a_binary_takes_over(
    play, host, submit, config, show, runs_unprivileged
):
    was = config()
    play(runner_state="absent")
    for name in NAMES:
        assert not host.package(name).is_installed
    for path in ("/etc/systemd/system/gitlab-runner.service", DROPINS, "/etc/apt/sources.list.d/gitlab-runner.sources"):
        assert not host.file(path).exists, path
    assert config() == was
    assert play(runner_state="absent").changed == 0

    program = REPOSITORY / "v19.4.0/binaries/gitlab-runner-linux-amd64"
    sums = (REPOSITORY / "v19.4.0/release.sha256").read_text().split()
    url = f"http://127.0.0.1:8929/repo/v19.4.0/binaries/{program.name}"
    binary = {"runner_install_method": "binary", "runner_binary_url": url}
    wrong = play(**binary, runner_binary_checksum=f"sha256:{'0' * 64}", fails=True)
    assert "checksum" in wrong.output
    play(**binary, runner_binary_checksum=f"sha256:{sums[0]}")
    runs_unprivileged()
    assert "/usr/local/bin/gitlab-runner" in show("ExecStart")
    assert submit("echo ok")["status"] == "success"
    assert play(**binary, runner_binary_checksum=f"sha256:{sums[0]}").changed == 0

    play(runner_state="absent", runner_remove_config=True)
    assert not host.file("/etc/gitlab-runner").exists
    assert not host.file("/usr/local/bin/gitlab-runner").exists
    assert host.user(USER).exists

    play()
    runs_unprivileged()
    assert submit("echo ok")["status"] == "success"
    assert not host.file(PRUNED).exists
