# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import pwd
import shutil
import stat

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.modules import systemd_dropin


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """The directory of the system's units, for this test."""
    monkeypatch.setattr(systemd_dropin, "SYSTEM_DIRECTORY", str(tmp_path / "system"))
    monkeypatch.setattr(systemd_dropin, "USERS_DIRECTORY", str(tmp_path / "user"))
    (tmp_path / "system").mkdir()
    return tmp_path / "system" / "x.service.d"


def arguments(**more):
    return {
        "unit": "x.service",
        "sections": {"Service": {"ExecStart": ["", "/bin/true"], "PrivateTmp": True}},
        **more,
    }


def test_check_create_and_again(run_module, directory):
    predicted = run_module(systemd_dropin, arguments(), check_mode=True)
    assert (predicted["changed"], predicted["daemon_reload_required"]) == (True, True)
    assert not directory.exists()

    result = run_module(systemd_dropin, arguments())
    path = directory / "override.conf"
    assert result["path"] == str(path)
    assert result["diff"] == predicted["diff"]
    assert (
        result["diff"]["after"]
        == path.read_text()
        == (
            "# Managed by Ansible (rootless.gitlab_runner.systemd_dropin)\n"
            "[Service]\nExecStart=\nExecStart=/bin/true\nPrivateTmp=yes\n"
        )
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755

    again = run_module(systemd_dropin, arguments())
    assert (again["changed"], again["daemon_reload_required"]) == (False, False)


def test_name_mode_and_backup(run_module, directory):
    directory.mkdir()
    (directory / "10-own.conf").write_text("[Service]\nUser=me\n")
    result = run_module(systemd_dropin, arguments(name="10-own", mode="0600", backup=True))
    assert stat.S_IMODE((directory / "10-own.conf").stat().st_mode) == 0o600
    with open(result["backup_file"]) as file:
        assert file.read() == "[Service]\nUser=me\n"
    assert stat.S_IMODE(os.stat(result["backup_file"]).st_mode) == 0o600


def test_only_a_change_of_the_content_needs_a_reload(run_module, directory):
    run_module(systemd_dropin, arguments())
    result = run_module(systemd_dropin, arguments(mode="0600"))
    assert (result["changed"], result["daemon_reload_required"]) == (True, False)


def test_absent_removes_the_empty_directory(run_module, directory):
    run_module(systemd_dropin, arguments())
    absent = {"unit": "x.service", "state": "absent"}
    assert run_module(systemd_dropin, absent, check_mode=True)["changed"]
    assert directory.exists()
    result = run_module(systemd_dropin, absent)
    assert (result["changed"], result["daemon_reload_required"]) == (True, True)
    assert not directory.exists()
    assert not run_module(systemd_dropin, absent)["changed"]


def test_absent_keeps_other_drop_ins(run_module, directory):
    run_module(systemd_dropin, arguments())
    run_module(systemd_dropin, arguments(name="other"))
    run_module(systemd_dropin, {"unit": "x.service", "state": "absent"})
    assert os.listdir(directory) == ["other.conf"]


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"unit": "user@.service"}, "system/user@.service.d/override.conf"),
        ({"unit": "user@1000.service"}, "system/user@1000.service.d/override.conf"),
        ({"scope": "user"}, "user/x.service.d/override.conf"),
    ],
)
def test_paths(run_module, directory, tmp_path, more, path):
    assert run_module(systemd_dropin, arguments(**more), check_mode=True)["path"] == str(tmp_path / path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to write for another account")
def test_the_drop_in_of_an_account_belongs_to_it(run_module, directory, tmp_path, monkeypatch):
    nobody = pwd.getpwnam("nobody")
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    for parent in (tmp_path, *list(tmp_path.parents)[:-2]):
        parent.chmod(0o755)
    account = pwd.struct_passwd((*nobody[:5], str(home), nobody.pw_shell))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: account)

    options = arguments(scope="user", user="nobody")
    path = home / ".config/systemd/user/x.service.d/override.conf"
    assert run_module(systemd_dropin, options)["path"] == str(path)
    for made in (path, *list(path.parents)[:4]):
        assert made.stat().st_uid == nobody.pw_uid, made
    assert not run_module(systemd_dropin, options)["changed"]
    assert (os.geteuid(), os.getegid()) == (0, 0)

    # A link that leads out of the home directory gives the account no more than it has.
    shutil.rmtree(home / ".config")
    forbidden = tmp_path / "forbidden"
    forbidden.mkdir()
    (home / ".config").symlink_to(forbidden)
    assert "lacks the permission" in run_module(systemd_dropin, options)["msg"]
    assert not list(forbidden.iterdir())


