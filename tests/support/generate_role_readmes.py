#!/usr/bin/env python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the tables of variables in roles/*/README.md from the roles' argument specifications.

What stands above the line C(## Variables) of a README is written by hand and stays.
C(--check) only says what is stale.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
MARK = "## Variables\n"


def markdown(text: str) -> str:
    """Ansible's markup as Markdown."""
    text = re.sub(r"\b[OVC]\(((?:[^()]|\([^()]*\))*)\)", r"`\1`", text)
    return re.sub(r"\b[PM]\(([^()#]*)(?:#[a-z]+)?\)", r"`\1`", text).replace("|", "\\|")


def table(specification: dict) -> str:
    """The Markdown table of one entry point's options."""
    lines = ["| variable | type | default | what it does |", "|---|---|---|---|"]
    for name, option in specification["options"].items():
        description = option["description"]
        description = description if isinstance(description, str) else " ".join(description)
        if "choices" in option:
            description += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
        default = "required" if option.get("required") else ""
        if option.get("default") is not None:
            value = option["default"] if isinstance(option["default"], str) else json.dumps(option["default"])
            default = f"`{value}`".replace("|", "\\|").replace("``", "empty")
        kind = option["type"] + (f" of {option['elements']}" if "elements" in option else "")
        lines.append(f"| `{name}` | {kind} | {default} | {markdown(description)} |")
    return "\n".join(lines) + "\n"


def readme(role: Path) -> str:
    """The whole README of a role, with its table renewed."""
    specifications = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    head = (role / "README.md").read_text().split(MARK)[0]
    text = head + MARK
    for name, specification in specifications.items():
        if name != "main":
            text += f"\n### With `tasks_from: {name}`\n"
        text += "\n" + table(specification)
    return text


def main() -> int:
    stale = [role for role in sorted(ROLES.iterdir()) if (role / "README.md").read_text() != readme(role)]
    for role in stale:
        print(
            f"{role.name}/README.md",
            "is stale: run tests/support/generate_role_readmes.py" if "--check" in sys.argv else "written",
        )
        if "--check" not in sys.argv:
            (role / "README.md").write_text(readme(role))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
