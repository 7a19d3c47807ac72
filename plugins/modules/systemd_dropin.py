#!/usr/bin/python
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: systemd_dropin
short_description: Manage a drop-in of a systemd unit
version_added: 0.1.0
description:
  - Writes one drop-in file of a systemd unit, or removes it.
  - The file has exactly the directives of O(sections). It is edited in place, so that comments in it stay,
    whoever wrote them.
  - The file is compared by meaning. Nothing is changed when systemd reads the same from it already, for
    example when booleans or time spans are spelled in another way, when long lines are continued, when
    words are quoted, or when a list of units is spread over several assignments.
  - The systemd manager is not reloaded. Let the task notify a handler that does, or use
    RV(daemon_reload_required).
extends_documentation_fragment:
  - rootless.gitlab_runner._attributes
  - rootless.gitlab_runner._attributes.edits
  - ansible.builtin.files
author:
  - rootless.gitlab_runner maintainers (@rootless)
attributes:
  diff_mode:
    details:
      - Values of environment variables whose name looks like that of a secret, values of C(SetCredential=),
        passwords in URLs, and what looks like a token are replaced by C(VALUE_REDACTED) and a short keyed
        digest, so that a change of a secret shows but its value does not.
options:
  unit:
    description:
      - Name of the unit with its type, for example V(gitlab-runner.service).
      - A template such as V(user@.service) means all of its instances, V(user@1000.service) means one of
        them.
    type: str
    required: true
  name:
    description:
      - Name of the drop-in. The file is called after it, with the suffix C(.conf).
      - Of several drop-ins of one unit, the one whose name comes last in alphabetical order has the last
        word.
    type: str
    default: override
  scope:
    description:
      - V(system) for units of the system.
      - V(user) for units of users. Without O(user) this means the unit in the managers of all users.
    type: str
    choices:
      - system
      - user
    default: system
  user:
    description:
      - Name of an account. The drop-in is written below C(.config/systemd/user) in its home directory, with
        the rights of this account, so that new directories and the file are owned by it.
      - Needs O(scope=user).
    type: str
  sections:
    description:
      - The complete directives of the drop-in, as a dictionary of sections, each of which is a dictionary
        of directives.
      - A value is a string, a number, a boolean, a null, or a list of those.
      - A list means one assignment for each of its elements. An empty list means no assignment.
      - V(null) and the empty string are written as an empty assignment, which resets a directive that adds
        up, such as C(ExecStart=). A list that begins with one of them resets the directive and then adds to
        it.
      - Required when O(state=present).
    type: dict
  state:
    description:
      - V(present) makes sure that the drop-in has the directives of O(sections).
      - V(absent) removes the drop-in, and the directory of the unit's drop-ins when nothing else is in it.
      - Of a link, as the drop-in or as the directory, what it leads to stays. A directory that is a link stays
        itself, too.
    type: str
    choices:
      - present
      - absent
    default: present
  validate:
    description:
      - Have C(systemd-analyze verify) check the unit together with the new drop-in, in a scratch directory,
        before the drop-in is changed. The task fails when systemd has complaints that it does not have
        without this drop-in.
      - The check is skipped, and RV(validation_skipped) says why, where the unit or C(systemd-analyze) is
        not found. This is so when the drop-in is written before the package that brings the unit is
        installed.
    type: bool
    default: false
  backup:
    description:
      - Keep the previous content in a file of mode C(0600) beside the drop-in. systemd ignores this file.
      - Nothing is kept when a link is removed, since what it leads to stays.
    type: bool
    default: false
notes:
  - A new file has the mode C(0644) unless O(mode) is set. Set O(mode=0600) for a drop-in that holds
    secrets.
seealso:
  - module: ansible.builtin.systemd_service
  - name: systemd.unit(5)
    description: How systemd finds and applies drop-ins.
    link: https://www.freedesktop.org/software/systemd/man/latest/systemd.unit.html
  - name: systemd.syntax(7)
    description: The syntax of unit files.
    link: https://www.freedesktop.org/software/systemd/man/latest/systemd.syntax.html
"""

EXAMPLES = r"""
---
- name: Run GitLab Runner as a user of its own
  rootless.gitlab_runner.systemd_dropin:
    unit: gitlab-runner.service
    name: rootless
    sections:
      Unit:
        After: [user@996.service]
        Wants: user@996.service
      Service:
        User: gitlab-runner
        ExecStart:
          - "" # resets the command of the unit
          - /usr/bin/gitlab-runner run --config /etc/gitlab-runner/config.toml
        KillSignal: SIGQUIT
        TimeoutStopSec: 2h
        NoNewPrivileges: true
  notify: Reload systemd

- name: Delegate the cgroup controllers to the managers of all users
  rootless.gitlab_runner.systemd_dropin:
    unit: user@.service
    name: delegate
    sections:
      Service:
        Delegate: cpu cpuset io memory pids

