# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens: where they come from and where they must not be; runners made by GitLab's API; certificate authorities."""

from __future__ import annotations

import contextlib
import re
import threading
from pathlib import Path

import pytest
import tomllib
from conftest import ACCESS_TOKEN, COORDINATOR, a_runner, until

pytestmark = pytest.mark.usefixtures("without_the_archive")

SECRETS = {name: f"glrt-secret-from-{name}-4711" for name in ("file", "env", "variable")}


@contextlib.contextmanager
def no_secret_in_processes():
    """Assert that no command line of a process has a secret, here or on the host (its processes are seen here, too)."""
    found: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    text = path.read_bytes().decode(errors="replace")
                    if any(secret in text for secret in (*SECRETS.values(), ACCESS_TOKEN)):
                        found.add(text.replace("\0", " "))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    assert not found


def test_tokens_come_from_everywhere_and_show_nowhere(play, host, call, config, tmp_path, monkeypatch):
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
    with no_secret_in_processes():
        result = play("-vvv", "--diff", runner_runners=runners, runner_config_backup=True)
    for token in SECRETS.values():
        assert config().count(token) == 1
        assert token not in result.output
    assert "VALUE_REDACTED" in result.output, "the diff shows that there is a token"
    assert "Verify the tokens" in result.output
    logs = host.check_output("journalctl --no-pager -o cat --since=-2min")
    assert "module_setup" in logs or "Invoked with" in logs, "Ansible's modules log to the journal"
    assert not [token for token in SECRETS.values() if token in logs]
    places = "/etc /home /root /run /srv /tmp /usr/local /var/cache /var/lib /var/log /var/tmp"
    loose = host.run(f"find {places} -xdev -type f -perm -o+r -exec grep -l secret-from- {{}} + 2>/dev/null").stdout
    assert loose == ""
    assert host.check_output("find /etc/gitlab-runner -name 'config.toml*' ! -perm 0600") == ""
    assert host.check_output("find /etc/gitlab-runner -name 'config.toml*' | wc -l") != "1", "there is a backup"


def test_tokens_are_verified_in_the_environment_of_the_service(play, host, show):
    """Here GitLab is behind a proxy: the service reaches it, and nothing else does. One drop-in is not ours."""
    own = "/etc/systemd/system/gitlab-runner.service.d/own.conf"
    runners = [a_runner(host.backend.name), a_runner("behind", url="http://gitlab.invalid")]
    refused = play(runner_runners=runners, fails=True)
    assert "Verifying runner... client error" in refused.output
    text = f"[Service]\nEnvironment=HTTP_PROXY={COORDINATOR}\n"
    host.check_output("printf %%s %s > %s && systemctl daemon-reload", text, own)
    odd = {"NOTE": 'it\'s "quoted" by $systemd; with \\ and `more`', "NO_PROXY": "127.0.0.1"}
    try:
        result = play(runner_runners=[*runners, a_runner("again")], runner_environment=odd)
        assert "NO_PROXY=127.0.0.1" in show("Environment") and "HTTP_PROXY" in show("Environment")
    finally:
        host.check_output("rm %s && systemctl daemon-reload", own)
    assert "Verify the tokens" in result.output
    assert "HTTP_PROXY" not in result.output
    play(runner_runners=runners[:1])


def created(name: str, gitlab, **keys: object) -> dict:
    runner = a_runner(name, url=gitlab.url, **keys)
    if "token" not in keys:
        del runner["token"]
    return runner


def test_runners_are_created_and_deleted_by_the_api_and_their_tokens_rotate(play, serve, host, config):
    def saved() -> dict[str, str]:
        return {runner["name"]: runner["token"] for runner in tomllib.loads(config())["runners"]}

    gitlab = serve()
    names = ("made", "rotated")
    wanted = {
        "runner_create": {name: {"token_lifetime": 10, "tag_list": [name]} for name in names},
        "runner_api_token": ACCESS_TOKEN,
    }
    runners = [created(name, gitlab) for name in names]
    assert play("--check", runner_runners=runners, **wanted).changed > 0
    assert gitlab.state.runners == []

    with no_secret_in_processes():
        result = play("-vvv", "--diff", runner_runners=runners, **wanted)
    made, rotated = gitlab.state.runners
    assert [(runner["description"], runner["tag_list"]) for runner in (made, rotated)] == [
        (name, [name]) for name in names
    ]
    assert ACCESS_TOKEN not in result.output and not re.search(r"glrt-[A-Za-z0-9_-]{20}", result.output)
    assert f"id = {made['id']}" in config() and f"id = {rotated['id']}" in config()
    assert host.run("grep -rl %s /etc /root /tmp /home /run /var/log /var/tmp", ACCESS_TOKEN).stdout == ""

    # The runner asks for a new token when three quarters of the life of the old one are over. This one stays.
    with gitlab.state.changed:
        made["token_lifetime"] = rotated["token_lifetime"] = 0
    until(lambda: not made["token_expires_at"] and not rotated["token_expires_at"])
    until(lambda: saved() == {runner["description"]: runner["token"] for runner in (made, rotated)})
    # The list has no token for the one and an old token for the other: neither overwrites what the runner has saved.
    runners = [created("made", gitlab), created("rotated", gitlab, token="glrt-of-the-first-day")]
    again = play(runner_runners=runners, runner_token_update="on_create", **wanted)
    assert again.changed == 0, again.output
    assert "other tokens than the inventory for rotated, and they stay" in " ".join(again.output.split())
    assert len(gitlab.state.runners) == 2

    # A refused deletion stops the play before it creates runners whose tokens nobody would get.
    other, before = serve(), config()
    gone = [{"name": name, "state": "absent"} for name in names]
    gitlab.state.access_token = "glpat-of-others"
    creations = {**wanted, "runner_create": {**wanted["runner_create"], "new": {}}}
    refused = play(runner_runners=[*gone, created("new", other)], **creations, fails=True)
    assert 'GitLab has not deleted the runner "made"' in " ".join(refused.output.split())
    assert other.api("POST") == [] and config() == before
    gitlab.state.access_token = ACCESS_TOKEN

    play(runner_runners=gone, **wanted)
    assert gitlab.state.runners == []
    assert '"made"' not in config() and '"rotated"' not in config()


