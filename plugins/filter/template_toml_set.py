# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: template_toml_set
short_description: Set keys in TOML that stands between Go template actions
version_added: 0.1.0
author:
  - rootless.gitlab_runner maintainers (@rootless)
description:
  - Sets keys in the text that GitLab Runner's Helm chart has in its value C(runners.config), TOML with Go template
    actions (C({{ ... }})) in between.
  - Only the value is replaced, or a line is inserted. All other text stays byte for byte, and so does a text in which
    everything is set already.
  - The key is set in each such table, for example in both branches of an C(if).
  - It fails, and says why, where an edit would be a guess. That is so if the key is set under a condition, if a
    template action gives its value, if a table is an inline table or is made by dotted keys, or if the text is no TOML.
    It also fails if a value has C({{) in it, which the chart would run as an action.
positional: _input
options:
  _input:
    description: The text.
    type: str
    required: true
  config:
    description:
      - The tables and keys to set, the same as O(rootless.gitlab_runner.helm_runner#module:config).
      - An array of tables such as C([[runners]]) is given as a dict, and meant with each of its tables.
      - Keys are matched in any case, as GitLab Runner does it, and keep the case that they have in the text. Only
        free keys, such as those of labels, are matched exactly.
    type: dict
    required: true
seealso:
  - module: rootless.gitlab_runner.helm_runner
  - module: rootless.gitlab_runner.helm_values_file
"""

EXAMPLES = r"""
---
- name: Let jobs use docker-in-docker
  ansible.builtin.set_fact:
    new_config: >-
      {{ lookup('ansible.builtin.file', 'runner.toml.tpl', rstrip=false)
         | rootless.gitlab_runner.template_toml_set({'runners': {'kubernetes': {'privileged': true}}}) }}
"""

RETURN = r"""
_value:
  description: The edited text.
  type: str
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible.utils.display import Display
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._template_toml import (
    TemplateTomlError,
    set_values,
)
from ansible_collections.rootless.gitlab_runner.plugins.plugin_utils._variables import plain


def template_toml_set(text: Any, config: Any) -> str:
    """Set keys in a template. Raises AnsibleFilterError."""
    if not isinstance(text, str):
        raise AnsibleFilterError(f"template_toml_set: the input has to be text, not {type(text).__name__}")
    if not isinstance(config, Mapping):
        raise AnsibleFilterError(f"template_toml_set: config has to be a dict of tables, not {type(config).__name__}")
    try:
        edited = set_values(str(text), plain(config))
    except TemplateTomlError as error:
        raise AnsibleFilterError(f"template_toml_set: {error}") from error
    for warning in edited.warnings:
        Display().warning(f"template_toml_set: {warning}")
    return edited.text


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"template_toml_set": template_toml_set}
