# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The storage of a host on its way: images, changed subordinate ids, the tmpfs and back, the reset. In this order."""

from __future__ import annotations

import base64
import json
import platform
import re
import shlex
from concurrent.futures import ThreadPoolExecutor

import pytest
from ci_host import IMAGE, USER
from conftest import HERE, IMAGES, KEPT, PASSWORD, REGISTRY

PATH = "/srv/rootless-containers"
RESERVE = f"{PATH}/storage/rootless-podman-reserve"
TMPFS = {"tmpfs_storage_enabled": True, "tmpfs_storage_size": "300M", "tmpfs_storage_inodes": 50000}
NOSWAP = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2]) >= (6, 4)
# The role by itself, as a site's own playbook may include it.
ONLY_TMPFS = {**TMPFS, "vary_roles": []}


def make(as_runner, name: str, *lines: str, old: bool = True) -> None:
    """An image that was built long ago, as those of registries are, and came to this host eight days ago or now."""
    script = "\\n".join([f"FROM {IMAGE}", f"RUN echo {name} > /name", *lines])
    as_runner(f"printf '{script}\\n' | podman build --quiet --timestamp 0 --tag {name} --file - /srv/gitlab-standin")
    if old:
        image = as_runner(f"podman image inspect --format {{{{.Id}}}} {name}").strip()
        root = as_runner("podman info --format '{{.Store.GraphRoot}}'").strip()
        as_runner(f"touch -d '8 days ago' {root}/overlay-images/{image}")


def names(as_runner) -> set[str]:
    return set(as_runner("podman images --format '{{.Repository}}:{{.Tag}}'").split())


# --- images -----------------------------------------------------------------


def test_images_are_fetched_with_a_login_and_stay(play, host, as_runner, registry):
    first = play(**IMAGES)
    assert first.ok, first.text
    assert KEPT in names(as_runner)
    home = host.user(USER).home
    logins = host.file(f"{home}/.docker/config.json")
    assert (logins.user, logins.mode) == (USER, 0o600)
    assert json.loads(logins.content_string) == {
        "auths": {REGISTRY: {"auth": base64.b64encode(f"ci:{PASSWORD}".encode()).decode()}}
    }
    registries = host.file(f"{home}/.config/containers/registries.conf.d/50-rootless-gitlab-runner.conf").content_string
    assert "insecure = true" in registries and f'location = "{REGISTRY}"' in registries
    # A user that exists keeps its shell.
    host.check_output("usermod --shell /bin/sh %s", USER)
    second = play(**IMAGES)
    assert (second.ok, second.changed) == (True, 0), second.text
    assert host.user(USER).shell == "/bin/sh"
    host.check_output("usermod --shell /bin/bash %s", USER)


def test_logins_do_not_follow_a_link_of_the_runner_user(play, host, as_runner):
    as_runner("mkdir ~/elsewhere && mv ~/.docker ~/docker && ln -s /etc ~/.docker")
    try:
        run = play(**IMAGES)
        etc = host.file("/etc")
        assert (etc.user, etc.group, etc.mode) == ("root", "root", 0o755)
        assert not run.ok and not host.file("/etc/config.json").exists, run.text
    finally:
        as_runner("rm ~/.docker && mv ~/docker ~/.docker && rmdir ~/elsewhere")


def test_an_insecure_registry_needs_consent(play):
    run = play(podman_registries_conf={"registry": [{"location": "registry.example.com", "insecure": True}]})
    assert not run.ok and "registry.example.com would be talked to without verified TLS" in run.text


