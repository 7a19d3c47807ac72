#!/usr/bin/python
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: toml_file
short_description: Set and remove keys of a TOML file
version_added: 0.1.0
description:
  - Merges data into a TOML file and removes keys from it, for example in Podman's C(storage.conf),
    C(containers.conf) and C(registries.conf).
  - The file is edited in place. Comments, blank lines, order, number formats and every key that is not
    listed keep their bytes, and new keys take the style of their neighbours.
  - Nothing is written when the file says what is wanted already.
  - Strings that look like secrets are left out of the result and of the log.
extends_documentation_fragment:
  - rootless.gitlab_runner._attributes
  - rootless.gitlab_runner._attributes.edits
  - ansible.builtin.files
author:
  - rootless.gitlab_runner maintainers (@rootless)
options:
  path:
    description:
      - The file. A symbolic link is followed.
    type: path
    required: true
  content:
    description:
      - The data that is merged into the file.
      - A listed key is set. A key that is V(null) is removed. A key that is not listed stays.
      - Tables are merged. Arrays are replaced. Where an array has a line for each item, an item that stays
        keeps the comment above it and the one behind it, and those of an item that goes are removed with it.
      - An array of tables gets exactly the listed tables. Tables are paired with those of the file by
        their C(name) key if all listed ones have one, else by their C(location) if all have that, else by
        their position, and merged.
      - The order of locations becomes the listed one. A table that has to move for that is written anew,
        without keys that are not listed.
      - A table is no wanted value for an array of tables, which would be lost; the task fails.
      - Ansible turns dates and times into strings. Where the file has a date or time, a string that reads as one is
        one, and nothing is changed if both are the same moment. Anywhere else it is a string.
    type: dict
    default: {}
  absent:
    description:
      - Keys to remove, with dots between the tables and the key, as in C(storage.options."a.b").
      - A table, or an array of tables, is removed with everything in it. A key of the tables in an array
        cannot be removed this way; list the tables in O(content), with V(null) for the key.
    type: list
    elements: str
    default: []
  create:
    description:
      - Whether to create a missing file, and its missing parent directories (mode V(0755), with the
        O(owner) and O(group) of the file).
    type: bool
    default: true
  validate:
    description:
      - A command that checks the new file before it replaces the old one. C(%s) stands for its path.
      - Nothing is changed if the command fails. It is not run in check mode.
    type: str
  backup:
    description:
      - Whether to keep the old file beside the new one, with mode V(0600).
    type: bool
    default: false
seealso:
  - module: rootless.gitlab_runner.runner_config
notes:
  - The file has to be TOML 1.0 in UTF-8.
  - A new file has mode V(0644) unless O(mode) says otherwise.
"""

EXAMPLES = r"""
---
- name: Let Podman keep its storage in another place
  rootless.gitlab_runner.toml_file:
    path: /etc/containers/storage.conf
    content:
      storage:
        driver: overlay
        graphroot: /srv/containers
    absent:
      - storage.options.mount_program
    backup: true

- name: Find images without a registry's name in one registry
  rootless.gitlab_runner.toml_file:
    path: /etc/containers/registries.conf
    content:
      unqualified-search-registries: [docker.io]

- name: Set the log driver for one account
  rootless.gitlab_runner.toml_file:
    path: ~/.config/containers/containers.conf
    content:
      containers:
        log_driver: k8s-file
      engine:
        events_logger: file
  become: true
  become_user: gitlab-runner
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
  sample: /etc/containers/storage.conf
diff:
  description: The text before and after, with secrets redacted.
  type: dict
  returned: in diff mode
  contains:
    before:
      description: The text before.
      type: str
    after:
      description: The text after.
      type: str
backup_file:
  description: The copy of the old file.
  type: str
  returned: changed and O(backup=true)
  sample: /etc/containers/storage.conf.4711.2026-01-31@12:00:00~
"""

import secrets
from typing import Any, Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _textfile, _toml, _toml_edit
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._redact import redact_string, redact_text
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._secret_module import SecretModule


def main() -> None:
    module = SecretModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "content": {"type": "dict", "default": {}},
            "absent": {"type": "list", "elements": "str", "default": []},
            "create": {"type": "bool", "default": True},
            "validate": {"type": "str"},
            "backup": {"type": "bool", "default": False},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    path: str = module.params["path"]
    digest_key = secrets.token_bytes(16)

    def compute(before: Optional[bytes]) -> Optional[bytes]:
        text = _toml.decode(before or b"")
        document = _toml.parse(text)
        module.hide(document.data)
        after = _toml_edit.edit(document, _toml_edit.with_times(wanted, document.data))
        # Nothing to say is no reason to create an empty file.
        return before if after == text else after.encode("utf-8")

    try:
        wanted = _toml_edit.with_removals(module.params["content"], module.params["absent"])
        result: dict[str, Any] = _textfile.edit(
            module,
            path,
            compute,
            redact=lambda text: redact_text(text, digest_key),
            backup=module.params["backup"],
            validate=module.params["validate"],
            create=module.params["create"],
            create_parents=module.params["create"],
        )
    except _toml.TomlError as error:
        module.fail_json(msg=f"{path}: {redact_string(str(error))}. Nothing was changed.")
    except _textfile.TextFileError as error:
        module.fail_json(msg=str(error))
    # There is no diff outside of diff mode, and not always a backup.
    result = {name: value for name, value in result.items() if value not in ({}, None)}
    module.exit_json(path=path, **result)


if __name__ == "__main__":
    main()
