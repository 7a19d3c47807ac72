# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _runner_config, _toml, _toml_edit
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._config_schema import SCHEMA, VERSION
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._runner_config import ConfigError

RUNNER = {"name": "a", "url": "u", "token": "t", "executor": "shell"}


def prepared(path, value):
    """A value after the check, at a path below [[runners]] or (with a leading dot) at the top level."""
    table = {}
    inner = table
    keys = path.lstrip(".").split(".")
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    inner[keys[-1]] = value
    if path.startswith("."):
        request = _runner_config.prepare(table, [], {})
        data = request.settings
    else:
        request = _runner_config.prepare({}, [{**RUNNER, **table}], {})
        data = request.runners[0]
    return _runner_config.lookup(_toml.plain(data), path.lstrip("."))


@pytest.mark.parametrize(
    ("path", "value", "result"),
    [
        (".concurrent", "4", 4),
        (".concurrent", 4.0, 4),
        (".check_interval", "-1", -1),
        (".LOG_LEVEL", "debug", "debug"),
        (".session_server.listen_address", "[::]:1", "[::]:1"),
        (".connection_max_age", "1h30m", "1h30m"),
        (".connection_max_age", 10**9, 10**9),
        (".labels", {"some.key": "x"}, {"some.key": "x"}),
        ("token", 12345, "12345"),
        ("docker.cpus", 1.5, "1.5"),
        ("docker.privileged", "True", True),
        ("docker.Privileged", "false", False),
        ("docker.pull_policy", "always", "always"),
        ("docker.pull_policy", ["always", "never"], ["always", "never"]),
        ("docker.sysctls", {"net.core.somaxconn": 1024}, {"net.core.somaxconn": "1024"}),
        ("docker.services_devices", {"x": ["/dev/kvm"]}, {"x": ["/dev/kvm"]}),
        ("docker.services", [{"name": "pg", "environment": ["A=1"]}], [{"name": "pg", "environment": ["A=1"]}]),
        ("feature_flags", {"FF_NETWORK_PER_BUILD": "true"}, {"FF_NETWORK_PER_BUILD": True}),
        ("token_expires_at", "2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=timezone.utc)),
        ("autoscaler.plugin_config", {"Any": [{"thing": 1}]}, {"Any": [{"thing": 1}]}),
        ("autoscaler.instance_life_duration_buckets", [1, "2.5"], [1.0, 2.5]),
        ("kubernetes.pod_security_context.supplemental_groups", ["1"], [1]),
        ("docker.helper_image_flavor", "ubi-fips", "ubi-fips"),
        ("limit", None, None),
        ("request_concurrency", 1, 1),
    ],
)  # fmt: skip
def test_lossless_conversions(path, value, result):
    assert _toml.same(prepared(path, value), result)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (".concurrent", "4 ", "concurrent has to be an integer, but is a string: 4"),
        (".concurrent", 4.5, "has to be an integer"),
        (".concurrent", True, "has to be an integer, but is a boolean"),
        (".concurrent", 0, "at least 1"),
        (".log_level", "verbose", "Known are"),
        (".session_server", "x", "session_server has to be a table"),
        (".connection_max_age", "30", "a duration with its unit"),
        (".connection_max_age", "1 hour", "a duration with its unit"),
        (".labels", {"x": "y"}, "a label that GitLab Runner refuses: x"),
        ("docker.privileged", "yes", "has to be true or false, but is a string: yes"),
        ("docker.privileged", 1, "has to be true or false"),
        ("docker.image", True, "has to be a string"),
        ("docker.image", ["x"], "has to be a string, but is a list"),
        ("docker.volumes", "/cache", "docker.volumes has to be a list"),
        ("docker.services", {"name": "x"}, "has to be a list of tables"),
        ("docker.pull_policy", "allways", "did you mean 'always'?"),
        ("docker.pull_policy", ["x"], "Known are"),
        ("token_expires_at", "soon", "a date with time and zone"),
        ("token_expires_at", "2026-01-31", "a date with time and zone"),
        ("environment", [None], "has to be a string"),
        ("docker.imag", "x", "runner 'a': runners.docker.imag, did you mean 'image'?"),
        ("image", "x", "a key of [runners.docker]"),
        ("feature_flags", {"FF_NETWORK": True}, "runners.feature_flags.FF_NETWORK"),
        ("docker", {"image": "x", "Image": "y"}, "is there twice"),
        ("docker.services", ["postgres:16"], "has to be a list of tables, but is a list"),
        ("feature_flags", ["FF_X"], "has to be a table, but is a list"),
        ("labels", {"some.key": "a b"}, "a label that GitLab Runner refuses: some.key"),
        ("request_concurrency", 0, "has to be at least 1"),
    ],
)
def test_faults_are_named(path, value, message):
    with pytest.raises(ConfigError) as error:
        prepared(path, value)
    assert message in str(error.value)


