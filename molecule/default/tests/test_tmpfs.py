# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from ci_host import USER

PATH = "/srv/rootless-containers"


def test_storage_is_on_the_tmpfs(host, uid, podman_info):
    mount = host.mount_point(PATH)
    assert mount.exists and mount.filesystem == "tmpfs"
    assert "huge=within_size" in mount.options
    directory = host.file(PATH)
    assert (directory.user, directory.group, directory.mode) == (USER, USER, 0o700)
    assert podman_info["store"]["graphRoot"].startswith(PATH)
    assert podman_info["store"]["runRoot"].startswith(f"/run/user/{uid}/")
    assert host.file("/etc/fstab").contains(f" {PATH} tmpfs ")


def test_overlay_is_the_kernels_own_where_that_works(podman_info):
    kernel = tuple(int(number) for number in re.findall(r"\d+", podman_info["host"]["kernel"])[:2])
    assert any("mount_program" in option for option in podman_info["store"]["graphOptions"]) is (kernel < (6, 6))


def test_user_manager_waits_for_the_mount(host, uid):
    assert PATH in host.check_output("systemctl show user@%s.service -p RequiresMountsFor", str(uid))
