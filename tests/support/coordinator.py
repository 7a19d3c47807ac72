#!/usr/bin/python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test stand-in for a GitLab server: what a runner asks of it, the runners' API, and a package repository.

C(coordinator.py serve) is the server; C(coordinator.py submit) hands it a job and prints the job's log.

Besides the real paths below /api/v4 there are, for tests only and without any authentication,

- C(POST /_test/runners {token, tag_list, token_lifetime}): make an authentication token known,
- C(POST /_test/jobs {script, image, services, variables, tags, runner}): enqueue a job, if wanted for the
  runner with this id or token only,
- C(GET /_test/jobs/ID?wait=SECONDS&until=finished|running&contains=TEXT): a job, as soon as it is so far
  or the time is over,
- C(POST /_test/mode {status, path}): answer each API request whose path contains C(path) with C(status) until
  C(status) is null,
- C(GET /_test/requests): the API requests so far, without tokens.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import functools
import http
import http.server
import itertools
import json
import os
import re
import secrets
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

FINISHED = ("success", "failed", "canceled")


class State:
    """Runners and jobs, kept in a file if there is a directory for it, so that a reboot loses nothing."""

    def __init__(self, directory: str | None, access_token: str) -> None:
        self.path = os.path.join(directory, "state.json") if directory else None
        self.access_token = access_token
        self.changed = threading.Condition()
        self.mode: dict = {}
        self.requests: collections.deque[dict] = collections.deque(maxlen=1000)
        self.runners: list[dict] = []
        self.jobs: list[dict] = []
        if self.path and os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as file:
                saved = json.load(file)
            self.runners, self.jobs = saved["runners"], saved["jobs"]
        known = [item["id"] for item in self.runners + self.jobs]
        self.ids = itertools.count(max(known, default=0) + 1)

    def save(self) -> None:
        """Store and announce a change; the caller holds the lock."""
        if self.path:
            descriptor = os.open(f"{self.path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump({"runners": self.runners, "jobs": self.jobs}, file)
            os.replace(f"{self.path}.new", self.path)
        self.changed.notify_all()

    def add_runner(self, fields: dict) -> dict:
        tags = fields.get("tag_list") or []
        runner = {
            "access_level": "not_protected",
            "description": "",
            "locked": False,
            "maximum_timeout": None,
            "paused": False,
            "run_untagged": True,
            "runner_type": "instance_type",
            "token": "glrt-" + secrets.token_urlsafe(15),
            **fields,
            "id": next(self.ids),
            "tag_list": tags.split(",") if isinstance(tags, str) else tags,
        }
        self.set_expiry(runner)
        self.runners.append(runner)
        self.save()
        return runner

    @staticmethod
    def set_expiry(runner: dict) -> None:
        lifetime = datetime.timedelta(seconds=runner.get("token_lifetime", 0))
        end = datetime.datetime.now(datetime.timezone.utc) + lifetime
        runner["token_expires_at"] = f"{end:%Y-%m-%dT%H:%M:%SZ}" if lifetime else None

    def runner_of(self, token: str) -> dict | None:
        return next((runner for runner in self.runners if runner["token"] == token), None)

    def add_job(self, fields: dict) -> dict:
        script = fields["script"]
        job = {
            "id": next(self.ids),
            "token": "glcbt-" + secrets.token_urlsafe(15),
            "status": "pending",
            "trace": "",
            "exit_code": None,
            "failure_reason": None,
            "runner_id": None,
            "wanted": {"runner": fields.get("runner"), "tags": fields.get("tags", [])},
            "spec": {
                "image": fields.get("image"),
                "services": fields.get("services", []),
                "variables": {"GIT_STRATEGY": "none", **fields.get("variables", {})},
                "script": script.splitlines() if isinstance(script, str) else script,
            },
        }
        self.jobs.append(job)
        self.save()
        return job

    def take_job(self, runner: dict) -> dict | None:
        for job in self.jobs:
            mine = job["wanted"]["runner"] in (None, runner["id"], runner["token"])
            fits = set(job["wanted"]["tags"]) <= set(runner["tag_list"])
            if job["status"] == "pending" and mine and fits and not runner["paused"]:
                job["status"], job["runner_id"] = "running", runner["id"]
                self.save()
                return job
        return None


def payload(job: dict) -> dict:
    """A job as C(POST jobs/request) answers it, with no more than a runner needs."""
    spec = job["spec"]
    variables = {"CI_JOB_NAME": "test", **spec["variables"]}
    services = [{"name": item} if isinstance(item, str) else item for item in spec["services"]]
    return {
        "id": job["id"],
        "token": job["token"],
        "job_info": {"project_id": 1, "project_name": "test", "name": "test", "stage": "test"},
        "git_info": {"repo_url": "", "ref": "main", "sha": "0" * 40},
        "runner_info": {"timeout": 3600},
        "variables": [{"key": key, "value": str(value), "public": True} for key, value in variables.items()],
        "steps": [{"name": "script", "script": spec["script"], "timeout": 3600, "when": "on_success"}],
        "services": services,
        **({"image": {"name": spec["image"]}} if spec["image"] else {}),
    }


def find(items: list[dict], number: str) -> dict | None:
    return next((item for item in items if item["id"] == int(number)), None)


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "gitlab-coordinator-standin"

    def __init__(self, *args: object, state: State, repository: str | None, **more: object) -> None:
        self.state = state
        super().__init__(*args, directory=repository or "/nonexistent", **more)  # type: ignore[arg-type]

    def log_message(self, message: str, *args: object) -> None:
        sys.stderr.write(f"{self.address_string()} {message % args}\n")

    def reply(self, status: int, body: object = None, headers: dict[str, str] | None = None) -> None:
        if status >= 400 and body is None:
            body = {"message": f"{status} {http.HTTPStatus(status).phrase}"}
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        if data:
            self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        if self.command in ("GET", "HEAD") and address.path.startswith("/repo/"):
            self.path = self.path[len("/repo") :]
            return super().do_GET() if self.command == "GET" else super().do_HEAD()
        self.query = dict(urllib.parse.parse_qsl(address.query))
        self.raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.body: dict = {}
        if self.headers.get_content_type() == "application/json" and self.raw:
            self.body = json.loads(self.raw)
        elif self.headers.get_content_type() == "application/x-www-form-urlencoded":
            self.body = dict(urllib.parse.parse_qsl(self.raw.decode()))
        mode = self.state.mode
        api = address.path.startswith("/api/v4/")
        result: tuple = (404,)
        if api and mode.get("status") and mode.get("path", "") in address.path:
            result = (mode["status"],)
        else:
            for method, pattern, action in ROUTES:
                match = re.fullmatch(pattern, address.path)
                if method == self.command and match:
                    with self.state.changed:
                        result = action(self, *match.groups())
                    break
        if api:
            entry = {"method": self.command, "path": address.path, "status": result[0]}
            self.state.requests.append({**entry, "user_agent": self.headers.get("User-Agent")})
        return self.reply(*result)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    # --- what runners call ---

    def runner(self) -> dict | None:
        return self.state.runner_of(self.headers.get("RUNNER-TOKEN") or self.body.get("token", ""))

    def job(self, number: str) -> dict | None:
        token = self.headers.get("JOB-TOKEN") or self.body.get("token")
        job = find(self.state.jobs, number)
        return job if job and job["token"] == token else None

    def verify(self) -> tuple:
        runner = self.runner()
        return (200, {key: runner[key] for key in ("id", "token", "token_expires_at")}) if runner else (403,)

    def reset_token(self) -> tuple:
        runner = self.runner()
        if not runner:
            return (403,)
        runner["token"] = "glrt-" + secrets.token_urlsafe(15)
        self.state.set_expiry(runner)
        self.state.save()
        return 201, {key: runner[key] for key in ("token", "token_expires_at")}

    def request_job(self) -> tuple:
        runner = self.runner()
        if not runner:
            return (403,)
        job = self.state.take_job(runner)
        return (201, payload(job)) if job else (204,)

    def update_job(self, number: str) -> tuple:
        job = self.job(number)
        if not job:
            return (403,)
        if job["status"] not in FINISHED:
            job["status"] = self.body["state"]
            job["exit_code"] = self.body.get("exit_code", 0 if job["status"] == "success" else None)
            job["failure_reason"] = self.body.get("failure_reason")
            self.state.save()
        return 200, None, {"Job-Status": job["status"]}

    def append_trace(self, number: str) -> tuple:
        job = self.job(number)
        if not job:
            return (403,)
        # latin-1 keeps one character per byte, so that offsets stay those of the runner.
        start = int(self.headers["Content-Range"].partition("-")[0])
        fits = start == len(job["trace"])
        if fits:
            job["trace"] += self.raw.decode("latin-1")
            self.state.save()
        return 202 if fits else 416, None, {"Job-Status": job["status"], "Range": f"0-{len(job['trace'])}"}

    # --- what administrators call ---

    def allowed(self) -> bool:
        bearer = self.headers.get("Authorization", "").replace("Bearer ", "")
        return (self.headers.get("PRIVATE-TOKEN") or bearer) == self.state.access_token

    @staticmethod
    def public(runner: dict) -> dict:
        shown = {key: value for key, value in runner.items() if not key.startswith("token")}
        is_shared = runner["runner_type"] == "instance_type"
        return {**shown, "active": not runner["paused"], "is_shared": is_shared, "status": "online"}

    def who_am_i(self) -> tuple:
        return (200, {"id": 1, "username": "test-stand-in", "is_admin": True}) if self.allowed() else (401,)

    def version(self) -> tuple:
        return (200, {"version": "19.4.0", "revision": "test stand-in"}) if self.allowed() else (401,)

    def create_runner(self) -> tuple:
        if not self.allowed():
            return (401,)
        runner = self.state.add_runner(self.body)
        return 201, {key: runner[key] for key in ("id", "token", "token_expires_at")}

    def list_runners(self) -> tuple:
        if not self.allowed():
            return (401,)
        size, page = int(self.query.get("per_page", 20)), int(self.query.get("page", 1))
        shown = [self.public(runner) for runner in self.state.runners]
        more = str(page + 1) if len(shown) > page * size else ""
        headers = {
            "X-Total": str(len(shown)),
            "X-Page": str(page),
            "X-Per-Page": str(size),
            "X-Next-Page": more,
        }
        if more:
            here = f"http://{self.headers['Host']}/api/v4/runners/all"
            headers["Link"] = f'<{here}?page={more}&per_page={size}>; rel="next"'
        return 200, shown[(page - 1) * size : page * size], headers

    def one_runner(self, number: str) -> tuple:
        runner = find(self.state.runners, number)
        if not self.allowed() or not runner:
            return (404,) if self.allowed() else (401,)
        if self.command == "DELETE":
            self.state.runners.remove(runner)
        elif self.command == "PUT":
            runner.update(self.body)
        self.state.save()
        return (204,) if self.command == "DELETE" else (200, self.public(runner))

    # --- what tests call ---

    def test_runner(self) -> tuple:
        known = self.state.runner_of(self.body.get("token", ""))
        return (200, known) if known else (201, self.state.add_runner(self.body))

    def test_job(self) -> tuple:
        return 201, {"id": self.state.add_job(self.body)["id"]}

    def test_job_state(self, number: str) -> tuple:
        job = find(self.state.jobs, number)
        if not job:
            return (404,)
        until, text = self.query.get("until", "finished"), self.query.get("contains")

        def reached() -> bool:
            if job["status"] in FINISHED:
                return True
            return text in job["trace"] if text else until == "running" and job["status"] != "pending"

        self.state.changed.wait_for(reached, float(self.query.get("wait", 0)))
        shown = {key: job[key] for key in ("id", "status", "exit_code", "failure_reason", "runner_id")}
        return 200, {**shown, "trace": job["trace"].encode("latin-1").decode(errors="replace")}

    def test_mode(self) -> tuple:
        self.state.mode = self.body
        return 200, self.body

    def test_requests(self) -> tuple:
        return 200, list(self.state.requests)


ROUTES: list[tuple[str, str, Callable[..., tuple]]] = [
    ("POST", r"/api/v4/runners/verify", Handler.verify),
    ("POST", r"/api/v4/runners/reset_authentication_token", Handler.reset_token),
    ("POST", r"/api/v4/jobs/request", Handler.request_job),
    ("PUT", r"/api/v4/jobs/(\d+)", Handler.update_job),
    ("PATCH", r"/api/v4/jobs/(\d+)/trace", Handler.append_trace),
    ("GET", r"/api/v4/user", Handler.who_am_i),
    ("GET", r"/api/v4/version", Handler.version),
    ("POST", r"/api/v4/user/runners", Handler.create_runner),
    ("GET", r"/api/v4/(?:(?:projects|groups)/[^/]+/)?runners(?:/all)?", Handler.list_runners),
    ("GET", r"/api/v4/runners/(\d+)", Handler.one_runner),
    ("PUT", r"/api/v4/runners/(\d+)", Handler.one_runner),
    ("DELETE", r"/api/v4/runners/(\d+)", Handler.one_runner),
    ("POST", r"/_test/runners", Handler.test_runner),
    ("POST", r"/_test/jobs", Handler.test_job),
    ("GET", r"/_test/jobs/(\d+)", Handler.test_job_state),
    ("POST", r"/_test/mode", Handler.test_mode),
    ("GET", r"/_test/requests", Handler.test_requests),
]


def make_server(bind: str, port: int, state: State, repository: str | None = None) -> http.server.ThreadingHTTPServer:
    handler = functools.partial(Handler, state=state, repository=repository)
    return http.server.ThreadingHTTPServer((bind, port), handler)


class Client:
    """The test endpoints of a running stand-in."""

    def __init__(self, url: str, ca_file: str | None = None) -> None:
        self.url = url.rstrip("/")
        context = ssl.create_default_context(cafile=ca_file)
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def call(self, method: str, path: str, body: object = None, timeout: float = 30) -> dict:
        request = urllib.request.Request(f"{self.url}/_test/{path}", method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with self.opener.open(request, timeout=timeout) as reply:
            return json.load(reply)

    def add_runner(self, **fields: object) -> dict:
        return self.call("POST", "runners", fields)

    def submit(self, script: str | list[str], **fields: object) -> int:
        """Enqueue a job and return its id; the fields are those of C(POST /_test/jobs)."""
        return self.call("POST", "jobs", {"script": script, **fields})["id"]

    def wait(self, job: int, timeout: float, until: str = "finished", contains: str | None = None) -> dict:
        """Wait until a job has ended, runs, or has printed a text; TimeoutError after C(timeout) seconds."""
        query = {"wait": timeout, "until": until, **({"contains": contains} if contains else {})}
        found = self.call("GET", f"jobs/{job}?{urllib.parse.urlencode(query)}", timeout=timeout + 10)
        started = until == "running" and found["status"] != "pending"
        if found["status"] in FINISHED or (contains in found["trace"] if contains else started):
            return found
        raise TimeoutError(f"job {job} is {found['status']} after {timeout} s; its log so far:\n{found['trace']}")


def serve(options: argparse.Namespace) -> int:
    if options.state:
        os.makedirs(options.state, 0o700, exist_ok=True)
    state = State(options.state, options.access_token)
    for token in options.token:
        if not state.runner_of(token):
            with state.changed:
                state.add_runner({"token": token, "description": "from the command line"})
    server = make_server(options.bind, options.port, state, options.repo)
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    sys.stderr.write(f"GitLab coordinator (test stand-in) on {options.bind}:{server.server_address[1]}\n")
    server.serve_forever()
    return 0


def submit(options: argparse.Namespace) -> int:
    client = Client(options.url, options.ca_file)
    deadline = time.monotonic() + options.timeout
    variables = dict(item.split("=", 1) for item in options.variable)
    fields = {
        "image": options.image,
        "services": options.service,
        "variables": variables,
        "tags": options.tag,
    }
    number = client.submit(options.script, **fields)
    try:
        job = client.wait(number, deadline - time.monotonic())
    except TimeoutError as error:
        sys.exit(str(error))
    sys.stdout.write(job["trace"])
    if options.json:
        print(json.dumps({key: value for key, value in job.items() if key != "trace"}))
    return 0 if job["status"] == "success" else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Test stand-in for a GitLab server.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("serve", help="run the server")
    command.set_defaults(action=serve)
    command.add_argument("--bind", default="127.0.0.1")
    command.add_argument("--port", type=int, default=8929)
    command.add_argument("--repo", help="directory to serve below /repo/")
    command.add_argument("--state", help="directory to keep runners and jobs in")
    command.add_argument("--token", action="append", default=[], help="a runner's authentication token to know")
    command.add_argument("--access-token", default="glpat-test-stand-in", help="what the runners' API accepts")
    command.add_argument("--cert", help="certificate chain; turns HTTPS on")
    command.add_argument("--key", help="private key of the certificate")
    command = commands.add_parser("submit", help="hand in a job, wait for its end and print its log")
    command.set_defaults(action=submit)
    command.add_argument("--url", default="http://127.0.0.1:8929")
    command.add_argument("--ca-file")
    command.add_argument("--image")
    command.add_argument("--script", action="append", required=True, help="a line of the script; may be repeated")
    command.add_argument("--service", action="append", default=[])
    command.add_argument("--variable", action="append", default=[], metavar="NAME=VALUE")
    command.add_argument("--tag", action="append", default=[])
    command.add_argument("--timeout", type=float, default=120)
    command.add_argument("--json", action="store_true", help="print the result after the log")
    options = parser.parse_args()
    return options.action(options)


if __name__ == "__main__":
    sys.exit(main())