def test_prune_removes_what_is_old_and_unused(play, host, as_runner):
    assert as_runner("systemctl --user is-active rootless-podman-prune.timer").strip() == "active"
    for name in ("example.com/old:1", "example.com/in-use:1", "localhost/only-here:1"):
        make(as_runner, name)
    make(as_runner, "example.com/labelled:1", "LABEL keep=yes")
    make(as_runner, "example.com/young:1", old=False)
    as_runner("podman tag example.com/old:1 example.com/renamed:1 && podman run --rm example.com/renamed:1 true")
    as_runner(
        "podman volume exists cache || podman volume create cache; podman create --name user example.com/in-use:1 true"
    )
    as_runner("systemctl --user start rootless-podman-prune.service")
    left = names(as_runner)
    assert left >= {
        "example.com/in-use:1",
        "example.com/labelled:1",
        "example.com/young:1",
        "localhost/only-here:1",
        KEPT,
        IMAGE,
    }
    assert not left & {"example.com/old:1", "example.com/renamed:1"}
    as_runner("podman volume exists cache && podman container exists user")
    as_runner("podman rm user && podman rmi example.com/in-use:1 example.com/labelled:1 example.com/young:1")


# --- subordinate ids -------------------------------------------------------------


def ranges(host) -> list[str]:
    lines = host.file("/etc/subuid").content_string.splitlines()
    return [line.partition(":")[2] for line in lines if line.startswith(f"{USER}:")]


def test_a_replaced_range_is_appended_again_but_no_job_is_killed(play, host, as_runner):
    (old,) = ranges(host)
    as_runner(
        f"podman volume create owned; podman run --rm --volume owned:/v {IMAGE} sh -c 'echo x > /v/f; chown 1000 /v/f'"
    )
    job = as_runner(f"podman run --detach {IMAGE} sleep 1000").strip()
    host.check_output("sed -i 's/^%s:.*/%s:4000000:65536/' /etc/subuid /etc/subgid", USER, USER)

    refused = play(**IMAGES)
    assert not refused.ok and "1 containers of gitlab-runner are running" in refused.text
    assert "are no longer in /etc/subuid and /etc/subgid, but the files in its containers" in refused.text
    assert as_runner(f"podman inspect --format {{{{.State.Running}}}} {job}").strip() == "true"
    as_runner(f"podman rm --force --time 0 {job}")

    repaired = play(**IMAGES)
    assert repaired.ok, repaired.text
    assert set(ranges(host)) == {old, "4000000:65536"}
    assert host.service("gitlab-runner").is_running
    owner = as_runner(f"podman run --rm --volume owned:/v {IMAGE} stat -c %u /v/f").strip()
    assert owner == "1000"
    mapped = json.loads(as_runner("podman info --format json"))["host"]["idMappings"]["uidmap"]
    assert sum(entry["size"] for entry in mapped) == 2 * 65536 + 1
    again = play(**IMAGES)
    assert (again.ok, again.changed) == (True, 0), again.text


def test_files_of_a_lost_range_are_found(play, host, as_runner):
    saved = {name: host.file(name).content_string for name in ("/etc/subuid", "/etc/subgid")}
    host.check_output("cp /etc/subuid /etc/subuid-")
    host.check_output("sed -i '/^%s:/{/:4000000:/!d}' /etc/subuid /etc/subgid", USER)
    try:
        as_runner("podman system migrate")
        run = play(podman_scan_storage=True)
        assert not run.ok and "Append the old range again" in run.text
        assert saved["/etc/subuid"].splitlines()[0] in run.text
    finally:
        for name, text in saved.items():
            host.check_output("printf %s > %s", text, name)
        as_runner("podman system migrate")


# --- limits -----------------------------------------------------------------------


