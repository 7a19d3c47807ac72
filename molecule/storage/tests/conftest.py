# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the storage share: plays on the host, its reboot, and a registry on it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from ci_host import IMAGE

HERE = Path(__file__).parents[1]
REGISTRY = "localhost:5000"
KEPT = f"{REGISTRY}/team/kept:1"
PASSWORD = "pull-secret"
HTPASSWD = "ci:$2y$04$abcdefghijklmnopqrstuuH5wTQzvC3Zall/mZjSDa23DrVdMWhT6"
IMAGES = {
    "podman_images": [KEPT],
    "podman_insecure_registries": [REGISTRY],
    "podman_registry_mirrors": {"docker.io": [REGISTRY]},
    "podman_registry_logins": [{"registry": REGISTRY, "username": "ci", "password": PASSWORD}],
}


class Run(NamedTuple):
    ok: bool
    changed: int
    text: str
    """The output in one line."""


@pytest.fixture(scope="module")
def play(host):
    """Run a playbook on the host with variables."""

    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}

    def run(playbook: str = str(HERE / "vary.yml"), *arguments: str, **variables) -> Run:
        result = subprocess.run(
            ["ansible-playbook", "--inventory", HERE.parent / "_shared/inventory", "--limit", host.backend.name]
            + ["--extra-vars", json.dumps(variables), *arguments, playbook],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert PASSWORD not in result.stdout + result.stderr
        text = " ".join((result.stdout + result.stderr).split())
        changed = re.search(r"changed=(\d+)", text)
        return Run(result.returncode == 0, int(changed.group(1)) if changed else -1, text)

    return run


@pytest.fixture(scope="module")
def reboot(host):
    def run() -> None:
        subprocess.run(["podman", "restart", "--time", "60", host.backend.name], check=True, capture_output=True)
        subprocess.run(
            ["podman", "exec", host.backend.name, "timeout", "120", "sh", "-c"]
            + ["until systemctl is-system-running --wait | grep -E 'running|degraded'; do :; done"],
            check=True,
            capture_output=True,
        )

    return run


@pytest.fixture(scope="module")
def registry(host, as_runner, job_image) -> None:
    """A registry on the host that wants a login, with the image that is to be kept."""
    host.check_output("apt-get install --yes --no-install-recommends docker-registry")
    host.check_output("echo %s > /etc/docker/registry/htpasswd", HTPASSWD)
    host.check_output(
        "printf 'auth:\\n  htpasswd:\\n    realm: r\\n    path: /etc/docker/registry/htpasswd\\n' > /tmp/auth"
        " && sed -i '/^auth:/,$d' /etc/docker/registry/config.yml && cat /tmp/auth >> /etc/docker/registry/config.yml"
        " && systemctl restart docker-registry"
    )
    job_image()
    as_runner(
        f"printf {PASSWORD} | podman login --tls-verify=false --username ci --password-stdin"
        f" --authfile /tmp/auth.json {REGISTRY} && podman push --tls-verify=false --authfile /tmp/auth.json"
        f" {IMAGE} docker://{KEPT}"
    )


@pytest.fixture(scope="module")
def no_timer(as_runner):
    """The timer of the prune does not elapse by itself, soon after the boot or at the full hour."""
    directory = "~/.config/systemd/user/rootless-podman-prune.timer.d"
    as_runner(
        f"mkdir -p {directory} && printf '[Timer]\\nOnCalendar=\\nOnCalendar=2100-01-01\\n' > {directory}/test.conf"
    )
    as_runner("systemctl --user daemon-reload && systemctl --user start rootless-podman-prune.service")
    yield
    as_runner(f"rm -r {directory} && systemctl --user daemon-reload")
