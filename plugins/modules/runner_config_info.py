#!/usr/bin/python
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: runner_config_info
short_description: Read GitLab Runner's config.toml
version_added: 0.1.0
description:
  - Returns the C(config.toml) of GitLab Runner as data, without its secrets.
  - Names the keys of the file that GitLab Runner 19.4 does not have or has deprecated, and the values that
    have the wrong type.
  - With O(settings), O(runners) or O(purge), tells what M(rootless.gitlab_runner.runner_config) would change. It
    fails where that module would, for example because two runners of the file have one name. What it has read is
    returned then as well.
extends_documentation_fragment:
  - rootless.gitlab_runner._attributes
  - rootless.gitlab_runner._attributes.info
author:
  - rootless.gitlab_runner maintainers (@rootless)
options:
  path:
    description:
      - The file.
    type: path
    default: /etc/gitlab-runner/config.toml
  settings:
    description:
      - Global keys and tables to compare the file with, as in M(rootless.gitlab_runner.runner_config).
    type: dict
    default: {}
  runners:
    description:
      - Runners to compare the file with, as in M(rootless.gitlab_runner.runner_config).
    type: list
    elements: dict
    default: []
  runner_defaults:
    description:
      - Keys that every listed runner has, as in M(rootless.gitlab_runner.runner_config).
    type: dict
    default: {}
  purge:
    description:
      - Whether a runner of the file that is not listed is a difference.
    type: bool
    default: false
  token_update:
    description:
      - Whether a C(token) that is not the listed one is a difference (V(always)) or not (V(on_create)).
    type: str
    choices:
      - always
      - on_create
    default: always
seealso:
  - module: rootless.gitlab_runner.runner_config
"""

EXAMPLES = r"""
---
- name: Read the configuration
  rootless.gitlab_runner.runner_config_info:
  register: config

- name: Show the runners
  ansible.builtin.debug:
    msg: "{{ config.runners | map(attribute='name') }}"

- name: Compare the file with what the inventory wants
  rootless.gitlab_runner.runner_config_info:
    settings:
      concurrent: 4
    runners: "{{ ci_runners }}"
    purge: true
  register: audit

- name: Fail if somebody has changed the file by hand
  ansible.builtin.assert:
    that:
      - audit.drift == []
      - audit.unknown_keys == []
    fail_msg: "{{ audit.drift }}"
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
  sample: /etc/gitlab-runner/config.toml
exists:
  description: Whether the file is there.
  type: bool
  returned: success
  sample: true
settings:
  description: The global keys and tables. A secret is the string C(VALUE_REDACTED).
  type: dict
  returned: success
  sample:
    concurrent: 4
runners:
  description:
    - The runners with all their keys. A secret is the string C(VALUE_REDACTED), which
      M(rootless.gitlab_runner.runner_config) refuses to write. A C(name) is returned as it is.
  type: list
  elements: dict
  returned: success
  sample:
    - name: build-1
      url: https://gitlab.example.com/
      token: VALUE_REDACTED
      executor: docker
unknown_keys:
  description: Keys that GitLab Runner does not have and therefore ignores, each with what it may mean.
  type: list
  elements: str
  returned: success
  sample: ["runner 'build-1': runners.docker.imag, did you mean 'image'?"]
deprecated_keys:
  description: Keys that a later GitLab Runner does not have, each with what to do.
  type: list
  elements: str
  returned: success
  sample: []
invalid_values:
  description: Values that GitLab Runner does not understand, each with what it should be.
  type: list
  elements: str
  returned: success
  sample: []
drift:
  description:
    - What M(rootless.gitlab_runner.runner_config) would change with the same options.
  type: list
  elements: dict
  returned: success
  sample:
    - path: runners[build-1].limit
      before: 1
      after: 2
  contains:
    path:
      description: The key with its tables.
      type: str
    before:
      description: The value in the file; V(null) if it is not there.
      type: raw
    after:
      description: The wanted value; V(null) if it would be removed.
      type: raw
"""

from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _runner_config, _toml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._redact import redact_data, redact_string
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._secret_module import SecretModule


def main() -> None:
    module = SecretModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/gitlab-runner/config.toml"},
            "settings": {"type": "dict", "default": {}},
            "runners": {"type": "list", "elements": "dict", "default": []},
            "runner_defaults": {"type": "dict", "default": {}},
            "purge": {"type": "bool", "default": False},
            "token_update": {
                "type": "str",
                "choices": ["always", "on_create"],
                "default": "always",
                "no_log": False,
            },
        },
        supports_check_mode=True,
    )
    params = module.params
    path = params["path"]
    try:
        try:
            with open(path, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            content = None
        request = _runner_config.prepare(
            params["settings"],
            params["runners"],
            params["runner_defaults"],
            purge=params["purge"],
            token_update=params["token_update"],
            unknown_keys="warn",
            acknowledge=_runner_config.ACKNOWLEDGEMENTS,
        )
        before = _toml.parse(_toml.decode(content or b"")).data
    except OSError as error:
        module.fail_json(msg=f"{path} cannot be read: {error.strerror}.")
    except (_toml.TomlError, _runner_config.ConfigError) as error:
        module.fail_json(msg=f"{path}: {redact_string(str(error))}.")
    module.hide(before)
    for warning in request.warnings:
        module.warn(warning)
    oddities = _runner_config.inspect(before)
    result = {
        "changed": False,
        "path": path,
        "exists": content is not None,
        "settings": _runner_config.json_data(
            redact_data({key: value for key, value in before.items() if key.lower() != "runners"})
        ),
        "runners": _runner_config.public_runners(before),
        "unknown_keys": module.masked(oddities["unknown"]),
        "deprecated_keys": module.masked(oddities["deprecated"]),
        "invalid_values": module.masked(oddities["invalid"]),
        "drift": [],
    }
    try:
        after = _runner_config.apply(content, request).after
        result["drift"] = _runner_config.json_data(_runner_config.drift(before, after))
    except (_toml.TomlError, _runner_config.ConfigError) as error:
        message = f"{path}: {redact_string(str(error))}."
        if params["settings"] or params["runners"] or params["purge"]:
            del result["drift"]
            module.fail_json(msg=message, **result)
        module.warn(message)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
