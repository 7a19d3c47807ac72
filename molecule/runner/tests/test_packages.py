# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of the packages: upgrade, downgrade, hold, mirror, expired key, files, binary, removal."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
from ci_host import USER
from conftest import ROOT, a_runner, until

pytestmark = pytest.mark.usefixtures("without_the_archive")

NAMES = ("gitlab-runner", "gitlab-runner-helper-images")
PRUNED = "/var/log/gitlab-runner-standin-prune.log"
REPOSITORY = ROOT / ".cache/standin/repo"
OLD, NEW, NEWEST = "19.3.0-1", "19.4.0-1", "19.5.0-1"
UPGRADE = str(ROOT / "playbooks/upgrade.yml")
DROPINS = "/etc/systemd/system/gitlab-runner.service.d"


@pytest.fixture(scope="module")
def versions(host):
    return lambda: {host.package(name).version for name in NAMES}


@pytest.fixture(scope="module", autouse=True)
def old_version(play, versions):
    if versions() != {OLD}:
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
        # Whatever happens the job ends, because apt waits for it.
        try:
            until(lambda: show("ActiveState") == "deactivating")
            assert main_pid() == before and running.status() == "running"
        finally:
            ended = running.finish()
        assert ended["status"] == "success"
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert versions() == {NEW}
    unit = host.file("/etc/systemd/system/gitlab-runner.service").content_string
    assert "--user" in unit and "User=" not in unit, "the unit is the one of root that the package writes"
    assert config() == was
    runs_unprivileged()
    # apt alone lets the package prune what root's containers leave behind; none of the plays below may.
    host.check_output("rm %s", PRUNED)


def test_the_documented_settings_keep_other_upgrades_from_pruning(play, host, tmp_path, versions):
    """The tasks that docs/runner_service.md shows, and then both ways in which apt is started."""
    document = (ROOT / "docs/runner_service.md").read_text()
    tasks = re.search(r"```yaml\n(- name: Keep the upgrades of the night.*?)```", document, re.DOTALL)[1]
    playbook = tmp_path / "as_documented.yml"
    head = "- hosts: '{{ rootless_hosts }}'\n  become: true\n  gather_facts: false\n  tasks:\n"
    playbook.write_text(head + textwrap.indent(tasks, "    "))
    play(playbook=str(playbook))
    apt = "/usr/bin/apt-get install --yes --quiet --allow-downgrades"
    old, new = (" ".join(f"{name}={version}" for name in NAMES) for version in (OLD, NEW))
    # In the place of unattended-upgrades, which would wait for the night.
    nightly = "/run/systemd/system/apt-daily-upgrade.service.d"
    host.check_output(
        f"mkdir -p {nightly} && printf %s > {nightly}/test.conf && systemctl daemon-reload",
        f"[Service]\nExecStart=\nExecStart={apt} {old}\n",
    )
    host.check_output("systemctl start apt-daily-upgrade.service")
    assert versions() == {OLD}
    host.check_output(f"sudo {apt} {new}")
    assert versions() == {NEW}
    assert not host.file(PRUNED).exists
    host.check_output(
        f"rm -r {nightly} /etc/systemd/system/apt-daily-upgrade.service.d && systemctl daemon-reload &&"
        " sed -i /NO_DOCKER_PRUNE/d /etc/environment && rm /etc/sudoers.d/no-docker-prune"
    )


def test_downgrade_and_hold(play, host, versions, runs_unprivileged):
    play(runner_version=OLD, runner_package_hold=True)
    assert versions() == {OLD}
    runs_unprivileged()
    assert host.check_output("apt-mark showhold").split() == list(NAMES)
    host.check_output("apt-get upgrade --yes --quiet")
    assert versions() == {OLD}


@pytest.fixture
def apt_fails(host):
    """apt does what it is told to and fails then, as where the script of a package fails: it has forgotten a hold."""
    file = "/etc/apt/apt.conf.d/99-fails"
    host.check_output(f"echo 'DPkg::Post-Invoke {{\"false\";}};' >{file}")
    yield
    host.check_output(f"rm {file}")


@pytest.mark.parametrize(
    ("playbook", "version"), [("molecule/runner/role.yml", NEW), (UPGRADE, OLD)], ids=["role", "upgrade"]
)
def test_a_hold_outlives_an_apt_that_fails(play, host, versions, apt_fails, playbook, version):
    play(playbook=playbook, runner_version=version, fails=True)
    assert versions() == {version}, "apt has got as far as to forget the hold"
    assert host.check_output("apt-mark showhold").split() == list(NAMES)