def test_a_mistyped_secret_is_not_shown():
    with pytest.raises(ConfigError) as error:
        prepared("token", ["hidden"])
    assert "runners.token has to be a string, but is a list" in str(error.value) and "hidden" not in str(error.value)
    for path, value in (
        ("environment", {"DB_PASS": "hidden"}),
        ("environment", [{"A": "hidden"}]),
        ("docker.image", ["hidden"]),
        ("kubernetes.pod_annotations", {"vault.token": ["hidden"]}),
        ("kubernetes.pod_annotations", {"vault.token": True}),
    ):
        with pytest.raises(ConfigError) as error:
            prepared(path, value)
        assert "hidden" not in str(error.value) and "True" not in str(error.value)


@pytest.mark.parametrize("token", ["hidden\n", " hidden", "hid den", "hidden\x00", "hidden\u00a0", "\ufeffhidden"])
def test_a_token_with_whitespace_is_refused_and_not_shown(token):
    with pytest.raises(ConfigError, match="runner 'a': runners.token holds whitespace or") as error:
        prepared("token", token)
    assert "hid" not in str(error.value)
    data = _toml.parse(f"[[runners]]\nname = 'a'\ntoken = {_toml.format_value(token)}\n").data
    assert _runner_config.inspect(data)["invalid"] == [str(error.value)]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".sentry_dsn", "VALUE_REDACTED"),
        ("name", "VALUE_REDACTED"),
        ("token", "VALUE_REDACTED"),
        ("docker.volumes", ["/cache", "/srv/VALUE_REDACTED:/x"]),
        ("environment", ["DB_PASSWORD=VALUE_REDACTED"]),
        ("pre_build_script", "export TOKEN=VALUE_REDACTED\nls"),
        ("docker.services", [{"name": "x", "environment": ["A=VALUE_REDACTED"]}]),
        ("docker.image", "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"),
        ("docker.volumes", ["/srv/********-seed:/seed"]),
        ("docker.image", "********"),
        ("autoscaler.plugin_config", {"a": [{"b": "x********"}]}),
    ],
)
def test_what_stands_for_a_secret_is_refused(path, value):
    """Data that was read without its secrets must not be written."""
    with pytest.raises(ConfigError) as error:
        prepared(path, value)
    if path.startswith("."):
        assert str(error.value).startswith(f"settings: {path[1:]} holds VALUE_REDACTED, which")
    else:
        assert f": runners.{path}" in str(error.value) and "stands for a secret" in str(error.value)
    assert str(error.value).count("give the values themselves") == 1
    with pytest.raises(ConfigError, match="runner_defaults: runners.docker.image holds"):
        _runner_config.prepare({}, [RUNNER], {"docker": {"image": "x/VALUE_REDACTED"}})
    with pytest.raises(ConfigError, match="runner 'a': runners.unknown holds"):
        _runner_config.prepare({}, [{**RUNNER, "unknown": "VALUE_REDACTED"}], {}, unknown_keys="ignore")
    data = {"runners": [{"name": "a", "docker": {"image": "VALUE_REDACTED"}}]}
    assert "runner 'a': runners.docker.image holds" in _runner_config.inspect(data)["invalid"][0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("pre_build_script", "# ******** build ********\nls"),
        ("docker.allowed_images", ["registry.example.com/**/*"]),
        ("environment", ["LINE=*********", "REDACTED=1", "A=*******"]),
        ("machine.autoscaling", [{"Periods": ["* * * * * * *"]}]),
    ],
)
def test_asterisks_that_stand_for_nothing_else_may_be(path, value):
    assert _toml.same(prepared(path, value), value)


