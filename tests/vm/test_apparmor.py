# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The AppArmor profile of role userns on a kernel that enforces it, after tests/vm/apparmor.yml."""

from __future__ import annotations

from ci_host import IMAGE

# What an ordinary program is under Ubuntu's restriction: everything is allowed but to create a user namespace.
CONFINED = """abi <abi/4.0>,
include <tunables/global>
profile vm-test {
  file, capability, network, mount, umount, remount, pivot_root, signal, ptrace, unix, dbus, mqueue,
  /{usr,opt/podman}/bin/podman pix,
}
"""


def test_only_the_podman_with_a_profile_creates_a_user_namespace(host):
    host.check_output("printf %s > /run/vm-test && apparmor_parser --replace /run/vm-test", CONFINED)

    def unshare(podman: str):
        """As a user whose Podman has no namespace yet that it could enter."""
        return host.run("cd / && su admin -c %s", f"aa-exec -p vm-test -- sh -c '{podman} unshare true; exit $?'")

    refused = unshare("/usr/bin/podman")
    assert refused.rc != 0 and "Permission denied" in refused.stderr, refused
    allowed = unshare("/opt/podman/bin/podman")
    assert allowed.rc == 0, allowed


def test_a_podman_with_a_profile_ends_its_pasta(as_runner, job_image):
    """Otherwise it says, with a status of 0: rootless netns: kill network process: permission denied."""
    job_image()
    as_runner("podman network exists vm-test || podman network create vm-test")
    assert as_runner(f"/opt/podman/bin/podman run --rm --network vm-test {IMAGE} echo done 2>&1") == "done\n"
