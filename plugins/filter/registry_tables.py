# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: registry_tables
short_description: The registries of a registries.conf, for toml_file
version_added: 0.1.0
author:
  - rootless.gitlab_runner maintainers (@rootless)
description:
  - Makes the C([[registry]]) tables of a V(registries.conf) out of mirrors, insecure registries and tables that are
    written out.
  - What a registry or mirror does not say is V(null), so that M(rootless.gitlab_runner.toml_file) removes it. Otherwise
    C(insecure) would outlive the registry for which it was meant.
  - There are no tables at all if nothing is named. The value is V(null) then, and removes them.
positional: _input
options:
  _input:
    description:
      - Tables that are written out, as containers-registries.conf(5) has them.
      - What they leave out comes from the other options.
    type: list
    elements: dict
    required: true
  mirrors:
    description: The locations of the mirrors of each registry.
    type: dict
    default: {}
  insecure:
    description: The locations of the registries and mirrors that may be talked to without verified TLS.
    type: list
    elements: str
    default: []
seealso:
  - module: rootless.gitlab_runner.toml_file
"""

EXAMPLES = r"""
---
- name: Fetch images of Docker Hub from a mirror
  rootless.gitlab_runner.toml_file:
    path: /etc/containers/registries.conf.d/50-mirror.conf
    content:
      registry: "{{ [] | rootless.gitlab_runner.registry_tables(mirrors={'docker.io': ['mirror.example.com']}) }}"
"""

RETURN = r"""
_value:
  description: The tables, those that are written out last; V(null) if there are none.
  type: list
  elements: dict
"""

from typing import Any, Callable, Optional

from ansible.errors import AnsibleFilterError
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._registries import tables
from ansible_collections.rootless.gitlab_runner.plugins.plugin_utils._variables import plain


def registry_tables(registries: Any, mirrors: Any = None, insecure: Any = None) -> Optional[list[dict[str, Any]]]:
    """Make the tables. Raises AnsibleFilterError."""
    registries, mirrors, insecure = plain(registries), plain(mirrors or {}), plain(insecure or [])
    if not isinstance(registries, list) or not all(isinstance(registry, dict) for registry in registries):
        raise AnsibleFilterError("registry_tables: the input has to be a list of tables")
    for registry in registries:
        if not registry.get("location") and not registry.get("prefix"):
            raise AnsibleFilterError("registry_tables: a registry has neither location nor prefix")
    if not isinstance(mirrors, dict) or not all(isinstance(locations, list) for locations in mirrors.values()):
        raise AnsibleFilterError("registry_tables: mirrors has to be a dict of registries, each with a list of mirrors")
    if not isinstance(insecure, list):
        raise AnsibleFilterError("registry_tables: insecure has to be a list of registries and mirrors")
    return tables(mirrors, insecure, registries)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"registry_tables": registry_tables}
