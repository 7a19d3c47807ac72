# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is true of every host that site.yml has built."""

from __future__ import annotations

import re

from ci_host import USER


def test_runner_user(host):
    user = host.user(USER)
    assert user.uid < 1000
    assert user.shell == "/bin/bash"
    assert host.file(user.home).user == USER
    assert USER not in ("root", "docker") and "docker" not in user.groups


def test_subordinate_ids_are_equal_and_enough(host):
    lines = {
        name: [
            line.split(":")[1:] for line in host.file(name).content_string.splitlines() if line.startswith(f"{USER}:")
        ]
        for name in ("/etc/subuid", "/etc/subgid")
    }
    assert lines["/etc/subuid"] == lines["/etc/subgid"]
    assert sum(int(count) for _start, count in lines["/etc/subuid"]) >= 65536


def test_linger_and_socket(host, uid, as_runner):
    assert host.file(f"/var/lib/systemd/linger/{USER}").exists
    assert as_runner("systemctl --user is-enabled podman.socket").strip() == "enabled"
    assert as_runner("systemctl --user is-active podman.socket").strip() == "active"
    assert host.file(f"/run/user/{uid}/podman/podman.sock").is_socket
    assert host.file(f"/run/user/{uid}/podman/podman.sock").user == USER


def test_cgroup_controllers_are_delegated_to_the_user_manager(host, uid):
    names = host.check_output(f"systemctl show user@{uid}.service --value --property DelegateControllers")
    assert set(names.split()) >= {"cpu", "cpuset", "io", "memory", "pids"}


def test_limits_of_the_kernel_are_raised(host):
    text = host.file("/etc/sysctl.d/60-rootless-gitlab-runner.conf").content_string
    wanted = dict(re.findall(r"^-(\S+) = (\S+)$", text, re.MULTILINE))
    assert wanted.keys() >= {"kernel.keys.maxkeys", "kernel.keys.maxbytes", "fs.inotify.max_user_instances"}
    for name, value in wanted.items():
        running = host.file("/proc/sys/" + name.replace(".", "/"))
        assert not running.exists or running.content_string.strip() == value, name


def test_podman(podman_info, uid):
    assert podman_info["store"]["graphDriverName"] == "overlay"
    assert podman_info["host"]["security"]["rootless"] is True
    # Podman 3 does not say.
    assert podman_info["host"].get("logDriver", "k8s-file") == "k8s-file"
    assert podman_info["host"]["eventLogger"] == "file"
    sizes = [entry["size"] for entry in podman_info["host"]["idMappings"]["uidmap"]]
    assert sum(sizes) >= 65537


def test_configuration_belongs_to_the_runner_user(host):
    home = host.user(USER).home
    assert host.run("find %s/.config ! -user %s", home, USER).stdout == ""
    directory, config = host.file("/etc/gitlab-runner"), host.file("/etc/gitlab-runner/config.toml")
    assert (directory.user, directory.group, directory.mode) == (USER, USER, 0o700)
    assert (config.user, config.group, config.mode) == (USER, USER, 0o600)


def test_config_has_the_socket(host, uid):
    config = host.file("/etc/gitlab-runner/config.toml").content_string
    assert f'host = "unix:///run/user/{uid}/podman/podman.sock"' in config


def test_service_is_not_root(host):
    service = host.service("gitlab-runner")
    assert service.is_enabled and service.is_running, host.run("journalctl -u gitlab-runner -n 40 --no-pager").stdout
    show = dict(
        line.split("=", 1)
        for line in host.check_output(
            "systemctl show gitlab-runner -p User,MainPID,KillSignal,TimeoutStopUSec"
        ).splitlines()
    )
    assert show["User"] == USER
    assert show["KillSignal"] == "3"
    process = host.process.get(pid=int(show["MainPID"]))
    assert process.user == USER
    assert host.check_output("stat -c %%U /proc/%s", show["MainPID"]) == USER


def test_package_is_from_the_signed_repository(host):
    source = host.file("/etc/apt/sources.list.d/gitlab-runner.sources")
    assert "Signed-By:" in source.content_string
    assert host.package("gitlab-runner").version == host.package("gitlab-runner-helper-images").version


def test_a_job_runs_in_a_container_of_the_runner_user(submit):
    job = submit("echo $((6 * 7)) is the answer", "cat /proc/self/uid_map", "hostname")
    assert job["status"] == "success", job
    assert "42 is the answer" in job["trace"]


def test_a_failing_job_fails(submit):
    job = submit("exit 3")
    assert (job["status"], job["exit_code"]) == ("failed", 3)


def test_root_of_a_container_is_the_runner_user_outside_and_others_are_subordinate(host, uid, as_runner, job_image):
    job_image()
    start = next(
        int(line.split(":")[1])
        for line in host.file("/etc/subuid").content_string.splitlines()
        if line.startswith(f"{USER}:")
    )
    for inside, outside in (("0", uid), ("1", start), ("1000", start + 999)):
        container = as_runner(
            f"podman run --detach --rm --user {inside} localhost/job-image-standin:latest sleep 60"
        ).strip()
        try:
            pid = as_runner(f"podman inspect --format '{{{{.State.Pid}}}}' {container}").strip()
            assert host.check_output("stat -c %%u /proc/%s", pid) == str(outside)
        finally:
            as_runner(f"podman kill {container}")


def test_nothing_of_runner_or_podman_runs_as_root(host):
    lines = host.check_output("ps -eo uid=,comm=,args=").splitlines()
    ours = (
        "gitlab-runner",
        "podman",
        "conmon",
        "catatonit",
        "slirp4netns",
        "pasta",
        "netavark",
        "aardvark-dns",
        "fuse-overlayfs",
        "rootlessport",
    )
    found = [line for line in lines if line.split()[1].startswith(ours)]
    assert found
    assert [line for line in found if line.split()[0] == "0"] == []
