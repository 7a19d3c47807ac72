# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""GitLab Runner that writes to the file meanwhile, kills at any point, and file systems that refuse."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _runner_config
from ansible_collections.rootless.gitlab_runner.plugins.modules import runner_config

CONFIG = """\
concurrent = 1

[[runners]]
  name = "a"
  url = "https://gitlab.example.com"
  token = "glrt-old-token-of-a"
  token_expires_at = 2026-02-01T00:00:00Z
  executor = "shell"
"""
ROTATED = CONFIG.replace("glrt-old-token-of-a", "glrt-rotated-token-of-a")


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "etc" / "config.toml"
    path.parent.mkdir()
    path.write_text(CONFIG)
    path.chmod(0o600)
    return path


def meanwhile(monkeypatch, action):
    """Do something each time between the reading of the file and its replacement."""
    apply = _runner_config.apply

    def slow_apply(content, request):
        outcome = apply(content, request)
        action()
        return outcome

    monkeypatch.setattr(_runner_config, "apply", slow_apply)


def test_a_token_rotated_meanwhile_is_kept(run_module, config, monkeypatch):
    rotations = iter([ROTATED])

    def rotate():
        for text in rotations:
            config.write_text(text)

    meanwhile(monkeypatch, rotate)
    result = run_module(runner_config, {"path": str(config), "settings": {"concurrent": 2}})
    assert result["changed"]
    assert config.read_text() == ROTATED.replace("concurrent = 1", "concurrent = 2")


def test_a_file_that_never_rests(run_module, config, monkeypatch):
    meanwhile(monkeypatch, lambda: config.write_text(config.read_text() + "#"))
    result = run_module(runner_config, {"path": str(config), "settings": {"concurrent": 2}})
    assert result["failed"] and "each of the 5 times" in result["msg"]
    assert config.read_text() == CONFIG + "#####"


def test_a_half_written_file_is_read_again(run_module, config, monkeypatch):
    config.write_text(ROTATED[:60])
    apply = _runner_config.apply

    def apply_then_whole(content, request):
        try:
            return apply(content, request)
        finally:
            if content == ROTATED[:60].encode():
                config.write_text(ROTATED)

    monkeypatch.setattr(_runner_config, "apply", apply_then_whole)
    run_module(runner_config, {"path": str(config), "settings": {"concurrent": 2}})
    assert config.read_text() == ROTATED.replace("concurrent = 1", "concurrent = 2")


def killed_at(call, options):
    """Run the module in a child that kills itself at a call of a C function; return whether it got that far."""
    child = os.fork()
    if child == 0:
        left = call

        def count(frame, event, argument):
            nonlocal left
            if event == "c_call" and frame.f_code.co_filename.endswith(("_textfile.py", "basic.py", "shutil.py")):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        with patch_module_args(options):
            sys.setprofile(count)
            try:
                runner_config.main()
            finally:
                os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("exists", [True, False])
def test_killed_at_any_point_leaves_the_old_or_the_new_file(config, exists):
    options = {
        "path": str(config),
        "settings": {"concurrent": 2},
        "owner": "12",
        "group": "34",
        "backup": True,
    }
    new = CONFIG.replace("concurrent = 1", "concurrent = 2") if exists else "concurrent = 2\n"
    seen = set()
    call, killed = 0, True
    while killed:
        shutil.rmtree(config.parent)
        config.parent.mkdir()
        if exists:
            config.write_text(CONFIG)
            os.chown(config, 12, 34)
            config.chmod(0o600)
        killed = killed_at(call, options)
        seen.add(config.read_text() if config.exists() else None)
        if config.exists():
            status = config.stat()
            assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12, 34, 0o600)
        for path in config.parent.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        call += 3
    assert call > 100 and seen == {CONFIG if exists else None, new}


def test_symbolic_link_stays(run_module, config, tmp_path):
    link = tmp_path / "config.toml"
    link.symlink_to("etc/config.toml")
    assert run_module(runner_config, {"path": str(link), "settings": {"concurrent": 2}})["changed"]
    assert link.is_symlink() and "concurrent = 2" in config.read_text()


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("check_mode", [True, False])
def test_a_link_of_the_runner_user_gives_it_no_file_of_root(run_module, config, tmp_path, exists, check_mode):
    target = tmp_path / "roots.toml"
    if exists:
        target.write_text("a = 1\n")
    config.unlink()
    config.symlink_to(target)
    os.chown(config.parent, 65534, 65534)
    options = {"path": str(config), "settings": {"concurrent": 2}, "owner": "nobody"}
    result = run_module(runner_config, options, check_mode=check_mode)
    assert result["failed"] and f"symbolic link {config}, which root does not follow" in result["msg"]
    assert (target.read_text() == "a = 1\n" and target.stat().st_uid == 0) if exists else not target.exists()