def test_secrets_are_nowhere_in_the_result(run_module, directory):
    def run(secret, **options):
        sections = {"Service": {"Environment": [f"A_TOKEN={secret}", "PATH=/bin"], "SetCredential": f"k:{secret}"}}
        result = run_module(systemd_dropin, arguments(sections=sections), **options)
        assert secret not in str(result)
        return result

    for secret in ("gl-s3cr3t", "0ne"):
        result = run(secret)
        assert secret in (directory / "override.conf").read_text()
        assert "Environment=PATH=/bin" in result["diff"]["after"]
    assert result["diff"]["before"] != result["diff"]["after"]


@pytest.mark.parametrize("diff", [True, False])
def test_all_that_looks_like_a_secret_is_hidden(run_module, directory, monkeypatch, diff):
    arguments_in_result = []
    returned = systemd_dropin.SecretModule._return_formatted

    def watched(self, kwargs):
        returned(self, kwargs)
        arguments_in_result.append(self.params["sections"])

    monkeypatch.setattr(systemd_dropin.SecretModule, "_return_formatted", watched)
    service = {
        "Environment": ["DB_PASS=hunter2x", "B=1 'SIGN_KEY=two words'"],
        "ExecStart": "/usr/bin/x --token glrt-abcdefghijklmnop",
        "LoadCredential": "token:/etc/credentials",
        "PrivateTmp": True,
    }
    result = run_module(systemd_dropin, arguments(sections={"Service": service}), diff=diff)
    everything = str(result) + str(arguments_in_result)
    assert result["changed"]
    for secret in ("hunter2x", "two words", "glrt-abc"):
        assert secret not in everything
    assert {"PrivateTmp": "yes"} in arguments_in_result[0]["Service"]
    assert ("diff" in result) == diff
    if diff:
        assert "LoadCredential=token:/etc/credentials\nPrivateTmp=yes" in result["diff"]["after"]


def test_an_error_tells_no_secret(run_module, directory):
    directory.mkdir()
    (directory / "override.conf").write_text("User=me\n")
    sections = {"Service": {"Environment": "DB_PASS=hunter2x"}}
    assert "hunter2x" not in str(run_module(systemd_dropin, arguments(sections=sections)))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"unit": "x"}, "unit: 'x' is not the name of a unit"),
        ({"name": "a/b"}, "name: 'a/b' cannot be the name of a drop-in"),
        ({"user": "root"}, "user: root needs scope: user"),
        ({"user": "no-such-account", "scope": "user"}, "there is no account no-such-account"),
        ({"sections": {"Sevrice": {"A": 1}}}, "did you mean Service?"),
        ({"sections": {}}, "use state: absent"),
        ({"sections": None}, "use state: absent"),
    ],
)
def test_bad_options(run_module, directory, more, message):
    result = run_module(systemd_dropin, arguments(**more))
    assert message in result["msg"]
    assert not directory.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"User=me\n", "override.conf: line 1: User= stands before the first section header"),
        (b"[Unit]\n\xff\n", "override.conf: byte 7 is not UTF-8"),
    ],
)
def test_a_broken_file_is_not_touched(run_module, directory, content, message):
    directory.mkdir()
    (directory / "override.conf").write_bytes(content)
    assert message in run_module(systemd_dropin, arguments())["msg"]
    assert (directory / "override.conf").read_bytes() == content


def test_a_masked_drop_in_is_not_touched(run_module, directory):
    directory.mkdir()
    (directory / "override.conf").symlink_to("/dev/null")
    assert "masks a drop-in" in run_module(systemd_dropin, arguments())["msg"]
    run_module(systemd_dropin, {"unit": "x.service", "state": "absent"})
    assert not directory.exists()
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("target", ["/dev/null", "missing", "../other.conf"])
def test_absent_removes_a_link(run_module, directory, target):
    directory.mkdir()
    (directory.parent / "other.conf").write_text("[Service]\nNice=1\n")
    (directory / "override.conf").symlink_to(target)
    absent = {"unit": "x.service", "state": "absent", "backup": True}
    for check_mode in (True, False):
        result = run_module(systemd_dropin, absent, check_mode=check_mode)
        assert (result["changed"], result["daemon_reload_required"], "backup_file" in result) == (True, True, False)
        assert directory.exists() == check_mode
    assert not run_module(systemd_dropin, absent)["changed"]
    assert os.listdir(directory.parent) == ["other.conf"]


