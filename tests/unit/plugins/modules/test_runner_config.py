# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import difflib
import json
import stat

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _toml
from ansible_collections.rootless.gitlab_runner.plugins.modules import runner_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# As GitLab Runner writes it, with comments by hand.
CONFIG = """\
# Managed by hand until 2026.
concurrent = 1
check_interval = 0
connection_max_age = "15m0s"
shutdown_timeout = 0

[session_server]
  session_timeout = 1800

# The first one, see ticket 17.
[[runners]]
  name = "build-1"
  limit = 0x02 # two at once
  url = "https://gitlab.example.com/"
  id = 42
  token = "glrt-aaaaaaaaaaaaaaaaaaaa"
  token_obtained_at = 2026-01-01T00:00:00Z
  token_expires_at = 0001-01-01T00:00:00Z
  executor = "docker"
  [runners.cache]
    MaxUploadedArchiveSize = 0
  [runners.docker]
    tls_verify = false
    image = "alpine:3.20"
    privileged = false
    volumes = [
      "/cache", # the cache of jobs
    ]
    shm_size = 0

[[runners]]
  name = "rotated"
  url = "https://gitlab.example.com/"
  id = 43
  token = "glrt-bbbbbbbbbbbbbbbbbbbb"
  token_obtained_at = 2026-01-01T00:00:00Z
  token_expires_at = 2026-02-01T00:00:00Z
  executor = "shell"
  future_key = "left alone"
"""

NEW = {
    "name": "new",
    "url": "https://gitlab.example.com/",
    "token": "glrt-cccccccccccccccccccc",
    "executor": "docker",
    "docker": {"image": "alpine", "host": "unix:///run/user/998/podman/podman.sock", "privileged": True},
}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return path


@pytest.fixture
def run(run_module, config):
    """Run the module on the file, in check mode and for good, and a second time; return the result."""

    def run(**args):
        args = {"path": str(config), **args}
        before = config.read_bytes()
        check = run_module(runner_config, args, check_mode=True)
        assert config.read_bytes() == before
        result = run_module(runner_config, args)
        if result.get("failed"):
            assert config.read_bytes() == before and check["msg"] == result["msg"]
            return result
        assert check["changed"] == result["changed"]
        again = run_module(runner_config, args)
        assert again["changed"] is False, again["diff"]
        assert "glrt-" not in str(check) + str(result) + str(again)
        return result

    return run


def changes(config):
    lines = difflib.ndiff(CONFIG.splitlines(), config.read_text().splitlines())
    return [line for line in lines if line[0] in "+-"]


def test_settings(run, config):
    result = run(settings={"concurrent": "4", "listen_address": "127.0.0.1:9252", "check_interval": None})
    assert changes(config) == [
        "- concurrent = 1",
        "+ concurrent = 4",
        "- check_interval = 0",
        '+ listen_address = "127.0.0.1:9252"',
    ]
    assert result["restart_required"] and result["restart_reasons"] == ["listen_address"]
    assert result["unmanaged"] == ["build-1", "rotated"]


def test_one_key_of_a_runner(run, config):
    result = run(runners=[{"name": "build-1", "limit": 3, "docker": {"volumes": ["/cache", "/srv:/srv:ro"]}}])
    assert changes(config) == [
        "-   limit = 0x02 # two at once",
        "+   limit = 3 # two at once",
        '+       "/srv:/srv:ro",',
    ]
    assert result["updated"] == ["build-1"] and result["added"] == [] and result["restart_required"] is False


def test_new_runner(run, config):
    result = run(runners=[NEW])
    assert (
        config.read_text()
        == CONFIG
        + """
[[runners]]
  name = "new"
  url = "https://gitlab.example.com/"
  token = "glrt-cccccccccccccccccccc"
  executor = "docker"
  [runners.docker]
    image = "alpine"
    host = "unix:///run/user/998/podman/podman.sock"
    privileged = true
"""
    )
    assert result["added"] == ["new"]
    assert result["runners"][2] == {
        "name": "new",
        "id": None,
        "url": "https://gitlab.example.com/",
        "executor": "docker",
    }


