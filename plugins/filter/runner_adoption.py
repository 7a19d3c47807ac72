# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: runner_adoption
short_description: What an existing GitLab Runner needs to run jobs in rootless Podman
version_added: 0.1.0
author:
  - rootless.gitlab_runner maintainers (@rootless)
description:
  - Makes of a C(config.toml) that uses a Docker, or a Podman of root, what has to change in it, and says what the
    adoption of the host does.
  - A docker executor whose C(host) is a socket of this host gets another, and C(FF_NETWORK_PER_BUILD) where nothing is
    said about networks. All others stay as they are.
positional: _input
options:
  _input:
    description: What M(rootless.gitlab_runner.runner_config_info) has returned.
    type: dict
    required: true
  user:
    description: The runner user.
    type: str
    required: true
  socket:
    description: The URL of the socket of its Podman. Empty while there is no such user.
    type: str
    default: ""
  network_per_build:
    description: Whether docker executors get a network for each job.
    type: bool
    default: true
  listed:
    description: The names of the runners that are managed from now on.
    type: list
    elements: str
    default: []
  gone:
    description: Those of O(listed) that are removed from C(config.toml).
    type: list
    elements: str
    default: []
  purge:
    description: Whether runners that are not O(listed) are removed.
    type: bool
    default: false
  strace_files:
    description: Drop-ins that run the service under strace.
    type: list
    elements: str
    default: []
  remove_strace:
    description: Whether O(strace_files) are removed.
    type: bool
    default: false
  source_files:
    description: Package sources of GitLab Runner that are replaced.
    type: list
    elements: str
    default: []
  in_docker_group:
    description: Whether the user is in the group C(docker).
    type: bool
    default: false
  stop_docker:
    description: Whether Docker is stopped, and the user leaves its group.
    type: bool
    default: false
seealso:
  - module: rootless.gitlab_runner.runner_config_info
"""

EXAMPLES = r"""
---
- name: Read the configuration
  rootless.gitlab_runner.runner_config_info:
  register: config

- name: Say what an adoption would do
  ansible.builtin.debug:
    msg: "{{ (config | rootless.gitlab_runner.runner_adoption('gitlab-runner')).report }}"
"""

RETURN = r"""
_value:
  description: The adoption.
  type: dict
  contains:
    wanted:
      description: What to set in which runners, for M(rootless.gitlab_runner.runner_config). It needs O(socket).
      type: list
      elements: dict
      sample:
        - name: build-1
          docker:
            host: unix:///run/user/995/podman/podman.sock
    mounts:
      description: Which runners give their jobs a Docker to control.
      type: list
      elements: str
    report:
      description: What is done, line by line, with the RV(_value.mounts).
      type: list
      elements: str
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._runner_adoption import (
    Plan,
    mounts,
    report,
    wanted,
)
from ansible_collections.rootless.gitlab_runner.plugins.plugin_utils._variables import plain

_RESULTS = ("runners", "drift", "unknown_keys", "deprecated_keys", "invalid_values")
_SWITCHES = ("network_per_build", "purge", "remove_strace", "in_docker_group", "stop_docker")


def runner_adoption(info: Any, user: str, socket: str = "", **options: Any) -> dict[str, Any]:
    """See DOCUMENTATION. Raises AnsibleFilterError."""
    info, options = plain(info), plain(options)
    if not isinstance(info, dict) or not info.keys() >= {*_RESULTS}:
        raise AnsibleFilterError("runner_adoption: the input has to be a result of runner_config_info")
    options |= {name: boolean(options[name], strict=False) for name in _SWITCHES if name in options}
    try:
        plan = Plan(plain(user), plain(socket), **options)
    except TypeError as error:
        raise AnsibleFilterError(f"runner_adoption: {error}") from error
    runners = info["runners"]
    return {"wanted": wanted(runners, plan), "mounts": mounts(runners), "report": report(info, plan)}


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"runner_adoption": runner_adoption}
