# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong stops the play with the cause, and the service that was running keeps running."""

from __future__ import annotations

import re

import pytest
from conftest import a_runner

pytestmark = pytest.mark.usefixtures("without_the_archive")


@pytest.fixture(autouse=True)
def the_service_keeps_running(main_pid, show):
    before = main_pid()
    yield
    assert main_pid() == before and show("ActiveState") == "active"


@pytest.fixture
def unchanged(config, host):
    """Assert that neither config.toml nor a drop-in has changed."""

    def state() -> str:
        return config() + host.check_output("cat /etc/systemd/system/gitlab-runner.service.d/*.conf")

    before = state()
    yield
    assert state() == before


def test_bad_runners_are_all_named_before_anything_is_changed(play, unchanged):
    nameless, tokenless = a_runner(""), a_runner("tokenless")
    del tokenless["token"]
    legacy = a_runner("legacy", token="GR1348941-of-the-old-days")
    podman = a_runner("podman", executor="podman", url="gitlab.example.com")
    output = play(runner_runners=[nameless, tokenless, legacy, podman], fails=True, runner_create={"who": {}}).output
    output = " ".join(output.split())
    for text in (
        "runner_runners[0] has no name",
        "runner_runners[1].token is missing; create the runner in GitLab",
        "runner_runners[2].token is a registration token, which GitLab has deprecated",
        "runner_runners[3].url has to begin with https:// or http://",
        'runner_runners[3].executor: "podman" is not an executor; for jobs in Podman it is docker',
        'runner_create["who"]: no runner of runner_runners has this name',
        "runner_api_token is missing",
    ):
        assert text in output
    assert "of-the-old-days" not in output


def test_switching_the_certificate_check_off_needs_an_acknowledgement(play, host, unchanged):
    runner = a_runner(host.backend.name, environment=["GIT_SSL_NO_VERIFY=true"])
    assert "ssl_no_verify" in play(runner_runners=[runner], fails=True).output


def test_an_unreachable_repository(play, unchanged):
    url = "http://127.0.0.1:9/repo"
    variables = {"runner_repository_url": url, "runner_repository_key": f"{url}/gpg.key"}
    output = " ".join(play(**variables, runner_log_level="debug", fails=True).output.split())
    assert f"repository {url} cannot be set up with the key {url}/gpg.key" in output and "refused" in output


def test_a_drop_in_that_systemd_rejects(play, unchanged):
    output = " ".join(play(runner_hardening_directives={"ProtectSystem": "sometimes"}, fails=True).output.split())
    # systemd names the file and the line; what it calls the directive has changed with its releases.
    assert re.search(r"rootless-hardening\.conf:\d+: Failed to parse .*sometimes", output), output


def test_a_launch_mode_that_the_host_forbids(play, host, unchanged):
    # Says what unshare says where AppArmor forbids it, as on Ubuntu 24.04.
    message = "unshare: write failed /proc/self/uid_map: Operation not permitted"
    script = f"printf '#!/bin/sh\\necho {message} >&2\\nexit 1\\n' > /usr/bin/unshare"
    host.check_output(f"cp -a /usr/bin/unshare /usr/bin/unshare.away && {script}")
    try:
        output = " ".join(play(runner_launch="userns", fails=True).output.split())
    finally:
        host.check_output("mv /usr/bin/unshare.away /usr/bin/unshare")
    assert 'runner_launch "userns" does not work on this host' in output and message in output
    assert "apparmor_restrict_unprivileged_userns" in output


def test_a_token_that_the_server_refuses(play):
    output = play(runner_runners=[a_runner("refused", token="glrt-unknown-to-the-server")], fails=True).output
    assert "is not valid" in output and "glrt-unknown-to-the-server" not in output


def test_a_server_that_does_not_answer(play, host):
    runners = [a_runner(host.backend.name), a_runner("mute", url="http://127.0.0.1:9")]
    output = play(runner_runners=runners, fails=True).output
    assert "Verifying runner... is valid" in output and "Verifying runner... client error" in output


def test_a_server_that_answers_500(play, call):
    call("POST", "mode", {"status": 500, "path": "verify"})
    try:
        output = play(fails=True).output
    finally:
        call("POST", "mode", {"status": None})
    assert "Verifying runner... failed" in output and "status=500" in output
