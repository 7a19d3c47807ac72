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

    def watched_rename(source, target):
        seen.append((mode_of(source), os.stat(source).st_gid))
        rename(source, target)

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
    module = make_module(mode="0600")
    move = module.atomic_move
    seen = []

    def watched_move(source, target, **options):
        seen.append((mode_of(source), mode_of(target)))
        move(source, target, **options)

    monkeypatch.setattr(module, "atomic_move", watched_move)
    edit(module, str(path), to(b"secret\n"))
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
