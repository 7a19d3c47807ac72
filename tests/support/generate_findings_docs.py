#!/usr/bin/env python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/findings.md from the table of the doctor's checks, so that page and checks cannot disagree.

Run it as C(PYTHONPATH=.venv/collections .venv/bin/python tests/support/generate_findings_docs.py).
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor import SEVERITIES, Check, run
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor_checks import CHECKS
from doctor_cases import CASES, changed, healthy

PAGE = Path(__file__).parents[2] / "docs/findings.md"
INTRODUCTION = f"""\
<!-- Made by tests/support/generate_findings_docs.py. -->
# Findings

What `rootless.gitlab_runner.rootless_info`, and with it the role `doctor`, looks for on a host: {len(CHECKS)} checks.
The examples show what a check says about a host that has the fault, and the commands for root that it prints there;
names, ids and paths are those of the host.

- An **error** makes jobs fail, or gives them more than they may have.
- A **warning** will make jobs fail one day, or makes them slow.
- A **note** is worth knowing.
"""


def render() -> str:
    """The text of the page."""
    checks = sorted(CHECKS, key=lambda check: check.id.split(".")[0])
    families = [(name, list(members)) for name, members in groupby(checks, key=lambda check: check.id.split(".")[0])]
    parts = [INTRODUCTION, "\n".join(f"- {name}: {', '.join(map(_link, members))}" for name, members in families)]
    return "\n".join([*parts, *(_section(check) for _name, members in families for check in members)])


def _link(check: Check) -> str:
    return f"[{check.id}](#{check.id})"


def _section(check: Check) -> str:
    facts = changed(healthy(), CASES[check.id][0])
    example = next(entry for entry in run(CHECKS, facts)["findings"] if entry["id"] == check.id)
    severities = {check.severity} | {
        entry["severity"]
        for case in CASES[check.id]
        for entry in run(CHECKS, changed(healthy(), case))["findings"]
        if entry["id"] == check.id
    }
    label = " or ".join({"info": "note"}.get(name, name) for name in SEVERITIES if name in severities)
    podman = f", Podman `{check.podman}`" if check.podman else ""
    lines = [
        "",
        f'<a id="{check.id}"></a>',
        f"## {check.id}",
        "",
        f"**{check.title}** ({label}). {check.why}",
        "",
        f"- Applies to: {check.applies}{podman}",
        *([f"- Variable of the roles: `{check.variable}`"] if check.variable else []),
        f"- See: {check.reference}",
        "",
        f"> {example['summary']}",
        "",
        "```sh",
        *example["remedy"],
        "```",
    ]
    if example["loss"]:
        lines += ["", f"What that costs: {example['loss']}"]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render() + "\n")
