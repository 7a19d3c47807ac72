# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of the role podman that change what there is: in this order, and at the end the host is as it was."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from ci_host import IMAGE, USER
from conftest import HERE, IMAGES, REGISTRY

JOB = "com.gitlab.gitlab-runner.job.id"
MANAGED = "com.gitlab.gitlab-runner.managed=true"
# It would remove the volume of a test as soon as a play has told it to.
pytestmark = pytest.mark.usefixtures("no_timer")

ELSEWHERE = f"/home/{USER}/elsewhere"
SOURCE = "/etc/apt/sources.list.d/rootless-podman.sources"
VARIED = {
    "vary_roles": ["podman"],
    "podman_storage_conf": {"storage": {"graphroot": ELSEWHERE}},
    "podman_containers_conf": {"containers": {"default_ulimits": ["nofile=4096:4096"]}},
    "podman_insecure_registries": [REGISTRY],
    "podman_registry_logins": IMAGES["podman_registry_logins"],
    "podman_prune_age": "1s",
    # Every storage is full then.
    "podman_prune_above": 0,
    "podman_prune_keep_labels": ["keep"],
    "podman_prune_schedule": "daily",
}
UNVARIED = {
    "vary_roles": ["podman"],
    "podman_storage_conf": {"storage": {"graphroot": None}},
    "podman_containers_conf": {"containers": {"default_ulimits": None}},
    "podman_prune": False,
}
CONSENT = {"podman_storage_discard_existing": True}


def store(as_runner) -> tuple[str, int]:
    found = json.loads(as_runner("podman info --format json"))["store"]
    return found["graphRoot"], found["imageStore"]["number"]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, "podman_repository_url needs podman_repository_key"),
        # That of another repository.
        ("http://localhost:8929/repo/gpg.key", "Podman cannot be installed from file:///srv/newer/: .* is not signed"),
    ],
    ids=["no key", "another key"],
)
def test_a_newer_podman_is_refused_without_its_key(play, host, newer, key, said):
    run = play(**{**newer.variables, "vary_roles": ["podman"], "podman_repository_key": key})
    assert not run.ok and re.search(said, run.text), run.text
    # Otherwise the next run would find nothing to do, and leave it at the Podman of the release.
    assert not host.file(SOURCE).exists and host.package("podman").version == newer.before


def test_a_newer_podman_is_installed_and_another_storage_needs_consent(
    play, host, as_runner, registry, newer, tmp_path
):
    # An inventory that says so decides for every task, whatever user the task names.
    inventory = tmp_path / "hosts"
    inventory.write_text(f"{host.backend.name} ansible_become_user=root\n")
    # Of jobs there are caches.
    as_runner("podman volume prune --force && podman volume create stays")
    before = store(as_runner)
    run = play(**VARIED, **newer.variables)
    assert host.package("podman").version == newer.after, run.text
    assert not run.ok and f"{before[0]} holds {before[1]} images, 0 containers and 1 volumes" in run.text, run.text
    assert store(as_runner) == before and not host.file(ELSEWHERE).exists
    run = play(str(HERE / "vary.yml"), "--inventory", str(inventory), **VARIED, **newer.variables, **CONSENT)
    assert run.ok, run.text
    assert store(as_runner) == (ELSEWHERE, 0)
    # The run that was refused had not written it, unread.
    assert as_runner("systemctl --user show --value -p NeedDaemonReload rootless-podman-prune.timer").strip() == "no"

    # A server is out of reach, and the package lists are old.
    dead, stamps = "/etc/apt/sources.list.d/dead.list", "/var/lib/apt/periodic/update-success-stamp /var/lib/apt/lists"
    host.check_output("echo 'deb http://127.0.0.1:9/ none main' > %s && mv /srv/newer/key.asc /srv", dead)
    host.run(f"touch -c -d '2 days ago' {stamps}")
    try:
        again = play(**VARIED, **newer.variables)
    finally:
        host.check_output("rm %s && mv /srv/key.asc /srv/newer", dead)
    assert (again.ok, again.changed) == (True, 0), again.text
    assert "the host keeps the key of the package repository that it has" in again.text


def test_limits_of_containers_conf_apply(as_runner, job_image):
    job_image()
    assert as_runner(f"podman run --rm {IMAGE} sh -c 'ulimit -n'").strip() == "4096"