def test_a_key_that_cannot_be_fetched_keeps_no_run_from_changing_a_runner(play, host, config):
    unreachable = {"runner_repository_key": "http://127.0.0.1:9/gpg.key"}
    result = play(**unreachable)
    assert result.changed == 0 and "keeps the key of the package repository" in " ".join(result.output.split())
    play(**unreachable, runner_runners=[a_runner(host.backend.name, limit=7)])
    assert "limit = 7" in config()


def test_the_upgrade_leaves_alone_what_is_not_ours(play, host, main_pid, versions):
    before, away = main_pid(), "/root/gitlab-runner.service.d"
    host.check_output(f"mv {DROPINS} {away} && systemctl daemon-reload")
    try:
        result = play(playbook=UPGRADE, fails=True)
    finally:
        host.check_output(f"mv {away} {DROPINS} && systemctl daemon-reload")
    output = " ".join(result.output.split())
    assert "runs as root and its KillSignal is 15" in output and "rootless.gitlab_runner.adopt" in output, output
    assert result.changed == 0
    result = play(playbook=UPGRADE, fails=True, runner_install_method="binary")
    assert "runner_binary_url and runner_binary_checksum" in " ".join(result.output.split())
    assert (main_pid(), versions()) == (before, {OLD})


def test_the_upgrade_stops_at_the_first_host_that_fails(play, host, tmp_path, versions):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("broken: {hosts: {no-such-host: {ansible_host: 127.0.0.1, ansible_port: 1}}}\n")
    hosts = f"broken:{host.backend.name}"
    result = play("-i", str(inventory), playbook=UPGRADE, fails=True, rootless_hosts=hosts)
    assert "no-such-host" in result.output
    assert versions() == {OLD}, "the host after the broken one was upgraded"


def test_the_upgrade_drains_upgrades_and_is_idempotent(
    play, host, job, main_pid, show, submit, versions, runs_unprivileged
):
    before, running = main_pid(), job()
    with ThreadPoolExecutor() as pool:
        upgrade = pool.submit(play, playbook=UPGRADE)
        try:
            until(lambda: show("ActiveState") == "deactivating")
            assert main_pid() == before and versions() == {OLD}
        finally:
            ended = running.finish()
        assert ended["status"] == "success"
        assert upgrade.result().changed > 0
    assert versions() == {NEW}
    runs_unprivileged()
    assert submit("echo ok")["status"] == "success"
    assert host.check_output("apt-mark showhold").split() == list(NAMES), "apt forgets the hold of what it changes"
    assert play(playbook=UPGRADE).changed == 0


def test_package_files_are_installed_though_the_packages_are_held(play, host, versions, runs_unprivileged):
    pool = REPOSITORY / "debian/pool/main/g/gitlab-runner"
    variables = {
        "runner_install_method": "deb",
        "runner_package_files": [str(pool / f"{name}_{OLD}_all.deb") for name in NAMES],
    }
    copies = "/var/cache/rootless-gitlab-runner"
    host.check_output(f"mkdir -p {copies} && touch {copies}/gitlab-runner_18.0.0-1_all.deb")
    play(**variables)
    assert versions() == {OLD}
    runs_unprivileged()
    assert host.check_output("apt-mark showhold").split() == list(NAMES)
    assert set(host.file(copies).listdir()) == {f"{name}_{OLD}_all.deb" for name in NAMES}
    assert play(**variables).changed == 0


@pytest.fixture(scope="module")
def mirror(tmp_path_factory, serve):
    """A mirror below another path. A call says whether it hands out its key as it was, or renewed, and any packages."""
    place = tmp_path_factory.mktemp("mirror")
    key = place / "apt/gitlab/gpg.key"

    def build(*arguments: str) -> str:
        command = [sys.executable, str(ROOT / "tests/support/build_repository.py"), str(place / "apt/gitlab")]
        command += ["--version", NEWEST, "--key-home", str(place / "keys"), "--suite", "bookworm", "--suite", "trixie"]
        subprocess.run([*command, *arguments], check=True, capture_output=True)
        return key.read_text()

    # It lived for a year, and was given another one afterwards.
    expired = build("--faked-time", f"{datetime.datetime.now().year - 2}0101T000000")
    renewed = build()
    base = f"{serve(repository=place).url}/repo/apt/gitlab"
    variables = {"runner_repository_url": f"{base}/debian", "runner_repository_key": f"{base}/gpg.key"}

    pool, away = place / "apt/gitlab/debian/pool", place / "away"

    def hand_out(has_expired: bool, has_packages: bool = True) -> dict[str, str]:
        key.write_text(expired if has_expired else renewed)
        source, target = (away, pool) if has_packages else (pool, away)
        if source.exists():
            source.rename(target)
        return variables

    return hand_out