def test_all_faults_at_once():
    with pytest.raises(ConfigError) as error:
        _runner_config.prepare({"concurrent": "x"}, [{**RUNNER, "limit": "y"}], {"docker": {"privileged": "z"}})
    assert all(part in str(error.value) for part in ("concurrent", "limit", "privileged"))


@pytest.mark.parametrize(("policy", "warned"), [("warn", True), ("ignore", False)])
def test_unknown_keys_may_pass(policy, warned):
    request = _runner_config.prepare({"new_key": 1}, [], {}, unknown_keys=policy)
    assert request.settings == {"new_key": 1}
    assert any("new_key" in warning and VERSION in warning for warning in request.warnings) is warned


def test_deprecated_keys_warn():
    request = _runner_config.prepare(
        {}, [{**RUNNER, "machine": {"OffPeakIdleCount": 1}, "feature_flags": {"FF_USE_FASTZIP": True}}], {}
    )
    assert "runners.machine.OffPeakIdleCount (use [[runners.machine.autoscaling]])" in request.warnings[0]
    assert "FF_USE_FASTZIP (goes with 19.7)" in request.warnings[0]


def test_a_small_number_as_duration_warns():
    request = _runner_config.prepare({"connection_max_age": 30}, [], {})
    assert "write '30s'" in request.warnings[0]


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("1h", 3600 * 10**9), ("1h30m", 5400 * 10**9), ("-1.5s", -(10**9) * 3 // 2), ("0", 0), ("15m0s", 900 * 10**9),
     ("2us", 2000), (5, 5), ("5", None), ("h", None), (True, None), (None, None), ("1d", None)],
)  # fmt: skip
def test_durations(text, nanoseconds):
    assert _runner_config.nanoseconds(text) == nanoseconds


@pytest.mark.parametrize(
    ("present", "wanted", "changed"),
    [
        ('connection_max_age = "15m0s"', {"connection_max_age": "900s"}, False),
        ('connection_max_age = "15m0s"', {"connection_max_age": "901s"}, True),
        ("CONCURRENT = 4", {"concurrent": 4}, False),
        ('concurrent = "4"', {"concurrent": 4}, True),
        ("", {"machine": {"shutdown_drain": None}}, False),
    ],
)
def test_equal_settings_are_no_change(present, wanted, changed):
    outcome = _runner_config.apply(present.encode(), _runner_config.prepare(wanted, [], {}))
    assert (outcome.text != present) is changed


def apply(runner, text="", **options):
    request = _runner_config.prepare({}, [{**RUNNER, **runner}], {}, **options)
    return _runner_config.apply(text.encode(), request)


DOCKER = {"executor": "docker", "docker": {"image": "x"}}


@pytest.mark.parametrize(
    ("runner", "missing"),
    [
        ({"token": None}, "lacks token"),
        ({"url": ""}, "lacks url"),
        ({"executor": "ssh"}, "lacks ssh.host"),
        ({"executor": "custom"}, "lacks custom.run_exec"),
        ({"executor": "virtualbox"}, "lacks virtualbox.base_name"),
        ({"executor": "parallels"}, "lacks parallels.base_name"),
        ({"executor": "instance"}, "lacks autoscaler.plugin"),
        ({"executor": "docker+machine", "docker": {"image": "x"}}, "lacks machine.MachineDriver, machine.MachineName"),
    ],
)
def test_missing_keys_are_named(runner, missing):
    with pytest.raises(ConfigError) as error:
        apply(runner)
    assert missing in str(error.value)


def test_a_key_that_the_file_has_is_not_missing():
    text = '[[runners]]\nname = "a"\nURL = "u"\ntoken = "t"\nexecutor = "shell"\n'
    request = _runner_config.prepare({}, [{"name": "a", "limit": 1}], {})
    assert _runner_config.apply(text.encode(), request).updated == ["a"]


def test_no_image_only_warns():
    outcome = apply({"executor": "docker"})
    assert "docker.image" in outcome.warnings[0] and apply(DOCKER).warnings == []


