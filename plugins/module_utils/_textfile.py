# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Edit one file as a whole: read, compute, compare, replace.

The thinking is done by the pure function that the caller hands in. This file does the input and output around
it, so that every module of the collection replaces files in the same careful way.

Root works in directories of other accounts too. Their owners can replace anything in there, at any moment, by a
link to a file that is none of their business. So a place is looked up once, and from then on the directory is the
one that was opened, files in it are opened without following links, and owner and mode go to what is open.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
import shlex
import stat
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, Callable, Optional

# How often to start over when somebody else changes the file between reading it and replacing it.
MAX_ATTEMPTS = 5
# As many links as Linux follows.
_MAX_LINKS = 40

_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW
# To pass through a directory takes no right to read it. macOS, where a values file may be edited, has no O_PATH.
_THROUGH = _DIRECTORY | getattr(os, "O_PATH", 0)

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
        path: the file; a symbolic link is followed, and its target is replaced. To delete the file is to delete the
            link, even one that leads nowhere. Root follows only links that no other account can have made.
        compute: a pure function from the present bytes (None: no file) to the wanted ones (None: no file).
            It may be called several times. Whatever it raises is passed on, the file is unchanged then.
        redact: applied to both texts of the diff and to the output of the validate command.
        backup: keep the old content in a file of mode 0600 beside it; not for a link that is deleted, since its
            target stays.
        validate: a command with C(%s) for the new file; unless it exits with status 0, nothing is changed.
        create: whether a missing file may be created.
        create_parents: whether missing parent directories are made, mode 0755, with the owner of the file.
        default_mode: the mode of a new file when the module has no C(mode).

    Returns a dict with C(changed), C(diff) (C(before), C(after) and their headers; empty without diff mode)
    and C(backup_file) (None: no backup was made).

    Raises TextFileError. What goes wrong after the change fails the module, with C(changed).
    """
    result: dict[str, Any] = {"changed": False, "diff": {}, "backup_file": None}
    with contextlib.ExitStack() as stack:
        with _explained(path):
            place = stack.enter_context(contextlib.closing(_Place(path)))
        for _attempt in range(MAX_ATTEMPTS):
            before = place.read()
            try:
                after = compute(before)
            except Exception:
                # Whoever writes in place leaves half a file for a moment: an error about that is not the user's.
                if place.read() != before:
                    continue
                raise
            if after is not None and before is None and not create:
                raise TextFileError(f"{path} does not exist, and it may not be created (create: false).")
            link = after is None and os.path.islink(path)
            if after == before and not link:
                attributes: dict[str, Any] = {}
                result["changed"] = before is not None and _set_attributes(module, place, attributes)
                result["diff"] = _diff(module, path, before, after, redact, attributes)
                return result
            shown = b"" if before is None and link else before
            if module.check_mode:
                result.update(changed=True, diff=_diff(module, path, shown, after, redact, {}))
                return result
            with _explained(path):
                replaced, result["backup_file"] = _replace(
                    module, place, before, after, redact, backup, validate, create_parents, default_mode
                )
            if replaced:
                result.update(changed=True, diff=_diff(module, path, shown, after, redact, {}))
                return result
    raise TextFileError(
        f"Another program changed {path} each of the {MAX_ATTEMPTS} times that it was about to be replaced."
        " It is left as that program wrote it; run the task again, or stop the other program first."
    )


# --- where the file is --------------------------------------------------------


class _Place:
    """A name in an open directory. The directory is None if it does not exist yet."""

    def __init__(self, path: str, follow: bool = True) -> None:
        """With C(follow), a link stands for its target, else for itself."""
        self.path = path
        directory, name = os.path.split(path)
        self.target = _resolve(path) if follow else os.path.join(_resolve(directory), name)
        self.parent, self.name = os.path.split(self.target)
        self.directory: Optional[int] = None
        with contextlib.suppress(FileNotFoundError):
            self.open_directory()

    def close(self) -> None:
        if self.directory is not None:
            os.close(self.directory)

    def open_directory(self, make: Optional[Callable[[str, str, int], int]] = None) -> None:
        """Open the directory part by part, so that no part can have become a link since it was looked up.

        C(make) makes and opens a missing one, from its path, its name and the directory that it belongs in.
        """
        self.directory = os.open("/", _THROUGH)
        path = "/"
        for name in self.parent.split("/"):
            if name:
                outer, path = self.directory, os.path.join(path, name)
                self.directory = None
                try:
                    self.directory = os.open(name, _THROUGH, dir_fd=outer)
                except FileNotFoundError:
                    if make is None:
                        raise
                    self.directory = make(path, name, outer)
                finally:
                    os.close(outer)

    def beside(self, name: str) -> str:
        """The path of another name in the directory."""
        return os.path.join(self.parent, name)

    def open(self, mode: str = "rb") -> BinaryIO:
        def opener(name: str, flags: int) -> int:
            return os.open(name, flags | os.O_NOFOLLOW, dir_fd=self.directory)

        return open(self.name, mode, opener=opener)  # type: ignore[return-value]

    def read(self) -> Optional[bytes]:
        if self.directory is None:
            return None
        with _explained(self.path), contextlib.suppress(FileNotFoundError), self.open() as file:
            return file.read()
        return None

    @contextlib.contextmanager
    def new_file(self, name: str) -> Iterator[BinaryIO]:
        """A new file of mode 0600."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=self.directory), "wb") as file:
            yield file