def test_another_source_of_the_repository_makes_way_and_comes_back_where_ours_fails(play, host):
    """apt would read none of the sources while two name different keys for one repository."""
    other, ours, key = (f"/etc/apt/sources.list.d/{name}" for name in ("other.sources", "gitlab-runner.sources", "key"))
    text = host.file(ours).content_string.replace("/etc/apt/keyrings/gitlab-runner.asc", f"{key}.asc")
    host.check_output(f"cp /etc/apt/keyrings/gitlab-runner.asc {key}.asc && rm {ours} && printf %s > {other}", text)
    play(runner_version="0.0.0-1", fails=True)
    assert host.file(other).content_string == text and not host.file(ours).exists
    host.check_output("apt-get update")
    play()
    assert "Signed-By" in host.file(ours).content_string
    assert {line[:1] for line in host.file(other).content_string.splitlines()} == {"#"}
    host.check_output("apt-get update")
    host.check_output(f"rm {other} {key}.asc")


def test_a_mirror_with_an_expired_key_stops_the_play_until_the_key_is_renewed(
    play, host, mirror, main_pid, show, versions, runs_unprivileged
):
    before = main_pid()
    result = play(**mirror(True), runner_version=NEWEST, fails=True)
    assert "cannot be installed from" in result.output and "expired" in result.output.lower(), result.output
    assert main_pid() == before and show("ActiveState") == "active"
    result = play(**mirror(False, False), playbook=UPGRADE, runner_version=NEWEST, fails=True)
    assert "cannot be installed from" in result.output and "404" in result.output, result.output
    assert main_pid() == before, "the service was stopped for packages that cannot be had"
    play(**mirror(False), runner_version=NEWEST, runner_package_hold=False)
    assert versions() == {NEWEST}
    runs_unprivileged()
    assert host.check_output("apt-mark showhold") == ""


def test_removal_keeps_the_configuration_unless_told_otherwise_and_a_binary_takes_over(
    play, host, job, submit, config, show, main_pid, restarted, runs_unprivileged
):
    was, running = config(), job()
    # As the package alone defines the service: its stop kills the jobs.
    runtime = "/run/systemd/system/gitlab-runner.service.d"
    unit = "[Service]\nKillSignal=SIGTERM\n"
    host.check_output(f"mkdir -p {runtime} && printf %s >{runtime}/z.conf && systemctl daemon-reload", unit)
    with ThreadPoolExecutor() as pool:
        removal = pool.submit(play, runner_state="absent")
        try:
            until(lambda: show("ActiveState") == "deactivating")
        finally:
            ended = running.finish()
        assert ended["status"] == "success", ended
        assert removal.result().changed > 0
    for name in NAMES:
        assert not host.package(name).is_installed
    for path in ("/etc/systemd/system/gitlab-runner.service", DROPINS, "/etc/apt/sources.list.d/gitlab-runner.sources"):
        assert not host.file(path).exists, path
    assert config() == was
    assert play("--check", runner_package_hold=True).changed > 0
    assert not host.package("gitlab-runner").is_installed
    # A check does not fetch the package lists, which have no strace here.
    host.check_output("dpkg --purge strace")
    assert play("--check", runner_launch="strace").changed == 1

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
    binary["runner_binary_checksum"] = f"sha256:{sums[0]}"
    assert play(**binary).changed == 0
    for variables, path in (({"runner_version": OLD}, "/usr/bin/"), (binary, "/usr/local/bin/")):
        before = main_pid()
        play(**variables)
        restarted(before)
        runs_unprivileged()
        assert f"path={path}gitlab-runner" in show("ExecStart")
        if path == "/usr/bin/":
            # As the real package writes it, whose script takes the program that is first in the PATH.
            unit, other = "/etc/systemd/system/gitlab-runner.service", "/usr/local/bin/gitlab-runner"
            host.check_output(f"rm {other} && sed -i 's,^ConditionFile.*=.*,ConditionFileIsExecutable={other},' {unit}")
            host.check_output("systemctl daemon-reload && systemctl restart gitlab-runner")
            runs_unprivileged()

    host.check_output("touch /etc/gitlab-runner/of-somebody")
    play(runner_state="absent", runner_remove_config=True)
    assert host.file("/etc/gitlab-runner").listdir() == ["of-somebody"]
    host.check_output("rm /etc/gitlab-runner/of-somebody")
    play(runner_state="absent", runner_remove_config=True)
    assert play(runner_state="absent", runner_remove_config=True).changed == 0
    assert not host.file("/etc/gitlab-runner").exists
    assert not host.file("/usr/local/bin/gitlab-runner").exists
    assert host.user(USER).exists
    assert not host.file(PRUNED).exists
