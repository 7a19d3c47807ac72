#!/usr/bin/python
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: subid_range
short_description: Manage the subordinate uid and gid ranges of a user
version_added: 0.1.0
description:
  - Gives a user subordinate uids and gids, which its rootless containers run with. The same uids as gids are
    given, in C(/etc/subuid) and C(/etc/subgid) together.
  - A range that exists is never replaced or moved, because files in containers, images and volumes belong to
    its ids. What a user lacks is appended, above the other ranges of the user where it can be chosen, so that
    the ids inside of containers stay the same.
  - A new range never overlaps a range of another user or the id of a real user or group.
  - The files are written by C(usermod), which locks them. When only one of them could be written, that is
    undone.
extends_documentation_fragment:
  - rootless.gitlab_runner._attributes
  - rootless.gitlab_runner._attributes.edits
author:
  - rootless.gitlab_runner maintainers (@rootless)
attributes:
  check_mode:
    details:
      - The user need not exist in check mode, because an earlier task may be about to create it.
  diff_mode:
    details:
      - Shows the lines of both files.
options:
  user:
    description:
      - Name of the user.
    type: str
    required: true
  count:
    description:
      - With O(state=present), how many subordinate uids and how many subordinate gids the user needs at
        least. Ranges that the user has count, whether the files name the user or its uid.
      - With O(start), the number of ids from there.
    type: int
    default: 65536
  start:
    description:
      - The first id of the range that the user needs. Set this only where the ids must be certain ones, for
        example to append a range again that files in the container storage belong to.
      - Without it, the first gap of free ids is taken, between C(SUB_UID_MIN) and C(SUB_UID_MAX) of
        C(/etc/login.defs), and only for the ids that the user lacks.
    type: int
  grow:
    description:
      - Whether ranges may be appended to the ranges that a user has already, when they are too few or when
        only one of the files has them. When V(false), too few ids are an error. A user without any
        subordinate ids gets them in any case.
    type: bool
    default: true
  state:
    description:
      - V(present) makes sure that the user has the subordinate ids.
      - V(absent) makes sure that the user has none, or with O(start) that it has none of the O(count) ids
        from there.
    type: str
    choices:
      - present
      - absent
    default: present
  discard_existing:
    description:
      - Acknowledges what O(state=absent) means. The user loses every file in its containers, images and
        volumes that belongs to a removed id. It can neither read nor delete them afterwards, and Podman
        fails until the same range is appended again, or until the storage is reset.
      - Without it, O(state=absent) fails when there is a range to remove.
    type: bool
    default: false
notes:
  - While processes of the user run, C(usermod) removes no range. Stop them first, the manager of a lingering
    user among them.
  - Where C(/etc/nsswitch.conf) takes subordinate ids from another place than the files, this module changes
    nothing. It succeeds when C(getsubids) shows that the user has the ids already, and fails otherwise.
  - In a container with a user namespace only some ids exist (C(/proc/self/uid_map) and C(gid_map)), in an
    unprivileged container of Proxmox or LXC usually 0 to 65535. Ranges are chosen among these. Where there are
    too few, or where O(start) or a range that the user has lies outside, the module fails before it changes
    anything. Give the container more ids then.
  - Lines of the files that are not valid are reported as warnings with their number, and stay.
seealso:
  - module: ansible.builtin.user
  - name: subuid(5)
    description: The format of the files.
    link: https://man7.org/linux/man-pages/man5/subuid.5.html
"""

EXAMPLES = r"""
---
- name: Give the runner user subordinate ids
  rootless.gitlab_runner.subid_range:
    user: gitlab-runner
  register: subordinate_ids

- name: Make the user's Podman take them up
  ansible.builtin.command:
    cmd: podman system migrate
    chdir: /
  become: true
  become_user: gitlab-runner
  when: subordinate_ids.migrate_required

- name: Append a range that was replaced by hand
  rootless.gitlab_runner.subid_range:
    user: gitlab-runner
    start: 200000
    count: 65536

- name: Take the subordinate ids away from a user, whose containers are lost then
  rootless.gitlab_runner.subid_range:
    user: former-runner
    state: absent
    discard_existing: true
"""

RETURN = r"""
subuid:
  description: The ranges of subordinate uids that the user has then, in the order of the file.
  returned: success
  type: list
  elements: dict
  contains:
    start:
      description: The first id.
      type: int
    count:
      description: The number of ids.
      type: int
  sample:
    - start: 100000
      count: 65536
subgid:
  description: The ranges of subordinate gids that the user has then, in the order of the file.
  returned: success
  type: list
  elements: dict
  contains:
    start:
      description: The first id.
      type: int
    count:
      description: The number of ids.
      type: int
  sample:
    - start: 100000
      count: 65536
