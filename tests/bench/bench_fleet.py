#!/usr/bin/env python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the time of site.yml and doctor for 1, 4 and 8 hosts over SSH, on hosts of their own; inside the test bed.

All hosts share the cores of the machine that runs this, so real fleets are faster. Prints a Markdown table.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIZES = (1, 4, 8)


def play(playbook: str, size: int) -> float:
    """Run a playbook on a fleet of the size; return the seconds it took."""
    environment = {
        **os.environ,
        "MOLECULE_SCENARIO_NAME": "benchfleet",
        "FLEET_SIZE": str(size),
        "CI_HOST_PLATFORMS": "debian13",
        "ANSIBLE_FORKS": "8",
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_NOCOLOR": "1",
    }
    command = ["ansible-playbook", "-i", "molecule/fleet/inventory", playbook]
    start = time.monotonic()
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stdout + result.stderr)
    return time.monotonic() - start


def main() -> None:
    print("| hosts | site.yml, first run (s) | site.yml, nothing to do (s) | doctor (s) |\n|---|---|---|---|")
    for size in SIZES:
        try:
            play("molecule/_shared/create.yml", size)
            play("molecule/fleet/prepare.yml", size)
            times = [play(f"playbooks/{name}.yml", size) for name in ("site", "site", "doctor")]
        finally:
            play("molecule/_shared/destroy.yml", size)
        print(f"| {size} | " + " | ".join(f"{seconds:.0f}" for seconds in times) + " |", flush=True)


if __name__ == "__main__":
    main()