def test_a_refusal_of_the_api_stops_the_play_and_takes_back_what_was_created(play, serve, config):
    gitlab, other = serve(), serve()
    other.state.access_token = "glpat-of-the-other"
    runners = [created("made", gitlab), created("refused", other)]
    before = config()
    result = play(
        runner_runners=runners,
        runner_create={"made": {}, "refused": {}},
        runner_api_token=ACCESS_TOKEN,
        fails=True,
    )
    output = " ".join(result.output.split())
    assert 'GitLab has not created the runner "refused"' in output and "HTTP status 401" in output
    assert ACCESS_TOKEN not in output
    assert gitlab.state.runners == [] and [request["method"] for request in gitlab.state.requests] == ["POST", "DELETE"]
    assert config() == before


def test_nothing_is_created_for_a_file_that_cannot_be_written(play, serve, config):
    """Its token would be lost, and each further try would create another runner."""
    gitlab, before = serve(), config()
    result = play(
        runner_runners=[created("made", gitlab, limmit=1)],
        runner_create={"made": {}},
        runner_api_token=ACCESS_TOKEN,
        fails=True,
    )
    assert "did you mean 'limit'?" in result.output and ACCESS_TOKEN not in result.output
    assert gitlab.api("POST") == [] and gitlab.state.runners == []
    assert config() == before


def test_a_certificate_authority_is_trusted_in_all_four_places(play, host, authority, serve, config):
    gitlab = serve(certificate=authority / "server.pem", key=authority / "server.key")
    with gitlab.state.changed:
        gitlab.state.add_runner({"token": "glrt-https"})
    runners = [a_runner(host.backend.name), a_runner("https", url=gitlab.url, token="glrt-https")]
    # Listed once, it is in the file only afterwards.
    volumes = ["/cache", "/srv:/srv"]
    play(runner_runners=[{**runners[0], "docker": {**runners[0]["docker"], "volumes": volumes}}])
    pem = (authority / "ca.pem").read_text()
    body = pem.split("\n")[1]
    result = play(runner_runners=runners, runner_ca_certificates={"test": pem})
    assert play(runner_runners=runners, runner_ca_certificates={"test": pem}).changed == 0, result.output
    # 1. the host
    url = f"{gitlab.url}/_test/requests"
    host.check_output("python3 -c %s", f"import urllib.request as r; r.urlopen('{url}')")
    # The second one, which names no volumes, has the one of GitLab Runner for caches, too.
    assert tomllib.loads(config())["runners"][1]["docker"]["volumes"][0] == "/cache"
    # 2. the runner; its job shows 3. what the helper image installs for git, and 4. what jobs install or are told of
    assert "tls-ca-file" in config()
    script = [
        f"grep -c '{body}' /etc/gitlab-runner/certs/ca.crt /usr/local/share/ca-certificates/rootless-gitlab-runner.crt",
        f"grep -c '{body}' $SSL_CERT_FILE $CURL_CA_BUNDLE $GIT_SSL_CAINFO $REQUESTS_CA_BUNDLE $NODE_EXTRA_CA_CERTS",
        "! touch $SSL_CERT_FILE",
        # As the helper image and update-ca-certificates do it: neither place of the image is a mount, or read-only.
        "cp /etc/gitlab-runner/certs/ca.crt /usr/local/share/ca-certificates/ca.crt",
        "mkdir -p /etc/ssl/certs && cd /etc/ssl/certs",
        "touch ca-certificates.crt ca-certificates.crt.new && mv -f ca-certificates.crt.new ca-certificates.crt",
    ]
    with gitlab.state.changed:
        job = gitlab.state.add_job({"script": script})
        gitlab.state.changed.wait_for(lambda: job["status"] in ("success", "failed"), 60)
    assert job["status"] == "success", job["trace"]
    assert len(re.findall(r"crt:1$", job["trace"], re.MULTILINE)) == 7

    # Taken back, it is trusted nowhere.
    refused = play(runner_runners=runners, runner_ca_certificates={"test": None}, fails=True)
    assert "CERTIFICATE_VERIFY_FAILED" in refused.output
    assert "tls-ca-file" not in config() and "ca-certificates" not in config()
    assert tomllib.loads(config())["runners"][0]["docker"]["volumes"] == volumes
    assert "SSL_CERT_FILE" not in config()
    assert not host.file("/etc/gitlab-runner/ca.crt").exists
    assert host.run("grep -r -e %s /etc/ssl/certs /usr/local/share/ca-certificates", body).stdout == ""
