# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Edit one file as a whole: read, compute, compare, replace.

The thinking is done by the pure function that the caller hands in. This file does the input and output around
it, so that every module of the collection replaces files in the same careful way.
"""

from __future__ import annotations

import errno
import os
import shlex
import tempfile
import time
from typing import Any, Callable, Optional

# How often to start over when somebody else changes the file between reading it and replacing it.
MAX_ATTEMPTS = 5

Compute = Callable[[Optional[bytes]], Optional[bytes]]


class TextFileError(Exception):
    """The file cannot be read or replaced; the text is one sentence for the user. The file is unchanged."""


def edit(
    module: Any,
    path: str,
    compute: Compute,
    *,
    redact: Optional[Callable[[str], str]] = None,
    backup: bool = False,
    validate: Optional[str] = None,
    create: bool = True,
    create_parents: bool = False,
    default_mode: int = 0o644,
) -> dict[str, Any]:
    """Bring the file at C(path) to the content that C(compute) wants.

    Takes:
        module: the AnsibleModule; its owner, group, mode and SELinux options and its check mode are honoured.
        path: the file; a symbolic link is followed, and its target is replaced.
        compute: a pure function from the present bytes (None: no file) to the wanted ones (None: no file).
            It may be called several times. Whatever it raises is passed on, the file is unchanged then.
        redact: applied to both texts of the diff and to the output of the validate command.
        backup: keep the old content in a file of mode 0600 beside it.
        validate: a command with C(%s) for the new file; unless it exits with status 0, nothing is changed.
        create: whether a missing file may be created.
        create_parents: whether missing parent directories are made, mode 0755, with the owner of the file.
        default_mode: the mode of a new file when the module has no C(mode).

    Returns a dict with C(changed), C(diff) (C(before), C(after) and their headers; empty without diff mode)
    and C(backup_file) (None: no backup was made).

    Raises TextFileError.
    """
    target = os.path.realpath(path)
    result: dict[str, Any] = {"changed": False, "diff": {}, "backup_file": None}
    for _attempt in range(MAX_ATTEMPTS):
        before = _read(path)
        try:
            after = compute(before)
        except Exception:
            # Whoever writes in place leaves half a file for a moment: an error about that is not the user's.
            if _read(path) != before:
                continue
            raise
        if after is not None and before is None and not create:
            raise TextFileError(f"{path} does not exist, and it may not be created (create: false).")
        if after == before:
            attributes: dict[str, Any] = {}
            result["changed"] = before is not None and _set_attributes(module, target, attributes)
            result["diff"] = _diff(module, path, before, after, redact, attributes)
            return result
        if module.check_mode:
            result.update(changed=True, diff=_diff(module, path, before, after, redact, {}))
            return result
        try:
            replaced, result["backup_file"] = _replace(
                module, path, target, before, after, redact, backup, validate, create_parents, default_mode
            )
        except OSError as error:
            raise TextFileError(_os_error_text(path, error)) from error
        if replaced:
            result.update(changed=True, diff=_diff(module, path, before, after, redact, {}))
            return result
    raise TextFileError(
        f"Another program changed {path} each of the {MAX_ATTEMPTS} times that it was about to be replaced."
        " It is left as that program wrote it; run the task again, or stop the other program first."
    )


def _read(path: str) -> Optional[bytes]:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TextFileError(_os_error_text(path, error)) from error


def _replace(
    module: Any,
    path: str,
    target: str,
    before: Optional[bytes],
    after: Optional[bytes],
    redact: Optional[Callable[[str], str]],
    backup: bool,
    validate: Optional[str],
    create_parents: bool,
    default_mode: int,
) -> tuple[bool, Optional[str]]:
    """Replace or delete the file. Returns False if it changed meanwhile, and the backup's path."""
    if after is None:
        if _read(path) != before:
            return False, None
        backup_file = _write_backup(target, before) if backup and before is not None else None
        os.unlink(path)
        return True, backup_file

    directory = os.path.dirname(target)
    if not os.path.isdir(directory):
        if not create_parents:
            raise TextFileError(f"The directory {directory} of {path} does not exist; create it first.")
        _make_directories(module, directory)
    descriptor, temporary = tempfile.mkstemp(prefix=".ansible_tmp", suffix=".new", dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if before is None:
                os.fchmod(descriptor, default_mode if module.params.get("mode") is None else 0o600)
            else:
                _copy_ownership(path, target, descriptor)
            file.write(after)
            file.flush()
            os.fsync(descriptor)
        if before is None:
            if module.selinux_enabled():
                module.set_context_if_different(temporary, module.selinux_default_context(target), False)
            _set_attributes(module, temporary, None, chattr=False)
        if validate:
            _validate(module, path, temporary, validate, redact)
        if _read(path) != before:
            return False, None
        backup_file = None
        if before is None:
            # Not atomic_move(): for a new file that sets owner and mode only after the file is in place.
            os.rename(temporary, target)
        else:
            backup_file = _write_backup(target, before) if backup else None
            # The old file takes the wanted owner and mode first, and the move hands them on to the new one:
            # new content is never readable by more than it should be.
            _set_attributes(module, target, None, chattr=False)
            module.atomic_move(temporary, target, unsafe_writes=bool(module.params.get("unsafe_writes")))
        _set_attributes(module, target, None)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    _sync_directory(directory)
    return True, backup_file


def _copy_ownership(path: str, target: str, descriptor: int) -> None:
    """Give the temporary file the owner and group of the file that it will replace; its mode stays 0600."""
    status = os.stat(target)
    try:
        os.fchown(descriptor, status.st_uid, status.st_gid)
    except PermissionError as error:
        raise TextFileError(
            f"{path} belongs to uid {status.st_uid} and gid {status.st_gid}, and uid {os.geteuid()}"
            " cannot keep that when it replaces the file. Run the task as root or as the owner (become)."
        ) from error


def _set_attributes(module: Any, path: str, diff: Optional[dict[str, Any]], chattr: bool = True) -> bool:
    """Apply owner, group, mode, SELinux context and (with chattr) attributes, as far as they are given."""
    arguments = module.load_file_common_arguments(module.params, path=path)
    if not chattr:
        # An immutable file could not be renamed: this one comes last.
        arguments["attributes"] = None
    return bool(module.set_fs_attributes_if_different(arguments, False, diff))


def _make_directories(module: Any, directory: str) -> None:
    missing: list[str] = []
    while not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    for name in reversed(missing):
        os.mkdir(name)
        os.chmod(name, 0o755)
        module.set_owner_if_different(name, module.params.get("owner"), False)
        module.set_group_if_different(name, module.params.get("group"), False)


def _validate(module: Any, path: str, temporary: str, command: str, redact: Optional[Callable[[str], str]]) -> None:
    if "%s" not in command:
        raise TextFileError(f"validate needs a %s where the path of the new file belongs: {command}")
    status, output, errors = module.run_command(command.replace("%s", shlex.quote(temporary)))
    if status != 0:
        text = (errors.strip() + "\n" + output.strip()).strip().replace(temporary, path)
        if redact:
            text = redact(text)
        raise TextFileError(
            f"The new content of {path} did not pass '{command}' (exit status {status}), nothing was changed: {text}"
        )


def _write_backup(target: str, content: bytes) -> str:
    name = "{}.{}.{}~".format(target, os.getpid(), time.strftime("%Y-%m-%d@%H:%M:%S"))
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    return name


def _sync_directory(directory: str) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _diff(
    module: Any,
    path: str,
    before: Optional[bytes],
    after: Optional[bytes],
    redact: Optional[Callable[[str], str]],
    attributes: dict[str, Any],
) -> dict[str, str]:
    if not module._diff:
        return {}

    def shown(content: Optional[bytes]) -> str:
        text = (content or b"").decode("utf-8", "replace")
        return redact(text) if redact else text

    old = shown(before)
    diff = {
        "before_header": path if before is not None else "/dev/null",
        "after_header": path if after is not None else "/dev/null",
        "before": old,
        "after": old if before == after else shown(after),
    }
    changes = [
        f"{path}: {name} {attributes['before'][name]} -> {attributes['after'][name]}"
        for name in sorted(attributes.get("before", {}))
        if name in attributes.get("after", {}) and name != "path"
    ]
    if changes:
        diff["prepared"] = "\n".join(changes) + "\n"
    return diff


def _os_error_text(path: str, error: OSError) -> str:
    reasons = {
        errno.ELOOP: "its symbolic links lead in a circle",
        errno.EISDIR: "it is a directory, and a file is needed",
        errno.EACCES: f"uid {os.geteuid()} lacks the permission (is become missing?)",
        errno.EPERM: f"uid {os.geteuid()} lacks the permission (is become missing?)",
        errno.EROFS: "the file system is mounted read-only",
        errno.ENOSPC: "the file system is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.ENOTDIR: "a part of its path is a file, not a directory",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return f"{path} cannot be read or replaced, and is unchanged: {reason}."
