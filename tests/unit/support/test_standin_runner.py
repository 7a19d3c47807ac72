# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

PROGRAM = str(Path(__file__).parents[2] / "support/standin/gitlab-runner")
TOKEN = "glrt-0123456789abcdefghij"
SECTION = """
# a comment
[[runners]]
  name = "{name}"
  url = "{url}"
  token = "{token}"
  executor = "shell"
  {more}
"""


class Runner:
    """The stand-in as a process, with its output collected."""

    def __init__(self, config: Path) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                PROGRAM,
                "--log-format",
                "text",
                "run",
                "-c",
                str(config),
                "-d",
                str(config.parent),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        for line in self.process.stderr:
            with self.news:
                self.lines.append(line)
                self.news.notify_all()

    def wait_for(self, text: str, times: int = 1) -> None:
        with self.news:
            reached = self.news.wait_for(lambda: sum(text in line for line in self.lines) >= times, 10)
            assert reached, (text, self.lines)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(10)
        self.reader.join()
        return code


@pytest.fixture
def config(tmp_path, server):
    """A function that replaces config.toml in one step, because a runner may be reading it."""
    path = tmp_path / "config.toml"

    def write(name="shell", token=TOKEN, top="", more="", text=None, url=server.url):
        section = SECTION.format(name=name, url=url, token=token, more=more)
        text = text or f"concurrent = 2\ncheck_interval = 0.02\n{top}\n{section}"
        (tmp_path / "new").write_text(text, encoding="utf-8")
        return (tmp_path / "new").replace(path)

    return write


@pytest.fixture
def start(server):
    """A function that starts the stand-in."""
    server.client.add_runner(token=TOKEN, token_lifetime=1000)
    started = []

    def run(path):
        started.append(Runner(path))
        return started[-1]

    yield run
    for runner in started:
        if runner.process.poll() is None:
            runner.process.kill()
            runner.process.wait()
        runner.reader.join()
        runner.process.stderr.close()


@pytest.fixture
def program():
    """The program as a module."""
    loader = importlib.machinery.SourceFileLoader("gitlab_runner_standin", PROGRAM)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.dont_write_bytecode, old = True, sys.dont_write_bytecode
    loader.exec_module(module)
    sys.dont_write_bytecode = old
    return module


def test_a_job_runs_and_its_log_arrives(server, config, start):
    start(config())
    job = server.client.submit(["echo $COLOUR paint", "exit 3"], variables={"COLOUR": "green"})
    done = server.client.wait(job, 10)
    assert "\n$ echo $COLOUR paint\ngreen paint\n" in done["trace"]
    assert (done["status"], done["failure_reason"], done["exit_code"]) == ("failed", "script_failure", 3)
    job = server.client.submit("true")
    assert server.client.wait(job, 10)["status"] == "success"


def test_sigquit_finishes_the_running_job(server, config, start, tmp_path):
    os.mkfifo(tmp_path / "go")
    runner = start(config())
    job = server.client.submit(f"echo started; read word <{tmp_path}/go; echo $word")
    server.client.wait(job, 10, contains="\nstarted")
    runner.process.send_signal(signal.SIGQUIT)
    runner.wait_for("graceful shutdown")
    runner.process.send_signal(signal.SIGQUIT)
    runner.wait_for("graceful shutdown", 2)
    late = server.client.submit("true")
    (tmp_path / "go").write_text("finished\n", encoding="ascii")
    done = server.client.wait(job, 10)
    assert (done["status"], done["trace"].splitlines()[-2]) == ("success", "finished")
    assert runner.process.wait(10) == 0
    assert server.client.call("GET", f"jobs/{late}")["status"] == "pending"


def test_sigterm_aborts_the_running_job(server, config, start, tmp_path):
    os.mkfifo(tmp_path / "never")
    runner = start(config())
    job = server.client.submit(f"echo started; read word <{tmp_path}/never")
    server.client.wait(job, 10, contains="\nstarted")
    assert runner.end(signal.SIGTERM) == 0
    done = server.client.wait(job, 10)
    assert (done["status"], done["failure_reason"]) == ("failed", "runner_interrupted")


def test_the_configuration_is_read_again_when_it_changes(server, config, start):
    runner = start(config(name="before"))
    runner.wait_for("Configuration loaded")
    config(name="after")
    runner.wait_for("Configuration loaded", 2)
    trace = server.client.wait(server.client.submit("true"), 10)["trace"]
    assert "\n  on after 012345678, system ID: " in trace
    config(text="this is = = not TOML")
    runner.wait_for("Failed to load config")
    assert server.client.wait(server.client.submit("true"), 10)["status"] == "success"


def test_an_expiring_token_is_exchanged_in_the_file(server, config, start, program):
    times = "token_obtained_at = 2020-01-01T00:00:00Z\n  token_expires_at = 2020-02-01T00:00:00Z"
    path = config(more=times)
    path.chmod(0o640)
    runner = start(path)
    runner.wait_for("Resetting runner authentication token... succeeded")
    assert server.client.wait(server.client.submit("true"), 10)["status"] == "success"
    assert runner.end(signal.SIGQUIT) == 0
    text = path.read_text(encoding="utf-8")
    section = program.parse_toml(text)["runners"][0]
    assert section["token"] not in ("", TOKEN)
    assert section["token_expires_at"].year > 2020
    assert "a comment" not in text
    assert path.stat().st_mode & 0o777 == 0o640


