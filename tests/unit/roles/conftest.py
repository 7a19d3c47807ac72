# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLES = Path(__file__).parents[3] / "roles"


@pytest.fixture(scope="session")
def render():
    """A function that returns the value of an expression among the variables of a role."""
    loader = DataLoader()

    def run(role: str, expression: str, facts: dict[str, Any] | None = None, **variables: Any) -> Any:
        known: dict[str, Any] = {"ansible_check_mode": False}
        for part in ("defaults", "vars"):
            known |= loader.load_from_file(str(ROLES / role / part / "main.yml"), trusted_as_template=True)
        known |= {"ansible_facts": {"getent_passwd": {}, **(facts or {})}, **variables}
        return Templar(loader=loader, variables=known).template(trust_as_template("{{ " + expression + " }}"))

    return run
