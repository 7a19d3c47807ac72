# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only a machine with its own kernel shows, after it was converged and booted again: "make test-vm"."""

from __future__ import annotations

IMAGE = "localhost/job-image-standin:latest"
PATH = "/srv/rootless-containers"
LIMIT = 64 * 2**20


def test_the_boot_went_well(host):
    assert host.check_output("systemctl is-system-running --wait") == "running"


def test_the_kernel_emulates_vsyscall(host):
    assert "vsyscall=emulate" in host.file("/proc/cmdline").content_string.split()
    mapping = host.check_output("grep vsyscall /proc/self/maps")
    assert "r-xp" in mapping
    # The kernel has it from what update-grub has written, not from somewhere else.
    assert "vsyscall=emulate" in host.file("/boot/grub/grub.cfg").content_string


def test_the_mount_comes_from_fstab(host):
    unit = host.check_output("systemd-escape --path --suffix=mount %s", PATH)
    shown = host.check_output("systemctl show %s -p SourcePath -p ActiveState", unit).splitlines()
    assert sorted(shown) == ["ActiveState=active", "SourcePath=/etc/fstab"]


def test_overlay_is_the_kernels_own(podman_info):
    assert podman_info["store"]["graphRoot"].startswith(PATH)
    assert podman_info["store"]["graphStatus"]["Native Overlay Diff"] == "true"
    assert not any("mount_program" in option for option in podman_info["store"]["graphOptions"])


def test_controllers_are_delegated(podman_info):
    assert podman_info["host"]["cgroupVersion"] == "v2"
    assert podman_info["host"]["cgroupManager"] == "systemd"
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= set(podman_info["host"]["cgroupControllers"])


def test_a_job_sees_its_limits(submit):
    job = submit("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max")
    assert job["status"] == "success", job
    assert f"{LIMIT}\n2048\n" in job["trace"].replace("\r", "")


def test_a_job_that_takes_more_memory_is_killed(host, submit):
    job = submit("tail -c 200m /dev/zero | wc -c", "echo survived")
    assert "209715200" not in job["trace"], "all of it went through"
    assert "Memory cgroup out of memory" in host.check_output("journalctl --dmesg --boot --no-pager")


def test_other_limits_apply(as_runner):
    limits = "--cpus 0.5 --cpuset-cpus 1 --pids-limit 100"
    files = "/sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpuset.cpus.effective /sys/fs/cgroup/pids.max"
    assert as_runner(f"podman run --rm {limits} {IMAGE} cat {files}").split() == ["50000", "100000", "1", "100"]


def test_containers_of_a_network_find_each_other_by_name(as_runner):
    """The bridge, its firewall rules and the name server, with the kernel modules that the host loads on demand."""
    as_runner("podman network create --ignore vm-test")
    try:
        as_runner(f"podman run --detach --rm --name vm-test-server --network vm-test {IMAGE} httpd -f -p 80 -h /etc")
        fetched = as_runner(f"podman run --rm --network vm-test {IMAGE} wget -q -O - http://vm-test-server/passwd")
        assert fetched.startswith("root:")
    finally:
        as_runner("podman rm --force --time 0 --ignore vm-test-server && podman network rm vm-test")


def test_apparmor_is_on_and_denies_nothing(host):
    assert host.file("/sys/module/apparmor/parameters/enabled").content_string.strip() == "Y"
    assert 'apparmor="DENIED"' not in host.check_output("journalctl --boot --no-pager")
