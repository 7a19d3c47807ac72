#!/usr/bin/env python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory of a fleet: FLEET_SIZE hosts (default 8) of the last platform in CI_HOST_PLATFORMS, at their addresses."""

from __future__ import annotations

import json
import os
import subprocess

scenario = os.environ.get("MOLECULE_SCENARIO_NAME", "fleet")
size = int(os.environ.get("FLEET_SIZE", "8"))
platform = os.environ.get("CI_HOST_PLATFORMS", "debian13").split()[-1]
names = [f"{scenario}-{number}" for number in range(1, size + 1)]
template = "{{.Name}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
# Hosts that are not there yet have no line; podman's exit code and message about them do not matter.
found = subprocess.run(
    ["podman", "inspect", "--format", template, *names],
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
    check=False,
).stdout.split("\n")
addresses = dict(line.split() for line in found if len(line.split()) == 2)
hosts = {name: {"ci_host_platform": platform, "address": addresses.get(name, name)} for name in names}
print(json.dumps({"ci_hosts": {"hosts": names}, "_meta": {"hostvars": hosts}}))
