# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: runner_wanted
short_description: Runners with what they need in rootless Podman
version_added: 0.1.0
author:
  - rootless.gitlab_runner maintainers (@rootless)
description:
  - Adds to runners, which have keys as in C(config.toml), what the role P(rootless.gitlab_runner.runner#role) adds
    before it gives them to M(rootless.gitlab_runner.runner_config). What a runner says itself stays, a V(null) too.
  - A docker executor gets the socket of the Podman of the runner user, and C(FF_NETWORK_PER_BUILD) unless it has a
    C(network_mode), because services of jobs are not found otherwise.
  - With certificate authorities of one's own a runner trusts them, and a docker executor mounts them into its jobs and
    names them in the environment of these.
  - What is switched off or taken back is V(null), so that M(rootless.gitlab_runner.runner_config) removes it.
positional: _input
options:
  _input:
    description: The runners, each a dictionary with keys as in C(config.toml).
    type: list
    elements: dict
    required: true
  socket:
    description: The URL of the socket of the Podman.
    type: str
    required: true
  defaults:
    description:
      - Keys that each runner has that does not say otherwise, which counts as said by the runner. They are not added
        to the runners.
    type: dict
    default: {}
  network_per_build:
    description: Whether docker executors get a network for each job.
    type: bool
    default: true
  ca_certificates:
    description: The certificate authorities, PEM texts by names of your choice. A V(null) takes one back.
    type: dict
    default: {}
  ca_file:
    description: The file on the host that has all of O(ca_certificates).
    type: str
    default: ""
  ca_volumes:
    description: The volumes by which jobs get O(ca_certificates).
    type: list
    elements: str
    default: []
  ca_environment:
    description:
      - The variables by which programs of jobs find O(ca_certificates), as V(NAME=value). One that the runner has
        already stays, and C(GIT_SSL_CAINFO) is left out where the runner has a C(tls-ca-file) of its own.
    type: list
    elements: str
    default: []
  created:
    description:
      - Fields of runners that were made just now, by the names of the runners, such as
        RV(rootless.gitlab_runner.runner_answers#filter:_value.fields).
    type: dict
    default: {}
  present:
    description:
      - The runners that C(config.toml) has, as RV(rootless.gitlab_runner.runner_config_info#module:runners).
      - With O(ca_certificates), a runner that lists no volumes, or no environment, keeps what it has there. The filter
        fails if that has to change and a secret is in it, which M(rootless.gitlab_runner.runner_config_info) does not
        return.
    type: list
    elements: dict
    default: []
seealso:
  - module: rootless.gitlab_runner.runner_config
  - plugin: rootless.gitlab_runner.runner_problems
    plugin_type: filter
"""

EXAMPLES = r"""
---
- name: Write config.toml without the role
  rootless.gitlab_runner.runner_config:
    runners: "{{ ci_runners | rootless.gitlab_runner.runner_wanted('unix:///run/user/995/podman/podman.sock') }}"
"""

RETURN = r"""
_value:
  description: The runners, in the same order.
  type: list
  elements: dict
"""

from typing import Any, Callable, Optional

from ansible.errors import AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._runner_role import Runner, wanted
from ansible_collections.rootless.gitlab_runner.plugins.plugin_utils._variables import plain


def runner_wanted(
    runners: Any,
    socket: str,
    defaults: Optional[Any] = None,
    network_per_build: Any = True,
    ca_certificates: Optional[Any] = None,
    ca_file: str = "",
    ca_volumes: Optional[Any] = None,
    ca_environment: Optional[Any] = None,
    created: Optional[Any] = None,
    present: Optional[Any] = None,
) -> list[Runner]:
    """See DOCUMENTATION. Raises AnsibleFilterError."""
    runners, present = plain(runners), plain(present or [])
    for name, tables in (("the input", runners), ("present", present)):
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise AnsibleFilterError(f"runner_wanted: {name} has to be a list of dictionaries")
    defaults, ca_certificates, created = plain(defaults or {}), plain(ca_certificates or {}), plain(created or {})
    for name, table in (("defaults", defaults), ("ca_certificates", ca_certificates), ("created", created)):
        if not isinstance(table, dict):
            raise AnsibleFilterError(f"runner_wanted: {name} has to be a dictionary")
    try:
        return wanted(
            runners,
            defaults,
            socket=plain(socket),
            network_per_build=boolean(network_per_build, strict=False),
            ca_certificates=ca_certificates,
            ca_file=plain(ca_file),
            ca_volumes=plain(ca_volumes or []),
            ca_environment=plain(ca_environment or []),
            created=created,
            present=present,
        )
    except ValueError as error:
        raise AnsibleFilterError(f"runner_wanted: {error}") from None


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"runner_wanted": runner_wanted}
