# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the role on the host with other variables, start jobs that end when they are told to, serve a coordinator."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from ci_host import IMAGE, USER

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tests/support"))
import coordinator

CONFIG = "/etc/gitlab-runner/config.toml"
COORDINATOR = "http://127.0.0.1:8929"
TOKEN = "glrt-stand-in-token-1"
ACCESS_TOKEN = "glpat-test-stand-in"
CALL = (
    "import json, sys; sys.path.insert(0, '/srv/gitlab-standin'); import coordinator; "
    f"client = coordinator.Client('{COORDINATOR}'); body = json.loads(sys.argv[3]); "
    "print(json.dumps(client.call(sys.argv[1], sys.argv[2], body, 120)))"
)


def a_runner(name: str, **keys: object) -> dict:
    """A runner as the inventory of the scenarios has it."""
    docker = {"image": IMAGE, "pull_policy": "never"}
    return {"name": name, "url": COORDINATOR, "token": TOKEN, "executor": "docker", "docker": docker, **keys}


def until(condition, seconds: float = 120):
    """The first true value of a condition; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return value


@dataclass
class Play:
    rc: int
    output: str
    seconds: float
    ok: int = 0
    changed: int = 0


@pytest.fixture(scope="module")
def without_the_archive(host):
    """Leave apt the repository of GitLab only, where a test needs no other: all of Debian takes a second longer."""
    away = "/srv/apt-sources"
    archive = "find /etc/apt -name 'sources.list' -o -path '*/sources.list.d/*' ! -name 'gitlab-runner.sources'"
    host.check_output(f"mkdir -p {away}; for file in $({archive}); do mv $file {away}/$(echo $file | tr / @); done")
    yield
    host.check_output(f"cd {away} && for file in *; do mv $file $(echo $file | tr @ /); done")


@pytest.fixture(scope="module")
def play(host):
    """Run the role (or another playbook) on the host with these variables. It has to succeed, unless fails=True.

    Runners that are not listed go, so that no test has to clean up after another.
    """
    name = host.backend.name

    def run(*arguments: str, playbook: str = "molecule/runner/role.yml", fails: bool = False, **variables) -> Play:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"rootless_hosts": name, "runner_purge": True, **variables}, file)
            file.flush()
            inventory = ROOT / "molecule/_shared/inventory"
            command = ["ansible-playbook", "-i", inventory, "-e", f"@{file.name}", *arguments, playbook]
            start = time.monotonic()
            colors = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
            environment = {**os.environ, **colors, "ANSIBLE_PIPELINING": "true"}
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        assert fails == (done.returncode != 0), output
        recap = re.findall(rf"^{name} +: ok=(\d+) +changed=(\d+)", done.stdout, re.MULTILINE)
        counts = [int(count) for count in recap[-1]] if recap else [0, 0]
        return Play(done.returncode, output, time.monotonic() - start, *counts)

    return run


@pytest.fixture(scope="module")
def call(host):
    """Call a test endpoint of the coordinator on the host."""

    def run(method: str, path: str, body: object = None) -> dict:
        return json.loads(host.check_output("python3 -c %s %s %s %s", CALL, method, path, json.dumps(body)))

    return run


class Job:
    """A job that ends when it is told to."""

    def __init__(self, call, as_runner, **fields) -> None:
        self.call, self.as_runner = call, as_runner
        script = ["echo started", "while [ ! -e /tmp/go ]; do sleep 0.2; done", "echo ended"]
        self.id = call("POST", "jobs", {"script": script, **fields})["id"]
        job = call("GET", f"jobs/{self.id}?wait=60&contains=%0Astarted")
        assert "\nstarted" in job["trace"], job

    def status(self) -> str:
        return self.call("GET", f"jobs/{self.id}")["status"]

    def finish(self) -> dict:
        label = f"label=com.gitlab.gitlab-runner.job.id={self.id}"
        # Detached, as the container may be gone before Podman has asked how that ended.
        self.as_runner(f"podman exec --detach $(podman ps --quiet --filter {label}) touch /tmp/go")
        return self.call("GET", f"jobs/{self.id}?wait=60")


@pytest.fixture
def job(call, as_runner, submit):
    """Start such a job; it is running when this returns, and ends with the test."""
    jobs: list[Job] = []

    def start(**fields) -> Job:
        jobs.append(Job(call, as_runner, **fields))
        return jobs[-1]

    yield start
    for each in jobs:
        if each.status() == "running":
            each.finish()


@pytest.fixture(scope="module")
def show(host):
    """A property of the service."""
    return lambda name: host.check_output("systemctl show gitlab-runner --value -p %s", name)


@pytest.fixture(scope="module")
def main_pid(show):
    return lambda: int(show("MainPID"))


@pytest.fixture(scope="module")
def restarted(show, main_pid):
    """Wait until the service runs as another process than before, and return the new one."""

    def wait(before: int) -> int:
        until(lambda: show("ActiveState") == "active" and main_pid() not in (0, before))
        return main_pid()

    return wait


@pytest.fixture(scope="module")
def journal(host):
    """What a process of the service has logged."""
    return lambda pid: host.check_output("journalctl --no-pager -o cat _PID=%s", str(pid))


@pytest.fixture(scope="module")
def config(host):
    return lambda: host.file(CONFIG).content_string


@pytest.fixture(scope="module")
def exposure(host):
    """How exposed systemd thinks the service is, from 0 to 10."""

    def measure() -> float:
        text = host.run("systemd-analyze security --no-pager gitlab-runner").stdout
        return float(re.findall(r"exposure level for \S+: ([0-9.]+)", text)[0])

    return measure


@pytest.fixture(scope="module")
def gateway(host):
    """The address at which the host reaches the machine that the tests run on."""
    return host.check_output("ip route show default").split()[2]


@dataclass
class Coordinator:
    url: str
    state: coordinator.State

    def api(self, method: str) -> list[dict]:
        return [request for request in self.state.requests if request["method"] == method]


@pytest.fixture(scope="module")
def serve(gateway):
    """Start a coordinator on the machine of the tests, at an address that the host reaches, too."""
    servers = []

    def start(repository: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> Coordinator:
        state = coordinator.State(None, ACCESS_TOKEN)
        server = coordinator.make_server(gateway, 0, state, str(repository) if repository else None)
        if certificate and key:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Coordinator(f"http{'s' if key else ''}://{gateway}:{server.server_address[1]}", state)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


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


@pytest.fixture(scope="module")
def runs_unprivileged(host, show, main_pid):
    """Assert that the service runs as the runner user, and can read and write its configuration."""

    def check() -> None:
        assert show("ActiveState") == "active", host.run("journalctl -u gitlab-runner -n 30 --no-pager").stdout
        assert host.check_output("stat -c %%U /proc/%s", str(main_pid())) == USER
        directory, file = host.file("/etc/gitlab-runner"), host.file(CONFIG)
        assert (directory.user, directory.mode) == (USER, 0o700)
        assert (file.user, file.mode) == (USER, 0o600)

    return check
