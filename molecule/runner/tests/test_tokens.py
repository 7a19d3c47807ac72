# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens: where they come from and where they must not be; runners made by GitLab's API; certificate authorities."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path

import pytest
from ci_host import USER
from conftest import ACCESS_TOKEN, CONFIG, a_runner, until

SECRETS = {name: f"glrt-secret-from-{name}-4711" for name in ("file", "env", "variable")}


@pytest.fixture
def seen_in_processes():
    """Collect what the command lines of all processes hold, here and on the host, while a test runs."""
    found: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    text = path.read_bytes().decode(errors="replace")
                except OSError:
                    continue
                found.update(secret for secret in (*SECRETS.values(), ACCESS_TOKEN) if secret in text)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield found
    done.set()
    watcher.join()


def test_tokens_come_from_everywhere_and_show_nowhere(
    play, host, call, config, tmp_path, monkeypatch, seen_in_processes, main_pid, journal
):
    for token in SECRETS.values():
        call("POST", "runners", {"token": token, "tag_list": ["nobody"]})
    (tmp_path / "token").write_text(SECRETS["file"] + "\n")
    monkeypatch.setenv("CI_TOKEN", SECRETS["env"])
    runners = [
        a_runner(host.backend.name),
        a_runner("from-file", token=f"{{{{ lookup('ansible.builtin.file', '{tmp_path}/token') }}}}"),
        a_runner("from-env", token="{{ lookup('ansible.builtin.env', 'CI_TOKEN') }}"),
        a_runner("from-variable", token=SECRETS["variable"]),
    ]
    result = play("-vvv", "--diff", runner_runners=runners, runner_config_backup=True)
    for token in SECRETS.values():
        assert config().count(token) == 1
        assert token not in result.output
    assert "VALUE_REDACTED" in result.output, "the diff shows that there is a token"
    logs = host.check_output("journalctl --no-pager -o cat") + journal(main_pid())
    assert not [token for token in SECRETS.values() if token in logs]
    places = "/etc /home /root /run /srv /tmp /usr/local /var/cache /var/lib /var/log /var/tmp"
    loose = host.run(f"find {places} -xdev -type f -perm -o+r -exec grep -l secret-from- {{}} + 2>/dev/null").stdout
    assert loose == ""
    assert host.run("find /etc/gitlab-runner -name 'config.toml*' ! -perm 0600").stdout == ""
    assert not seen_in_processes
    play(runner_purge=True)
    assert "secret-from" not in config()


def test_runners_are_created_and_deleted_by_the_api_and_their_tokens_rotate(
    play, serve, host, config, seen_in_processes, main_pid, gateway
):
    gitlab = serve()
    made = a_runner("made", url=gitlab.url)
    del made["token"]
    wanted = {
        "runner_runners": [a_runner(host.backend.name), made],
        "runner_create": {"made": {"token_lifetime": 12, "tag_list": ["made"]}},
        "runner_api_token": ACCESS_TOKEN,
    }
    assert play("--check", **wanted).changed > 0
    assert gitlab.state.runners == []

    result = play("-vvv", "--diff", **wanted)
    (runner,) = gitlab.state.runners
    assert (runner["description"], runner["tag_list"]) == ("made", ["made"])
    assert runner["token"] in config() and f"id = {runner['id']}" in config()
    assert runner["token"] not in result.output and ACCESS_TOKEN not in result.output
    assert host.run("grep -rl %s /etc /root /tmp /home /run", ACCESS_TOKEN).stdout == ""
    assert not seen_in_processes

    first = runner["token"]
    until(lambda: runner["token"] != first, 30)
    until(lambda: runner["token"] in config(), 10)
    rotated = runner["token"]
    runner["token_lifetime"] = 0
    again = play(**wanted)
    assert again.changed == 0 or runner["token"] != rotated, again.output
    assert runner["token"] in config() and len(gitlab.state.runners) == 1

    # A list that still has the first token leaves the one that the server has given out since.
    listed = {**made, "token": first}
    play(runner_runners=[listed], runner_token_update="on_create")
    assert first not in config() and runner["token"] in config()

    play(**{**wanted, "runner_runners": [{"name": "made", "state": "absent"}]})
    assert gitlab.state.runners == []
    assert '"made"' not in config()


