# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import subprocess
from pathlib import Path

SCENARIO = Path(__file__).parents[1]


def test_check_mode_announces_nothing_on_a_converged_host():
    """On all hosts at once."""
    result = subprocess.run(
        ["ansible-playbook", "--inventory", SCENARIO.parent / "_shared/inventory", "--check", "--diff"]
        + [SCENARIO / "converge.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert set(re.findall(r"changed=(\d+)", result.stdout)) == {"0"}, result.stdout
