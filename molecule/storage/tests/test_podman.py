# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of the role podman that change what there is: in this order, and at the end the host is as it was."""

from __future__ import annotations

import pytest
from ci_host import IMAGE
from conftest import IMAGES, REGISTRY

JOB = "com.gitlab.gitlab-runner.job.id"
VARIED = {
    "vary_roles": ["podman"],
    "podman_insecure_registries": [REGISTRY],
    "podman_registry_logins": IMAGES["podman_registry_logins"],
    "podman_prune_age": "1s",
    "podman_prune_keep_labels": ["keep"],
    "podman_prune_volumes": True,
}


@pytest.fixture(scope="module")
def varied(play, registry) -> None:
    run = play(**VARIED)
    assert run.ok, run.text


def test_prune_does_what_the_variables_say(varied, as_runner):
    def build(name: str, label: str = "lose=yes") -> str:
        script = f"FROM {IMAGE}\\nRUN echo {name} > /name\\nLABEL {label}\\n"
        return as_runner(f"printf '{script}' | podman build --quiet --tag {name} --file - /srv/gitlab-standin").strip()

    build("example.com/labelled:1", "keep=yes")
    build("example.com/plain:1")
    # One image with two names, and both are digests.
    digested = build("example.com/digested:1")
    for name in ("one", "two"):
        target = f"{REGISTRY}/team/{name}"
        as_runner(f"podman push --quiet --digestfile /tmp/{name} example.com/digested:1 docker://{target}:1")
    as_runner("podman rmi example.com/digested:1")
    for name in ("one", "two"):
        as_runner(f"podman pull --quiet {REGISTRY}/team/{name}@$(cat /tmp/{name})")
    as_runner(f"podman image exists {digested} && podman volume create unused")
    as_runner(f"podman run --detach --name job --label {JOB}=1 {IMAGE} sleep 1000")
    for name, label in (("helper", f"{JOB}=1"), ("left", f"{JOB}=2"), ("labelled", "keep=yes")):
        as_runner(f"podman create --name {name} --label {label} {IMAGE} true")
    as_runner("touch -d '1 hour ago' $(podman info --format '{{.Store.GraphRoot}}')/overlay-images/*")
    # As soon as the containers are a second old.
    as_runner(
        "timeout 60 sh -c 'while podman container exists left; do"
        " systemctl --user start rootless-podman-prune.service || exit; done'"
    )
    assert set(as_runner("podman images --format '{{.Repository}}:{{.Tag}}'").split()) == {
        IMAGE,
        "example.com/labelled:1",
    }
    assert as_runner("podman volume ls --quiet") == ""
    assert set(as_runner("podman ps --all --format '{{.Names}}'").split()) == {"job", "helper", "labelled"}
    as_runner("podman rm --force --time 0 job helper labelled && podman rmi example.com/labelled:1")
