#!/usr/bin/python
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: helm_values_file
short_description: Set keys in the runner's template inside of a Helm values file
version_added: 0.1.0
description:
  - Sets keys in the TOML text that GitLab Runner's Helm chart has in its value C(runners.config), in a file of values
    that is kept in Git, for Helm, Argo CD or Flux. In a deployed release M(rootless.gitlab_runner.helm_runner) does so.
  - Only the lines that change are replaced. Comments, order, indentation and line ends of the file stay, and so do the
    Go template actions (C({{ ... }})) in the text.
  - It fails, and says why, where an edit would be a guess. That is so if the text is reached through an anchor, an
    alias or a merge key of YAML, or is encrypted with SOPS, and where
    P(rootless.gitlab_runner.template_toml_set#filter) refuses.
extends_documentation_fragment:
  - rootless.gitlab_runner._attributes
  - rootless.gitlab_runner._attributes.edits
  - ansible.builtin.files
author:
  - rootless.gitlab_runner maintainers (@rootless)
options:
  path:
    description:
      - The file. It has to exist.
    type: path
    required: true
  config:
    description:
      - The tables and keys to set, the same as O(rootless.gitlab_runner.helm_runner#module:config).
      - An array of tables such as C([[runners]]) is given as a dict, and meant with each of its tables.
    type: dict
    required: true
  values_path:
    description:
      - Where in the file the text is, with dots between the keys as for C(helm --set), such as
        V(spec.values.runners.config) in a HelmRelease of Flux.
      - By default, the only C(runners.config) at any depth and in any document of the file.
    type: str
  backup:
    description:
      - Whether to keep the old file beside the new one, with mode V(0600).
    type: bool
    default: false
requirements:
  - PyYAML
seealso:
  - module: rootless.gitlab_runner.helm_runner
  - plugin: rootless.gitlab_runner.template_toml_set
    plugin_type: filter
"""

EXAMPLES = r"""
---
- name: Run the service containers of jobs privileged, for docker-in-docker
  rootless.gitlab_runner.helm_values_file:
    path: clusters/ci/gitlab-runner.values.yaml
    config:
      runners:
        kubernetes:
          service_container_security_context:
            privileged: true
  delegate_to: localhost

- name: The same in a HelmRelease of Flux
  rootless.gitlab_runner.helm_values_file:
    path: clusters/ci/release.yaml
    values_path: spec.values.runners.config
    config:
      runners:
        kubernetes:
          privileged: true
  delegate_to: localhost
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
  sample: clusters/ci/gitlab-runner.values.yaml
values_path:
  description: Where in the file the text is.
  type: str
  returned: success
  sample: gitlab-runner.runners.config
diff:
  description: The file before and after, with secrets redacted.
  type: dict
  returned: in diff mode
backup_file:
  description: The copy of the old file.
  type: str
  returned: changed and O(backup=true)
"""

import os
from typing import Any, Optional

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _textfile, _values_yaml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._secret_module import SecretModule


def main() -> None:
    module = SecretModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "config": {"type": "dict", "required": True},
            "values_path": {"type": "str"},
            "backup": {"type": "bool", "default": False},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    if _values_yaml.yaml is None:
        module.fail_json(msg=missing_required_lib("PyYAML"))
    path: str = module.params["path"]
    digest_key = os.urandom(16)
    edited: list[_values_yaml.EditedValues] = []

    def compute(before: Optional[bytes]) -> Optional[bytes]:
        if before is None:
            raise _textfile.TextFileError(f"{path} does not exist.")
        try:
            text = before.decode("utf-8")
        except UnicodeDecodeError as error:
            line = before.count(b"\n", 0, error.start) + 1
            raise _values_yaml.ValuesYamlError("not UTF-8", line) from None
        module.hidden.update(secret for secret in _values_yaml.secrets(text) if len(secret) >= 8)
        edited.append(_values_yaml.set_values(text, module.params["config"], module.params["values_path"]))
        return edited[-1].text.encode("utf-8")

    try:
        result: dict[str, Any] = _textfile.edit(
            module,
            path,
            compute,
            redact=lambda text: _values_yaml.redact(text, digest_key),
            backup=module.params["backup"],
            create=False,
        )
    except _values_yaml.ValuesYamlError as error:
        module.fail_json(msg=f"{path}: {error}. Nothing was changed.")
    except _textfile.TextFileError as error:
        module.fail_json(msg=str(error))
    for warning in edited[-1].warnings:
        module.warn(f"{path}, in the template: {warning}")
    # There is no diff outside of diff mode, and not always a backup.
    result = {name: value for name, value in result.items() if value not in ({}, None)}
    module.exit_json(path=path, values_path=_values_yaml.format_path(edited[-1].path), **result)


if __name__ == "__main__":
    main()
