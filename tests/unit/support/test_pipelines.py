# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[3]


def test_no_variable_of_the_matrix_chooses_the_python_of_the_setup():
    """GitLab exports them to the job, and "3.11" is no program."""
    jobs = yaml.safe_load((PROJECT / ".gitlab-ci.yml").read_text())
    matrices = [job["parallel"]["matrix"] for job in jobs.values() if "parallel" in job]
    variables = {name for matrix in matrices for entry in matrix for name in entry}
    read = set(re.findall(r"\$\{([A-Z_]+)", (PROJECT / "tests/support/setup").read_text()))
    assert variables and read and not variables & read
