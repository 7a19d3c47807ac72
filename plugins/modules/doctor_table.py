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
"""

RETURN = r""" # """
