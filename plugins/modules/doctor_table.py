#!/usr/bin/python
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_table
short_description: Print what rootless_info found
version_added: 0.1.0
author: rootless.gitlab_runner maintainers (@rootless)
description:
  - Prints the result of M(rootless.gitlab_runner.rootless_info) on the terminal, errors first, each with the commands
    that put it right.
  - It uses colours where Ansible does, and shows control characters that come from a host as replacement characters.
  - Of a host that was not examined, since the task failed or was skipped, it prints an error that says why.
  - It never fails because of what it prints. Use RV(worst) for that.
options:
  result:
    description: The registered result.
    type: dict
    required: true
  severity:
    description: The least severe findings to print.
    type: str
    choices: [error, warning, info]
    default: info
extends_documentation_fragment:
  - rootless.gitlab_runner._attributes
  - rootless.gitlab_runner._attributes.info
notes:
  - This is an action plugin. It runs on the controller.
"""

EXAMPLES = r"""
---
- name: Print errors and warnings
  rootless.gitlab_runner.doctor_table:
    result: "{{ examined }}"
    severity: warning

- name: Print everything, and fail on errors and on hosts that were not examined
  rootless.gitlab_runner.doctor_table:
    result: "{{ examined }}"
  register: printed
  failed_when: printed.worst == 'error'
"""

RETURN = r"""
worst:
  description:
    - The severity of the worst finding, whatever O(severity) leaves out, or V(none) without findings.
    - V(error) for a host that was not examined.
  returned: success
  type: str
  sample: warning
msg:
  description: The first line that is printed, without the name of the host.
  returned: success
  type: str
  sample: 1 error, 2 warnings (80 checks passed, 5 not made)
"""