@pytest.mark.parametrize(
    ("executor", "in_docker", "file", "volumes"),
    [
        ("docker", {}, None, ["/cache"]),
        ("docker", {"disable_cache": False}, 'Image = "x"', ["/cache"]),
        ("docker", {}, 'Volumes = ["/srv:/srv"]', ["/srv:/srv"]),
        ("docker", {}, "volumes = []", []),
        ("docker", {"volumes": []}, None, []),
        ("docker", {"volumes": None}, 'volumes = ["/srv:/srv"]', None),
        ("docker", {"disable_cache": True}, None, None),
        ("docker", {}, "disable_cache = true", None),
        ("docker-windows", {}, None, None),
        ("shell", {}, None, None),
    ],
)
def test_caches_of_jobs_get_a_volume_where_nothing_is_said_of_volumes(executor, in_docker, file, volumes):
    """As by gitlab-runner register: without one GitLab Runner keeps no cache."""
    text = "" if file is None else f'[[runners]]\nname = "a"\n[runners.docker]\n{file}\n'
    options = {"executor": executor, "docker": {"image": "x", **in_docker}}
    outcome = apply(options, text, cache_volume=True)
    assert _runner_config.lookup(_runner_config.runners_of(outcome.after)[0], "docker.volumes") == volumes
    assert apply(options, outcome.text, cache_volume=True).text == outcome.text
    assert "/cache" not in apply(options, text).text


def test_a_table_that_goes_gets_no_volume():
    assert "/cache" not in apply({"executor": "docker", "docker": None}, cache_volume=True).text


def test_the_executor_of_the_file_decides_about_the_volume():
    text = '[[runners]]\nname = "a"\nurl = "u"\ntoken = "t"\nexecutor = "docker"\n'
    request = _runner_config.prepare({}, [{"name": "a", "limit": 1}], {}, cache_volume=True)
    assert "/cache" in _runner_config.apply(text.encode(), request).text


ROOTLESS = "unix:///run/user/998/podman/podman.sock"


@pytest.mark.parametrize(
    ("runner", "danger"),
    [
        ({"docker": {"privileged": True}}, "privileged"),
        ({"docker": {"privileged": True, "host": "unix:///run/podman/podman.sock"}}, "privileged"),
        ({"docker": {"privileged": True, "host": "tcp://10.0.0.1:2376"}}, "privileged"),
        ({"docker": {"services_privileged": True}}, "privileged"),
        ({"docker": {"privileged": True, "host": ROOTLESS}}, None),
        ({"docker": {"privileged": False}}, None),
        ({"docker": {"volumes": ["/var/run/docker.sock:/var/run/docker.sock"]}}, "socket_mount"),
        ({"docker": {"volumes": ["/run/user/998/podman/podman.sock:/x"]}}, "socket_mount"),
        ({"docker": {"volumes": ["/run/user/998:/x"]}}, "socket_mount"),
        ({"docker": {"volumes": ["/:/host"]}}, "socket_mount"),
        ({"docker": {"volumes": ["/cache", "/srv:/srv", "/runner:/x"]}}, None),
        ({"docker": {"network_mode": "host"}}, "host_network"),
        ({"docker": {"network_mode": "bridge"}}, None),
        ({"environment": ["GIT_SSL_NO_VERIFY=1"]}, "ssl_no_verify"),
        ({"environment": ["GIT_DEPTH=1"]}, None),
    ],
)
def test_dangers_need_an_acknowledgement(runner, danger):
    runner = {**runner, "executor": "docker"}
    if danger is None:
        assert apply(runner).added == ["a"]
        return
    with pytest.raises(ConfigError, match=f"add '{danger}' to acknowledge"):
        apply(runner, acknowledge=[name for name in _runner_config.ACKNOWLEDGEMENTS if name != danger])
    assert apply(runner, acknowledge=[danger]).added == ["a"]


def test_a_rootless_host_in_the_file_counts():
    text = f'[[runners]]\nname = "a"\n[runners.docker]\nhost = "{ROOTLESS}"\n'
    assert apply({"docker": {"privileged": True}}, text).updated == ["a"]


