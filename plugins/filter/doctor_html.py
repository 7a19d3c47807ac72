# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: doctor_html
short_description: A page about the findings of a fleet
version_added: 0.1.0
author: rootless.gitlab_runner maintainers (@rootless)
description:
  - Makes one static HTML page from the results of M(rootless.gitlab_runner.rootless_info) on several hosts.
  - The page loads nothing, runs nothing, and escapes everything that comes from the hosts.
positional: generated
options:
  _input:
    description: The results by the name of the host. A host whose result has no findings counts as not examined.
    type: dict
    required: true
  generated:
    description: The time to print on the page.
    type: str
    default: ""
"""

EXAMPLES = r"""
---
- name: Write a page about all hosts
  ansible.builtin.copy:
    dest: /tmp/fleet.html
    content: "{{ {inventory_hostname: examined} | rootless.gitlab_runner.doctor_html('2026-12-24') }}"
    mode: "0600"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The page.
  type: str
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.rootless.gitlab_runner.plugins.plugin_utils._doctor_report import page


def doctor_html(results: Any, generated: str = "") -> str:
    """See DOCUMENTATION."""
    if not isinstance(results, dict) or not all(isinstance(result, dict) for result in results.values()):
        raise AnsibleFilterError(
            "doctor_html: the input has to be a dictionary of results of rootless_info by host name"
        )
    return page(results, generated)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"doctor_html": doctor_html}
