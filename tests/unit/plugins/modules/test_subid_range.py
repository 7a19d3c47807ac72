# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import grp
import os
import pwd
import shutil

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.modules import subid_range

REAL_USERMOD = shutil.which("usermod", path="/usr/sbin:/sbin:/usr/bin")


class FakeHost:
    """The files below a directory, and the programs that the module calls."""

    def __init__(self, root, programs):
        self.root = root
        self.programs = programs
        self.etc = root / "etc"
        self.etc.mkdir()
        self.write("login.defs", "SUB_UID_MIN 100000\nSUB_UID_MAX 600100000\nSUB_UID_COUNT 65536\n")
        self.write("subuid", "# by hand\nother:100000:65536\n")
        self.write("subgid", "other:100000:65536\n")
        self.usermod(
            # What the real one does, as far as it is needed.
            """
            while [ $# -gt 1 ]; do
                first=${2%-*}; line=me:$first:$((${2#*-} - first + 1))
                case $1 in
                    --add-subuids) echo $line >> subuid ;;
                    --add-subgids) echo $line >> subgid ;;
                    --del-subuids) sed -i /^$line$/d subuid ;;
                    --del-subgids) sed -i /^$line$/d subgid ;;
                esac
                shift 2
            done
            """
        )

    def write(self, name, text):
        (self.etc / name).write_text(text)

    def read(self, name):
        return (self.etc / name).read_text()

    def program(self, name, script):
        path = self.programs / name
        path.write_text(f"#!/bin/sh\ncd {self.etc}\n{script}\n")
        path.chmod(0o755)

    def usermod(self, script):
        self.program("usermod", f'echo "$@" >> calls\n{script}')

    @property
    def calls(self):
        return self.read("calls").splitlines() if (self.etc / "calls").exists() else []


@pytest.fixture
def host(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setattr(subid_range, "ROOT", str(tmp_path / "root"))
    users = [
        pwd.struct_passwd((name, "x", uid, uid, "", "/", "/bin/sh")) for name, uid in (("me", 996), ("other", 1000))
    ]
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    monkeypatch.setattr(grp, "getgrall", lambda: [])

    def getpwnam(name):
        for user in users:
            if user.pw_name == name:
                return user
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    (tmp_path / "root").mkdir()
    return FakeHost(tmp_path / "root", programs)


NEW = [{"start": 165536, "count": 65536}]


def test_check_create_and_again(run_module, host):
    predicted = run_module(subid_range, {"user": "me"}, check_mode=True)
    assert host.calls == []
    assert host.read("subgid") == "other:100000:65536\n"
    result = run_module(subid_range, {"user": "me"})
    assert result == predicted
    assert host.calls == ["--add-subuids 165536-231071 --add-subgids 165536-231071 me"]
    assert (result["changed"], result["migrate_required"], result["source"]) == (True, False, "files")
    assert result["subuid"] == result["subgid"] == NEW
    assert [(diff["before_header"], diff["before"], diff["after"]) for diff in result["diff"]] == [
        (
            "/etc/subuid",
            "# by hand\nother:100000:65536\n",
            "# by hand\nother:100000:65536\nme:165536:65536\n",
        ),
        ("/etc/subgid", "other:100000:65536\n", "other:100000:65536\nme:165536:65536\n"),
    ]

    again = run_module(subid_range, {"user": "me"})
    assert (again["changed"], again["diff"], again["subuid"], again["migrate_required"]) == (
        False,
        [],
        NEW,
        False,
    )
    assert len(host.calls) == 1


def test_the_files_are_shown_in_diff_mode_only(run_module, host):
    assert "diff" not in run_module(subid_range, {"user": "me"}, diff=False)


def test_enough_of_both_is_no_change(run_module, host):
    host.write("subuid", "me:100000:65536\n")
    host.write("subgid", "me:200000:65536\n")
    result = run_module(subid_range, {"user": "me"})
    assert (result["changed"], result["migrate_required"]) == (False, False) and host.calls == []
    assert "differ (uids: 100000-165535; gids: 200000-265535)" in str(result["warnings"])


def test_a_user_that_an_earlier_task_would_create(run_module, host):
    result = run_module(subid_range, {"user": "new"}, check_mode=True)
    assert (result["changed"], result["subuid"], result["subgid"]) == (True, NEW, NEW)


def test_grow(run_module, host):
    for name in ("subuid", "subgid"):
        host.write(name, "me:100000:1000\nother:101000:65536\n")
    refused = run_module(subid_range, {"user": "me", "grow": False})
    assert "set grow: true" in refused["msg"]
    result = run_module(subid_range, {"user": "me"})
    assert result["subuid"] == [{"start": 100000, "count": 1000}, {"start": 166536, "count": 64536}]
    assert result["migrate_required"]


def test_broken_lines_are_reported_and_stay(run_module, host):
    host.write("subuid", "me:many\nother:100000:65536\n")
    result = run_module(subid_range, {"user": "me"})
    assert "/etc/subuid line 1: 'me:many'" in str(result["warnings"])
    assert host.read("subuid") == "me:many\nother:100000:65536\nme:165536:65536\n"


def test_missing_files_are_created(run_module, host):
    (host.etc / "subuid").unlink()
    (host.etc / "subgid").unlink()
    (host.etc / "login.defs").unlink()
    host.usermod("test -e subuid && test -e subgid && echo me:100000:65536 | tee subuid > subgid")
    assert run_module(subid_range, {"user": "me"})["subuid"] == [{"start": 100000, "count": 65536}]
    assert (host.etc / "subuid").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("maps", "options", "outcome"),
    [
        ({}, {}, 165536),
        (
            {"uid_map": "         0          0 4294967295\n", "gid_map": "         0          0 4294967295\n"},
            {},
            165536,
        ),
        ({"uid_map": "0 100000 1065536\n", "gid_map": "0 0 300000\n300000 100000 65536\n"}, {}, 165536),
        (
            {"uid_map": "0 100000 1065536\n", "gid_map": "0 0 300000\n"},
            {"start": 900000},
            "only the uids 0 to 1065535 and the gids 0 to 299999",
        ),
        (
            {"uid_map": "0 100000 65536\n", "gid_map": "0 100000 65536\n"},
            {},
            "65536 subordinate ids from 165536 cannot be used for me",
        ),
        ({"gid_map": "0 100000 65536\n"}, {}, "in which only the gids 0 to 65535 exist"),
        ({"gid_map": None}, {}, 165536),
    ],
)
@pytest.mark.parametrize("check_mode", [True, False])
def test_ids_that_exist(run_module, host, maps, options, outcome, check_mode):
    process = host.root / "proc/self"
    process.mkdir(parents=True)
    for name, text in maps.items():
        # A directory cannot be read, by root either.
        (process / name).mkdir() if text is None else (process / name).write_text(text)
    result = run_module(subid_range, {"user": "me", **options}, check_mode=check_mode)
    if isinstance(outcome, int):
        assert result["subuid"] == result["subgid"] == [{"start": outcome, "count": 65536}]
    else:
        assert outcome in result["msg"]
        assert host.calls == []
        assert host.read("subgid") == "other:100000:65536\n"


