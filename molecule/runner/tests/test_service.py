# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service: restarts that wait for jobs, launch modes, sandbox, metrics, services of jobs."""

from __future__ import annotations

import json
import subprocess

import pytest
from ci_host import IMAGE, USER
from conftest import a_runner, until

DROPINS = "/etc/systemd/system/gitlab-runner.service.d"
SETTINGS = {"concurrent": 2, "check_interval": 1}
LOOSE = {
    "ProtectHome": False,
    "BindPaths": None,
    "BindReadOnlyPaths": None,
    "ReadWritePaths": ["/etc/gitlab-runner", f"/home/{USER}", "/run/user"],
    # Those that systemd does not take without a value.
    "DevicePolicy": None,
    "ProtectProc": None,
    "ProcSubset": None,
}


@pytest.fixture(scope="module")
def get(host):
    """The status and the text of a page on the host."""
    program = (
        "import sys, urllib.error, urllib.request\n"
        "try: page = urllib.request.urlopen(sys.argv[1])\n"
        "except urllib.error.HTTPError as error: page = error\n"
        "print(page.status, page.read().decode())"
    )
    return lambda url: host.check_output("python3 -c %s %s", program, url)


@pytest.fixture(scope="module")
def listening(host):
    """The addresses of the host at which somebody listens."""
    command = "ss --listening --tcp --numeric --no-header"
    return lambda: {line.split()[3] for line in host.check_output(command).splitlines()}


def test_config_changes_restart_nothing_and_nothing_to_do_is_done_in_twelve_tasks(
    play, main_pid, restarted, journal, config, get, listening
):
    before = main_pid()
    play()
    before = before if main_pid() == before else restarted(before)
    settings = {
        "runner_settings": {**SETTINGS, "concurrent": 3},
        "runner_log_level": "debug",
        "runner_log_format": "json",
    }
    assert play(**settings).changed == 1
    assert "concurrent = 3" in config()
    # The runner reads it again, and logs as it is told to.
    until(lambda: journal(before).splitlines()[-1].startswith("{"))
    assert json.loads(journal(before).splitlines()[-1])["level"]
    assert main_pid() == before
    again = play(**settings)
    # In site.yml it is fewer: the roles before have gathered the facts and looked up the user.
    assert (again.changed, again.ok) == (0, 12), again.output

    assert get("http://127.0.0.1:9252/health/ready") == "200 ready"
    assert "gitlab_runner_concurrent 3" in get("http://127.0.0.1:9252/metrics")
    assert {address for address in listening() if address.endswith(":9252")} == {"127.0.0.1:9252"}


def test_a_restart_waits_for_the_running_job_and_the_play_does_not(
    play, job, submit, main_pid, restarted, show, host, get, listening
):
    """A drop-in changes, and what the runner reads at its start only."""
    before, running = main_pid(), job()
    result = play(
        runner_environment={"DRAINED": "yes"},
        runner_listen_address="127.0.0.1:9253",
        runner_settings={**SETTINGS, "session_server": {"listen_address": "127.0.0.1:8093"}},
        runner_drain_wait=4,
    )
    assert "The runner restarts when its running jobs have finished" in result.output
    assert show("ActiveState") == "deactivating" and main_pid() == before
    assert running.status() == "running"
    assert running.finish()["status"] == "success"
    after = restarted(before)
    assert "DRAINED=yes" in host.file(f"/proc/{after}/environ").content_string
    until(lambda: {"127.0.0.1:9253", "127.0.0.1:8093"} <= listening())
    assert "127.0.0.1:9252" not in listening()
    assert get("http://127.0.0.1:8093/session/of-nobody").startswith("404")
    assert submit("echo ok")["status"] == "success"


