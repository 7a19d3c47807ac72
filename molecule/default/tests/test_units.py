# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


def test_no_unit_of_roots_podman_starts_at_boot(host):
    """The packages enable some, of which one ends by itself half a minute after the boot."""
    units = [
        line.split()[:2]
        for line in host.check_output("systemctl list-unit-files --no-legend 'podman*' 'netavark*'").splitlines()
    ]
    assert ["podman.socket", "disabled"] in units
    assert [unit for unit, state in units if state == "enabled"] == []