def test_ids_of_the_user_that_do_not_exist(run_module, host):
    (host.root / "proc/self").mkdir(parents=True)
    (host.root / "proc/self/uid_map").write_text("0 100000 65536\n")
    for name in ("subuid", "subgid"):
        host.write(name, "me:100000:65536\n")
    assert "100000-165535 of /etc/subuid line 1 cannot be used for me" in run_module(subid_range, {"user": "me"})["msg"]
    assert host.calls == []
    assert run_module(subid_range, {"user": "me", "state": "absent", "discard_existing": True})["subuid"] == []


def test_absent(run_module, host):
    for name in ("subuid", "subgid"):
        host.write(name, "me:200000:10\nother:100000:65536\n")
    refused = run_module(subid_range, {"user": "me", "state": "absent"})
    assert "me would lose the subordinate ids 200000-200009" in refused["msg"]
    assert "discard_existing: true" in refused["msg"]

    options = {"user": "me", "state": "absent", "discard_existing": True}
    assert run_module(subid_range, options, check_mode=True)["subuid"] == []
    assert host.calls == []
    result = run_module(subid_range, options)
    assert (result["changed"], result["subuid"], result["migrate_required"]) == (True, [], True)
    assert host.read("subuid") == host.read("subgid") == "other:100000:65536\n"
    assert not run_module(subid_range, {"user": "me", "state": "absent"})["changed"]


def test_absent_without_the_user(run_module, host):
    assert not run_module(subid_range, {"user": "gone", "state": "absent"})["changed"]
    host.write("subuid", "gone:200000:10\n")
    result = run_module(subid_range, {"user": "gone", "state": "absent", "discard_existing": True})
    assert "there is no user gone on this host" in result["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"user": "nobody-here"}, "there is no user nobody-here on this host"),
        ({"user": "-R"}, "'-R' is not the name of a user"),
        ({"user": "1000"}, "'1000' is not the name of a user"),
        ({"user": "me", "count": 0}, "count: 0 is not a number of ids"),
        ({"user": "me", "start": 100000}, "overlap the range 100000-165535 of other (/etc/subuid line 2)"),
    ],
)
def test_bad_options(run_module, host, options, message):
    assert message in run_module(subid_range, options)["msg"]
    assert host.calls == []