def test_launch_modes_are_switched_by_a_drained_restart(
    play, job, submit, main_pid, restarted, journal, exposure, host, call, serve, authority, runs_unprivileged
):
    """Each switch happens under a running job, so the next mode's turn tests the drain of the one before.

    What believes to be root trusts the certificates of root: that of a second GitLab, which is not in tls-ca-file.
    """
    gitlab = serve(certificate=authority / "server.pem", key=authority / "server.key")
    with gitlab.state.changed:
        gitlab.state.add_runner({"token": "glrt-https"})
    certs = "/etc/gitlab-runner/certs"
    file = f"{certs}/{gitlab.url.split('/')[2].split(':')[0]}.crt"
    command = f"mkdir {certs} && cat > {file} && chown -R {USER}: {certs}"
    podman = ["podman", "exec", "--interactive", host.backend.name, "sh", "-c", command]
    subprocess.run(podman, input=(authority / "ca.pem").read_bytes(), check=True)
    host.check_output(f"install -d -o {USER} -g {USER} /srv/artifacts")
    runners = [a_runner(host.backend.name), a_runner("https", url=gitlab.url, token="glrt-https")]
    runners[0]["docker"] |= {"volumes": ["/cache", "/srv/artifacts:/artifacts"]}
    settings = {**SETTINGS, "session_server": None}
    for launch, claim, score in (
        ("userns", "system-mode", 2.5),
        ("strace", "system-mode", 2.5),
        ("user", "user-mode", 1.5),
    ):
        before, running = main_pid(), job()
        play(runner_launch=launch, runner_runners=runners, runner_settings=settings, runner_drain_wait=2)
        assert main_pid() == before and running.status() == "running", launch
        assert running.finish()["status"] == "success", launch
        after = restarted(before)
        runs_unprivileged()
        assert submit("echo ok")["status"] == "success", launch
        assert f"Running in {claim}" in journal(after), launch
        assert exposure() <= score, launch
        gitlab.state.requests.clear()
        if launch == "user":
            until(lambda: "CERTIFICATE_VERIFY_FAILED" in journal(main_pid()))
            assert not gitlab.state.requests
        else:
            until(lambda: [entry for entry in gitlab.state.requests if entry["status"] == 204])
    host.check_output("rm -r %s", certs)


def test_jobs_have_services_cache_and_artifacts_behind_the_sandbox(call, submit, host):
    service = {"name": IMAGE, "alias": "db", "command": ["sleep", "60"]}
    script = ["nslookup db", "echo kept > /cache/file", "echo made > /artifacts/file"]
    number = call("POST", "jobs", {"script": script, "services": [service]})["id"]
    found = call("GET", f"jobs/{number}?wait=60")
    assert found["status"] == "success", found
    assert "\nkept" in submit("cat /cache/file")["trace"]
    assert host.file("/srv/artifacts/file").user == USER


def test_a_shell_executor_gets_what_it_needs_by_single_directives(
    play, call, submit, main_pid, restarted, exposure, host
):
    call("POST", "runners", {"token": "glrt-shell", "tag_list": ["shell"]})
    shell = a_runner("shell", token="glrt-shell", executor="shell")
    del shell["docker"]
    runners, script = [a_runner(host.backend.name), shell], ("id -un", "touch ~/of-a-job")
    before = main_pid()
    play(runner_runners=runners)
    assert main_pid() == before
    sandboxed = submit(*script, tag="shell")
    assert USER in sandboxed["trace"] and sandboxed["status"] == "failed", sandboxed
    play(runner_runners=runners, runner_hardening_directives=LOOSE)
    restarted(before)
    loose = submit(*script, tag="shell")
    assert loose["status"] == "success", loose
    assert host.file(f"/home/{USER}/of-a-job").user == USER
    assert exposure() < 2.5


def test_a_restart_waits_for_a_job_of_the_shell_executor_too(play, call, host, main_pid, restarted):
    """Its processes are in the control group of the service: a SIGQUIT to all of them would end "cat"."""
    call("POST", "runners", {"token": "glrt-shell", "tag_list": ["shell"]})
    shell = a_runner("shell", token="glrt-shell", executor="shell")
    del shell["docker"]
    play(runner_runners=[a_runner(host.backend.name), shell])
    before = main_pid()
    host.check_output(f"mkfifo --mode=600 /srv/gate && chown {USER} /srv/gate")
    script = ["echo started", "cat /srv/gate", "echo ended"]
    number = call("POST", "jobs", {"script": script, "tags": ["shell"]})["id"]
    assert "\nstarted" in call("GET", f"jobs/{number}?wait=60&contains=%0Astarted")["trace"]
    play(
        runner_runners=[a_runner(host.backend.name), shell],
        runner_environment={"SHELL_JOB": "1"},
        # As with -e on the command line.
        runner_drain_wait="2",
        runner_drain_timeout="3600",
    )
    assert main_pid() == before and call("GET", f"jobs/{number}")["status"] == "running"
    host.check_output("timeout 60 sh -c 'echo go > /srv/gate' && rm /srv/gate")
    ended = call("GET", f"jobs/{number}?wait=60")
    assert ended["status"] == "success" and "\nended" in ended["trace"], ended
    restarted(before)