def test_new_file(run_module, tmp_path):
    path = tmp_path / "new.toml"
    args = {"path": str(path), "settings": {"concurrent": 2}, "runners": [NEW]}
    assert run_module(runner_config, args, check_mode=True)["changed"] and not path.exists()
    assert run_module(runner_config, args)["changed"]
    assert path.read_text().startswith('concurrent = 2\n\n[[runners]]\n  name = "new"\n')
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert run_module(runner_config, args)["changed"] is False


def test_no_diff_outside_of_diff_mode(run_module, config):
    for changed in (True, False):
        result = run_module(runner_config, {"path": str(config), "settings": {"concurrent": 2}}, diff=False)
        assert result["changed"] is changed and "diff" not in result


def test_defaults_and_null(run, config):
    run(
        runner_defaults={"limit": 5, "docker": {"image": "debian", "shm_size": 64}},
        runners=[{"name": "build-1", "limit": None, "docker": {"shm_size": None}}],
    )
    assert changes(config) == [
        "-   limit = 0x02 # two at once",
        '-     image = "alpine:3.20"',
        '+     image = "debian"',
        "-     shm_size = 0",
    ]


def test_remove_a_runner(run, config):
    result = run(runners=[{"name": "build-1", "state": "absent"}])
    assert result["removed"] == ["build-1"] and result["unmanaged"] == ["rotated"]
    assert "ticket 17" not in config.read_text()
    start, end = CONFIG.index("# The first"), CONFIG.index('[[runners]]\n  name = "rotated"')
    assert config.read_text() == CONFIG[:start] + CONFIG[end:]


def test_a_volume_for_caches(run, config):
    new = {"name": "new", "url": "u", "token": "t", "executor": "docker", "docker": {"image": "x"}}
    assert run(runners=[new, {"name": "build-1"}, {"name": "rotated"}], cache_volume=True)["changed"]
    assert config.read_text().count('volumes = ["/cache"]') == 1


def test_purge(run, config):
    result = run(runners=[{"name": "build-1"}], purge=True)
    assert result["removed"] == ["rotated"]
    assert config.read_text() == CONFIG[: CONFIG.index('\n[[runners]]\n  name = "rotated"')]


def test_rename_by_id(run, config):
    result = run(runners=[{"name": "build-one", "id": 42}])
    assert changes(config) == ['-   name = "build-1"', '+   name = "build-one"']
    assert result["updated"] == ["build-one"]


def test_token_is_replaced(run, config):
    result = run(runners=[{"name": "rotated", "token": "glrt-dddddddddddddddddddd"}])
    assert 'token = "glrt-dddddddddddddddddddd"' in config.read_text()
    assert "expiry date" in str(result["warnings"])
    before, after = result["diff"]["before"], result["diff"]["after"]
    assert before != after and "VALUE_REDACTED" in after


@pytest.mark.parametrize(
    "times",
    [{}, {"token_obtained_at": "2025-12-01T00:00:00Z", "token_expires_at": "2026-01-01T00:00:00Z"}],
    ids=["token", "token-and-its-times"],
)
def test_token_is_kept(run, config, times):
    runner = {"name": "rotated", "token": "glrt-dddddddddddddddddddd", **times}
    result = run(runners=[runner], token_update="on_create")
    assert config.read_text() == CONFIG and result["changed"] is False
    assert result["tokens_kept"] == ["rotated"]


def test_same_duration_is_no_change(run, config):
    result = run(settings={"connection_max_age": "900s"})
    assert result["changed"] is False and result["restart_required"] is False


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"settings": {"concurent": 2}}, "settings: concurent, did you mean 'concurrent'?"),
        ({"settings": {"privileged": True}}, "which is a key of [runners.docker]"),
        ({"settings": {"concurrent": "four"}}, "concurrent has to be an integer, but is a string: four"),
        ({"settings": {"concurrent": 0}}, "at least 1"),
        ({"settings": {"runners": []}}, "option runners"),
        ({"settings": {"Runners": None}}, "option runners"),
        ({"runners": [{"executor": "docker"}]}, "has no name"),
        ({"runners": [{"name": "a"}, {"name": "a"}]}, "listed twice"),
        ({"runners": [{"name": "new"}]}, "lacks url, token, executor"),
        ({"runners": [{**NEW, "executor": "dokcer"}]}, "did you mean 'docker'?"),
        ({"runners": [{**NEW, "docker": {"privileged": "yes"}}]}, "has to be true or false"),
        ({"runners": [{**NEW, "docker": {"privileged": True}}]}, "add 'privileged' to acknowledge"),
        ({"runners": [{**NEW, "state": "gone"}]}, "present or absent"),
        ({"runner_defaults": {"name": "a"}}, "belongs to a single runner"),
    ],
)
def test_errors_change_nothing(run, args, message):
    result = run(**args)
    assert result["failed"] and message in result["msg"]


