# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this scenario share."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

SCENARIO = Path(__file__).resolve().parents[1]
BACKUP = "/var/backups/gitlab-runner-adopt"
CONFIG = "/etc/gitlab-runner/config.toml"
HOSTS = ("adopt-root", "adopt-strace")


def play(name: str, *options: str) -> tuple[dict[str, dict[str, int]], str]:
    """Run a playbook of the collection on the hosts; return the recap by host, and the output."""
    command = ["ansible-playbook", "-i", str(SCENARIO / "inventory"), f"rootless.gitlab_runner.{name}", *options]
    output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
    recap = {
        host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", rest)}
        for host, rest in re.findall(r"^(adopt-\S+) +: (.*)$", re.sub(r"\x1b\[[0-9;]*m", "", output), re.M)
    }
    return recap, output


def kind(host) -> str:
    return host.check_output("hostname").removeprefix("adopt-")