def test_the_first_logins_to_registries_are_seen_by_a_service_that_runs(play, host, main_pid, restarted):
    """The sandbox has the directories that were there when the service started."""
    host.check_output(f"rm -rf /home/{USER}/.docker && systemctl restart gitlab-runner")
    login = {"registry": "registry.example.com", "username": "ci", "password": "secret-of-a-registry"}
    before = main_pid()
    output = play(playbook="playbooks/site.yml", podman_registry_logins=[login]).output
    after = restarted(before)
    seen = host.check_output(f"nsenter --target {after} --mount cat /home/{USER}/.docker/config.json")
    assert "registry.example.com" in seen and login["password"] not in output
    assert play(playbook="playbooks/site.yml", podman_registry_logins=[login]).changed == 0
    host.check_output(f"rm -r /home/{USER}/.docker")


def test_a_working_directory_elsewhere_is_made(play, host, main_pid, restarted, runs_unprivileged):
    before = main_pid()
    play(runner_working_directory="/srv/not-there/yet")
    after = restarted(before)
    runs_unprivileged()
    assert host.check_output("readlink /proc/%s/cwd", str(after)) == "/srv/not-there/yet"
    directory = host.file("/srv/not-there/yet")
    assert (directory.user, directory.mode) == (USER, 0o700)
    assert host.file("/srv/not-there").user == "root"
    assert play(runner_working_directory="/srv/not-there/yet").changed == 0


def test_a_service_that_does_not_stay_up_fails_the_play(play, main_pid, show, runs_unprivileged):
    missing = {"runner_hardening_directives": {"BindReadOnlyPaths": ["/srv/no-such-path"]}}
    # The second one changes nothing and finds it so.
    for _ in range(2):
        output = " ".join(play(**missing, fails=True).output.split())
        assert "gitlab-runner.service does not stay up" in output and "status 226" in output, output
        assert "journalctl --unit=gitlab-runner.service" in output
    play()
    runs_unprivileged()


def test_metrics_and_networks_are_switched_off(play, config, main_pid, restarted, listening, get):
    before = main_pid()
    play()
    before = before if main_pid() == before else restarted(before)
    play(runner_listen_address="", runner_network_per_build=False)
    restarted(before)
    assert "listen_address" not in config() and "FF_NETWORK_PER_BUILD" not in config()
    assert not [address for address in listening() if address.endswith(":9252")]
    play()
    until(lambda: "127.0.0.1:9252" in listening())


def test_what_a_stopped_play_has_left_is_applied_by_the_next(play, host, submit, main_pid, restarted, exposure):
    before = main_pid()
    variables = {"runner_environment": {"LEFT": "behind", "PROXY": "u:%C3"}, "runner_hardening": False}
    play(**variables, runner_runners=[a_runner(host.backend.name, limmit=1)], fails=True)
    assert main_pid() == before
    # As any package does.
    host.check_output("systemctl daemon-reload")
    play(**variables)
    after = restarted(before)
    environment = host.file(f"/proc/{after}/environ").content_string
    assert "LEFT=behind" in environment and "PROXY=u:%C3" in environment
    # Without the sandbox the service is as exposed as any.
    assert exposure() > 9
    assert submit("echo ok")["status"] == "success"


def test_what_a_stopped_play_has_left_to_read_at_the_start_is_read(play, main_pid, restarted, listening):
    """The package comes after config.toml, and the restart after the package."""
    before = main_pid()
    play()
    before = before if main_pid() == before else restarted(before)
    play(runner_listen_address="127.0.0.1:9254", runner_version="0.0.0-1", fails=True)
    assert main_pid() == before
    assert play(runner_listen_address="127.0.0.1:9254").changed == 1
    restarted(before)
    until(lambda: "127.0.0.1:9254" in listening())


@pytest.mark.parametrize("reloaded", [True, False], ids=["systemd has read the drop-ins", "it has not"])
def test_a_service_of_root_that_a_stopped_play_has_left_is_replaced(
    play, host, job, show, main_pid, restarted, runs_unprivileged, reloaded
):
    restart = "systemctl daemon-reload && systemctl restart gitlab-runner"
    # What a runner of root makes is root's.
    host.check_output(f"rm /etc/gitlab-runner/.runner_system_id && mv {DROPINS} /srv/dropins && {restart}")
    until(lambda: host.file("/etc/gitlab-runner/.runner_system_id").exists)
    before = main_pid()
    assert show("User") == ""
    if reloaded:
        host.check_output("rm -r /srv/dropins")
        play(runner_runners=[a_runner(host.backend.name, limmit=1)], fails=True)
        host.check_output("systemctl daemon-reload")
    else:
        host.check_output(f"mv /srv/dropins {DROPINS}")
    assert main_pid() == before and host.check_output("stat -c %%U /proc/%s", str(before)) == "root"
    play()
    restarted(before)
    runs_unprivileged()
    assert play().changed == 0