def test_id_of_another_runner():
    text = '[[runners]]\nname = "a"\nid = 1\n[[runners]]\nname = "b"\nid = 2\n'
    with pytest.raises(ConfigError, match="id 2 belongs to another runner of the file, 'b'"):
        apply({"id": 2}, text)


def sections(*runners):
    return "".join(f'[[runners]]\nname = "{name}"\nid = 42\nurl = "{url}"\n' for name, url in runners)


@pytest.mark.parametrize(
    ("text", "wanted", "added", "updated"),
    [
        pytest.param(sections(("a", "one")), {"name": "b", "url": "two"}, ["b"], [], id="of another server"),
        pytest.param(sections(("a", "one")), {"name": "b", "url": "one/"}, [], ["b"], id="with a slash"),
        pytest.param(sections(("a", "one")), {"name": "b"}, [], ["b"], id="the only one"),
        pytest.param(
            sections(("x", "one"), ("y", "two/")), {"name": "b", "url": "two"}, [], ["b"], id="the second of two"
        ),
        pytest.param(sections(("a", "one"), ("c", "two")), {"name": "a"}, [], ["a"], id="the name decides"),
        pytest.param(sections(("a", "one"), ("c", "one")), {"name": "c", "url": "one"}, [], ["c"], id="twice on one"),
        pytest.param(sections(("a", "one"), ("c", "two")), {"name": "a", "url": "one"}, [], ["a"], id="name and url"),
    ],
)
def test_an_id_means_the_runner_of_its_server(text, wanted, added, updated):
    wanted = {"id": 42, "limit": 2, "token": "t", "executor": "shell", **wanted}
    outcome = _runner_config.apply(text.encode(), _runner_config.prepare({}, [wanted], {}))
    assert (outcome.added, outcome.updated) == (added, updated)
    kept = [runner for runner in _toml.loads(text)["runners"] if runner["name"] not in (wanted["name"], "a", "y")]
    assert all(runner in outcome.after["runners"] for runner in kept)
    changed = next(runner for runner in outcome.after["runners"] if runner["name"] == wanted["name"])
    assert changed["limit"] == 2


def test_the_section_of_another_server_stays():
    text = sections(("a", "one"))
    outcome = apply({"name": "b", "id": 42, "url": "two"}, text)
    assert outcome.text.startswith(text) and outcome.unmanaged == ["a"]


def test_an_id_without_a_server_has_to_be_the_only_one():
    request = _runner_config.prepare({}, [{"name": "b", "id": 42, "limit": 2}], {})
    with pytest.raises(ConfigError, match="id 42 .* line 1 and line 5; .*url"):
        _runner_config.apply(sections(("x", "one"), ("y", "two")).encode(), request)


def test_two_listed_runners_for_one_section():
    request = _runner_config.prepare({}, [{**RUNNER, "id": 1}, {**RUNNER, "name": "b"}], {})
    with pytest.raises(ConfigError, match="both mean the same section"):
        _runner_config.apply(b'[[runners]]\nname = "b"\nid = 1\n', request)


@pytest.mark.parametrize(
    ("token_update", "present", "kept", "token"),
    [
        ("always", "old", [], "t"),
        ("on_create", "old", ["a"], "old"),
        ("on_create", "", [], "t"),
        ("on_create", "t", [], "t"),
    ],
)
def test_token_update(token_update, present, kept, token):
    outcome = apply({}, f'[[runners]]\nname = "a"\ntoken = "{present}"\n', token_update=token_update)
    assert outcome.tokens_kept == kept and outcome.after["runners"][0]["token"] == token


@pytest.mark.parametrize(
    ("before", "settings", "reasons"),
    [
        ("", {"listen_address": ":1"}, ["listen_address"]),
        ('listen_address = ":1"', {"listen_address": None}, ["listen_address"]),
        ("[session_server]\nsession_timeout = 1", {"session_server": {"session_timeout": 2}}, ["session_server"]),
        ('connection_max_age = "60s"', {"connection_max_age": "1m"}, []),
        ('connection_max_age = "60s"', {"connection_max_age": "2m"}, ["connection_max_age"]),
        ("concurrent = 1", {"concurrent": 2, "log_level": "debug"}, []),
    ],
)
def test_restart_reasons(before, settings, reasons):
    outcome = _runner_config.apply(before.encode(), _runner_config.prepare(settings, [], {}))
    assert outcome.restart_reasons == reasons


