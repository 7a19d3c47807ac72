# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import stat

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _textfile
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._textfile import TextFileError, edit


@pytest.fixture
def make_module():
    def make(check_mode=False, **options):
        with patch_module_args({**options, "_ansible_check_mode": check_mode, "_ansible_diff": True}):
            return basic.AnsibleModule({}, supports_check_mode=True, add_file_common_args=True)

    return make


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def to(content):
    return lambda before: content


def test_a_new_file_never_exists_with_a_loose_mode(make_module, tmp_path, monkeypatch):
    path = tmp_path / "file"
    seen = []
    rename = os.rename

    def watched_rename(source, target, **options):
        seen.append((mode_of(tmp_path / source), os.stat(tmp_path / source).st_gid))
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", watched_rename)
    result = edit(make_module(mode="0600", group="12"), str(path), to(b"new\n"))
    assert result["changed"] and path.read_bytes() == b"new\n"
    assert seen == [(0o600, 12)] and mode_of(path) == 0o600
    assert result["diff"]["before"] == "" and result["diff"]["after"] == "new\n"


def test_the_temporary_file_is_private_even_beside_a_loose_file(make_module, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old\n")
    path.chmod(0o644)
    edit(make_module(), str(path), to(b"new\n"), validate='sh -c "test $(stat -c %a %s) = 600"')
    assert mode_of(path) == 0o644 and path.read_bytes() == b"new\n"


def test_default_mode_of_a_new_file(make_module, tmp_path):
    edit(make_module(), str(tmp_path / "file"), to(b""), default_mode=0o640)
    assert mode_of(tmp_path / "file") == 0o640


def test_existing_file_keeps_owner_and_mode(make_module, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old\n")
    os.chown(path, 12, 34)
    path.chmod(0o604)
    edit(make_module(), str(path), to(b"new\n"))
    status = path.stat()
    assert (status.st_uid, status.st_gid, mode_of(path)) == (12, 34, 0o604)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_tightened_mode_is_in_place_before_the_new_content(make_module, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old\n")
    path.chmod(0o644)
    rename = os.rename
    seen = []

    def watched_rename(source, target, **options):
        seen.append((mode_of(tmp_path / source), mode_of(tmp_path / target)))
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", watched_rename)
    edit(make_module(mode="0600"), str(path), to(b"secret\n"))
    assert seen == [(0o600, 0o600)]
    assert mode_of(path) == 0o600


def test_no_change_does_not_open_the_file_for_writing(make_module, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"same\n")
    os.utime(path, (1, 1))
    before = path.stat()
    assert edit(make_module(), str(path), lambda content: content)["changed"] is False
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


@pytest.mark.parametrize("check_mode", [True, False])
def test_only_the_mode_changes(make_module, tmp_path, check_mode):
    path = tmp_path / "file"
    path.write_bytes(b"same\n")
    path.chmod(0o644)
    inode = path.stat().st_ino
    result = edit(make_module(check_mode, mode="0600"), str(path), lambda content: content)
    assert result["changed"] and "mode 0644 -> 0600" in result["diff"]["prepared"]
    assert path.stat().st_ino == inode and mode_of(path) == (0o644 if check_mode else 0o600)


@pytest.mark.parametrize("before", [None, b"old\n"])
def test_check_mode_touches_nothing(make_module, tmp_path, before):
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    os.utime(tmp_path, (1, 1))
    result = edit(make_module(True), str(path), to(b"new\n"), backup=True)
    assert result["changed"] and result["diff"]["after"] == "new\n"
    assert tmp_path.stat().st_mtime == 1
    assert (path.read_bytes() if path.exists() else None) == before


def test_backup_is_private_and_holds_the_old_content(make_module, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old secret\n")
    path.chmod(0o644)
    backup = edit(make_module(), str(path), to(b"new\n"), backup=True)["backup_file"]
    assert mode_of(backup) == 0o600
    with open(backup, "rb") as file:
        assert file.read() == b"old secret\n"


def test_symbolic_link_is_followed(make_module, tmp_path):
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "file"
    real.write_bytes(b"old\n")
    link = tmp_path / "link"
    link.symlink_to("real/file")
    edit(make_module(), str(link), to(b"new\n"))
    assert link.is_symlink() and real.read_bytes() == b"new\n"


def test_delete(make_module, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old\n")
    result = edit(make_module(), str(path), to(None), backup=True)
    assert result["changed"] and not path.exists() and os.path.exists(result["backup_file"])
    assert edit(make_module(), str(path), to(None))["changed"] is False


def test_deleting_a_link_leaves_its_target(make_module, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old\n")
    (tmp_path / "link").symlink_to("file")
    assert edit(make_module(), str(tmp_path / "link"), to(None))["changed"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"] and path.read_bytes() == b"old\n"


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("target", ["/dev/null", "missing", "elsewhere/file"])
def test_deleting_a_link_that_leads_elsewhere(make_module, tmp_path, target, check_mode):
    """It needs no backup, least of all one beside its target."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"old\n")
    (tmp_path / "link").symlink_to(target)
    result = edit(make_module(check_mode), str(tmp_path / "link"), to(None), backup=True)
    assert (result["changed"], result["backup_file"]) == (True, None)
    assert result["diff"]["before_header"] == str(tmp_path / "link")
    assert os.path.lexists(tmp_path / "link") == check_mode
    assert [entry.name for entry in (tmp_path / "elsewhere").iterdir()] == ["file"]


def test_redaction_of_both_texts(make_module, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"secret1\n")
    result = edit(make_module(), str(path), to(b"secret2\n"), redact=lambda text: text.replace("secret", "X"))
    assert (result["diff"]["before"], result["diff"]["after"]) == ("X1\n", "X2\n")


def test_validate(make_module, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old\n")
    edit(make_module(), str(path), to(b"good\n"), validate="grep -q good %s")
    with pytest.raises(TextFileError, match=r"did not pass .*exit status 1") as error:
        edit(
            make_module(),
            str(path),
            to(b"secret\n"),
            validate='sh -c "cat $0; false" %s',
            redact=lambda text: text.replace("secret", "X"),
        )
    assert "secret" not in str(error.value) and path.read_bytes() == b"good\n"
    with pytest.raises(TextFileError, match="needs a %s"):
        edit(make_module(), str(path), to(b"x"), validate="true")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_starts_over_when_the_file_changes_meanwhile(make_module, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0")
    calls = []

    def compute(before):
        calls.append(before)
        if len(calls) < 3:
            path.write_bytes(b"%d" % len(calls))
        return before + b" edited"

    edit(make_module(), str(path), compute)
    assert calls == [b"0", b"1", b"2"] and path.read_bytes() == b"2 edited"


def test_gives_up_when_the_file_never_rests(make_module, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0")

    def compute(before):
        path.write_bytes(before + b"0")
        return b"edited"

    with pytest.raises(TextFileError, match="each of the 5 times"):
        edit(make_module(), str(path), compute)
    assert path.read_bytes() == b"000000"


def test_an_error_about_a_half_written_file_is_tried_again(make_module, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"half")

    def compute(before):
        if before == b"half":
            path.write_bytes(b"whole")
            raise ValueError("cannot parse")
        return before + b" edited"

    edit(make_module(), str(path), compute)
    assert path.read_bytes() == b"whole edited"


def test_an_error_of_compute_is_passed_on(make_module, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"broken")

    def compute(before):
        raise ValueError("cannot parse")

    with pytest.raises(ValueError, match="cannot parse"):
        edit(make_module(), str(path), compute)
    assert path.read_bytes() == b"broken"


def test_parents_are_created_with_the_owner_of_the_file(make_module, tmp_path):
    path = tmp_path / "a" / "b" / "file"
    with pytest.raises(TextFileError, match="directory .* does not exist"):
        edit(make_module(), str(path), to(b"x"))
    edit(make_module(owner="12", group="34"), str(path), to(b"x"), create_parents=True)
    for name in (path, path.parent, path.parent.parent):
        assert (name.stat().st_uid, name.stat().st_gid) == (12, 34)
    assert mode_of(path.parent) == 0o755


def test_missing_file_that_may_not_be_created(make_module, tmp_path):
    with pytest.raises(TextFileError, match="may not be created"):
        edit(make_module(), str(tmp_path / "file"), to(b"x"), create=False)


def test_directory_in_place_of_the_file(make_module, tmp_path):
    with pytest.raises(TextFileError, match="is a directory"):
        edit(make_module(), str(tmp_path), to(b"x"))


def test_symbolic_link_loop(make_module, tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(TextFileError, match="circle"):
        edit(make_module(), str(tmp_path / "a"), to(b"x"))


@pytest.mark.parametrize(
    ("number", "text"), [(errno.ENOSPC, "full"), (errno.EROFS, "read-only"), (errno.EDQUOT, "quota")]
)
def test_write_errors_leave_the_old_file(make_module, tmp_path, monkeypatch, number, text):
    path = tmp_path / "file"
    path.write_bytes(b"old\n")

    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_textfile.os, "fsync", fail)
    with pytest.raises(TextFileError, match=text):
        edit(make_module(), str(path), to(b"new\n"))
    assert path.read_bytes() == b"old\n" and [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_foreign_owner_that_cannot_be_kept(make_module, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old\n")

    def fail(*args):
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(_textfile.os, "fchown", fail)
    with pytest.raises(TextFileError, match="belongs to uid"):
        edit(make_module(), str(path), to(b"new\n"))
    assert path.read_bytes() == b"old\n"


NOBODY = 65534


@pytest.fixture
def theirs(tmp_path):
    """A directory of another account."""
    directory = tmp_path / "theirs"
    directory.mkdir()
    os.chown(directory, NOBODY, NOBODY)
    return directory


@pytest.fixture
def victim(tmp_path):
    """A file that only root may change."""
    directory = tmp_path / "roots"
    directory.mkdir()
    path = directory / "file"
    path.write_bytes(b"precious\n")
    path.chmod(0o644)
    return path


def untouched(victim):
    status = victim.stat()
    return (
        [entry.name for entry in victim.parent.iterdir()] == ["file"]
        and victim.read_bytes() == b"precious\n"
        and (status.st_uid, status.st_gid, mode_of(victim)) == (0, 0, 0o644)
    )


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("name", ["file", "missing"])
def test_root_does_not_follow_a_link_in_a_directory_of_another_account(make_module, theirs, victim, name, check_mode):
    link = theirs / "file"
    link.symlink_to(victim.parent / name)
    with pytest.raises(TextFileError) as error:
        edit(make_module(check_mode, owner="nobody", mode="0600"), str(link), to(b"new\n"))
    assert f"symbolic link {link}" in str(error.value) and "uid 65534" in str(error.value)
    assert "become_user" in str(error.value) and untouched(victim)


def test_root_does_not_follow_a_link_of_another_account(make_module, tmp_path, victim):
    link = tmp_path / "link"
    link.symlink_to(victim)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(TextFileError, match=f"symbolic link {link}, .* belongs to uid 65534"):
        edit(make_module(), str(link), to(b"new\n"))
    assert untouched(victim)


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_root_does_not_follow_a_link_where_others_may_write(make_module, tmp_path, victim, mode):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    (shared / "link").symlink_to(victim)
    with pytest.raises(TextFileError, match=f"mode {mode:04o}"):
        edit(make_module(), str(shared / "link"), to(b"new\n"))
    assert untouched(victim)


@pytest.mark.parametrize("path", ["theirs/link/file", "link/../link/file", "chain"])
def test_root_does_not_follow_such_a_link_on_the_way(make_module, tmp_path, theirs, victim, path):
    (theirs / "link").symlink_to(victim.parent)
    (tmp_path / "link").symlink_to("theirs/link")
    (tmp_path / "chain").symlink_to("theirs/link/file")
    with pytest.raises(TextFileError, match=f"symbolic link {theirs}/link, "):
        edit(make_module(owner="nobody"), str(tmp_path / path), to(b"new\n"))
    assert untouched(victim)


def test_another_account_follows_its_own_links(make_module, theirs, victim, monkeypatch):
    (theirs / "link").symlink_to(victim)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert edit(make_module(), str(theirs / "link"), to(b"new\n"))["changed"]
    assert victim.read_bytes() == b"new\n"


def test_links_of_root_on_the_way_and_relative_ones(make_module, tmp_path, victim, monkeypatch):
    (tmp_path / "directory").symlink_to("roots")
    (tmp_path / "roots" / "link").symlink_to("../directory/./file")
    (tmp_path / "roots" / "absolute").symlink_to(tmp_path / "directory" / "link")
    monkeypatch.chdir(tmp_path)
    edit(make_module(), "directory/../directory/absolute", to(b"new\n"))
    assert victim.read_bytes() == b"new\n" and (tmp_path / "roots" / "link").is_symlink()


@pytest.mark.parametrize("wanted", [b"new\n", b"precious\n", None])
def test_a_file_that_becomes_a_link_meanwhile(make_module, theirs, victim, wanted):
    path = theirs / "file"
    path.write_bytes(b"precious\n")

    def compute(before):
        path.unlink()
        path.symlink_to(victim)
        return wanted

    with pytest.raises(TextFileError, match="symbolic link"):
        edit(make_module(owner="nobody", mode="0600"), str(path), compute)
    assert untouched(victim)


@pytest.mark.parametrize("wanted", [b"new\n", b"precious\n"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_directory_that_becomes_a_link_meanwhile(make_module, theirs, victim, wanted, exists):
    inner = theirs / "inner"
    inner.mkdir()
    if exists:
        (inner / "file").write_bytes(b"precious\n")

    def compute(before):
        inner.rename(theirs / "moved")
        inner.symlink_to(victim.parent)
        return wanted

    edit(make_module(owner="12", mode="0600"), str(inner / "file"), compute, backup=True)
    assert untouched(victim)
    assert (theirs / "moved" / "file").read_bytes() == wanted


def test_a_deletion_in_a_directory_that_becomes_a_link_meanwhile(make_module, theirs, victim):
    inner = theirs / "inner"
    inner.mkdir()
    (inner / "file").write_bytes(b"precious\n")

    def compute(before):
        inner.rename(theirs / "moved")
        inner.symlink_to(victim.parent)

    with pytest.raises(TextFileError, match="symbolic link"):
        edit(make_module(), str(inner / "file"), compute)
    assert untouched(victim)


@pytest.mark.parametrize("exists", [True, False])
def test_a_temporary_file_that_becomes_a_link(make_module, theirs, victim, exists):
    path = theirs / "file"
    if exists:
        path.write_bytes(b"old\n")
    edit(
        make_module(owner="nobody", mode="0600"),
        str(path),
        to(b"new\n"),
        validate=f"sh -c 'ln -sf {victim} \"$0\"' %s",
    )
    assert untouched(victim)


def test_a_new_directory_that_becomes_a_link(make_module, theirs, victim, monkeypatch):
    mkdir = os.mkdir

    def racing_mkdir(name, *arguments, **options):
        mkdir(name, *arguments, **options)
        if name == "b":
            (theirs / "a" / "b").rmdir()
            (theirs / "a" / "b").symlink_to(victim.parent)

    monkeypatch.setattr(os, "mkdir", racing_mkdir)
    with pytest.raises(TextFileError):
        edit(make_module(owner="nobody"), str(theirs / "a" / "b" / "file"), to(b"new\n"), create_parents=True)
    assert untouched(victim) and victim.parent.stat().st_uid == 0


def test_root_edits_a_file_in_a_directory_of_another_account(make_module, theirs):
    path = theirs / "file"
    path.write_bytes(b"old\n")
    module = make_module(owner="nobody", group="12", mode="u=rw,g=r,o=")
    backup = edit(module, str(path), to(b"new\n"), backup=True)["backup_file"]
    status = path.stat()
    assert (status.st_uid, status.st_gid, mode_of(path)) == (NOBODY, 12, 0o640)
    assert sorted(entry.name for entry in theirs.iterdir()) == ["file", os.path.basename(backup)]
    assert edit(module, str(path), to(b"new\n"))["changed"] is False


def test_extended_attributes_stay(make_module, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old\n")
    try:
        os.setxattr(path, "user.note", b"mine")
    except OSError:
        pytest.skip("the file system has no extended attributes")
    edit(make_module(), str(path), to(b"new\n"))
    assert os.getxattr(path, "user.note") == b"mine"


def test_without_extended_attributes(make_module, tmp_path, monkeypatch):
    """As on macOS, where Python has no functions for them."""
    path = tmp_path / "file"
    path.write_bytes(b"old\n")
    path.chmod(0o604)
    for name in ("listxattr", "getxattr", "setxattr"):
        monkeypatch.delattr(os, name)
    assert edit(make_module(), str(path), to(b"new\n"))["changed"]
    assert path.read_bytes() == b"new\n" and mode_of(path) == 0o604


@pytest.mark.parametrize("function", ["open", "fsync"])
def test_a_directory_that_cannot_be_synchronized(make_module, tmp_path, monkeypatch, function):
    """Shared folders of virtual machines cannot, and it takes the right to read the directory."""
    path = tmp_path / "file"
    path.write_bytes(b"old\n")
    real = getattr(os, function)

    def fail(what, *arguments, **options):
        if what == "." or (function == "fsync" and stat.S_ISDIR(os.fstat(what).st_mode)):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(what, *arguments, **options)

    monkeypatch.setattr(os, function, fail)
    assert edit(make_module(), str(path), to(b"new\n"))["changed"]
    assert path.read_bytes() == b"new\n"


def failure(monkeypatch, module, path):
    """What the module says when it fails while it puts new content into a file."""
    said = {}

    def fail(**result):
        said.update(result)
        raise SystemExit(1)

    monkeypatch.setattr(module, "fail_json", fail)
    with pytest.raises(SystemExit):
        edit(module, str(path), to(b"new\n"))
    return said


@pytest.mark.parametrize("raised", [None, OSError(errno.EPERM, "no")])
def test_a_failure_after_the_change_is_no_lack_of_change(make_module, tmp_path, monkeypatch, raised):
    path = tmp_path / "file"
    path.write_bytes(b"old\n")
    module = make_module(attributes="i")

    def refuse(*_arguments, **_options):
        if raised:
            raise raised
        return 1, "", "not permitted"

    monkeypatch.setattr(module, "get_bin_path", lambda name, *_arguments: name)
    monkeypatch.setattr(module, "get_file_attributes" if raised else "run_command", refuse)
    result = failure(monkeypatch, module, path)
    assert result["changed"] and "unchanged" not in result["msg"]
    assert path.read_bytes() == b"new\n"


@pytest.mark.parametrize("unsafe", [True, False])
def test_a_file_that_is_mounted_is_written_in_place_only_if_that_is_allowed(make_module, tmp_path, monkeypatch, unsafe):
    path = tmp_path / "file"
    path.write_bytes(b"a longer old text\n")
    inode = path.stat().st_ino

    def busy(*_arguments, **_options):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(os, "rename", busy)
    if unsafe:
        assert edit(make_module(unsafe_writes=True), str(path), to(b"new\n"))["changed"]
    else:
        with pytest.raises(TextFileError, match="unsafe_writes"):
            edit(make_module(), str(path), to(b"new\n"))
    assert path.read_bytes() == (b"new\n" if unsafe else b"a longer old text\n")
    assert path.stat().st_ino == inode and [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_write_in_place_that_fails_halfway(make_module, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old\n")
    real = _textfile._Place.open

    def busy(*_arguments, **_options):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def full(self, mode="rb"):
        return os.fdopen(os.open("/dev/full", os.O_WRONLY), mode) if mode == "wb" else real(self, mode)

    monkeypatch.setattr(os, "rename", busy)
    monkeypatch.setattr(_textfile._Place, "open", full)
    result = failure(monkeypatch, make_module(unsafe_writes=True), path)
    assert result["changed"] and "full" in result["msg"] and "unchanged" not in result["msg"]