def test_concurrent_limits_the_jobs(server, config, start, tmp_path):
    os.mkfifo(tmp_path / "go")
    runner = start(config(more="limit = 1"))
    first = server.client.submit(f"echo started; read word <{tmp_path}/go")
    second = server.client.submit("true")
    server.client.wait(first, 10, contains="\nstarted")
    runner.process.send_signal(signal.SIGHUP)
    runner.wait_for("Configuration loaded", 2)
    assert server.client.call("GET", f"jobs/{second}")["status"] == "pending"
    (tmp_path / "go").write_text("\n", encoding="ascii")
    assert server.client.wait(second, 10)["status"] == "success"


def test_a_refused_token_is_given_up_until_the_file_changes(server, config, start):
    runner = start(config(token="glrt-unknown"))
    runner.wait_for("forbidden", 3)
    config()
    assert server.client.wait(server.client.submit("true"), 10)["status"] == "success"
    assert sum("forbidden" in line for line in runner.lines) == 3


def test_metrics_are_served(server, config, start):
    with urllib.request.socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    start(config(top=f'listen_address = "{address}"')).wait_for("Metrics server listening")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}/metrics", timeout=10) as reply:
        assert b"gitlab_runner_concurrent 2\n" in reply.read()
    with opener.open(f"http://{address}/health/ready", timeout=10) as reply:
        assert reply.read() == b"ready\n"


def test_the_system_id_is_kept(config, start, tmp_path):
    runner = start(config())
    runner.wait_for("Configuration loaded")
    runner.end(signal.SIGQUIT)
    path = tmp_path / ".runner_system_id"
    assert path.read_text(encoding="ascii")[:2] in ("s_", "r_")
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("s_abcdefghijkl", encoding="ascii")
    runner = start(config())
    runner.wait_for("Configuration loaded")
    runner.end(signal.SIGQUIT)
    assert path.read_text(encoding="ascii") == "s_abcdefghijkl"


@pytest.mark.parametrize(("uid", "directory"), [(0, "/etc/gitlab-runner"), (990, "/home/ci/.gitlab-runner")])
def test_the_uid_decides_where_the_configuration_is(program, monkeypatch, uid, directory):
    monkeypatch.setattr(program.os, "getuid", lambda: uid)
    monkeypatch.setenv("HOME", "/home/ci")
    assert program.config_directory() == directory


def command(*words):
    done = subprocess.run([sys.executable, PROGRAM, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_version_says_what_it_is():
    code, text = command("--version")
    assert code == 0
    assert text.startswith("Version:      0.0.0 (test stand-in)\n")


def test_verify_fails_for_a_refused_token_only(server, config):
    server.client.add_runner(token=TOKEN)
    assert command("verify", "-c", str(config()))[0] == 0
    code, text = command("verify", "-c", str(config(token="glrt-unknown")))
    assert (code, "is not valid" in text) == (1, True)
    server.client.call("POST", "mode", {"status": 500})
    assert command("verify", "-c", str(config()))[0] == 0
    for url in ("http://127.0.0.1:9", "gitlab.example.com"):
        code, text = command("verify", "-c", str(config(url=url)))
        assert (code, "Verifying runner... client error" in text) == (0, True)


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
@pytest.mark.parametrize(("trusted", "verdict"), [(True, "is valid"), (False, "CERTIFICATE_VERIFY_FAILED")])
def test_https_needs_a_known_authority(tmp_path, trusted, verdict):
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", "req", "-x509", *names, *files], check=True, capture_output=True)
    program = [sys.executable, str(Path(PROGRAM).parents[1] / "coordinator.py"), "serve", "--port", "0"]
    options = ["--token", TOKEN, "--cert", certificate, "--key", key]
    with subprocess.Popen([*program, *options], stderr=subprocess.PIPE, text=True) as served:
        port = served.stderr.readline().strip().rpartition(":")[2]
        more = f'tls-ca-file = "{certificate}"' if trusted else ""
        section = SECTION.format(name="x", url=f"https://127.0.0.1:{port}", token=TOKEN, more=more)
        (tmp_path / "config.toml").write_text(section, encoding="utf-8")
        output = command("verify", "-c", str(tmp_path / "config.toml"))[1]
        served.terminate()
    assert verdict in output


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("concurrent = 1\n", 0, ""),
        ("concurent = 1\n", 1, "unknown key: concurent"),
        ('concurrent = "1"\n', 1, "concurrent: not a number"),
        ("[[runners]]\nname = 'x'\n", 1, "runners.0.token: missing"),
        ("= 1\n", 1, "Failed to lint config"),
    ],
)
def test_lint(tmp_path, text, code, message):
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    found, output = command("lint", "--config", str(path))
    assert (found, message in output) == (code, True), output


def test_a_written_configuration_reads_back(program):
    data = {
        "concurrent": 4,
        "session_server": {"session_timeout": 1800},
        "runners": [
            {
                "name": 'a "b" \\',
                "docker": {"image": "x", "volumes": ["/cache"], "services": [{"name": "y"}]},
            },
            {"name": "b", "feature_flags": {"FF_X": True}, "sysctls": {"net.ipv4.ip_forward": "1"}},
        ],
    }
    assert program.parse_toml(program.dump_toml(data)) == data
