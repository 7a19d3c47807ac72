#!/usr/bin/env python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory of a scenario: one host for each platform in CI_HOST_PLATFORMS (by default Debian 12 and 13)."""

from __future__ import annotations

import json
import os

scenario = os.environ.get("MOLECULE_SCENARIO_NAME", "manual")
platforms = os.environ.get("CI_HOST_PLATFORMS", "debian12 debian13").split()
# What a user of the release has to set, too: Debian 11 is refused otherwise, because its Podman is too old for GitLab.
variables = {"debian11": {"podman_minimum_version": "3.0"}}
hosts = {
    f"{scenario}-{platform}": {"ci_host_platform": platform, **variables.get(platform, {})} for platform in platforms
}
print(json.dumps({"ci_hosts": {"hosts": list(hosts)}, "_meta": {"hostvars": hosts}}))
