# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Examples and documentation name only what there is. The syntax of the playbooks: check_package."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROLES = [path.name for path in (ROOT / "roles").iterdir()]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "roles").glob("*/README.md"))]
EXAMPLES = [path for path in sorted((ROOT / "examples").rglob("*")) if path.is_file()]


class Loader(yaml.SafeLoader):
    """Takes tags such as !vault for text."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))


def read_variables(role: str) -> set[str]:
    specs = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    return {name for entry in specs["argument_specs"].values() for name in entry.get("options", {})}


VARIABLES = {role: read_variables(role) for role in ROLES}


def find_keys(data: Any) -> Iterator[str]:
    """Every key that can be the name of a variable: not those below a variable, which are its content."""
    if isinstance(data, list):
        for item in data:
            yield from find_keys(item)
    elif isinstance(data, dict):
        for key, value in data.items():
            yield str(key)
            if not str(key).startswith(tuple(f"{role}_" for role in ROLES)):
                yield from find_keys(value)


def unknown_variables(data: Any, known: set[str]) -> list[str]:
    prefixes = tuple(f"{role}_" for role in ROLES)
    return sorted({key for key in find_keys(data) if key.startswith(prefixes)} - known)


PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
# Variables of roles, what playbooks ask for besides (tmpfs_storage_enabled), an option of runner_config,
# and a field of GitLab's API.
KNOWN = set().union(*VARIABLES.values(), {"runner_defaults", "runner_type"}) | set(
    re.findall(r"(\w+) \| default\(", "".join(path.read_text(encoding="utf-8") for path in PLAYBOOKS))
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_of_yaml_can_be_read_and_name_real_variables(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for block in re.findall(r"^ *```yaml\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE):
        data = yaml.load(textwrap.dedent(block), Loader=Loader)
        assert unknown_variables(data, KNOWN) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_variables_in_the_text_exist(path: Path) -> None:
    words = set(re.findall(r"(?<![\w./-])([a-z]+_[a-z0-9_]+)(?=`|: |=)", path.read_text(encoding="utf-8")))
    playbooks = {file.stem for file in PLAYBOOKS}
    modules = {file.stem for file in (ROOT / "plugins").glob("*/*.py")}
    named = {word for word in words if word.startswith(tuple(f"{role}_" for role in ROLES))}
    assert sorted(named - KNOWN - playbooks - modules) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(path: Path) -> None:
    targets = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_can_be_read_and_name_real_variables(path: Path) -> None:
    if path.suffix not in (".yml", ".example"):
        assert path.read_text(encoding="utf-8").strip()
        return
    assert unknown_variables(yaml.load(path.read_text(encoding="utf-8"), Loader=Loader), KNOWN) == []


def test_the_execution_environment_makes_up_for_what_images_of_debian_lack() -> None:
    path = ROOT / "examples/execution-environment/execution-environment.yml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert "debian" in data["images"]["base_image"]["name"]
    # Lists of packages, ensurepip, and a way to the hosts.
    assert data["additional_build_steps"]["prepend_base"][0].endswith("apt-get update")
    assert (
        data["options"]["skip_pip_install"]
        and data["dependencies"]["python_interpreter"]["package_system"] == "python3-pip"
    )
    assert "openssh-client" in data["dependencies"]["system"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_of_the_runner_user_start_where_it_may_enter(path: Path) -> None:
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    commands = [
        line for block in blocks for line in block.replace("\\\n", "").splitlines() if "XDG_RUNTIME_DIR=" in line
    ]
    assert [line for line in commands if "-u gitlab-runner -- env -C / " not in line] == []


def test_an_invented_variable_is_found() -> None:
    assert unknown_variables([{"vars": {"runner_tokn": 1, "podman_user": {"podman_x": 1}}}], KNOWN) == ["runner_tokn"]
