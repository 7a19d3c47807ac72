#!/usr/bin/env python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory: a host with a runner of root and Docker, and one of the procedure of 2021 on the oldest platform."""

from __future__ import annotations

import json
import os

scenario = os.environ.get("MOLECULE_SCENARIO_NAME", "adopt")
platforms = os.environ.get("CI_HOST_PLATFORMS", "debian12 debian13").split()
kinds = {"root": platforms[-1], "strace": platforms[0]}
hosts = {f"{scenario}-{kind}": {"kind": kind, "ci_host_platform": platform} for kind, platform in kinds.items()}
print(json.dumps({"ci_hosts": {"hosts": list(hosts)}, "_meta": {"hostvars": hosts}}))
