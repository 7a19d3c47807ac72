# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from pathlib import Path

from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor_checks import CHECKS

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
import generate_findings_docs


def test_the_page_is_what_the_table_says():
    assert generate_findings_docs.PAGE.read_text() == generate_findings_docs.render() + "\n", (
        "docs/findings.md is stale: run tests/support/generate_findings_docs.py"
    )


def test_every_check_has_a_section_and_an_anchor():
    text = generate_findings_docs.render()
    for check in CHECKS:
        assert f"\n## {check.id}\n" in text
        assert f'<a id="{check.id}"></a>' in text
