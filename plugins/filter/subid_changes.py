# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: subid_changes
short_description: Which subordinate ids Podman has not taken up, or has lost
version_added: 0.1.0
author:
  - rootless.gitlab_runner maintainers (@rootless)
description:
  - Compares the ids that the rootless Podman of a user has mapped with those that V(/etc/subuid) and V(/etc/subgid)
    grant now. They differ after a change until C(podman system migrate).
  - Ids that are mapped and no longer granted are B(lost) with the next migration. The files in containers, images and
    volumes that belong to them can be neither read nor deleted then.
positional: _input
options:
  _input:
    description:
      - C(host.idMappings) of C(podman info --format json), run by the user.
      - If it is empty nothing has changed.
    type: dict
    required: true
  granted:
    description:
      - What M(rootless.gitlab_runner.subid_range) has returned for the user.
      - If it is empty nothing has changed.
    type: dict
    required: true
  user:
    description: The name of the user, for the messages.
    type: str
    required: true
seealso:
  - module: rootless.gitlab_runner.subid_range
"""

EXAMPLES = r"""
---
- name: Look up what is granted
  rootless.gitlab_runner.subid_range:
    user: gitlab-runner
  register: subids

- name: Ask Podman what is mapped
  ansible.builtin.command: podman info --format json
  become: true
  become_user: gitlab-runner
  register: info
  changed_when: false

- name: Say what differs
  ansible.builtin.debug:
    msg: "{{ changes.messages }}"
  vars:
    mappings: "{{ (info.stdout | from_json).host.idMappings }}"
    changes: "{{ mappings | rootless.gitlab_runner.subid_changes(subids, 'gitlab-runner') }}"
"""

RETURN = r"""
_value:
  description: What differs, in lists that are empty if nothing does.
  type: dict
  contains:
    lost:
      description: The ranges that are mapped and no longer granted. Each has C(start) and C(count).
      type: list
      elements: dict
    new:
      description: The ranges that are granted and not mapped yet. Each has C(start) and C(count).
      type: list
      elements: dict
    messages:
      description: A sentence or two about each range.
      type: list
      elements: str
  sample:
    lost: []
    new:
      - start: 400000
        count: 65536
    messages:
      - Podman has not taken up the subordinate ids 400000-465535 of /etc/subuid and /etc/subgid yet.
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._idmap import Change, compare, describe
from ansible_collections.rootless.gitlab_runner.plugins.plugin_utils._variables import plain


def _ranges(changes: list[Change]) -> list[dict[str, int]]:
    return [{"start": change.range.start, "count": change.range.count} for change in changes]


def subid_changes(mappings: Any, granted: Any, user: Any) -> dict[str, list[Any]]:
    """Compare the two. Raises AnsibleFilterError."""
    if not isinstance(mappings, Mapping) or not isinstance(granted, Mapping):
        raise AnsibleFilterError("subid_changes: the mappings and what is granted have to be dicts")
    found = compare(plain(mappings), plain(granted))
    return {"lost": _ranges(found.lost), "new": _ranges(found.new), "messages": describe(found, str(user))}


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"subid_changes": subid_changes}