def test_new_controllers_reach_the_running_user_manager(play, host, uid, as_runner, job_image):
    job_image()
    unit = f"user@{uid}.service"
    dropin = "/etc/systemd/system/user@.service.d/rootless-delegate.conf"
    host.check_output("printf '[Service]\\nDelegate=memory pids\\n' > %s && systemctl daemon-reload", dropin)
    host.check_output("systemctl restart %s", unit)
    assert "cpuset" not in host.check_output("systemctl show %s --value -p DelegateControllers", unit)
    job = as_runner(f"podman run --detach {IMAGE} sleep 1000").strip()

    run = play(vary_roles=["podman"], **IMAGES)
    assert run.ok, run.text
    # Before any Podman but that of the socket: another one would have systemd look at the controllers, too.
    there = host.file(f"/sys/fs/cgroup/user.slice/user-{uid}.slice/{unit}/cgroup.controllers").content_string.split()
    assert as_runner(f"podman inspect --format {{{{.State.Running}}}} {job}").strip() == "true"
    as_runner(f"podman rm --force --time 0 {job}")
    offered = host.file("/sys/fs/cgroup/cgroup.controllers").content_string.split()
    if "cpuset" not in offered:
        pytest.skip(f"this kernel has no controller cpuset to delegate: {offered}")
    assert "cpuset" in there


def test_a_jobs_memory_limit_applies(host, uid, as_runner):
    controllers = host.file(f"/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers")
    if "memory" not in controllers.content_string.split():
        pytest.skip(f"this kernel delegates no memory controller: {controllers.content_string!r}")
    limit = as_runner(f"podman run --rm --memory 64m {IMAGE} cat /sys/fs/cgroup/memory.max").strip()
    assert limit == str(64 * 1024 * 1024)


# --- tmpfs ------------------------------------------------------------------------------


def test_a_tmpfs_beyond_the_memory_is_refused(play):
    run = play(**{**ONLY_TMPFS, "tmpfs_storage_size": "900T", "tmpfs_storage_discard_existing": True})
    assert not run.ok and "is more than 90% of the memory of this host" in run.text


def test_images_are_not_hidden_without_being_told(play):
    run = play(**ONLY_TMPFS)
    assert not run.ok and "tmpfs_storage_discard_existing: true" in run.text


def test_a_tmpfs_does_not_hide_the_storage_that_is_below_its_path(play, host):
    path = f"{host.user(USER).home}/.local/share/containers"
    run = play(**ONLY_TMPFS, tmpfs_storage_path=path)
    assert not run.ok and f"{path}/storage holds" in run.text and "tmpfs_storage_discard_existing: true" in run.text
    run = play(
        **ONLY_TMPFS, tmpfs_storage_path=path, tmpfs_storage_remove_old=True, tmpfs_storage_discard_existing=True
    )
    assert not run.ok and "is not the old storage only" in run.text
    assert not host.mount_point(path).exists and host.file(f"{path}/storage/overlay").exists


def test_the_storage_moves_to_the_tmpfs_when_the_last_job_has_ended(play, host, as_runner, submit, no_user_attributes):
    move = {**IMAGES, **TMPFS, "tmpfs_storage_discard_existing": True, "tmpfs_storage_run_root": True}
    on_disk = f"{host.user(USER).home}/.local/share/containers/storage"
    began = host.service("gitlab-runner").systemd_properties["ActiveEnterTimestampMonotonic"]
    with ThreadPoolExecutor() as pool:
        job = pool.submit(submit, "until [ -e /go ]; do sleep 1; done", "echo finished", timeout="600")
        try:
            as_runner("timeout 60 sh -c 'until podman ps --quiet | grep -q .; do sleep 1; done'")
            refused = play(**move)
            assert (
                not refused.ok and "1 containers are running. Moving the storage would fail their jobs" in refused.text
            )
            waits = pool.submit(play, **move, podman_drain_wait=300)
            host.check_output(
                "timeout 200 sh -c 'until systemctl is-active gitlab-runner | grep deactivating; do sleep 1; done'"
            )
            assert not waits.done() and not host.mount_point(PATH).exists
        finally:
            as_runner("podman exec --detach $(podman ps --quiet) touch /go")
        run = waits.result()
    assert job.result()["status"] == "success" and "finished" in job.result()["trace"], job.result()
    assert run.ok, run.text
    assert f"{on_disk} stays, and is no longer used. tmpfs_storage_remove_old: true removes it." in run.text
    # No job was between two containers while the storage moved.
    as_runner("timeout 60 sh -c 'until systemctl is-active --quiet gitlab-runner; do :; done'")
    assert host.service("gitlab-runner").systemd_properties["ActiveEnterTimestampMonotonic"] != began
    assert host.file(f"{on_disk}/overlay").exists
    info = json.loads(as_runner("podman info --format json"))
    assert (info["store"]["graphRoot"], info["store"]["runRoot"]) == (f"{PATH}/storage", f"{PATH}/run")
    assert names(as_runner) == {KEPT}
    options = host.mount_point(PATH).options
    assert {"nr_inodes=50000", "noatime", "nodev"} <= set(options)
    # Nothing has told it but the failed probe: of the empty tmpfs, and of the mounted one.
    fuse = 'mount_program = "/usr/bin/fuse-overlayfs"'
    configuration = host.file(f"{host.user(USER).home}/.config/containers/storage.conf")
    assert fuse in configuration.content_string
    again = play(**IMAGES, **TMPFS, tmpfs_storage_remove_old=True, tmpfs_storage_run_root=True)
    assert again.ok, again.text
    assert not host.file(on_disk).exists
    assert fuse in configuration.content_string


