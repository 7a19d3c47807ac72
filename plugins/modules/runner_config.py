#!/usr/bin/python
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: runner_config
short_description: Manage GitLab Runner's config.toml
version_added: 0.1.0
description:
  - Sets global settings and runners in the C(config.toml) of GitLab Runner, and removes them.
  - The file is edited in place. Comments, blank lines, order, number formats, keys that are not listed and
    what GitLab Runner itself writes keep their bytes. Nothing is written when nothing has to change.
  - Everything that is listed is checked against the keys and types of GitLab Runner 19.4 before anything
    is changed. Values are converted where nothing can get lost by it, so that C("4") becomes C(4).
  - Data that was read without its secrets is refused, so strings with C(VALUE_REDACTED), or with what Ansible writes
    in place of a secret, which are eight asterisks or C(VALUE_SPECIFIED_IN_NO_LOG_PARAMETER).
  - One task is enough for any number of runners.
  - GitLab Runner writes to the same file, without a lock. The module compares the file once more just
    before it replaces it, and starts over if it has changed.
extends_documentation_fragment:
  - rootless.gitlab_runner._attributes
  - rootless.gitlab_runner._attributes.edits
  - ansible.builtin.files
author:
  - rootless.gitlab_runner maintainers (@rootless)
options:
  path:
    description:
      - The file. It is created if it is missing, in a directory that exists.
      - A symbolic link is followed. Root follows it only where no other account can have made it, so if it belongs
        to root and its directory can be written by root only.
    type: path
    default: /etc/gitlab-runner/config.toml
  settings:
    description:
      - Global keys and tables, with the names that they have in C(config.toml), for example C(concurrent),
        C(listen_address) or C(session_server).
      - A listed key is set. A key that is V(null) is removed. A key that is not listed stays. Tables are
        merged.
    type: dict
    default: {}
  runners:
    description:
      - The runners, each with the keys of its C([[runners]]) section as they are called in C(config.toml).
        Nested tables are dictionaries, arrays of tables are lists of dictionaries.
      - Each runner needs a C(name). It is the runner of that name in the file, or a new one. With an
        C(id), it may also be the runner of that C(id) in the file, which is renamed then. Each server counts its
        runners for itself, so a C(url) has to be the same, too. Without one, the C(id) has to be in the file once.
      - A runner with C(state=absent) is removed.
      - A listed key is set. A key that is V(null) is removed. A key that is not listed stays. Tables are
        merged. Arrays are replaced.
      - An array of tables, such as C(docker.services), gets exactly the listed tables. Tables are paired
        with those of the file by their C(name) or C(location) key if all listed ones have one, else by their
        position, and merged.
    type: list
    elements: dict
    default: []
  runner_defaults:
    description:
      - Keys that every listed runner gets, unless it has the key itself. Tables are merged.
      - A key that is V(null) in a runner is removed there, whatever the defaults say.
    type: dict
    default: {}
  purge:
    description:
      - Whether to remove the runners of the file that are not listed.
    type: bool
    default: false
  token_update:
    description:
      - V(always) sets the C(token) of a runner to the listed one.
      - V(on_create) leaves the C(token) of a runner that has one, with its C(token_obtained_at) and
        C(token_expires_at), because the server may have rotated it. See RV(tokens_kept).
    type: str
    choices:
      - always
      - on_create
    default: always
  cache_volume:
    description:
      - Whether a listed runner with the executor V(docker) gets C(docker.volumes = ["/cache"]), as C(gitlab-runner
        register) writes it. Without a volume for them, caches of jobs (C(cache) in C(.gitlab-ci.yml)) are not kept.
      - One that has C(docker.volumes) in the list or in the file, be it empty, or C(docker.disable_cache), stays as it
        is.
    type: bool
    default: false
  unknown_keys:
    description:
      - What to do about listed keys that GitLab Runner 19.4 does not have, for example because they are
        misspelled or in the wrong table.
    type: str
    choices:
      - fail
      - warn
      - ignore
    default: fail
  acknowledge:
    description:
      - Settings that open the host to its jobs make the module fail, unless they are listed here.
      - V(privileged) is for privileged containers with a C(docker.host) that is not the socket of a rootless
        Podman or Docker, C(unix:///run/user/UID/...).
      - V(socket_mount) is for a volume that hands the socket of Podman or Docker to jobs.
      - V(host_network) is for C(docker.network_mode) V(host).
      - V(ssl_no_verify) is for C(GIT_SSL_NO_VERIFY) in C(environment).
    type: list
    elements: str
    choices:
      - privileged
      - socket_mount
      - host_network
      - ssl_no_verify
    default: []
  validate:
    description:
      - A command that checks the new file before it replaces the old one. C(%s) stands for its path.
      - Nothing is changed if the command fails. It is not run in check mode.
      - C(gitlab-runner lint --config %s) is available from GitLab Runner 19.3 on.
    type: str
  backup:
    description:
      - Whether to keep the old file beside the new one, with mode V(0600).
    type: bool
    default: false
  mode:
    description:
      - The mode of the file.
    type: raw
    default: "0600"
seealso:
  - module: rootless.gitlab_runner.runner_config_info
  - module: rootless.gitlab_runner.toml_file
  - name: Advanced configuration of GitLab Runner
    description: What each key does.
    link: https://docs.gitlab.com/runner/configuration/advanced-configuration/
notes:
  - Keys are matched in any case, as GitLab Runner does it, and keep the case that they have in the file.
  - The file has to be TOML 1.0 in UTF-8.
  - Nothing besides Python 3.9 or later is needed on the host. Before the file is replaced, the new text is read by a
    second parser, C(tomllib) of Python 3.11 or C(tomlkit) 0.8.0 or later, where there is one.
  - Durations that mean the same, such as C(60m) and C(1h0m0s), count as equal.
"""

EXAMPLES = r"""
---
- name: Configure one runner
  rootless.gitlab_runner.runner_config:
    settings:
      concurrent: 4
    runners:
      - name: build-1
        url: https://gitlab.example.com/
        token: "{{ vault_runner_token }}"
        executor: docker
        docker:
          image: docker.io/library/alpine:latest
          host: unix:///run/user/998/podman/podman.sock
          volumes: [/cache]
    owner: gitlab-runner
    group: gitlab-runner

- name: Configure several runners that share most of their keys
  rootless.gitlab_runner.runner_config:
    runner_defaults:
      url: https://gitlab.example.com/
      executor: docker
      docker:
        image: docker.io/library/alpine:latest
        host: unix:///run/user/998/podman/podman.sock
    runners:
      - name: build-1
        token: "{{ vault_runner_tokens['build-1'] }}"
        limit: 2
      - name: integration
        token: "{{ vault_runner_tokens['integration'] }}"
        docker:
          services:
            - name: docker.io/library/postgres:16
              alias: db
        feature_flags:
          FF_NETWORK_PER_BUILD: true

- name: Remove a key and a runner
  rootless.gitlab_runner.runner_config:
    settings:
      listen_address: null
    runners:
      - name: old-runner
        state: absent

- name: Have exactly the listed runners, whose tokens the server rotates
  rootless.gitlab_runner.runner_config:
    runners: "{{ ci_runners }}"
    purge: true
    token_update: on_create
    validate: gitlab-runner lint --config %s
    backup: true
  register: config

# GitLab Runner reads all but a few keys again by itself, within seconds. For those few, "state: restarted" would end
# the running jobs, unless a drop-in with KillSignal=SIGQUIT is there, as that of the role runner.
- name: Let the runner end when its jobs have, and systemd start it again
  ansible.builtin.command: systemctl kill --kill-who=main --signal=SIGQUIT gitlab-runner
  when: config.restart_required
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
  sample: /etc/gitlab-runner/config.toml
runners:
  description: The runners that are in the file now, or would be in check mode.
  type: list
  elements: dict
  returned: success
  sample:
    - name: build-1
      id: 42
      url: https://gitlab.example.com/
      executor: docker
  contains:
    name:
      description: Name of the runner; empty if it has none.
      type: str
    id:
      description: Number of the runner on the server; V(null) if the file does not have it.
      type: int
    url:
      description: Address of the server.
      type: str
    executor:
      description: Name of the executor.
      type: str
added:
  description: Names of the runners that were added.
  type: list
  elements: str
  returned: success
  sample: [build-1]
updated:
  description: Names of the runners that were changed.
  type: list
  elements: str
  returned: success
  sample: []
removed:
  description: Names of the runners that were removed.
  type: list
  elements: str
  returned: success
  sample: [old-runner]
unmanaged:
  description: Names of the runners that are in the file but not listed.
  type: list
  elements: str
  returned: success
  sample: []
tokens_kept:
  description:
    - Names of the runners whose C(token) in the file differs from the listed one and was left because of
      O(token_update=on_create).
  type: list
  elements: str
  returned: success
  sample: []
restart_required:
  description: Whether GitLab Runner has to be restarted, because it does not read again what was changed.
  type: bool
  returned: success
  sample: false
restart_reasons:
  description: The changed keys that need a restart.
  type: list
  elements: str
  returned: success
  sample: [listen_address]
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
  sample: /etc/gitlab-runner/config.toml.4711.2026-01-31@12:00:00~
"""

import secrets
from typing import Any, Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _runner_config, _textfile, _toml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._redact import redact_string, redact_text
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
            "cache_volume": {"type": "bool", "default": False},
            "unknown_keys": {"type": "str", "choices": ["fail", "warn", "ignore"], "default": "fail"},
            "acknowledge": {
                "type": "list",
                "elements": "str",
                "choices": ["privileged", "socket_mount", "host_network", "ssl_no_verify"],
                "default": [],
            },
            "validate": {"type": "str"},
            "backup": {"type": "bool", "default": False},
            "mode": {"type": "raw", "default": "0600"},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    params = module.params
    path = params["path"]
    digest_key = secrets.token_bytes(16)
    outcomes: list[_runner_config.Outcome] = []

    def compute(before: Optional[bytes]) -> Optional[bytes]:
        try:
            outcome = _runner_config.apply(before, request)
        except _runner_config.ConfigError:
            module.hide(_toml.loads(_toml.decode(before or b"")))
            raise
        module.hide(outcome.before)
        outcomes[:] = [outcome]
        after = outcome.text.encode("utf-8")
        # An empty file says no more than none.
        return None if before is None and not after else after

    try:
        request = _runner_config.prepare(
            params["settings"],
            params["runners"],
            params["runner_defaults"],
            purge=params["purge"],
            token_update=params["token_update"],
            cache_volume=params["cache_volume"],
            unknown_keys=params["unknown_keys"],
            acknowledge=params["acknowledge"],
        )
        result: dict[str, Any] = _textfile.edit(
            module,
            path,
            compute,
            redact=lambda text: redact_text(text, digest_key),
            backup=params["backup"],
            validate=params["validate"],
            default_mode=0o600,
        )
    except (_toml.TomlError, _runner_config.ConfigError) as error:
        module.fail_json(msg=f"{path}: {redact_string(str(error))}. Nothing was changed.")
    except _textfile.TextFileError as error:
        module.fail_json(msg=str(error))
    (outcome,) = outcomes
    for warning in request.warnings + outcome.warnings:
        module.warn(warning)
    # There is no diff outside of diff mode, and not always a backup.
    result = {name: value for name, value in result.items() if value not in ({}, None)}
    module.exit_json(
        path=path,
        runners=outcome.runners,
        added=outcome.added,
        updated=outcome.updated,
        removed=outcome.removed,
        unmanaged=outcome.unmanaged,
        tokens_kept=outcome.tokens_kept,
        restart_required=bool(outcome.restart_reasons),
        restart_reasons=outcome.restart_reasons,
        **result,
    )


if __name__ == "__main__":
    main()