def test_two_runners_of_one_name(run, config):
    config.write_text(CONFIG.replace('"rotated"', '"build-1"'))
    result = run(settings={"concurrent": 2})
    assert "two [[runners]] have the name 'build-1', in line 11 and line 31" in result["msg"]


# The beginning keeps a secret from being a part of the module's own words by chance.
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), min_size=6, max_size=20).map(
    lambda text: f"Zq{text}"
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    old=SECRETS, new=SECRETS, new_token=SECRETS.filter(str.isprintable), check_mode=st.booleans(), fails=st.booleans()
)
def test_no_secret_in_any_output(run_module, config, old, new, new_token, check_mode, fails):
    token, password = _toml.format_string(old), _toml.format_string(f"DB_PASSWORD={old}")
    config.write_text(f'[[runners]]\nname = "new"\ntoken = {token}\nenvironment = [{password}]\n')
    runner = {**NEW, "token": new_token, "environment": [f"DB_PASSWORD={new}"], "ssh": {"password": new}}
    if fails:
        runner["executor"] = None
    result = run_module(runner_config, {"path": str(config), "runners": [runner]}, check_mode=check_mode)
    assert bool(result.get("failed")) is fails
    # What the test itself chose may be a part of the path or of a message, and is hidden there, too.
    shown = json.dumps(result, ensure_ascii=False)
    for secret in (old, new, new_token):
        assert json.dumps(secret, ensure_ascii=False)[1:-1] not in shown


@pytest.mark.parametrize(
    "environment",
    [
        {"DB_PASS": "hunter2"},
        {"SSH_KEY": "hunter2"},
        {"registry_auth": "hunter2"},
        {"A": "hunter2"},
        [{"DB_PASS": "hunter2"}],
        "DB_PASS=hunter2",
        {"token": {"hunter2": None}},
    ],
)
def test_no_secret_of_a_wrong_type_in_any_output(run_module, config, environment, monkeypatch):
    shown = []
    returned = runner_config.SecretModule._return_formatted

    def watched(self, kwargs):
        shown.append(kwargs)
        returned(self, kwargs)
        shown.append(self.params)

    monkeypatch.setattr(runner_config.SecretModule, "_return_formatted", watched)
    runner = {**NEW, "environment": environment, "ssh": {"password": {"x": "hunter2"}}}
    result = run_module(runner_config, {"path": str(config), "runners": [runner]})
    assert "runners.environment has to be a" in result["msg"] and "hunter2" not in str(result["msg"])
    if environment != {"A": "hunter2"}:
        assert "hunter2" not in str(result) + str(shown)


def test_log_has_no_secret(run_module, config, monkeypatch):
    logged = []
    monkeypatch.setattr(
        runner_config.SecretModule, "log", lambda self, msg, log_args=None: logged.append(f"{msg} {log_args}")
    )
    args = {
        "path": str(config),
        "runners": [{**NEW, "environment": ['PASSWORD=it\'s a "quoted\\ secret"']}],
        "settings": {"sentry_dsn": "https://key@sentry.example.com/1"},
        "runner_defaults": {"ssh": {"password": "hunter2hunter2"}},
        "validate": "true hunter2hunter2 %s",
    }
    run_module(runner_config, args)
    assert len(logged) == 1 and str(config) in logged[0]
    for secret in ("glrt-", "quoted", "sentry.example", "hunter2"):
        assert secret not in logged[0]
    # Not even when the options are wrong, which is found before anything else.
    result = run_module(runner_config, {**args, "token_update": "never"})
    assert result["failed"] and "value of token_update" in result["msg"]
    for secret in ("glrt-", "quoted", "sentry.example", "hunter2"):
        assert secret not in str(result)
