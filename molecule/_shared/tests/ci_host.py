# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for tests that look at a converged host (pytest-testinfra with --hosts=podman://NAME)."""

from __future__ import annotations

import json
import shlex

import pytest

IMAGE = "localhost/job-image-standin:latest"
USER = "gitlab-runner"


@pytest.fixture(scope="module")
def uid(host) -> int:
    return host.user(USER).uid


@pytest.fixture(scope="module")
def as_runner(host, uid):
    """Run a shell command on the host as the runner user, in its session, and return what it printed."""

    def run(command: str) -> str:
        session = f"HOME={host.user(USER).home} PATH=/usr/sbin:/usr/bin:/sbin:/bin XDG_RUNTIME_DIR=/run/user/{uid}"
        result = host.run(f"runuser -u {USER} -- env -i -C / {session} sh -c %s", command)
        assert result.rc == 0, f"{command}: {result.stderr}\n{result.stdout}"
        return result.stdout

    return run


@pytest.fixture(scope="module")
def podman_info(as_runner) -> dict:
    return json.loads(as_runner("podman info --format json"))


@pytest.fixture(scope="module")
def job_image(as_runner):
    """Make sure that the image of jobs is in the storage of the runner user."""

    def load() -> None:
        as_runner(
            f"podman image exists {IMAGE} || "
            f"podman import --quiet --change 'CMD [\"sh\"]' /srv/gitlab-standin/job-image.tar {IMAGE}"
        )

    return load


@pytest.fixture(scope="module")
def submit(host, job_image, podman_info):
    """Run a job through the coordinator on the host and return its result: status, trace, exit_code."""
    version = podman_info["version"]["Version"]
    if tuple(map(int, version.split(".")[:2])) < (4, 2):
        pytest.skip(f"Podman {version} runs no job: GitLab Runner needs 4.2")
    job_image()

    def run(*script: str, **options) -> dict:
        lines = " ".join(f"--script {shlex.quote(line)}" for line in script)
        extra = " ".join(f"--{name} {shlex.quote(value)}" for name, value in options.items())
        result = host.run(f"python3 /srv/gitlab-standin/coordinator.py submit --json {lines} {extra}")
        trace, _newline, verdict = result.stdout.rstrip().rpartition("\n")
        assert verdict.startswith("{"), f"{result}\n{host.run('journalctl -u gitlab-runner -n 40 --no-pager').stdout}"
        return {**json.loads(verdict), "trace": trace}

    return run
