# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.modules import runner_config, runner_config_info

CONFIG = """\
concurrent = 2
Log_Level = "info"
colour = "red"
shutdown_timeout = "30"

[[runners]]
  name = "a"
  url = "https://gitlab.example.com"
  token = "glrt-hidden-aaaaaaaa"
  token_expires_at = 2026-02-01T00:00:00Z
  executor = "docker"
  environment = ["DB_PASSWORD=hidden-b"]
  [runners.docker]
    imag = "alpine"
    image = "alpine"
  [runners.feature_flags]
    FF_USE_FASTZIP = true
    FF_NETWORK_PER_BILD = true

[[runners]]
  name = "b"
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


def test_data_without_secrets(run_module, config):
    result = run_module(runner_config_info, {"path": str(config)})
    assert result["changed"] is False and result["exists"] and "hidden" not in str(result)
    assert result["settings"] == {
        "concurrent": 2,
        "Log_Level": "info",
        "colour": "red",
        "shutdown_timeout": "30",
    }
    first, second = result["runners"]
    assert second == {"name": "b"}
    assert first["token"] == "VALUE_REDACTED" and first["token_expires_at"] == "2026-02-01T00:00:00Z"
    assert first["environment"] == ["DB_PASSWORD=VALUE_REDACTED"]
    assert result["drift"] == []


COMMON_WORDS = """\
Colour = "postgres"
concurrent = "postgres"

[[runners]]
  name = "postgres-gitlab-1 --token x"
  url = "https://gitlab.example.com"
  token = "gitlab"
  environment = ["DB_PASSWORD=postgres", "ADMIN_PASSWORD=gitlab"]
  [runners.docker]
    image = "postgres:16"
    volumes = ["/srv/postgres-seed:/seed:ro", "/srv/global-build-cache:/gc"]
"""


@pytest.mark.parametrize("wanted", [{}, {"name": "b", "environment": ["A_PASSWORD=postgres", "A_TOKEN=gitlab"]}])
def test_secrets_that_are_common_words(run_module, config, wanted):
    """They are hidden where they are secrets, and in messages; other data can be used to configure runners."""
    config.write_text(COMMON_WORDS)
    runners = [{"url": "u", "token": "t", "executor": "shell", **wanted}] if wanted else []
    result = run_module(runner_config_info, {"path": str(config), "runners": runners})
    (runner,) = result["runners"]
    assert runner["name"] == "postgres-gitlab-1 --token x" and runner["url"] == "https://gitlab.example.com"
    assert runner["token"] == "VALUE_REDACTED"
    assert runner["environment"] == ["DB_PASSWORD=VALUE_REDACTED", "ADMIN_PASSWORD=VALUE_REDACTED"]
    assert runner["docker"]["image"] == "postgres:16"
    assert runner["docker"]["volumes"] == ["/srv/postgres-seed:/seed:ro", "/srv/global-build-cache:/gc"]
    assert result["settings"] == {"Colour": "postgres", "concurrent": "postgres"}
    assert [change["path"] for change in result["drift"]] == (["runners[b]"] if wanted else [])
    assert result["invalid_values"] == ["concurrent has to be an integer, but is a string: ********"]
    changed = run_module(runner_config, {"path": str(config), "settings": {"concurrent": 1}}, check_mode=True)
    assert [runner["name"] for runner in changed["runners"]] == changed["unmanaged"]
    assert changed["unmanaged"] == ["postgres-gitlab-1 --token x"]
    assert "postgres" not in str(changed["diff"])
    config.write_text(COMMON_WORDS.replace("//", "//me:hunter2@"))
    for module in (runner_config, runner_config_info):
        result = run_module(module, {"path": str(config)})
        assert result["runners"][0]["url"] == "https://VALUE_REDACTED@gitlab.example.com"
        assert "hunter2" not in str(result)
    change = {"name": "postgres-gitlab-1 --token x", "executor": "docker", "docker": {"image": ""}}
    warned = run_module(runner_config, {"path": str(config), "runners": [change]}, check_mode=True)
    assert "The runner '********-********-1 --token x' has no docker.image" in str(warned["warnings"])
    assert warned["updated"] == ["postgres-gitlab-1 --token x"]
    failed = run_module(runner_config, {"path": str(config), "runners": [{"name": "postgres"}]})
    assert "'********' lacks url" in failed["msg"]


def test_what_was_read_cannot_be_written(run_module, config):
    runners = run_module(runner_config_info, {"path": str(config)})["runners"]
    result = run_module(runner_config, {"path": str(config), "runners": runners, "unknown_keys": "ignore"})
    assert "runner 'a': runners.token holds VALUE_REDACTED, which stands for a secret" in result["msg"]
    assert "runner 'a': runners.environment holds VALUE_REDACTED, which stands for a secret" in result["msg"]
    assert config.read_text() == CONFIG


def test_oddities(run_module, config):
    result = run_module(runner_config_info, {"path": str(config)})
    assert result["unknown_keys"] == [
        "colour",
        "runner 'a': runners.docker.imag, did you mean 'image'?",
        "runner 'a': runners.feature_flags.FF_NETWORK_PER_BILD, did you mean 'FF_NETWORK_PER_BUILD'?",
    ]
    assert result["deprecated_keys"] == ["runner 'a': runners.feature_flags.FF_USE_FASTZIP (goes with 19.7)"]
    assert result["invalid_values"] == ["shutdown_timeout has to be an integer, but is a string: 30"]


def test_runners_that_are_no_array_of_tables(run_module, config):
    config.write_text('[runners]\nname = "a"\n')
    result = run_module(runner_config_info, {"path": str(config)})
    assert "runners has to be a list of tables" in result["invalid_values"][0]
    wanted = {"name": "b", "url": "u", "token": "glrt-hidden-c", "executor": "shell"}
    result = run_module(runner_config, {"path": str(config), "runners": [wanted]})
    assert "'runners' is not an array of tables" in result["msg"]


def test_drift_is_what_runner_config_changes(run_module, config):
    wanted = {
        "path": str(config),
        "settings": {"concurrent": 2, "log_level": None, "check_interval": 5},
        "runners": [
            {"name": "a", "token": "glrt-hidden-cccccccc", "docker": {"image": "debian", "volumes": ["/cache"]}}
        ],
        "purge": True,
    }
    result = run_module(runner_config_info, wanted)
    assert "hidden" not in str(result)
    assert result["drift"] == [
        {"path": "Log_Level", "before": "info", "after": None},
        {"path": "runners[a].token", "before": "VALUE_REDACTED", "after": "VALUE_REDACTED"},
        {"path": "runners[a].docker.image", "before": "alpine", "after": "debian"},
        {"path": "runners[a].docker.volumes", "before": None, "after": ["/cache"]},
        {"path": "runners[b]", "before": {"name": "b"}, "after": None},
        {"path": "check_interval", "before": None, "after": 5},
    ]
    assert config.read_text() == CONFIG
    run_module(runner_config, wanted)
    assert run_module(runner_config_info, wanted)["drift"] == []


def test_missing_file(run_module, tmp_path):
    result = run_module(runner_config_info, {"path": str(tmp_path / "no"), "settings": {"concurrent": 3}})
    assert result["exists"] is False and result["runners"] == []
    assert result["drift"] == [{"path": "concurrent", "before": None, "after": 3}]


@pytest.mark.parametrize(("content", "message"), [("a =\n", "line 1"), (None, "cannot be read")])
def test_unreadable_file(run_module, config, content, message):
    if content is None:
        config.unlink()
        config.mkdir()
    else:
        config.write_text(content)
    result = run_module(runner_config_info, {"path": str(config)})
    assert result["failed"] and message in result["msg"]


MISTYPED = """\
[[runners]]
  name = ["a"]
  id = [1]
  url = "https://gitlab.example.com"
  token = "glrt-hidden-aaaaaaaa"
  executor = ["docker"]

