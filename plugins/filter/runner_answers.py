# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: runner_answers
short_description: What GitLab has answered about runners
version_added: 0.1.0
author:
  - rootless.gitlab_runner maintainers (@rootless)
description:
  - Makes of the answers of GitLab's API what C(config.toml) gets of the runners that were created, and what a play says
    of those that GitLab has refused to create or to delete.
positional: _input
options:
  _input:
    description:
      - The results of M(ansible.builtin.uri) in a loop over runners, whose C(item) has the C(name) of the runner, and
        the C(id) of one to delete.
    type: list
    elements: dict
    required: true
  done:
    description: What GitLab was asked for. A runner to delete that GitLab does not know counts as deleted.
    type: str
    choices: [created, deleted]
    default: created
  obtained_at:
    description: The time of the answers in the format of the example, for tokens that expire.
    type: str
    default: ""
seealso:
  - plugin: rootless.gitlab_runner.runner_wanted
    plugin_type: filter
  - name: Create a runner linked to a user
    description: The API of GitLab.
    link: https://docs.gitlab.com/api/users/#create-a-runner-linked-to-a-user
"""

EXAMPLES = r"""
---
- name: Create runners
  ansible.builtin.uri:
    url: https://gitlab.example.com/api/v4/user/runners
    method: POST
    headers:
      PRIVATE-TOKEN: "{{ vault_access_token }}"
    body_format: json
    body:
      runner_type: instance_type
      description: "{{ item.name }}"
  loop: "{{ ci_runners }}"
  loop_control:
    label: "{{ item.name }}"
  register: created
  # What GitLab says of each comes below. Here it would stand beside the request, which holds the access token.
  failed_when: created.status is not defined
  no_log: true

- name: Stop where GitLab has refused
  ansible.builtin.assert:
    that: (created.results | rootless.gitlab_runner.runner_answers).refused == []
    fail_msg: "{{ (created.results | rootless.gitlab_runner.runner_answers).refused | join('\n') }}"

- name: Write config.toml
  rootless.gitlab_runner.runner_config:
    runners: "{{ ci_runners | rootless.gitlab_runner.runner_wanted(socket, created=answers.fields) }}"
  vars:
    socket: unix:///run/user/995/podman/podman.sock
    now_in_utc: "{{ now(utc=true, fmt='%Y-%m-%dT%H:%M:%SZ') }}"
    answers: "{{ created.results | rootless.gitlab_runner.runner_answers(obtained_at=now_in_utc) }}"
"""

RETURN = r"""
_value:
  description: What the answers say.
  type: dict
  contains:
    refused:
      description: What GitLab has refused, in its words. The request and the tokens are not in it.
      type: list
      elements: str
      sample: ['GitLab has not created the runner "build-1": 401 Unauthorized (HTTP status 401)']
    fields:
      description:
        - The C(id) and C(token) of each runner that was created, by its name. It has C(token_expires_at) and
          C(token_obtained_at) as well if the token expires.
      type: dict
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._runner_role import created_fields, refusals
from ansible_collections.rootless.gitlab_runner.plugins.plugin_utils._variables import plain


def runner_answers(results: Any, done: str = "created", obtained_at: str = "") -> dict[str, Any]:
    """See DOCUMENTATION. Raises AnsibleFilterError."""
    results = plain(results)
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise AnsibleFilterError("runner_answers: the input has to be the results of a loop")
    if done not in ("created", "deleted"):
        raise AnsibleFilterError("runner_answers: done has to be created or deleted")
    fields = created_fields(results, plain(obtained_at)) if done == "created" else {}
    return {"refused": refusals(results, done), "fields": fields}


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"runner_answers": runner_answers}
