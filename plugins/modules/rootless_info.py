#!/usr/bin/python
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rootless_info
short_description: Find out what is wrong with a rootless GitLab CI host
version_added: 0.1.0
author: rootless.gitlab_runner maintainers (@rootless)
description:
  - Gathers what is true of a host on which GitLab Runner and rootless Podman run as one ordinary user, and
    judges it by about a hundred checks.
  - Each finding says in one sentence what is wrong on this host, with the values that were seen, and gives
    the commands that put it right.
  - It never changes the host. Podman is only asked where its store exists already, because every Podman
    command creates one.
  - It works on every host. Where there is no user, no Podman, no systemd or no right to look, that is a
    finding, or the check is skipped with the reason.
  - Tokens and other secrets of C(config.toml) and C(containers.conf) are not returned.
options:
  user:
    description: The runner user.
    type: str
    default: gitlab-runner
  config_path:
    description: The configuration of GitLab Runner.
    type: path
    default: /etc/gitlab-runner/config.toml
  service:
    description: The systemd service of GitLab Runner.
    type: str
    default: gitlab-runner
  tmpfs_path:
    description:
      - Where a tmpfs with the container storage is to be mounted.
      - Without it the entry in C(/etc/fstab) or the mount that the storage is on tells.
    type: path
  probe:
    description:
      - What to try out through the socket of Podman besides looking.
      - V(none) tries nothing.
      - V(container) starts a container that ends at once and is removed.
      - V(pull) pulls O(probe_image), which stays in the store.
    type: str
    choices: [none, container, pull]
    default: none
  probe_image:
    description:
      - The image for O(probe).
      - O(probe=container) takes one that is in the store when this is not given. O(probe=pull) needs it.
    type: str
extends_documentation_fragment:
  - rootless.gitlab_runner._attributes
  - rootless.gitlab_runner._attributes.info
notes:
  - As root it can look at everything. As the runner user it can look at most, as another user at little;
    the rest is skipped.
seealso:
  - description: What every finding means and how to put it right.
    name: Findings
    link: https://gitlab.com/rootless/gitlab_runner/-/blob/main/docs/findings.md
"""

EXAMPLES = r"""
---
- name: Examine the host
  rootless.gitlab_runner.rootless_info:
  become: true
  register: examined

- name: Show what is wrong
  rootless.gitlab_runner.doctor_table:
    result: "{{ examined }}"

- name: Stop on errors
  ansible.builtin.assert:
    that: examined.findings | selectattr('severity', 'eq', 'error') | length == 0

- name: Examine the host of another user, and start a container
  rootless.gitlab_runner.rootless_info:
    user: ci
    probe: container
  become: true
"""

RETURN = r"""
findings:
  description: What is wrong, errors first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Identifies the check.
      type: str
      sample: session.linger
    severity:
      description: V(error), V(warning) or V(info).
      type: str
      sample: error
    title:
      description: What the check is about.
      type: str
    summary:
      description: One sentence that says what is wrong on this host.
      type: str
      sample: Lingering is not enabled for gitlab-runner.
    evidence:
      description: What was looked at and what was there.
      type: list
      elements: str
    remedy:
      description: Shell commands for root that put it right, as they are to be typed.
      type: list
      elements: str
      sample: [loginctl enable-linger gitlab-runner]
    loss:
      description: What the remedy destroys or interrupts. Empty when nothing is.
      type: str
    variable:
      description: The variable of a role of this collection that puts it right. Empty when there is none.
      type: str
    reference:
      description: Where to read more.
      type: str
skipped_checks:
  description: The checks that could not be made or do not apply, and why.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Identifies the check.
      type: str
    reason:
      description: Why the check was not made.
      type: str
passed_checks:
  description: The ids of the checks that found nothing.
  returned: success
  type: list
  elements: str
facts:
  description:
    - Everything that the checks were made on. Its keys follow what the checks need and can change.
    - A fact that could not be gathered is a dictionary with the reason as RV(ignore:error).
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor import run
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor_checks import CHECKS
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._host_facts import Gatherer


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": "gitlab-runner"},
            "config_path": {"type": "path", "default": "/etc/gitlab-runner/config.toml"},
            "service": {"type": "str", "default": "gitlab-runner"},
            "tmpfs_path": {"type": "path"},
            "probe": {"type": "str", "default": "none", "choices": ["none", "container", "pull"]},
            "probe_image": {"type": "str"},
        },
        required_if=[("probe", "pull", ["probe_image"])],
        supports_check_mode=True,
    )
    if module.check_mode:
        module.params["probe"] = "none"
    facts = Gatherer(**module.params).facts()
    module.exit_json(changed=False, facts=facts, **run(CHECKS, facts))


if __name__ == "__main__":
    main()
