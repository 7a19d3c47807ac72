# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request

import pytest

TOKEN = "glrt-0123456789abcdefghij"


@pytest.fixture
def call(server):
    """A function that sends a request and returns status, headers and body."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def send(method, path, body=None, **headers):
        request = urllib.request.Request(server.url + path, method=method)
        for key, value in headers.items():
            request.add_header(key.replace("_", "-"), value)
        if body is not None:
            request.data = body if isinstance(body, bytes) else json.dumps(body).encode()
            if not isinstance(body, bytes):
                request.add_header("Content-Type", "application/json")
        try:
            with opener.open(request, timeout=10) as reply:
                status, headers, text = reply.status, reply.headers, reply.read()
        except urllib.error.HTTPError as error:
            status, headers, text = error.code, error.headers, error.read()
        kind = headers.get_content_type()
        return status, headers, json.loads(text) if kind == "application/json" and text else text

    return send


@pytest.fixture
def job(server, call):
    """A job that a runner has taken."""
    server.client.add_runner(token=TOKEN)
    server.client.submit("echo hello", image="busybox", variables={"COLOUR": "green"})
    return call("POST", "/api/v4/jobs/request", {"token": TOKEN}, RUNNER_TOKEN=TOKEN)[2]


def test_a_job_goes_to_one_runner_once(job, call):
    assert job["steps"][0]["script"] == ["echo hello"]
    assert job["image"] == {"name": "busybox"}
    assert {"key": "COLOUR", "value": "green", "public": True} in job["variables"]
    assert call("POST", "/api/v4/jobs/request", {"token": TOKEN})[0] == 204


def test_an_unknown_runner_is_refused(call):
    assert call("POST", "/api/v4/jobs/request", {"token": "glrt-unknown"})[0] == 403
    assert call("POST", "/api/v4/runners/verify", {"token": "glrt-unknown"})[0] == 403


@pytest.mark.parametrize(
    ("wanted", "status"),
    [({"tags": ["rootless"]}, 201), ({"tags": ["windows"]}, 204), ({"runner": "glrt-other"}, 204)],
)
def test_tags_and_runner_choose_who_gets_a_job(server, call, wanted, status):
    server.client.add_runner(token=TOKEN, tag_list=["rootless", "podman"])
    server.client.submit("true", **wanted)
    assert call("POST", "/api/v4/jobs/request", {"token": TOKEN})[0] == status


def test_the_trace_is_appended_and_rewound(job, call, server):
    path = f"/api/v4/jobs/{job['id']}/trace"
    token = {"JOB_TOKEN": job["token"]}
    first = "grün\n".encode()
    status, headers, _body = call("PATCH", path, first, Content_Range="0-5", **token)
    assert (status, headers["Range"], headers["Job-Status"]) == (202, "0-6", "running")
    status, headers, _body = call("PATCH", path, b"x", Content_Range="9-9", **token)
    assert (status, headers["Range"]) == (416, "0-6")
    assert call("PATCH", path, b"end", Content_Range="6-8", **token)[0] == 202
    assert call("PATCH", path, b"end", Content_Range="9-11", JOB_TOKEN="wrong")[0] == 403
    assert server.client.wait(job["id"], 5, contains="end")["trace"] == "grün\nend"


def test_the_end_of_a_job_is_reported_with_its_reason(job, call, server):
    end = {"token": job["token"], "state": "failed", "failure_reason": "script_failure", "exit_code": 3}
    assert call("PUT", f"/api/v4/jobs/{job['id']}", end)[0] == 200
    found = server.client.wait(job["id"], 5)
    assert (found["status"], found["failure_reason"], found["exit_code"]) == ("failed", "script_failure", 3)


def test_waiting_for_a_job_has_an_end(job, server):
    with pytest.raises(TimeoutError, match="is running after"):
        server.client.wait(job["id"], 0.05)


def test_a_server_error_can_be_ordered(server, call):
    server.client.add_runner(token=TOKEN)
    server.client.call("POST", "mode", {"status": 500, "path": "jobs/request"})
    assert call("POST", "/api/v4/jobs/request", {"token": TOKEN})[0] == 500
    assert call("POST", "/api/v4/runners/verify", {"token": TOKEN})[0] == 200
    server.client.call("POST", "mode", {"status": None})
    assert call("POST", "/api/v4/jobs/request", {"token": TOKEN})[0] == 204


def test_a_token_is_exchanged(server, call):
    server.client.add_runner(token=TOKEN, token_lifetime=3600)
    status, _headers, new = call("POST", "/api/v4/runners/reset_authentication_token", {"token": TOKEN})
    assert status == 201
    assert new["token"].startswith("glrt-")
    assert new["token_expires_at"].endswith("Z")
    assert call("POST", "/api/v4/runners/verify", {"token": TOKEN})[0] == 403
    assert call("POST", "/api/v4/runners/verify", {"token": new["token"]})[0] == 200


def test_the_request_log_has_no_tokens(server, call):
    server.client.add_runner(token=TOKEN)
    call("POST", "/api/v4/jobs/request", {"token": TOKEN}, RUNNER_TOKEN=TOKEN)
    log = server.client.call("GET", "requests")
    assert [(entry["path"], entry["status"]) for entry in log] == [("/api/v4/jobs/request", 204)]
    assert TOKEN not in json.dumps(log)


def test_runners_are_managed_with_an_access_token(call):
    admin = {"PRIVATE_TOKEN": "glpat-test"}
    assert call("POST", "/api/v4/user/runners", {"description": "ci1"})[0] == 401
    status, _headers, made = call("POST", "/api/v4/user/runners", {"description": "ci1"}, **admin)
    assert status == 201
    status, headers, listed = call("GET", "/api/v4/runners/all?per_page=1", **admin)
    assert [(runner["id"], runner["description"]) for runner in listed] == [(made["id"], "ci1")]
    assert headers["X-Total"] == "1"
    assert "token" not in listed[0]
    path = f"/api/v4/runners/{made['id']}"
    assert call("PUT", path, {"paused": True}, **admin)[2]["active"] is False
    assert call("POST", "/api/v4/runners/verify", {"token": made["token"]})[0] == 200
    assert call("DELETE", path, **admin)[0] == 204
    assert call("GET", path, **admin)[0] == 404


def test_the_repository_is_served_and_nothing_above_it(call, tmp_path):
    (tmp_path / "repository/gpg.key").write_bytes(b"key")
    (tmp_path / "secret").write_bytes(b"secret")
    assert call("GET", "/repo/gpg.key")[2] == b"key"
    assert call("GET", "/repo/../secret")[0] == 404
    assert call("GET", "/repo/%2e%2e/secret")[0] == 404


def test_the_state_survives_a_restart(coordinator, tmp_path):
    state = coordinator.State(str(tmp_path), "glpat-test")
    with state.changed:
        runner = state.add_runner({"token": TOKEN})
        state.add_job({"script": "true"})
    again = coordinator.State(str(tmp_path), "glpat-test")
    assert again.runner_of(TOKEN) == runner
    assert again.jobs[0]["spec"]["script"] == ["true"]
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    assert next(again.ids) > runner["id"] + 1
