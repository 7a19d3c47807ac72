# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The labels of the storage on a kernel with SELinux, after tests/vm/selinux.yml, site.yml and another boot."""

from __future__ import annotations

import pytest

DISK = "/home/gitlab-runner/.local/share/containers/storage"
IMAGE = "localhost/job-image-standin:latest"
PATH = "/srv/rootless-containers"
STORAGE = f"{PATH}/storage"


@pytest.fixture
def kind(host):
    """The type in the label of a file."""
    return lambda path: host.check_output("stat --format %%C %s", path).split(":")[2]


def test_selinux_is_on(host, podman_info):
    assert host.file("/sys/fs/selinux/enforce").content_string == "0"
    assert podman_info["host"]["security"]["selinuxEnabled"]


def test_the_boot_labels_the_mount(host, kind):
    """It is from /etc/fstab: on the tmpfs that was mounted before SELinux was on, the kernel refuses the option."""
    assert "rootcontext=system_u:object_r:container_file_t:s0" in host.mount_point(PATH).options
    assert kind(PATH) == "container_file_t"


def test_what_podman_makes_there_is_labelled(job_image, as_runner, kind):
    job_image()
    as_runner(f"podman run --rm --volume vm-test:/vm-test {IMAGE} touch /vm-test/file")
    try:
        assert {kind(f"{STORAGE}/{name}") for name in ("overlay", "overlay-images", "volumes/vm-test/_data/file")} == {
            "container_file_t"
        }
    finally:
        as_runner("podman volume rm vm-test")


def test_a_job_is_confined_and_reads_its_files(host, submit):
    since = host.check_output("date +%s")
    job = submit("cat /proc/self/attr/current", "head -n 1 /etc/passwd", "echo mine > /file && cat /file")
    assert job["status"] == "success", job
    assert ":container_t:s0:c" in job["trace"] and "root:x:0:0" in job["trace"] and "mine" in job["trace"]
    # Where it is enforced, the policy would let it do that with files. It would not with the pipes of its output.
    denied = host.run("journalctl --dmesg --since @%s --no-pager --grep 'denied.*scontext=[^ ]*:container_t:'", since)
    assert "tclass=file" not in denied.stdout and "tclass=dir" not in denied.stdout, denied.stdout


def test_a_relabelling_keeps_it_a_storage(host):
    """Where the rule of semanage is for: the path is labelled like the storage on the disk."""
    for name in ("", "/overlay", "/volumes/name/_data"):
        there, disk = (host.check_output("matchpathcon -n %s", root + name) for root in (STORAGE, DISK))
        assert there == disk and ":container_" in there