- name: Log more from the Podman service of one account, if systemd accepts it
  rootless.gitlab_runner.systemd_dropin:
    unit: podman.service
    scope: user
    user: gitlab-runner
    validate: true
    sections:
      Service:
        Environment: LOGGING=--log-level=debug

- name: Remove a drop-in
  rootless.gitlab_runner.systemd_dropin:
    unit: gitlab-runner.service
    name: rootless
    state: absent
"""

RETURN = r"""
path:
  description: Path of the drop-in.
  returned: success
  type: str
  sample: /etc/systemd/system/gitlab-runner.service.d/override.conf
daemon_reload_required:
  description: Whether the content of the drop-in has changed, so that the systemd manager must be reloaded.
  returned: success
  type: bool
  sample: true
diff:
  description: The text before and after, with secrets redacted.
  returned: in diff mode
  type: dict
  contains:
    before:
      description: The text before.
      type: str
    after:
      description: The text after.
      type: str
validation_skipped:
  description: Why the drop-in was not checked although O(validate=true).
  returned: when the check was needed and could not be made
  type: str
  sample: The unit gitlab-runner.service is not found.
backup_file:
  description: Path of the file with the previous content.
  returned: when a backup was made
  type: str
  sample: /etc/systemd/system/gitlab-runner.service.d/override.conf.4711.2026-11-22@10:00:00~