def test_fuse_overlayfs_works_on_the_tmpfs_until_the_next_reboot(play, host, as_runner):
    """As on a kernel before 6.6. Podman goes on with it for what is there, and the reboot below ends that."""
    mounts = as_runner(f"podman run --rm {KEPT} sh -c 'echo x > /new && rm /etc/passwd && cat /proc/mounts'")
    assert re.search(r"^\S+ / fuse\.fuse-overlayfs ", mounts, re.MULTILINE), mounts
    again = play(**ONLY_TMPFS, tmpfs_storage_run_root=True, tmpfs_storage_fuse_overlayfs=True)
    assert (again.ok, again.changed) == (True, 0), again.text
    # A mount keeps what it began with until it is made anew, which is at the next boot.
    back = play(**ONLY_TMPFS, tmpfs_storage_run_root=True, tmpfs_storage_noswap=NOSWAP)
    assert back.ok and ("Until the next boot the tmpfs stays in the swap" in back.text) is NOSWAP, back.text
    assert KEPT in names(as_runner)
    assert not host.file(f"{host.user(USER).home}/.config/containers/storage.conf").contains("mount_program")


def test_a_change_of_the_mount_does_not_empty_it(play, host):
    fstab = host.file("/etc/fstab").content_string
    host.check_output("fallocate --length 100MiB %s/used", PATH)
    try:
        for change, said in (
            ({"tmpfs_storage_size": "100M"}, "tmpfs_storage_size: 100M is less than the 1"),
            ({"tmpfs_storage_mount_options": ["nodev", "size=100M"]}, "Change the options of the mounted tmpfs"),
        ):
            run = play(**{**ONLY_TMPFS, **change}, tmpfs_storage_run_root=True)
            assert not run.ok and said in run.text, run.text
            assert host.file(f"{PATH}/used").exists and host.file("/etc/fstab").content_string == fstab
    finally:
        host.run("rm %s/used", PATH)


def test_a_reboot_empties_it_and_fetches_the_images_again(host, as_runner, reboot):
    as_runner(f"podman pull --tls-verify=false {REGISTRY}/team/kept:1 && podman tag {KEPT} localhost/gone:1")
    reboot()
    as_runner("timeout 60 sh -c 'until systemctl --user is-active --quiet default.target; do :; done'")
    as_runner("timeout 60 systemctl --user start rootless-podman-fetch.service")
    assert names(as_runner) == {KEPT}
    assert re.search(r"^overlay / overlay ", as_runner(f"podman run --rm {KEPT} cat /proc/mounts"), re.MULTILINE)
    assert f"Fetching image 1 of 1: {KEPT}" in host.check_output("journalctl --boot --no-pager")
    assert ("noswap" in host.mount_point(PATH).options) is NOSWAP