migrate_required:
  description:
    - Whether the ranges of a user have changed that had some before. Podman takes up the change only after
      C(podman system migrate), which stops all containers of the user.
  returned: success
  type: bool
  sample: false
diff:
  description: The text of each file that changes, before and after.
  returned: in diff mode, where RV(source) is V(files)
  type: list
  elements: dict
  contains:
    before:
      description: The text before.
      type: str
    after:
      description: The text after.
      type: str
source:
  description: Where subordinate ids come from on this host, V(files) or the name of a plugin.
  returned: success
  type: str
  sample: files
"""

import grp
import os
import pwd
import re
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _subid, _textfile
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._subid import (
    GID_FILE,
    UID_FILE,
    Range,
    SubidError,
)

ROOT = "/"

Changes = dict[str, list[Range]]
"""Ranges by file."""

OPTIONS = {
    "present": {UID_FILE: "--add-subuids", GID_FILE: "--add-subgids"},
    "absent": {UID_FILE: "--del-subuids", GID_FILE: "--del-subgids"},
}


def real_path(path: str) -> str:
    return os.path.join(ROOT, path.lstrip("/"))


def read(path: str) -> Optional[str]:
    """The text of a file, None if there is none. Bytes that are not UTF-8 are kept."""
    try:
        with open(real_path(path), "rb") as file:
            return file.read().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SubidError(f"{path} cannot be read: {error.strerror}.") from error


def encode(text: Optional[str]) -> Optional[bytes]:
    return None if text is None else text.encode("utf-8", "surrogateescape")


def as_dicts(ranges: list[Range]) -> list[dict[str, int]]:
    return [{"start": found.start, "count": found.count} for found in ranges]


def read_map(path: str) -> list[Range]:
    """The ids that exist; all of them where the kernel does not say."""
    try:
        return _subid.parse_map(read(path) or "")
    except SubidError:
        return _subid.parse_map("")


def find_uid(module: AnsibleModule) -> Optional[int]:
    user = module.params["user"]
    if not re.match(r"[A-Za-z_][^\s:/]*\Z", user):
        raise SubidError(f"user: {user!r} is not the name of a user.")
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        if module.check_mode or module.params["state"] == "absent":
            return None
        raise SubidError(f"user: there is no user {user} on this host; create it first.") from None


def accounts() -> list[_subid.Account]:
    users = [_subid.Account("user", user.pw_name, user.pw_uid) for user in pwd.getpwall()]
    return users + [_subid.Account("group", group.gr_name, group.gr_gid) for group in grp.getgrall()]


def ask_other_source(module: AnsibleModule, source: str, existing: _subid.Existing) -> dict[str, Any]:
    """What the user has where subordinate ids do not come from the files.

    Raises SubidError if that is not what is wanted.
    """
    user, count, start = module.params["user"], module.params["count"], module.params["start"]
    where = f"Subordinate ids come from {source!r} on this host (subid: in /etc/nsswitch.conf), not from files"
    program = module.get_bin_path("getsubids")
    if program is None:
        raise SubidError(f"{where}, and getsubids is missing to ask for them (Debian has it in uidmap).")
    uids, gids = (_subid.parse_getsubids(module.run_command([program, *options, user])[1]) for options in ([], ["-g"]))
    if module.params["state"] == "absent":
        right = not uids and not gids
    elif start is None:
        right = min(_subid.total(uids), _subid.total(gids)) >= count
    else:
        right = not _subid.subtract([Range(start, count)], uids) + _subid.subtract([Range(start, count)], gids)
    if not right:
        raise SubidError(
            f"{where}, so that they cannot be changed here. {user} has {_subid.total(uids)} uids and"
            f" {_subid.total(gids)} gids there. Have them changed there, or take them from files."
        )
    if module.params["state"] == "present":
        for ranges, some in ((uids, existing.uids), (gids, existing.gids)):
            for found in ranges:
                if not _subid.lies_in(found, some):
                    raise SubidError(f"{existing.problem(f'the subordinate ids {found}', user, found.end - 1)}.")
    return {
        "changed": False,
        "subuid": as_dicts(uids),
        "subgid": as_dicts(gids),
        "migrate_required": False,
        "source": source,
    }


def owned(text: Optional[str], user: str, uid: Optional[int]) -> list[Range]:
    return _subid.owned(_subid.parse(text or "", "")[0], user, uid)


def change(
    module: AnsibleModule, uid: Optional[int], before: dict[str, Optional[str]], changes: Changes
) -> dict[str, Optional[str]]:
    """Make the changes in both files and return their new texts.

    Raises SubidError. Both files are as before then, or the text says why not.
    """
    user, state = module.params["user"], module.params["state"]
    predicted: dict[str, Optional[str]] = {
        path: _subid.predict(
            before[path] or "",
            user,
            added=ranges if state == "present" else [],
            removed=ranges if state == "absent" else [],
        )
        for path, ranges in changes.items()
    }
    if module.check_mode:
        return predicted
    if uid is None:
        raise SubidError(
            f"user: there is no user {user} on this host, and usermod cannot remove its lines in"
            f" {' or '.join(changes)}; remove them with an editor."
        )
    command = [module.get_bin_path("usermod", required=True)]
    for path, ranges in changes.items():
        for found in ranges:
            command += [OPTIONS[state][path], str(found)]
    for path in before:
        if before[path] is None:
            # usermod does not create it.
            _textfile.edit(module, real_path(path), lambda now: now or b"")
    status, _output, errors = module.run_command([*command, user], environ_update={"LC_ALL": "C"})
    after = {path: read(path) for path in before}
    done = all(
        _subid.merge(owned(after[path], user, uid)) == _subid.merge(owned(predicted[path], user, uid))
        for path in before
    )
    if status == 0 and done:
        return after
    why = errors.strip() or "the files do not have the wanted ranges afterwards"
    advice = ""
    if "cannot lock" in errors:
        advice = (
            " Another program edits accounts, or died doing so: run the task again, and if that does not help"
            " remove the lock file."
        )
    elif "currently used by process" in errors:
        advice = (
            f" Stop the processes of the user first (loginctl disable-linger {user};"
            f" systemctl stop user@{uid}.service)."
        )
    failed = f"'{' '.join(command)} {user}' failed with status {status}: {why}"
    raise SubidError(f"{failed}. {restore(module, before, after)}{advice}")


def restore(module: AnsibleModule, before: dict[str, Optional[str]], after: dict[str, Optional[str]]) -> str:
    """Bring the files back to what they were, unless another program has changed them too.

    Returns a sentence for the user.
    """

    def others(text: Optional[str]) -> list[str]:
        return [line for line in (text or "").split("\n") if not line.startswith(f"{module.params['user']}:")]

    for path, text in before.items():
        old, seen = encode(text), encode(after[path])
        if others(text) != others(after[path]):
            return f"The change of {path} could not be undone, since another program has changed it as well."

        def compute(now: Optional[bytes], old: Optional[bytes] = old, seen: Optional[bytes] = seen) -> Optional[bytes]:
            return old if now == seen else now

        try:
            _textfile.edit(module, real_path(path), compute)
        except _textfile.TextFileError as error:
            return f"The change of {path} could not be undone: {error}"
    return "Nothing was changed."


def run(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    user, count, start = params["user"], params["count"], params["start"]
    if count < 1:
        raise SubidError(f"count: {count} is not a number of ids; it must be 1 at least.")
    uid = find_uid(module)
    existing = _subid.Existing(read_map("/proc/self/uid_map"), read_map("/proc/self/gid_map"))
    source = _subid.parse_source(read("/etc/nsswitch.conf") or "")
    if source != "files":
        return ask_other_source(module, source, existing)

    before = {path: read(path) for path in (UID_FILE, GID_FILE)}
    entries = {}
    for path, text in before.items():
        entries[path], problems = _subid.parse(text or "", path)
        for problem in problems:
            module.warn(problem)
    limits = _subid.parse_limits(read("/etc/login.defs") or "")
    host = _subid.Host(user, uid, entries[UID_FILE], entries[GID_FILE], accounts(), limits, existing)

    if params["state"] == "present":
        plan = _subid.plan_present(host, count, start, params["grow"])
    else:
        plan = _subid.plan_absent(host, None if start is None else Range(start, count))
        removed = ", ".join(map(str, _subid.merge(plan.uids + plan.gids)))
        if removed and not params["discard_existing"]:
            raise SubidError(
                f"{user} would lose the subordinate ids {removed}, and every file in its containers, images"
                " and volumes that belongs to them; set discard_existing: true if that is intended."
            )
    for warning in plan.warnings:
        module.warn(warning)

    after = before
    changed = bool(plan.uids or plan.gids)
    if changed:
        after = change(module, uid, before, {UID_FILE: plan.uids, GID_FILE: plan.gids})
    result: dict[str, Any] = {}
    if module._diff:
        result["diff"] = [
            {"before_header": path, "after_header": path, "before": text or "", "after": after[path] or ""}
            for path, text in before.items()
            if (text or "") != after[path]
        ]
    return {
        **result,
        "changed": changed,
        "subuid": as_dicts(owned(after[UID_FILE], user, uid)),
        "subgid": as_dicts(owned(after[GID_FILE], user, uid)),
        "migrate_required": changed and bool(host.uids or host.gids),
        "source": source,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "count": {"type": "int", "default": 65536},
            "start": {"type": "int"},
            "grow": {"type": "bool", "default": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "discard_existing": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except (SubidError, _textfile.TextFileError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
