# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's defaults and its argument specification say the same, and both keep to the role's prefix."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROLES = sorted((Path(__file__).parents[3] / "roles").iterdir())


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_are_the_documented_ones(role: Path) -> None:
    options = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
    assert all(name.startswith(f"{role.name}_") for name in options)
    optional = {name for name, option in options.items() if not option.get("required")}
    assert set(defaults) == optional
    documented = {name: options[name].get("default") for name in optional}
    assert documented == defaults


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_booleans_from_the_command_line_decide_as_such(role: Path) -> None:
    """With "-e name=false", which passes the argument specification, the variable is a string, and strings are true."""
    specifications = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"].values()
    names = "|".join(
        name for entry in specifications for name, option in entry["options"].items() if option["type"] == "bool"
    )
    decision = re.compile(rf"(?:\b(?:if|and|or|not|when:|that:)|^ +-|\() ?\b({names})\b(?! \| bool| is none|:)", re.M)
    unguarded = {
        f"{path.relative_to(role)}: {match[1]}"
        for path in role.rglob("*.yml")
        if names and path.parent.name in ("tasks", "vars", "handlers")
        for match in decision.finditer(path.read_text())
        if not path.read_text()[match.end() :].startswith((" | default(false) | bool", " is not none"))
    }
    assert unguarded == set()


def test_readmes_are_made_from_the_specifications() -> None:
    script = Path(__file__).parents[2] / "support/generate_role_readmes.py"
    result = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
