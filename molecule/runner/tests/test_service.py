# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service: restarts that wait for jobs, launch modes, sandbox, metrics, services of jobs."""

from __future__ import annotations

from ci_host import IMAGE, USER
from conftest import a_runner

SETTINGS = {"concurrent": 2, "check_interval": 1}


def test_a_restart_waits_for_the_running_job_and_the_play_does_not(play, job, main_pid, restarted, show, host):
    play()
    before, running = main_pid(), job()
    result = play(runner_environment={"DRAINED": "yes"}, runner_drain_wait=4)
    assert "The runner restarts when its running jobs have finished" in result.output
    assert show("ActiveState") == "deactivating" and main_pid() == before
    assert running.status() == "running"
    assert running.finish()["status"] == "success"
    after = restarted(before)
    assert "DRAINED=yes" in host.file(f"/proc/{after}/environ").content_string


def test_config_changes_restart_nothing_but_the_listen_address_does(play, main_pid, restarted, host, config):
    play()
    before = main_pid()
    result = play(runner_settings={**SETTINGS, "concurrent": 3}, runner_log_level="debug")
    assert result.changed == 1 and "concurrent = 3" in config()
    assert main_pid() == before
    play(runner_settings=SETTINGS, runner_listen_address="127.0.0.1:9253")
    restarted(before)
    assert host.socket("tcp://127.0.0.1:9253").is_listening
    assert not host.socket("tcp://127.0.0.1:9252").is_listening
    play()


def test_metrics_answer_on_the_loopback_interface_only(host):
    page = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9252/%s').read().decode())"
    assert "ready" in host.check_output("python3 -c %s", page % "health/ready")
    assert "gitlab_runner_version_info" in host.check_output("python3 -c %s", page % "metrics")
    listening = host.check_output("ss --listening --tcp --numeric --no-header").splitlines()
    assert [line.split()[3] for line in listening if ":9252" in line] == ["127.0.0.1:9252"]


def test_nothing_to_do_is_done_in_twelve_tasks(play):
    """In site.yml it is fewer: the roles before have gathered the facts and looked up the user."""
    result = play()
    assert (result.changed, result.ok) == (0, 12), result.output


def test_launch_modes_are_switched_by_a_drained_restart(
    play, job, submit, main_pid, restarted, journal, exposure, runs_unprivileged
):
    """Each switch happens under a running job, so the next mode's turn tests the drain of the one before."""
    for launch, claim, score in (
        ("userns", "system-mode", 2.5),
        ("strace", "system-mode", 2.5),
        ("user", "user-mode", 1.5),
    ):
        before, running = main_pid(), job()
        play(runner_launch=launch, runner_drain_wait=2)
        assert main_pid() == before and running.status() == "running", launch
        assert running.finish()["status"] == "success", launch
        after = restarted(before)
        runs_unprivileged()
        assert submit("echo ok")["status"] == "success", launch
        assert f"Running in {claim}" in journal(after), launch
        assert exposure() <= score, launch


def test_without_the_sandbox_the_service_is_exposed(play, exposure, submit, main_pid, restarted):
    before = main_pid()
    play(runner_hardening=False)
    restarted(before)
    assert exposure() > 9
    assert submit("echo ok")["status"] == "success"


LOOSE = {
    "ProtectHome": False,
    "BindPaths": None,
    "BindReadOnlyPaths": None,
    "ReadWritePaths": ["/etc/gitlab-runner", f"/home/{USER}", "/run/user"],
}


def test_a_shell_executor_gets_what_it_needs_by_single_directives(
    play, call, submit, main_pid, restarted, exposure, host
):
    call("POST", "runners", {"token": "glrt-shell", "tag_list": ["shell"]})
    shell = a_runner("shell", token="glrt-shell", executor="shell")
    del shell["docker"]
    runners, script = [a_runner(host.backend.name), shell], ("id -un", "touch ~/of-a-job")
    before = main_pid()
    play(runner_runners=runners)
    before = restarted(before)
    sandboxed = submit(*script, tag="shell")
    assert USER in sandboxed["trace"] and sandboxed["status"] == "failed", sandboxed
    play(runner_runners=runners, runner_hardening_directives=LOOSE)
    restarted(before)
    loose = submit(*script, tag="shell")
    assert loose["status"] == "success", loose
    assert host.file(f"/home/{USER}/of-a-job").user == USER
    assert exposure() < 2.5
    play(runner_purge=True)


def test_a_job_finds_its_service_by_name(call, submit):
    service = {"name": IMAGE, "alias": "db", "command": ["sleep", "60"]}
    number = call("POST", "jobs", {"script": ["nslookup db"], "services": [service]})["id"]
    found = call("GET", f"jobs/{number}?wait=60")
    assert found["status"] == "success", found


def test_what_a_stopped_play_has_left_is_applied_by_the_next(play, host, main_pid, restarted):
    before = main_pid()
    broken = a_runner(host.backend.name, limmit=1)
    play(runner_environment={"LEFT": "behind"}, runner_runners=[broken], fails=True)
    assert main_pid() == before
    play(runner_environment={"LEFT": "behind"})
    after = restarted(before)
    assert "LEFT=behind" in host.file(f"/proc/{after}/environ").content_string
    play()
    restarted(after)