@pytest.mark.parametrize(
    ("script", "messages"),
    [
        pytest.param(
            "echo 'usermod: cannot lock /etc/subgid; try again later.' >&2; exit 18",
            [
                "cannot lock /etc/subgid; try again later.",
                "Another program edits accounts",
                "Nothing was changed.",
            ],
            id="locked",
        ),
        pytest.param(
            "echo me:165536:65536 >> subuid; echo 'usermod: failure while writing /etc/subgid' >&2; exit 18",
            ["with status 18", "failure while writing /etc/subgid", "Nothing was changed."],
            id="only one file",
        ),
        pytest.param("echo me:165536:65536 >> subuid", ["not have the wanted ranges"], id="only one file, silently"),
        pytest.param(
            "printf 'me:165536:65536\\nnew:300000:1\\n' >> subuid; exit 1",
            ["The change of /etc/subuid could not be undone, since another program has changed it as well."],
            id="another program",
        ),
    ],
)
def test_all_or_nothing(run_module, host, script, messages):
    before = [host.read("subuid"), host.read("subgid")]
    host.usermod(script)
    result = run_module(subid_range, {"user": "me"})
    for message in messages:
        assert message in result["msg"]
    if "could not be undone" not in result["msg"]:
        assert [host.read("subuid"), host.read("subgid")] == before


def test_a_failure_leaves_no_empty_files(run_module, host):
    (host.etc / "subgid").unlink()
    host.usermod("exit 1")
    assert "Nothing was changed." in run_module(subid_range, {"user": "me"})["msg"]
    assert not (host.etc / "subgid").exists()


def test_a_busy_user(run_module, host):
    for name in ("subuid", "subgid"):
        host.write(name, "me:200000:10\n")
    host.usermod("echo 'usermod: user me is currently used by process 4932' >&2; exit 8")
    result = run_module(subid_range, {"user": "me", "state": "absent", "discard_existing": True})
    assert "process 4932" in result["msg"]
    assert "loginctl disable-linger me; systemctl stop user@996.service" in result["msg"]


@pytest.mark.parametrize(
    ("uids", "options", "message"),
    [
        ("0: me 500000 65536", {}, None),
        ("0: me 500000 65536", {"start": 500000, "count": 100}, None),
        ("0: me 700000 65536", {}, "so the subordinate ids 700000-765535 cannot be used for me"),
        ("0: me 700000 65536", {"state": "absent"}, "cannot be changed here"),
        ("0: me 500000 1000", {}, "me has 1000 uids and 1000 gids there"),
        ("0: me 500000 65536", {"start": 100000}, "not from files"),
        ("0: me 500000 65536", {"state": "absent", "discard_existing": True}, "cannot be changed here"),
        ("Error fetching ranges", {}, "me has 0 uids and 0 gids there"),
        ("Error fetching ranges", {"state": "absent"}, None),
    ],
)
def test_ids_from_another_source(run_module, host, uids, options, message):
    host.write("nsswitch.conf", "passwd: files sss\nsubid: sss\n")
    (host.root / "proc/self").mkdir(parents=True)
    (host.root / "proc/self/gid_map").write_text("0 100000 700000\n")
    host.program("getsubids", f"echo '{uids}'")
    result = run_module(subid_range, {"user": "me", **options})
    assert host.calls == []
    if message:
        assert message in result["msg"]
        assert "'sss'" in result["msg"] or "gids 0 to 699999" in result["msg"]
    else:
        assert (result["changed"], result["source"], result["migrate_required"]) == (False, "sss", False)
        assert result["subuid"] == result["subgid"] == ([{"start": 500000, "count": 65536}] if "500000" in uids else [])


@pytest.mark.skipif(os.geteuid() != 0 or not REAL_USERMOD, reason="needs root and usermod")
def test_with_the_real_usermod(run_module, host):
    host.write("passwd", "me:x:996:996::/:/bin/sh\nother:x:1000:1000::/:/bin/sh\n")
    host.write("shadow", "me:*:19000::::::\nother:*:19000::::::\n")
    host.write("group", "me:x:996:\nother:x:1000:\n")
    host.write("gshadow", "me:*::\nother:*::\n")
    host.usermod(f'exec {REAL_USERMOD} --prefix {host.root} "$@"')
    host.write("subuid", "# by hand\nbroken\nother:100000:65536\n\nme:165536:10\n")
    for options in (
        {"user": "me"},
        {"user": "me", "start": 400000, "count": 10},
        {"user": "me", "start": 165540, "count": 2, "state": "absent", "discard_existing": True},
        {"user": "me", "state": "absent", "discard_existing": True},
    ):
        predicted = run_module(subid_range, options, check_mode=True)
        result = run_module(subid_range, options)
        assert result["changed"], options
        assert sorted(result["subuid"], key=str) == sorted(predicted["subuid"], key=str)
        assert sorted(result["subgid"], key=str) == sorted(predicted["subgid"], key=str)
        assert not run_module(subid_range, options)["changed"], options
    assert host.read("subuid") == "# by hand\nbroken\nother:100000:65536\n\n"
    assert host.read("subgid") == "other:100000:65536\n"
