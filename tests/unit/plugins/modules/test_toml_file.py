# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.modules import toml_file

STORAGE = """\
# Podman's storage
[storage]
driver = "vfs" # the default

# Where images are
graphroot = '/var/lib/containers/storage'

[storage.options]
additionalimagestores = [
]
mount_program = "/usr/bin/fuse-overlayfs"
"""


def test_sets_and_removes_and_keeps_the_rest(run_module, tmp_path):
    path = tmp_path / "storage.conf"
    path.write_text(STORAGE)
    args = {
        "path": str(path),
        "content": {"storage": {"driver": "overlay", "graphroot": "/srv", "options": {"overlay": {"size": "1G"}}}},
        "absent": ["storage.options.mount_program"],
    }
    check = run_module(toml_file, args, check_mode=True)
    assert check["changed"] and path.read_text() == STORAGE
    result = run_module(toml_file, args)
    assert result["changed"] and result["diff"] == check["diff"]
    assert (
        path.read_text()
        == """\
# Podman's storage
[storage]
driver = "overlay" # the default

# Where images are
graphroot = '/srv'

[storage.options]
additionalimagestores = [
]

[storage.options.overlay]
size = "1G"
"""
    )
    again = run_module(toml_file, args)
    assert again["changed"] is False and again["diff"]["before"] == again["diff"]["after"]
    assert run_module(toml_file, args, diff=False).keys() & {"changed", "diff", "backup_file"} == {"changed"}


def test_creates_file_and_parents(run_module, tmp_path):
    path = tmp_path / "containers" / "containers.conf"
    args = {"path": str(path), "content": {"engine": {"events_logger": "file"}}}
    refused = run_module(toml_file, {**args, "create": False})
    assert refused["failed"] and "may not be created" in refused["msg"]
    assert run_module(toml_file, args)["changed"]
    assert path.read_text() == '[engine]\nevents_logger = "file"\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert run_module(toml_file, args)["changed"] is False


def test_nothing_wanted_creates_nothing(run_module, tmp_path):
    path = tmp_path / "file"
    result = run_module(toml_file, {"path": str(path), "absent": ["a.b"]})
    assert result["changed"] is False and not path.exists()


def test_backup_and_mode(run_module, tmp_path):
    path = tmp_path / "file"
    path.write_text("a = 1\n")
    result = run_module(toml_file, {"path": str(path), "content": {"a": 2}, "backup": True, "mode": "0600"})
    assert stat.S_IMODE(os.stat(result["backup_file"]).st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.read_text() == "a = 2\n"


def test_unparsable_file_is_left(run_module, tmp_path):
    path = tmp_path / "file"
    path.write_text("a = 1\na = 2\n")
    result = run_module(toml_file, {"path": str(path), "content": {"b": 1}})
    assert result["failed"] and f"{path}: line 2: 'a' is set in line 1 already" in result["msg"]
    assert path.read_text() == "a = 1\na = 2\n"


def test_a_key_in_both_options_is_an_error(run_module, tmp_path):
    args = {"path": str(tmp_path / "file"), "content": {"a": {"b": 1}}, "absent": ["a.b"]}
    assert "'a.b' is in absent and in content" in run_module(toml_file, args)["msg"]


TIMES = """\
day = 2026-01-01
moment = 2026-01-01 01:00:00.5+01:00 # with a zone
local = 2026-01-01T07:30:00
time = 07:30:00
text = "2026-01-01"
days = [2026-01-01, 2026-01-02]
nested = [[2026-01-01], ["2026-01-01"]]
[[t]]
name = "b"
day = 2026-01-01
"""


@pytest.mark.parametrize(
    ("content", "after"),
    [
        # As Ansible hands them over.
        (
            {
                "day": "2026-01-01",
                "moment": "2026-01-01T00:00:00.500000+00:00",
                "local": "2026-01-01 07:30:00",
                "time": "07:30:00",
                "text": "2026-01-01",
                "days": ["2026-01-01", "2026-01-02"],
                "nested": [["2026-01-01"], ["2026-01-01"]],
                "t": [{"name": "b", "day": "2026-01-01"}],
            },
            TIMES,
        ),
        ({"day": "2026-02-01"}, TIMES.replace("day = 2026-01", "day = 2026-02", 1)),
        ({"moment": "2026-02-01T00:00:00+00:00"}, TIMES.replace("2026-01-01 01:00:00.5+01:00", "2026-02-01T00:00:00Z")),
        ({"days": ["2026-01-02", "2026-01-03"]}, TIMES.replace("[2026-01-01, 2026-01-02]", "[2026-01-02, 2026-01-03]")),
        ({"t": [{"name": "b", "day": "07:30:00"}]}, TIMES[:-11] + "07:30:00\n"),
        (
            {"day": "never", "days": ["never"]},
            TIMES.replace("2026-01-01", '"never"', 1).replace("[2026-01-01, 2026-01-02]", '["never"]'),
        ),
        ({"text": "2026-02-01"}, TIMES.replace('"2026-01-01"', '"2026-02-01"', 1)),
        ({"t": [{"name": "b", "new": "2026-01-01"}]}, TIMES + 'new = "2026-01-01"\n'),
    ],
)
def test_dates_and_times(run_module, tmp_path, content, after):
    path = tmp_path / "file"
    path.write_text(TIMES)
    args = {"path": str(path), "content": content}
    assert run_module(toml_file, args)["changed"] == (after != TIMES)
    assert path.read_text() == after
    assert run_module(toml_file, args)["changed"] is False


@pytest.mark.parametrize("more", [{"content": {"registry": {"insecure": True}}}, {"absent": ["registry.location"]}])
def test_tables_of_an_array_are_not_lost(run_module, tmp_path, more):
    path = tmp_path / "registries.conf"
    text = '# mine\n[[registry]]\nlocation = "a"\n[[registry]]\nlocation = "b"\n'
    path.write_text(text)
    result = run_module(toml_file, {"path": str(path), **more})
    assert result["failed"] and f"{path}: line 2: 'registry' is an array of tables: give a list" in result["msg"]
    assert path.read_text() == text
    again = run_module(
        toml_file, {"path": str(path), "content": {"registry": [{"location": None, "insecure": True}, {}]}}
    )
    assert again["changed"]
    assert path.read_text() == '# mine\n[[registry]]\ninsecure = true\n[[registry]]\nlocation = "b"\n'


def test_secrets_do_not_show(run_module, tmp_path):
    path = tmp_path / "file"
    path.write_text('password = "old-hidden-1"\n# password = "old-hidden-2"\n')
    result = run_module(toml_file, {"path": str(path), "content": {"password": "new-hidden-3"}})
    assert result["changed"] and "hidden" not in str(result)
    assert 'password = "VALUE_REDACTED ' in result["diff"]["after"]
    assert result["diff"]["before"] != result["diff"]["after"]
