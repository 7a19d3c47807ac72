# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the storage share: plays on the host, its reboot, and a registry on it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from ci_host import IMAGE

HERE = Path(__file__).parents[1]
sys.path.insert(0, str(HERE.parents[1] / "tests/support"))
import build_repository

REGISTRY = "localhost:5000"
KEPT = f"{REGISTRY}/team/kept:1"
PASSWORD = "pull-secret"
HTPASSWD = "ci:$2y$04$abcdefghijklmnopqrstuuH5wTQzvC3Zall/mZjSDa23DrVdMWhT6"
IMAGES = {
    "podman_images": [KEPT],
    "podman_insecure_registries": [REGISTRY],
    "podman_registry_mirrors": {"docker.io": [REGISTRY]},
    "podman_prune_keep_labels": ["keep"],
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


class Newer(NamedTuple):
    variables: dict[str, object]
    before: str
    """The version of Podman that the release has."""
    after: str


@pytest.fixture(scope="module")
def newer(host, tmp_path_factory) -> Newer:
    """A signed repository on the host. Its Podman is that of the release, but for a higher version."""
    place = tmp_path_factory.mktemp("newer")
    suite = host.system_info.codename
    version = host.package("podman").version
    higher = f"{version}+test1"
    host.check_output("cd /srv && rm -f podman_*.deb && apt-get update && apt-get download podman=%s", version)
    name = host.backend.name
    with (place / "podman.deb").open("wb") as file:
        subprocess.run(["podman", "exec", name, "sh", "-c", "cat /srv/podman_*.deb"], check=True, stdout=file)
    tree, pool = place / "tree", place / "newer/pool"
    pool.mkdir(parents=True)
    subprocess.run(["dpkg-deb", "--raw-extract", place / "podman.deb", tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"\nVersion: {version}\n", f"\nVersion: {higher}\n"))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, pool], check=True, capture_output=True)
    (place / "keys").mkdir(0o700)
    gpg = build_repository.signing_key(str(place / "keys"), None)
    build_repository.write_suite(suite, build_repository.packages_index(pool.parent), pool.parent, gpg)
    (pool.parent / "key.asc").write_text(build_repository.output_of([*gpg, "--armor", "--export"]))
    subprocess.run(["gpgconf", "--homedir", place / "keys", "--kill", "all"], check=True)
    subprocess.run(
        ["sh", "-c", 'tar -C "$1" -c newer | podman exec -i "$2" tar -C /srv -x', "sh", place, name], check=True
    )
    url = "file:///srv/newer/"
    return Newer({"podman_repository_url": url, "podman_repository_key": f"{url}key.asc"}, version, higher)


# Test double, for the kernel of the test machine has them: where tmpfs has no extended attributes of users (before
# Linux 6.6), these functions fail like this. Python imports it at each start. Only the role's probe has this attribute.
NO_USER_ATTRIBUTES = """\
import errno, os

def without(call):
    def run(path, attribute, *rest, **options):
        if attribute == "user.rootless-gitlab-runner":
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), path)
        return call(path, attribute, *rest, **options)
    return run

os.getxattr, os.setxattr = without(os.getxattr), without(os.setxattr)
"""


@pytest.fixture
def no_user_attributes(host):
    double = "/usr/lib/python3/dist-packages/usercustomize.py"
    host.check_output("printf %%s %s > %s", NO_USER_ATTRIBUTES, double)
    yield
    host.check_output("rm %s", double)


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