def _resolve(path: str) -> str:
    """The path without links, as C(os.path.realpath) has it. Raises TextFileError for one that root must not follow."""
    real, links = "/", 0
    parts = os.path.join(os.getcwd(), path).split("/")[::-1]
    while parts:
        part = parts.pop()
        here = os.path.join(real, part)
        if part == "..":
            real = os.path.dirname(real)
        elif part not in ("", "."):
            if os.path.islink(here):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if os.geteuid() == 0:
                    _check_link(path, real, here)
                parts += os.readlink(here).split("/")[::-1]
                here = "/" if parts[-1] == "" else real
            real = here
    return real


def _check_link(path: str, directory: str, link: str) -> None:
    owner, parent = os.lstat(link).st_uid, os.lstat(directory)
    if owner != 0 or parent.st_uid != 0 or parent.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise TextFileError(
            f"{path} leads to the symbolic link {link}, which root does not follow, since another account can let it"
            f" lead to any file: it belongs to uid {owner}, and its directory to uid {parent.st_uid} with mode"
            f" {stat.S_IMODE(parent.st_mode):04o}. Name the file itself, run the task as that account (become_user),"
            " or have the link made by root in a directory that only root can write."
        )


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TextFileError(_os_error_text(path, error)) from error


# --- replacing it -------------------------------------------------------------


def _replace(
    module: Any,
    place: _Place,
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
        if place.read() != before:
            return False, None
        with contextlib.closing(_Place(place.path, follow=False)) as itself:
            backup_file = None
            if backup and before is not None and itself.target == place.target:
                backup_file = _write_backup(place, before)
            os.unlink(itself.name, dir_fd=itself.directory)
        return True, backup_file

    if place.directory is None:
        if not create_parents:
            raise TextFileError(f"The directory {place.parent} of {place.path} does not exist; create it first.")
        place.open_directory(lambda path, name, outer: _make_directory(module, path, name, outer))
    temporary = f".ansible_tmp{secrets.token_hex(8)}.new"
    with contextlib.ExitStack() as stack:
        old = None
        if before is not None:
            try:
                old = stack.enter_context(place.open()).fileno()
            except FileNotFoundError:
                return False, None
        file = stack.enter_context(place.new_file(temporary))
        new = file.fileno()
        stack.callback(_remove, temporary, place.directory)
        if old is not None:
            _copy_ownership(place.path, old, new)
        file.write(after)
        file.flush()
        os.fsync(new)
        if validate:
            _validate(module, place.path, place.beside(temporary), validate, redact)
        if place.read() != before:
            return False, None
        backup_file = None
        mode = module.params.get("mode")
        if old is None:
            if module.selinux_enabled():
                context = module.selinux_default_context(place.target)
                module.set_context_if_different(place.beside(temporary), context, False)
            _set_ownership(module, new, place.beside(temporary), default_mode if mode is None else mode)
        else:
            backup_file = _write_backup(place, before) if backup and before is not None else None
            # The old file takes the wanted owner and mode first and hands them on to the new one: new content is
            # never readable by more than it should be.
            _set_ownership(module, old, place.target, mode)
            _copy_attributes(old, new)
        try:
            os.rename(temporary, place.name, src_dir_fd=place.directory, dst_dir_fd=place.directory)
        except OSError as error:
            # A file that is a mount point can only be written in place.
            if error.errno != errno.EBUSY or not module.params.get("unsafe_writes"):
                raise
            mounted = place.open("wb")
            with _changed_already(module, place.path), mounted:
                mounted.write(after)
        with _changed_already(module, place.path):
            _set_labels(module, place.target)
        _sync_directory(place)
    return True, backup_file


@contextlib.contextmanager
def _changed_already(module: Any, path: str) -> Iterator[None]:
    """From here on a failure is no lack of change, not even one of Ansible's functions."""
    fail = module.fail_json
    module.fail_json = functools.partial(fail, changed=True)
    try:
        yield
    except OSError as error:
        module.fail_json(msg=f"{path} is changed, but not as it should be: {_reason(error)}.")
    finally:
        module.fail_json = fail


def _remove(name: str, directory: Optional[int]) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def _copy_ownership(path: str, old: int, new: int) -> None:
    """Give the temporary file the owner and group of the file that it will replace; its mode stays 0600."""
    status = os.fstat(old)
    try:
        os.fchown(new, status.st_uid, status.st_gid)
    except PermissionError as error:
        raise TextFileError(
            f"{path} belongs to uid {status.st_uid} and gid {status.st_gid}, and uid {os.geteuid()}"
            " cannot keep that when it replaces the file. Run the task as root or as the owner (become)."
        ) from error


def _copy_attributes(old: int, new: int) -> None:
    """Give the temporary file what the old one has: owner, group, mode, extended attributes with access lists."""
    status = os.fstat(old)
    os.fchown(new, status.st_uid, status.st_gid)
    # Not each file system has them, not everybody may set all of them, and Python knows them on Linux only.
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):
            for name in os.listxattr(old):
                with contextlib.suppress(OSError):
                    os.setxattr(new, name, os.getxattr(old, name))
    os.fchmod(new, stat.S_IMODE(status.st_mode))