def test_a_refusal_of_the_api_stops_the_play_with_the_cause(play, serve, config):
    gitlab = serve()
    made = a_runner("made", url=gitlab.url)
    del made["token"]
    wanted = {"runner_runners": [made], "runner_create": {"made": {}}, "runner_api_token": "glpat-wrong"}
    before = config()
    result = play(**wanted, fails=True)
    assert "has not created the runner" in result.output and "401" in result.output
    assert "glpat-wrong" not in result.output
    assert config() == before


@pytest.fixture(scope="module")
def authority(tmp_path_factory, gateway):
    """A certificate authority, and a certificate of it for the machine of the tests."""
    place = tmp_path_factory.mktemp("authority")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout")
    openssl(*new, "ca.key", "-out", "ca.pem", "-subj", "/CN=CA of the test", "-addext", "keyUsage=critical,keyCertSign")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", f"subjectAltName=IP:{gateway}", "-addext")
    openssl(*new, "server.key", "-out", "server.pem", "-subj", "/CN=gitlab", *signed, "basicConstraints=CA:FALSE")
    return place


def test_a_certificate_authority_is_trusted_in_all_four_places(
    play, host, authority, serve, config, restarted, main_pid
):
    gitlab = serve(certificate=authority / "server.pem", key=authority / "server.key")
    with gitlab.state.changed:
        gitlab.state.add_runner({"token": "glrt-https"})
    runners = [a_runner(host.backend.name), a_runner("https", url=gitlab.url, token="glrt-https")]
    refused = play(runner_runners=runners, fails=True)
    assert "CERTIFICATE_VERIFY_FAILED" in refused.output

    pem = (authority / "ca.pem").read_text()
    body = pem.split("\n")[1]
    result = play(runner_runners=runners, runner_ca_certificates={"test": pem})
    assert play(runner_runners=runners, runner_ca_certificates={"test": pem}).changed == 0, result.output
    # 1. the host
    url = f"{gitlab.url}/_test/requests"
    host.check_output("python3 -c %s", f"import urllib.request as r; r.urlopen('{url}')")
    # 2. the runner; its job shows 3. what the helper image installs for git, and 4. the store of the job containers
    assert "tls-ca-file" in config()
    script = [
        f"grep -c '{body}' /etc/gitlab-runner/certs/ca.crt /etc/ssl/certs/ca-certificates.crt",
        "ls /usr/local/share/ca-certificates",
        "! touch /etc/ssl/certs/ca-certificates.crt",
    ]
    with gitlab.state.changed:
        job = gitlab.state.add_job({"script": script})
        gitlab.state.changed.wait_for(lambda: job["status"] in ("success", "failed"), 60)
    assert job["status"] == "success", job["trace"]
    assert len(re.findall(r"crt:1$", job["trace"], re.MULTILINE)) == 2 and "test.crt" in job["trace"]


def test_launch_modes_that_claim_root_use_the_certificates_of_root(play, host, authority, serve, main_pid, restarted):
    gitlab = serve(certificate=authority / "server.pem", key=authority / "server.key")
    with gitlab.state.changed:
        gitlab.state.add_runner({"token": "glrt-https"})
    runners = [a_runner(host.backend.name), a_runner("https", url=gitlab.url, token="glrt-https")]
    runners[1]["tls-ca-file"] = None
    host.check_output("rm -f /usr/local/share/ca-certificates/test.crt; update-ca-certificates --fresh")
    address = gitlab.url.split("/")[2].split(":")[0]
    certs = "/etc/gitlab-runner/certs"
    command = f"mkdir -p {certs} && cat > {certs}/{address}.crt && chown -R {USER}: {certs}"
    for_host = ["podman", "exec", "--interactive", host.backend.name, "sh", "-c", command]
    subprocess.run(for_host, input=(authority / "ca.pem").read_bytes(), check=True)
    try:
        assert "CERTIFICATE_VERIFY_FAILED" in play(runner_runners=runners, fails=True).output
        for launch in ("userns", "strace"):
            before = main_pid()
            play(runner_runners=runners, runner_launch=launch)
            restarted(before)
            gitlab.state.requests.clear()
            until(lambda: gitlab.api("POST"), 20)
            assert gitlab.state.requests[-1]["status"] == 204, launch
    finally:
        host.check_output("rm -r /etc/gitlab-runner/certs")
        play(runner_purge=True)
    assert host.file(CONFIG).user == USER