def fill(as_runner) -> str:
    return as_runner(f"podman run --name fills {IMAGE} dd if=/dev/zero of=/big bs=64k 2>&1 || true")


def test_a_full_tmpfs_fails_the_job_and_the_next_prune_frees_it(host, as_runner, submit, job_image, no_timer):
    job_image()
    as_runner("systemctl --user start rootless-podman-prune.service")
    assert host.file(RESERVE).size == 32 * 2**20
    # A podman_prune_age of so little would remove all of it from a storage that is not full, too.
    host.check_output("sed -i s/^age_when_full=.*/age_when_full=0s/ /usr/local/bin/rootless-podman")
    as_runner(
        f"printf 'FROM {KEPT}\\nRUN dd if=/dev/zero of=/big bs=1M count=100\\n'"
        " | podman build --quiet --tag example.com/big:1 --file - /srv/gitlab-standin"
    )
    assert "No space left on device" in fill(as_runner)
    # Podman 5 cannot remove anything now, not even by force.
    job = submit("echo never")
    assert job["status"] == "failed" and "no space left on device" in job["trace"].lower(), job

    as_runner("systemctl --user start rootless-podman-prune.service")
    assert "example.com/big:1" not in names(as_runner)
    as_runner("! podman container exists fills")
    assert names(as_runner) >= {KEPT, IMAGE}
    whole = submit("echo works again")
    assert whole["status"] == "success", whole
    database = f"{PATH}/storage/db.sql"
    if host.file(database).exists:
        check = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('PRAGMA integrity_check'))"
        assert "ok" in host.check_output("python3 -c %s %s", check, database)


def test_a_full_tmpfs_can_be_made_larger(play, host, as_runner, no_timer):
    fill(as_runner)
    # Podman 4 does.
    answers = as_runner("podman info >/dev/null 2>&1 && echo yes || true") == "yes\n"
    checked = play(str(HERE / "vary.yml"), "--check", **IMAGES, **TMPFS, tmpfs_storage_run_root=True)
    assert checked.ok if answers else "disk is full" in checked.text, checked.text
    assert host.file(RESERVE).size == 32 * 2**20
    run = play(**IMAGES, **{**TMPFS, "tmpfs_storage_size": "400M"}, tmpfs_storage_run_root=True)
    assert run.ok and answers == ("Full | Remove what the timer would remove" not in run.text), run.text
    assert "size=409600k" in host.mount_point(PATH).options
    as_runner("podman rm fills")


def test_the_storage_returns_to_the_disk(play, host, as_runner, reboot):
    # Podman 5 does not say where its storage is while that is full.
    fill(as_runner)
    refused = play(**ONLY_TMPFS, tmpfs_storage_state="absent")
    assert not refused.ok and "they are lost then" in refused.text
    as_runner(f"rm -f {RESERVE}; podman rm --all --force && podman rmi --all --force && podman volume prune --force")
    as_runner("podman volume create precious")
    refused = play(**ONLY_TMPFS, tmpfs_storage_state="absent")
    assert not refused.ok and "holds 0 images, 0 containers and 1 volumes" in refused.text
    leave = {**ONLY_TMPFS, "tmpfs_storage_state": "absent", "tmpfs_storage_discard_existing": True}
    host.check_output("systemd-run --unit holds --working-directory %s sleep infinity", PATH)
    try:
        busy = play(**leave)
    finally:
        host.check_output("systemctl stop holds")
    assert not busy.ok and "target is busy" in busy.text, busy.text
    run = play(**leave)
    assert run.ok, run.text
    assert not host.mount_point(PATH).exists
    assert not host.file("/etc/fstab").contains(PATH)
    home = host.user(USER).home
    store = json.loads(as_runner("podman info --format json"))["store"]
    assert store["graphRoot"] == f"{home}/.local/share/containers/storage"
    assert PATH not in host.file(f"{home}/.config/containers/storage.conf").content_string
    assert host.run("ls /etc/systemd/system/user@*.service.d/*rootless-storage.conf").rc != 0
    again = play(**ONLY_TMPFS, tmpfs_storage_state="absent")
    assert (again.ok, again.changed) == (True, 0), again.text
    reboot()
    as_runner("timeout 60 sh -c 'until systemctl --user is-active --quiet default.target; do :; done'")
    assert not host.file(PATH).exists
    assert json.loads(as_runner("podman info --format json"))["store"]["graphRoot"] == store["graphRoot"]