[[runners]]
  name = 12:00:00
  id = 2026-01-01
  url = ["https://gitlab.example.com"]
  token = ["glrt-hidden-aaaaaaaa"]
  docker = "alpine"
"""
WANTED = {"name": "b", "id": 1, "url": "https://gitlab.example.com", "token": "glrt-hidden-c", "executor": "shell"}


@pytest.mark.parametrize(("runners", "added"), [([], 0), ([WANTED], 1), ([{"name": "gone", "state": "absent"}], 0)])
@pytest.mark.parametrize("purge", [True, False])
def test_mistyped_names_and_ids(run_module, config, runners, added, purge):
    config.write_text(MISTYPED)
    config.chmod(0o600)
    result = run_module(runner_config_info, {"path": str(config), "runners": runners, "purge": purge})
    assert "hidden" not in str(result)
    assert [text.split(" but is")[0] for text in result["invalid_values"][:2]] == [
        "runner 1: runners.name has to be a string,",
        "runner 1: runners.id has to be an integer,",
    ]
    assert len(result["runners"]) == 2 and len(result["drift"]) == added + 2 * purge
    changes = run_module(runner_config, {"path": str(config), "runners": runners, "purge": purge})
    assert "hidden" not in str(changes) and changes["changed"] is bool(result["drift"])
    assert changes["unmanaged" if not purge else "removed"] == ["", ""]


DUPLICATES = '[[runners]]\nname = "a"\nlimit = "1"\n[[runners]]\nname = "a"\n'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (DUPLICATES, "two [[runners]] have the name 'a', in line 1 and line 4"),
        ('[runners]\nname = "a"\nlimit = "1"\n', "'runners' is not an array of tables"),
    ],
)
def test_a_file_that_cannot_be_compared_is_read_all_the_same(run_module, config, content, reason):
    config.write_text(content)
    read = run_module(runner_config_info, {"path": str(config)})
    assert not read.get("failed") and read["drift"] == [] and read["invalid_values"]
    compared = run_module(runner_config_info, {"path": str(config), "settings": {"concurrent": 2}, "runners": [WANTED]})
    assert compared["failed"] and reason in compared["msg"] and "drift" not in compared
    assert compared["invalid_values"] == read["invalid_values"] and compared["runners"] == read["runners"]