def test_defaults_are_merged_below_each_runner():
    defaults = {"limit": 1, "docker": {"image": "x", "sysctls": {"a": "1"}}, "environment": ["A=1"]}
    runners = [
        {**RUNNER, "docker": {"sysctls": {"b": "2"}}, "environment": ["B=1"]},
        {**RUNNER, "name": "b", "limit": None},
    ]
    request = _runner_config.prepare({}, runners, defaults)
    first, second = request.runners
    assert first["docker"] == {"sysctls": {"b": "2", "a": "1"}, "image": "x"}
    assert first["environment"] == ["B=1"] and first["limit"] == 1
    assert second["limit"] is None and list(first)[:4] == ["name", "url", "token", "executor"]


def test_runners_as_inline_tables_and_in_another_case():
    text = 'Runners = [{name = "a", id = 1}, {name = "b"}]\n'
    request = _runner_config.prepare({}, [{**RUNNER}, {"name": "b", "state": "absent"}], {})
    outcome = _runner_config.apply(text.encode(), request)
    assert _toml.loads(outcome.text) == {"Runners": [{**RUNNER, "id": 1}]}
    assert outcome.updated == ["a"] and outcome.removed == ["b"]


def test_runners_without_a_name_are_unmanaged():
    text = '[[runners]]\nurl = "1"\n[[runners]]\nurl = "2"\n'
    assert apply({}, text).unmanaged == ["", ""]
    assert apply({}, text, purge=True).removed == ["", ""]


def test_the_schema_is_whole():
    def count(schema):
        schema = schema[0] if isinstance(schema, list) else schema
        return sum(1 + count(inner) for inner in schema.values()) if isinstance(schema, dict) else 0

    assert VERSION == "19.4.0" and count(SCHEMA) == 744


@pytest.mark.parametrize("number", [0, 1])
def test_a_runner_without_an_id_is_none_that_has_one(number):
    text = f'[[runners]]\nname = "a"\nid = {number}\nurl = "u"\ntoken = "x"\nexecutor = "shell"\n'
    outcome = apply({"name": "b"}, text)
    assert (outcome.added, outcome.updated, outcome.unmanaged) == (["b"], [], ["a"])


@pytest.mark.parametrize("name", ["", 5, None])
def test_a_runner_needs_a_name(name):
    with pytest.raises(ConfigError, match="runner 1 of the list has no name"):
        _runner_config.prepare({}, [{**RUNNER, "name": name}], {})


@pytest.mark.parametrize("value", ["30s", "0s", 10**9, 0])
def test_a_duration_of_a_second_or_more_does_not_warn(value):
    assert _runner_config.prepare({"connection_max_age": value}, [], {}).warnings == []


def test_only_runners_of_docker_need_an_image():
    assert apply({"executor": "shell"}).warnings == []
    more = {"autoscaler": {"plugin": "x"}, "machine": {"MachineDriver": "x", "MachineName": "y"}}
    for executor in ("docker-autoscaler", "docker+machine"):
        assert any("no docker.image" in text for text in apply({"executor": executor, **more}).warnings)


@pytest.mark.parametrize(("present", "wanted"), [('"always"', ["always"]), ('["always"]', "always")])
def test_an_equal_pull_policy_keeps_its_spelling(present, wanted):
    text = f'[[runners]]\nname = "a"\n[runners.docker]\nimage = "x"\npull_policy = {present}\n'
    assert f"pull_policy = {present}\n" in apply({"executor": "docker", "docker": {"pull_policy": wanted}}, text).text


def test_what_an_edit_has_not_made_as_wanted_is_not_written(monkeypatch):
    monkeypatch.setattr(_toml_edit.Editor, "text", lambda self: "concurrent = 3\n")
    with pytest.raises(_toml.TomlError):
        _runner_config.apply(b"concurrent = 1\n", _runner_config.prepare({"concurrent": 2}, [], {}))