# --- the last resort -------------------------------------------------------------------------


def test_the_reset_tells_asks_and_empties(play, host, as_runner, job_image):
    job_image()
    as_runner("podman volume prune --force && podman volume create precious")
    playbook = "rootless.gitlab_runner.reset_storage"
    told = play(playbook)
    assert not told.ok and re.search(r"1 images, 0 containers, 1 volumes \(precious\), \d+ bytes", told.text), told.text

    configuration = f"{host.user(USER).home}/.config/containers/storage.conf"
    saved = host.file(configuration).content_string
    # Not below /srv, because Podman refuses a storage on the overlay that the test host is on.
    host.check_output("install -d -o %s /dev/shm/silent /dev/shm/other && touch /dev/shm/other/file", USER)
    as_runner("ln -s /dev/shm/other ~/link")
    # With the driver "none" Podman does not answer.
    for driver, root in (("none", "/dev/shm/silent"), ("overlay", f"{host.user(USER).home}/link")):
        lines = f'graphroot = "{root}"\\ndriver = "{driver}"'
        as_runner(f"sed -i '/^graphroot/d; /^driver/d; s|^\\[storage\\]|&\\n{lines}|' {configuration}")
        refused = play(playbook, podman_reset_discard_everything=True)
        assert not refused.ok and "which root does not empty" in refused.text, refused.text
        assert host.file("/dev/shm/other/file").exists and host.service("gitlab-runner").is_running
    as_runner(f"printf %s {shlex.quote(saved)} > {configuration} && rm ~/link")

    job = as_runner(f"podman run --detach {IMAGE} sleep 1000").strip()
    refused = play(playbook, podman_reset_discard_everything=True)
    assert not refused.ok and "1 containers of gitlab-runner are running" in refused.text
    as_runner(f"podman rm --force --time 0 {job} && podman volume exists precious")

    # Of an id that is no longer the user's: only root can remove it.
    root = as_runner("podman volume inspect --format {{.Mountpoint}} precious").strip()
    host.check_output("install -d -o 5000000 -m 700 %s/foreign && touch %s/foreign/file", root, root)
    as_runner("systemctl --user start podman.service")
    units = ("podman.socket", "podman.service")
    began = [as_runner(f"systemctl --user show --value -p InvocationID {unit}") for unit in units]
    # A mount in it, which root cannot remove either. Without the socket each job of the runner would fail.
    host.check_output("mkdir %s/mount && mount -t tmpfs none %s/mount", root, root)
    stopped = play(playbook, podman_reset_discard_everything=True, podman_prune=False)
    host.check_output("umount %s/mount", root)
    assert not stopped.ok and "busy" in stopped.text, stopped.text
    states = as_runner("systemctl --user is-active podman.socket rootless-podman-prune.timer || true").split()
    assert states == ["active", "inactive"] and host.service("gitlab-runner").is_running
    done = play(playbook, podman_reset_discard_everything=True)
    assert done.ok, done.text
    assert not host.file(root).exists
    assert not set(began) & {as_runner(f"systemctl --user show --value -p InvocationID {unit}") for unit in units}
    assert names(as_runner) == set() and as_runner("podman volume ls --quiet") == ""
    assert host.service("gitlab-runner").is_running
    assert host.file(f"{host.user(USER).home}/.config/containers/storage.conf").contains("overlay")