def test_prune_does_what_the_variables_say(as_runner):
    def build(name: str, label: str = "lose=yes") -> str:
        script = f"FROM {IMAGE}\\nRUN echo {name} > /name\\nLABEL {label}\\n"
        return as_runner(f"printf '{script}' | podman build --quiet --tag {name} --file - /srv/gitlab-standin").strip()

    def volumes() -> set[str]:
        return set(as_runner("podman volume ls --quiet").split())

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
    as_runner(f"podman image exists {digested} && podman volume create of-somebody")
    for name in ("used", "cache"):
        as_runner(f"podman volume create --label {MANAGED} {name}")
    as_runner(f"podman run --detach --name job --label {JOB}=1 --volume used:/cache {IMAGE} sleep 1000")
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
    assert volumes() == {"of-somebody", "used"}
    as_runner(f"podman volume create --label {MANAGED} cache")
    # All storages are full here, and the volumes were used within the last hour.
    for setting, left in (
        ("age_when_full=1h age=1h", {"of-somebody", "used", "cache"}),
        ("volumes=never", {"of-somebody", "used", "cache"}),
        ("above=101", {"of-somebody", "used", "cache"}),
        ("age=1h age_when_full=0s", {"of-somebody", "used"}),
        ("volumes=always age_when_full=0s", {"used"}),
    ):
        as_runner(f"sh -c \"$(sed 's/^kept=/{setting} kept=/' /usr/local/bin/rootless-podman)\" sh prune")
        assert volumes() == left, setting
    assert set(as_runner("podman ps --all --format '{{.Names}}'").split()) == {"job", "helper", "labelled"}
    as_runner("podman rm --force --time 0 job helper labelled && podman rmi example.com/labelled:1")


def test_what_a_null_takes_back(play, host, as_runner, newer):
    run = play(**UNVARIED, **CONSENT)
    assert run.ok, run.text
    root, images = store(as_runner)
    assert root != ELSEWHERE and images > 0
    as_runner("podman volume rm stays")
    assert as_runner(f"podman run --rm {IMAGE} sh -c 'ulimit -n'").strip() != "4096"
    assert not host.file(f"/home/{USER}/.config/containers/containers.conf").contains("default_ulimits")
    for question, answer in (("is-enabled", "disabled"), ("is-active", "inactive")):
        assert as_runner(f"systemctl --user {question} rootless-podman-prune.timer || true").strip() == answer
    as_runner(f"podman unshare rm -rf {ELSEWHERE}")
    assert not host.file(SOURCE).exists and host.package("podman").version == newer.after
    back = "apt-get install --allow-downgrades podman="
    assert back in run.text
    host.check_output(f"{back}{newer.before} --yes")


def test_more_subordinate_ids_wait_for_the_running_job(play, host, as_runner, submit):
    files = {name: host.file(name).content_string for name in ("/etc/subuid", "/etc/subgid")}
    as_runner(
        f"podman volume create owned; podman run --rm --volume owned:/v {IMAGE} sh -c 'echo x > /v/f; chown 1000 /v/f'"
    )
    # As a unit that is not ours: systemd stops it with SIGTERM, at which the runner kills its jobs.
    dropin = "/etc/systemd/system/gitlab-runner.service.d/rootless.conf"
    host.check_output("cp -a %s /root && sed -i '/^KillSignal/d' %s && systemctl daemon-reload", dropin, dropin)
    # As after a run whose last step has failed: what Podman does was not verified.
    as_runner("rm ~/.local/state/rootless-gitlab-runner/verified")
    with ThreadPoolExecutor() as pool:
        job = pool.submit(submit, "until [ -e /go ]; do sleep 1; done", "echo finished", timeout="600")
        try:
            as_runner("timeout 60 sh -c 'until podman ps --quiet | grep -q .; do sleep 1; done'")
            waits = pool.submit(play, userns_subid_count=131072, podman_drain_wait=300, podman_prune=False)
            host.check_output(
                "timeout 200 sh -c 'until systemctl is-active gitlab-runner | grep deactivating; do sleep 1; done'"
            )
            assert not waits.done()
        finally:
            as_runner("podman exec --detach $(podman ps --quiet) touch /go")
        run = waits.result()
    assert run.ok, run.text
    assert job.result()["status"] == "success" and "finished" in job.result()["trace"], job.result()
    assert "RUNNING HANDLER [rootless.gitlab_runner.podman : Start a container through the socket]" in run.text
    maps = json.loads(as_runner("podman info --format json"))["host"]["idMappings"]
    assert [sum(entry["size"] for entry in maps[side]) for side in ("uidmap", "gidmap")] == [2 * 65536 + 1] * 2
    assert as_runner(f"podman run --rm --volume owned:/v {IMAGE} stat -c %u /v/f").strip() == "1000"
    as_runner("timeout 60 sh -c 'until systemctl is-active --quiet gitlab-runner; do :; done'")
    assert "KillSignal=15" in host.check_output("systemctl show gitlab-runner")
    host.check_output("mv /root/rootless.conf %s && systemctl daemon-reload", dropin)
    for name, text in files.items():
        host.check_output("printf %s > %s", text, name)
    as_runner("podman volume rm owned && podman system migrate")
