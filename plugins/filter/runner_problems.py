# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: runner_problems
short_description: What is wrong with the variables of the role runner
version_added: 0.1.0
author:
  - rootless.gitlab_runner maintainers (@rootless)
description:
  - Says what the role P(rootless.gitlab_runner.runner#role) would refuse, all at once, without a host and without
    the secrets among the variables.
positional: _input
options:
  _input:
    description:
      - The variables by their names, with their defaults where an inventory does not set them. See the example for
        those that are needed. Others may be there.
    type: dict
    required: true
seealso:
  - plugin: rootless.gitlab_runner.runner_wanted
    plugin_type: filter
"""

EXAMPLES = r"""
---
- name: Stop where an inventory is wrong
  ansible.builtin.assert:
    that: problems == []
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ variables | rootless.gitlab_runner.runner_problems }}"
    variables:
      runner_api_token: null
      runner_binary_checksum: null
      runner_binary_url: null
      runner_ca_certificates: {}
      runner_config_path: /etc/gitlab-runner/config.toml
      runner_create: {}
      runner_drain_timeout: 7200
      runner_install_method: repository
      runner_package_files: []
      runner_runners: "{{ ci_runners }}"
      runner_runners_defaults:
        url: https://gitlab.example.com
        executor: docker
      runner_token_update: always
      runner_user: gitlab-runner
      runner_working_directory: /var/lib/gitlab-runner
"""

RETURN = r"""
_value:
  description: What is wrong, each with the variable that it is about. The list is empty if nothing is.
  type: list
  elements: str
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._runner_role import VARIABLES, problems
from ansible_collections.rootless.gitlab_runner.plugins.plugin_utils._variables import plain

_DICTIONARIES = ("runner_ca_certificates", "runner_create", "runner_runners_defaults")


def runner_problems(variables: Any) -> list[str]:
    """See DOCUMENTATION. Raises AnsibleFilterError."""
    variables = plain(variables)
    if not isinstance(variables, dict):
        raise AnsibleFilterError("runner_problems: the input has to be a dictionary of variables")
    if missing := [name for name in VARIABLES if name not in variables]:
        raise AnsibleFilterError(f"runner_problems: the input has to have {', '.join(missing)}")
    for name in _DICTIONARIES:
        if not isinstance(variables[name], dict):
            raise AnsibleFilterError(f"runner_problems: {name} has to be a dictionary")
    runners = variables["runner_runners"]
    if not isinstance(runners, list) or not all(isinstance(runner, dict) for runner in runners):
        raise AnsibleFilterError("runner_problems: runner_runners has to be a list of dictionaries")
    return problems(variables)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"runner_problems": runner_problems}