def _set_attributes(module: Any, place: _Place, diff: dict[str, Any]) -> bool:
    """Apply all that the options say about the file as it is."""
    with _explained(place.path), place.open() as file:
        changed = _set_ownership(module, file.fileno(), place.target, module.params.get("mode"), diff)
        return _set_labels(module, place.target, diff) or changed


def _set_ownership(module: Any, descriptor: int, path: str, mode: Any, diff: Optional[dict[str, Any]] = None) -> bool:
    """Apply owner, group and mode, as far as they are given, to an open file or directory."""
    found: dict[str, Any] = {} if diff is None else diff
    # Ansible's functions take paths, which may lead elsewhere in the next moment: here they only tell what to change.
    check_mode, module.check_mode = module.check_mode, True
    try:
        changed = module.set_owner_if_different(path, module.params.get("owner"), False, found, False)
        changed = module.set_group_if_different(path, module.params.get("group"), changed, found, False)
        changed = module.set_mode_if_different(path, mode, changed, found, False)
    finally:
        module.check_mode = check_mode
    if changed and not check_mode:
        wanted = found.get("after", {})
        os.fchown(descriptor, wanted.get("owner", -1), wanted.get("group", -1))
        if "mode" in wanted:
            os.fchmod(descriptor, int(wanted["mode"], 8))
    return bool(changed)


def _set_labels(module: Any, path: str, diff: Optional[dict[str, Any]] = None) -> bool:
    """Apply SELinux context and attributes, as far as they are given. An immutable file cannot be renamed any more."""
    arguments = module.load_file_common_arguments(module.params, path=path)
    changed = module.set_context_if_different(path, arguments["secontext"], False, diff)
    return bool(module.set_attributes_if_different(path, arguments["attributes"], changed, diff, False))


def _make_directory(module: Any, path: str, name: str, outer: int) -> int:
    """Make a directory of mode 0755 and the wanted owner in an open one, and open it."""
    os.mkdir(name, 0o755, dir_fd=outer)
    descriptor = os.open(name, _DIRECTORY, dir_fd=outer)
    _set_ownership(module, descriptor, path, 0o755)
    return descriptor


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


def _write_backup(place: _Place, content: bytes) -> str:
    name = "{}.{}.{}~".format(place.name, os.getpid(), time.strftime("%Y-%m-%d@%H:%M:%S"))
    with place.new_file(name) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return place.beside(name)


def _sync_directory(place: _Place) -> None:
    """Make the rename itself durable, where the file system can and the account may read the directory."""
    with contextlib.suppress(OSError):
        descriptor = os.open(".", os.O_RDONLY, dir_fd=place.directory)
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
    return f"{path} cannot be read or replaced, and is unchanged: {_reason(error)}."


def _reason(error: OSError) -> str:
    reasons = {
        errno.ELOOP: "its symbolic links lead in a circle, or it became a symbolic link just now",
        errno.EBUSY: "it is a mount point (unsafe_writes: true writes into it)",
        errno.EISDIR: "it is a directory, and a file is needed",
        errno.EACCES: f"uid {os.geteuid()} lacks the permission (is become missing?)",
        errno.EPERM: f"uid {os.geteuid()} lacks the permission (is become missing?)",
        errno.EROFS: "the file system is mounted read-only",
        errno.ENOSPC: "the file system is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.ENOTDIR: "a part of its path is a file, not a directory",
    }
    return reasons.get(error.errno or 0, error.strerror or str(error))
