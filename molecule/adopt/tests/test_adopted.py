# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an adopted host has of its own, and that site.yml leaves it alone then."""

from __future__ import annotations

import json

from adopted_hosts import BACKUP, CONFIG, HOSTS, kind, play
from ci_host import USER


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
    else:
        # There was none.
        assert host.run("systemctl cat docker.socket docker.service").rc != 0
        assert host.run("getent group docker").rc != 0


def test_the_procedures_drop_in_is_overridden_not_removed(host):
    if kind(host) == "strace":
        assert host.file("/etc/systemd/system/gitlab-runner.service.d/override.conf").exists
    assert "strace" not in host.check_output("systemctl show gitlab-runner --property ExecStart")


def test_jobs_run_in_the_podman_of_the_runner_user(host, submit, as_runner):
    before = as_runner("podman events --stream=false --filter event=create").count("\n")
    result = submit("echo $((6 * 7))")
    assert result["status"] == "success", result
    assert as_runner("podman events --stream=false --filter event=create").count("\n") > before


def test_site_has_nothing_to_do():
    recap, output = play("site")
    assert [recap[host]["changed"] + recap[host]["failed"] for host in HOSTS] == [0, 0], output