def test_absent_keeps_a_directory_that_is_a_link(run_module, directory):
    elsewhere = directory.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "override.conf").write_text("[Service]\nNice=1\n")
    directory.symlink_to("elsewhere")
    absent = {"unit": "x.service", "state": "absent"}
    assert run_module(systemd_dropin, absent, check_mode=True)["changed"]
    assert run_module(systemd_dropin, absent)["changed"]
    assert directory.is_symlink() and not list(elsewhere.iterdir())
    assert not run_module(systemd_dropin, absent)["changed"]


def test_absent_where_the_directory_has_to_stay(run_module, directory, monkeypatch):
    run_module(systemd_dropin, arguments())

    def busy(path):
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr(os, "rmdir", busy)
    result = run_module(systemd_dropin, {"unit": "x.service", "state": "absent"})
    assert result["changed"] and result["daemon_reload_required"]
    assert f"{directory} is left there, even if it is empty: busy." in str(result["warnings"])
    assert not run_module(systemd_dropin, {"unit": "x.service", "state": "absent"})["changed"]


def test_an_account_that_an_earlier_task_would_make(run_module, directory):
    result = run_module(systemd_dropin, arguments(user="no-such-account", scope="user"), check_mode=True)
    assert result["changed"]
    assert result["path"] == "/home/no-such-account/.config/systemd/user/x.service.d/override.conf"


needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")


@pytest.fixture
def unit(directory, monkeypatch):
    """A unit x.service, and a template y@.service, that systemd-analyze finds."""
    for name in ("x.service", "y@.service"):
        (directory.parent / name).write_text("[Service]\nExecStart=/bin/true\nNoSuchDirective=1\n")
    run = systemd_dropin.Validator._run

    def run_with_units(self, command, scratch):
        status, output, errors = run(self, command, scratch)
        return status, f"{directory.parent}\n{output}" if command[-1] == "unit-paths" else output, errors

    monkeypatch.setattr(systemd_dropin.Validator, "_run", run_with_units)


@needs_systemd
@pytest.mark.parametrize("more", [{}, {"scope": "user"}, {"unit": "y@.service"}, {"unit": "y@1.service"}])
def test_validate(run_module, directory, unit, more):
    result = run_module(systemd_dropin, arguments(validate=True, **more))
    assert result["changed"]
    assert "validation_skipped" not in result


@needs_systemd
@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"Service": {"Foo": 1}}, "x.service.d/override.conf:3: Unknown key"),
        ({"Service": {"TimeoutStopSec": "soon"}}, "override.conf:3: Failed to parse"),
        ({"Service": {"ExecStart": "/bin/false"}}, "Service has more than one ExecStart= setting"),
        ({"Service": {"ExecStart": ["", "/no/such/program"]}}, "/no/such/program is not executable"),
        # What systemd reads where a word has an escape: one in a list of units stays, one in a path is no character.
        ({"Unit": {"After": "no\\x2dtype"}}, "no\\x2dtype"),
        ({"Service": {"ReadWritePaths": "not\\x2dabsolute"}}, "notx2dabsolute"),
        ({"Service": {"Environment": "no\\x2dassignment"}}, "no-assignment"),
    ],
)
@pytest.mark.parametrize("check_mode", [True, False])
def test_validate_refuses(run_module, directory, unit, sections, message, check_mode):
    result = run_module(systemd_dropin, arguments(validate=True, sections=sections), check_mode=check_mode)
    assert message in result["msg"]
    assert "NoSuchDirective" not in result["msg"]
    assert not directory.exists()


@needs_systemd
def test_validate_does_not_take_the_present_drop_in_for_the_unit(run_module, directory, unit):
    directory.mkdir()
    (directory / "override.conf").write_text("[Service]\nFoo=0\n")
    result = run_module(systemd_dropin, arguments(validate=True, sections={"Service": {"Foo": 1}}))
    assert "Unknown key" in result["msg"]


@needs_systemd
def test_validate_is_skipped_without_the_unit(run_module, directory):
    result = run_module(systemd_dropin, arguments(unit="no-such-unit.service", validate=True))
    assert result["changed"]
    assert result["validation_skipped"] == "The unit no-such-unit.service is not found."


def test_validate_is_skipped_without_systemd(run_module, directory, monkeypatch):
    monkeypatch.setattr(systemd_dropin.SecretModule, "get_bin_path", lambda *args, **kwargs: None)
    result = run_module(systemd_dropin, arguments(validate=True))
    assert result["changed"]
    assert result["validation_skipped"] == "systemd-analyze is not found."