"""

import contextlib
import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _dropin, _textfile
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._secret_module import SecretModule

SYSTEM_DIRECTORY = "/etc/systemd/system"
USERS_DIRECTORY = "/etc/systemd/user"
# What systemd-analyze says when it does not come as far as to read a unit.
CANNOT_VERIFY = re.compile(r"^(Failed to (?:lookup|initialize|set ?up|start) .*)$", re.MULTILINE)


class Failure(Exception):
    """The task fails with this text."""


class Validator:
    """Checks a unit together with a new drop-in by C(systemd-analyze verify)."""

    def __init__(self, module: SecretModule, path: str, digest_key: bytes) -> None:
        self.module = module
        self.unit: str = module.params["unit"]
        self.scope = "--user" if module.params["scope"] == "user" else "--system"
        self.path = path
        self.digest_key = digest_key
        self.skipped: Optional[str] = None

    def check(self, content: bytes) -> None:
        """Raises Failure if systemd complains about the content."""
        program = self.module.get_bin_path("systemd-analyze")
        if program is None:
            self.skipped = "systemd-analyze is not found."
            return
        scratch = tempfile.mkdtemp(prefix="systemd_dropin.")
        try:
            fragment = self._fragment(program, scratch)
            if fragment is None:
                self.skipped = f"The unit {self.unit} is not found."
                return
            # A copy of the unit in the first directory of the search path brings the scratch drop-in with it.
            # An empty one of the same name hides the present one, for what systemd says without either.
            shutil.copyfile(fragment, os.path.join(scratch, self.unit))
            drop_in = os.path.join(scratch, f"{self.unit}.d", os.path.basename(self.path))
            os.mkdir(os.path.dirname(drop_in))
            complaints = []
            for tried in (b"", content):
                with open(drop_in, "wb") as file:
                    file.write(tried)
                complaints.append(self._verify(program, scratch))
        finally:
            shutil.rmtree(scratch)
        if self.skipped is None:
            new = [line for line in complaints[1] if line not in complaints[0]]
            if new:
                text = _dropin.redact_value("", " ".join(new).replace(drop_in, self.path), self.digest_key)
                raise Failure(f"systemd does not accept the new {self.path}, nothing was changed: {text}")

    def _fragment(self, program: str, scratch: str) -> Optional[str]:
        output = self._run([program, self.scope, "unit-paths"], scratch)[1]
        for name in filter(None, (self.unit, _dropin.template_of(self.unit))):
            for directory in output.splitlines():
                fragment = os.path.join(directory, name)
                if os.path.isfile(fragment):
                    return fragment
        return None

    def _verify(self, program: str, scratch: str) -> list[str]:
        status, output, errors = self._run(
            [program, self.scope, "--man=no", "verify", os.path.join(scratch, self.unit)], scratch
        )
        failure = CANNOT_VERIFY.search(errors)
        if status != 0 and failure:
            self.skipped = f"systemd-analyze cannot verify units here: {failure.group(1)}"
        return (errors + output).splitlines()

    def _run(self, command: list[str], scratch: str) -> tuple[int, str, str]:
        environment = {"SYSTEMD_UNIT_PATH": f"{scratch}:"} if command[-1] != "unit-paths" else {}
        if self.scope == "--user":
            environment["XDG_RUNTIME_DIR"] = scratch
        status, output, errors = self.module.run_command(command, environ_update={**environment, "LC_ALL": "C"})
        return status, output, errors


@contextlib.contextmanager
def acting_as(account: Optional[pwd.struct_passwd]) -> Iterator[None]:
    """Do file operations with the rights of the account, which may have put symbolic links into their way."""
    if account is None or account.pw_uid == os.geteuid():
        yield
        return
    if os.geteuid() != 0:
        raise Failure(f"user: writing for {account.pw_name} needs root or that account (become, become_user).")
    gid, groups = os.getegid(), os.getgroups()
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def find_account(module: SecretModule) -> Optional[pwd.struct_passwd]:
    name = module.params["user"]
    if name is None:
        return None
    if module.params["scope"] != "user":
        raise Failure(f"user: {name} needs scope: user, since units of the system do not belong to an account.")
    try:
        return pwd.getpwnam(name)
    except KeyError:
        if module.check_mode:
            # An earlier task would have made it.
            home = os.path.join("/home", name)
            return pwd.struct_passwd((name, "x", os.geteuid(), os.getegid(), "", home, ""))
        raise Failure(f"user: there is no account {name} on this host; create it first.") from None


def run(module: SecretModule, result: dict[str, Any]) -> None:
    params = module.params
    digest_key = os.urandom(16)
    kind = _dropin.unit_type(params["unit"])
    wanted = None
    sections, params["sections"] = params["sections"], None
    if params["state"] == "present":
        wanted = _dropin.normalize(sections or {}, kind)
        # What stands in a unit file is known better than by names: LoadCredential= has a path.
        module.hidden = set()
        module.hide(params)
        module.hidden |= {secret for secret in _dropin.secrets(wanted) if len(secret) > 5}
        params["sections"] = {
            section: [{name: _dropin.redact_value(name, value, digest_key)} for name, value in assignments]
            for section, assignments in wanted.items()
        }

    account = find_account(module)
    directory = SYSTEM_DIRECTORY if params["scope"] == "system" else USERS_DIRECTORY
    if account:
        directory = os.path.join(account.pw_dir, ".config/systemd/user")
    directory = os.path.join(directory, params["unit"] + ".d")
    path = os.path.join(directory, _dropin.file_name(params["name"]))
    result["path"] = path
    validator = Validator(module, path, digest_key)

    def compute(before: Optional[bytes]) -> Optional[bytes]:
        if wanted is None:
            result["daemon_reload_required"] = os.path.lexists(path)
            return None
        try:
            after = _dropin.update(None if before is None else before.decode(), wanted).encode()
        except UnicodeDecodeError as error:
            raise _dropin.DropinError(f"byte {error.start} is not UTF-8; correct or remove the file") from error
        result["daemon_reload_required"] = after != before
        if params["validate"] and after != before:
            validator.check(after)
        return after

    with acting_as(account):
        if wanted is not None and os.path.lexists(path) and not os.path.isfile(path):
            raise Failure(f"{path} is not a regular file (a link to /dev/null masks a drop-in); remove it first.")
        edited = _textfile.edit(
            module,
            path,
            compute,
            redact=lambda text: _dropin.redact(text, digest_key),
            backup=params["backup"],
            create_parents=True,
        )
        result["changed"] = edited["changed"]
        result.update({key: edited[key] for key in ("diff", "backup_file") if edited.get(key)})
        if validator.skipped:
            result["validation_skipped"] = validator.skipped
        if wanted is None and os.path.isdir(directory) and not os.path.islink(directory):
            remove_if_empty(module, directory, os.path.basename(path), result)


def remove_if_empty(module: SecretModule, directory: str, name: str, result: dict[str, Any]) -> None:
    """Remove the directory of a drop-in that was removed. An empty one has no effect, so a failure is none."""
    try:
        if not set(os.listdir(directory)) - ({name} if module.check_mode else set()):
            if not module.check_mode:
                os.rmdir(directory)
            result["changed"] = True
    except OSError as error:
        module.warn(f"{directory} is left there, even if it is empty: {error.strerror}.")


def main() -> None:
    module = SecretModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "name": {"type": "str", "default": "override"},
            "scope": {"type": "str", "choices": ["system", "user"], "default": "system"},
            "user": {"type": "str"},
            "sections": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "validate": {"type": "bool", "default": False},
            "backup": {"type": "bool", "default": False},
        },
        required_if=[("state", "present", ("sections",))],
        add_file_common_args=True,
        supports_check_mode=True,
    )
    result: dict[str, Any] = {"changed": False}
    try:
        run(module, result)
    except (_dropin.DropinError, _textfile.TextFileError, Failure) as error:
        where = f"{result['path']}: " if "path" in result and isinstance(error, _dropin.DropinError) else ""
        module.fail_json(msg=f"{where}{error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