def test_missing_directory(run_module, tmp_path):
    result = run_module(runner_config, {"path": str(tmp_path / "no" / "config.toml"), "settings": {"concurrent": 2}})
    assert result["failed"] and f"The directory {tmp_path}/no of" in result["msg"]


def test_mode_is_tightened_and_other_modes_are_possible(run_module, config):
    config.chmod(0o644)
    assert run_module(runner_config, {"path": str(config)})["changed"]
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert run_module(runner_config, {"path": str(config), "mode": "0640"})["changed"]
    assert stat.S_IMODE(config.stat().st_mode) == 0o640


def test_another_user_without_permission(run_module, config, monkeypatch):
    """As an account that may write to the directory but not keep the owner of the file."""

    def refuse(*_arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    result = run_module(runner_config, {"path": str(config), "settings": {"concurrent": 2}})
    assert result["failed"] and f"belongs to uid {os.getuid()}" in result["msg"]
    assert config.read_text() == CONFIG


def test_twenty_edits_show_as_just_those_edits(run_module, tmp_path):
    """The history of a file from a running GitLab Runner, with comments by hand, as git shows it."""
    path = tmp_path / "config.toml"
    text = (
        "# Host ci-7, rack 12.\n" + CONFIG + "  # Do not raise before ticket 99:\n  # limit = 4\n"
        "  [runners.docker] # by hand\n    image = 'alpine:3.20' # pinned\n    volumes = [\n      \"/cache\", # keep\n"
        '    ]\n    shm_size = 0x400\n\n# The second one.\n[[runners]]\n  name = "b"\n  url = "u"\n'
        '  token = "glrt-token-of-b-x"\n  executor = "shell"\n'
    )
    path.write_text(text)

    def git(*arguments):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.com", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    git("add", "config.toml")
    git("commit", "-q", "-m", "before")
    edits = [
        ({"settings": {"concurrent": 3}}, 2),
        ({"settings": {"log_level": "info"}}, 1),
        ({"settings": {"log_level": "debug"}}, 2),
        ({"settings": {"log_level": None}}, 1),
        ({"settings": {"session_server": {"session_timeout": 900}}}, 3),
        ({"settings": {"session_server": {"listen_address": "[::]:8093"}}}, 1),
        ({"runners": [{"name": "a", "limit": 4}]}, 1),
        ({"runners": [{"name": "a", "limit": 5}]}, 2),
        ({"runners": [{"name": "a", "docker": {"image": "alpine:3.21"}}]}, 2),
        ({"runners": [{"name": "a", "docker": {"volumes": ["/cache", "/srv:/srv"]}}]}, 1),
        ({"runners": [{"name": "a", "docker": {"volumes": ["/cache"]}}]}, 1),
        ({"runners": [{"name": "a", "docker": {"shm_size": 1024}}]}, 0),
        ({"runners": [{"name": "a", "docker": {"services": [{"name": "pg"}]}}]}, 2),
        ({"runners": [{"name": "a", "docker": {"services": [{"name": "pg", "alias": "db"}]}}]}, 1),
        ({"runners": [{"name": "a", "docker": {"services": None}}]}, 3),
        ({"runners": [{"name": "a", "feature_flags": {"FF_NETWORK_PER_BUILD": True}}]}, 2),
        ({"runners": [{"name": "b", "token": "glrt-other-token-of-b"}]}, 2),
        ({"runners": [{"name": "b", "environment": ["A=1"]}]}, 1),
        ({"runners": [{"name": "c", "url": "u", "token": "glrt-token-of-c-x", "executor": "shell"}]}, 6),
        ({"runners": [{"name": "b", "state": "absent"}]}, 8),
    ]
    for arguments, lines in edits:
        result = run_module(runner_config, {"path": str(path), **arguments})
        assert result["changed"] is bool(lines), arguments
        added_and_removed = [int(number) for number in git("diff", "--numstat").split()[:2]]
        assert sum(added_and_removed) == lines, (arguments, git("diff"))
        git("commit", "-q", "--allow-empty", "-a", "-m", "edit")
    kept = [line for line in text.splitlines() if "#" in line and "second one" not in line]
    assert [line for line in path.read_text().splitlines() if "#" in line] == [
        line.replace("3.20", "3.21") for line in kept
    ]
