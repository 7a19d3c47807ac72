# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _runner_role
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._config_schema import CHOICES
from hypothesis import given
from hypothesis import strategies as st

PEM = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n"
RUNNER = {"name": "a", "url": "https://gitlab.example.com", "token": "glrt-secret", "executor": "docker"}
VARIABLES: dict[str, Any] = {
    "runner_api_token": None,
    "runner_binary_checksum": None,
    "runner_binary_url": None,
    "runner_ca_certificates": {},
    "runner_config_path": "/etc/gitlab-runner/config.toml",
    "runner_create": {},
    "runner_drain_timeout": 7200,
    "runner_install_method": "repository",
    "runner_package_files": [],
    "runner_runners": [RUNNER],
    "runner_runners_defaults": {},
    "runner_token_update": "always",
    "runner_user": "gitlab-runner",
    "runner_working_directory": "/var/lib/gitlab-runner",
}


def problems(**variables: Any) -> list[str]:
    return _runner_role.problems({**VARIABLES, **variables})


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in RUNNER.items() if name != key}


# --- the variables ------------------------------------------------------------


def test_every_variable_is_looked_at():
    assert {*VARIABLES} == {*_runner_role.VARIABLES}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"runner_runners": []},
        {"runner_runners": [without("url")], "runner_runners_defaults": {"url": "https://gitlab.example.com"}},
        # It is not made, or GitLab makes it, or it is not to be there.
        {"runner_runners": [without("token")], "runner_token_update": "on_create"},
        {"runner_runners": [without("token")], "runner_create": {"a": None}, "runner_api_token": "glpat-secret"},
        {"runner_runners": [{"name": "a", "state": "absent"}]},
        # GitLab Runner reads variables of its environment there.
        {"runner_runners": [{**RUNNER, "url": "$GITLAB", "token": "$TOKEN"}, {**RUNNER, "url": "HTTP://127.0.0.1"}]},
        {"runner_install_method": "deb", "runner_package_files": ["a.deb", "b.deb"]},
        {"runner_install_method": "binary", "runner_binary_url": "u", "runner_binary_checksum": "sha256:1"},
        {"runner_ca_certificates": {"company": PEM, "of/former/times": None}},
        {"runner_drain_timeout": "1"},
    ],
)
def test_nothing_is_wrong_with(variables):
    assert problems(**variables) == []


@pytest.mark.parametrize(
    ("runner", "problem"),
    [
        (without("name"), " has no name; a name is how"),
        ({**RUNNER, "name": None}, " has no name; a name is how"),
        ({"state": "absent"}, " has no name; a name is how"),
        (without("token"), ".token is missing; create the runner in GitLab"),
        ({**RUNNER, "token": None}, ".token is missing; create the runner in GitLab"),
        ({**RUNNER, "token": "GR1348941secret"}, ".token is a registration token"),
        ({**RUNNER, "token": "glrt-secret\n"}, ".token holds a line break or another"),
        ({**RUNNER, "token": "glrt-s\u00e9cret"}, ".token holds a line break or another"),
        ({**RUNNER, "url": ""}, ".url is missing; it is the address"),
        # A null is more than a default.
        ({**RUNNER, "url": None}, ".url is missing; it is the address"),
        # The file would be written, and no job ever come.
        ({**RUNNER, "url": "secret@gitlab.example.com"}, ".url has to begin with https:// or http://"),
        ({**RUNNER, "url": "ftp://gitlab.example.com"}, ".url has to begin with https:// or http://"),
        ({**RUNNER, "executor": "podman"}, '.executor: "podman" is not an executor; for jobs in Podman it is docker.'),
        (without("executor"), '.executor: "" is not an executor'),
    ],
)
def test_a_runner_is_refused(runner, problem):
    [found] = problems(runner_runners=[RUNNER, runner], runner_runners_defaults={"url": "https://gitlab.example.com"})
    assert found.startswith(f"runner_runners[1]{problem}")
    assert "secret" not in found


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"runner_create": {"who": {}}, "runner_api_token": "glpat-secret"}, 'runner_create["who"]: no runner of'),
        ({"runner_create": {"a": {}}}, "runner_api_token is missing; runner_create needs"),
        ({"runner_create": {"a": {}}, "runner_api_token": ""}, "runner_api_token is missing; runner_create needs"),
        ({"runner_install_method": "deb", "runner_package_files": ["a.deb"]}, "runner_package_files: name the two"),
        ({"runner_install_method": "binary", "runner_binary_url": "u"}, "runner_binary_url and runner_binary_checksum"),
        ({"runner_ca_certificates": {"../x": PEM}}, 'runner_ca_certificates["../x"]: the name becomes a file name'),
        ({"runner_ca_certificates": {"x": "secret"}}, 'runner_ca_certificates["x"]: the name becomes a file name'),
        ({"runner_drain_timeout": 0}, "runner_drain_timeout: 0 is not a time"),
        ({"runner_drain_timeout": -1}, "runner_drain_timeout: -1 is not a time"),
        ({"runner_drain_timeout": "0"}, "runner_drain_timeout: 0 is not a time"),
        ({"runner_drain_timeout": "two hours"}, "runner_drain_timeout: two hours is not a time"),
        ({"runner_config_path": "/srv/a b/config.toml"}, "runner_config_path: /srv/a b/config.toml has"),
        ({"runner_config_path": "/srv/%h/config.toml"}, "runner_config_path: /srv/%h/config.toml has"),
        ({"runner_working_directory": "/srv/a b"}, "runner_working_directory: /srv/a b has"),
        ({"runner_working_directory": "/srv/a'b"}, "runner_working_directory: /srv/a'b has"),
        ({"runner_user": "root"}, 'runner_user: "root" cannot be the runner user'),
        ({"runner_user": "Runner"}, 'runner_user: "Runner" cannot be the runner user'),
    ],
)
def test_a_variable_is_refused(variables, problem):
    [found] = problems(**variables)
    assert found.startswith(problem)
    assert "secret" not in found


def test_all_problems_are_named():
    variables = {"runner_runners": [{"name": ""}, {}], "runner_create": {"b": {}}, "runner_user": "root"}
    found = problems(**variables, runner_config_path="/etc/config.toml", runner_drain_timeout=0)
    assert [problem.split(" ")[0] for problem in found] == [
        "runner_config_path:",
        *("runner_runners[0]", "runner_runners[0].token", "runner_runners[0].url", "runner_runners[0].executor:"),
        *("runner_runners[1]", "runner_runners[1].token", "runner_runners[1].url", "runner_runners[1].executor:"),
        'runner_create["b"]:',
        "runner_api_token",
        "runner_drain_timeout:",
        "runner_user:",
    ]


@pytest.mark.parametrize(
    ("directory", "refused"),
    [
        ("/etc/gitlab-runner", False),
        ("/opt/gitlab-runner", False),
        ("/srv/ci", False),
        ("/home/somebody/.gitlab-runner", False),
        ("/var/lib/gitlab-runner", False),
        ("/usr/local/etc/gitlab-runner", False),
        ("/", True),
        ("//etc", True),
        ("/etc", True),
        ("/root", True),
        ("/root/runner", True),
        ("/home", True),
        ("/home/somebody", True),
        ("/srv", True),
        ("/opt", True),
        ("/tmp", True),
        ("/usr", True),
        ("/usr/share", True),
        ("/usr/local", True),
        ("/usr/local/etc", True),
        ("/var", True),
        ("/var/lib", True),
        ("/var/lib/", True),
        ("/etc/gitlab-runner/..", True),
        ("/etc/conf.d", True),
        ("/etc/ssl", True),
        ("/run/user/995", True),
        ("gitlab-runner", True),
    ],
)
def test_a_directory_that_others_share_is_not_taken_over(directory: str, refused: bool) -> None:
    path = f"{directory}/config.toml"
    found = problems(runner_config_path=path)
    assert bool(found) is refused
    assert not refused or (path in found[0] and "Move the file into a directory of its own" in found[0])


NAMES = st.text(alphabet="abc-1", min_size=1)
TOKENS = st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1).map("glrt-".__add__)


@given(
    st.dictionaries(NAMES, st.tuples(TOKENS, st.sampled_from(CHOICES["runners.executor"]))), st.integers(min_value=1)
)
def test_nothing_is_wrong_with_what_is_valid(runners, seconds):
    listed = [{**RUNNER, "name": name, "token": token, "executor": kind} for name, (token, kind) in runners.items()]
    assert (
        problems(runner_runners=listed, runner_drain_timeout=seconds, runner_create=runners, runner_api_token=".") == []
    )


# --- the runners --------------------------------------------------------------

SOCKET = "unix:///run/user/995/podman/podman.sock"
CA_FILE = "/etc/gitlab-runner/ca.crt"
CA_VOLUMES = [f"{CA_FILE}:/etc/gitlab-runner/certs/ca.crt:ro", "/etc/ssl/certs/ca.crt:/etc/ca.crt:ro"]
CA_ENVIRONMENT = ["SSL_CERT_FILE=/etc/ca.crt", "GIT_SSL_CAINFO=/etc/ca.crt"]
DOCKER = {"name": "a", "executor": "docker"}


def wanted(*runners: dict[str, Any], defaults: dict[str, Any] | None = None, **options: Any) -> list[dict[str, Any]]:
    known = {"socket": SOCKET, "network_per_build": True, "ca_certificates": {}, "created": {}, "present": []}
    known |= {"ca_file": CA_FILE, "ca_volumes": CA_VOLUMES, "ca_environment": CA_ENVIRONMENT}
    return _runner_role.wanted(runners, defaults or {}, **{**known, **options})


@pytest.mark.parametrize(
    ("runner", "host", "flags"),
    [
        ({}, SOCKET, {"FF_NETWORK_PER_BUILD": True}),
        ({"docker": None, "feature_flags": None}, "", None),
        ({"docker": {"image": "x"}, "feature_flags": {"A": 1}}, SOCKET, {"FF_NETWORK_PER_BUILD": True, "A": 1}),
        ({"docker": {"host": "tcp://docker:2376"}}, "tcp://docker:2376", {"FF_NETWORK_PER_BUILD": True}),
        ({"docker": {"host": None}}, None, {"FF_NETWORK_PER_BUILD": True}),
        ({"docker": {"network_mode": "host"}}, SOCKET, None),
        ({"feature_flags": {"FF_NETWORK_PER_BUILD": False}}, SOCKET, {"FF_NETWORK_PER_BUILD": False}),
    ],
)
def test_a_docker_executor_gets_socket_and_network(runner, host, flags):
    [found] = wanted({**DOCKER, **runner})
    assert (found["docker"] or {"host": ""})["host"] == host and found.get("feature_flags") == flags
    # A default counts like what the runner says, but is not repeated.
    [found] = wanted(DOCKER, defaults=runner)
    assert found.get("docker", {}).get("host") in (None, SOCKET) and "image" not in found.get("docker", {})


@pytest.mark.parametrize("runner", [{"executor": "shell"}, {}, {**DOCKER, "state": "absent"}])
def test_others_stay_as_they_are(runner):
    assert wanted(runner) == [runner]


def test_a_network_that_is_switched_off_goes():
    assert wanted(DOCKER, network_per_build=False)[0]["feature_flags"] == {"FF_NETWORK_PER_BUILD": None}


def test_the_runner_has_the_last_word_over_what_gitlab_has_said():
    created = {"a": {"id": 7, "token": "glrt-new"}, "b": {"id": 8}}
    [found] = wanted({**DOCKER, "token": "glrt-own"}, created=created)
    assert (found["id"], found["token"]) == (7, "glrt-own")


@pytest.mark.parametrize(
    ("certificates", "runner", "present", "file", "volumes"),
    [
        ({}, {}, None, "-", "-"),
        ({"c": PEM}, {}, None, CA_FILE, ["/cache", *CA_VOLUMES]),
        ({"c": PEM}, {}, ["/srv", *CA_VOLUMES], CA_FILE, ["/srv", *CA_VOLUMES]),
        ({"c": PEM}, {"docker": {"volumes": ["/own"]}}, ["/srv"], CA_FILE, ["/own", *CA_VOLUMES]),
        ({"c": PEM}, {"docker": {"volumes": [CA_VOLUMES[1]]}}, None, CA_FILE, [CA_VOLUMES[1], CA_VOLUMES[0]]),
        ({"c": PEM}, {"docker": {"volumes": ["/own:/etc/ca.crt"]}}, None, CA_FILE, ["/own:/etc/ca.crt", CA_VOLUMES[0]]),
        # No file can be mounted in a directory that is.
        ({"c": PEM}, {"docker": {"volumes": ["/own:/etc/"]}}, None, CA_FILE, ["/own:/etc/"]),
        # An empty list is a list, and what nobody keeps needs no volume.
        ({"c": PEM}, {"docker": {"volumes": []}}, ["/srv"], CA_FILE, CA_VOLUMES),
        ({"c": PEM}, {"docker": {"volumes": None}}, ["/srv"], CA_FILE, CA_VOLUMES),
        ({"c": PEM}, {}, [], CA_FILE, CA_VOLUMES),
        ({"c": PEM}, {"docker": {"disable_cache": True}}, None, CA_FILE, CA_VOLUMES),
        ({"c": PEM, "d": None}, {"tls-ca-file": "/own"}, None, "/own", ["/cache", *CA_VOLUMES]),
        ({"c": PEM}, {"executor": "shell"}, None, CA_FILE, "-"),
        ({"c": PEM}, {"state": "absent"}, None, "-", "-"),
        # Refused by runner_config, which says what it has to be.
        ({"c": PEM}, {"docker": {"volumes": "/own"}}, None, CA_FILE, "/own"),
        # Taken back.
        ({"c": None}, {}, ["/srv", *CA_VOLUMES], None, ["/srv"]),
        ({"c": None}, {"docker": {"volumes": ["/own"]}}, None, None, ["/own"]),
        ({"c": None}, {"docker": {"volumes": None}}, ["/srv"], None, None),
        ({"c": None}, {}, CA_VOLUMES, None, []),
        ({"c": None}, {}, None, None, "-"),
    ],
)
def test_certificate_authorities_are_mounted_and_taken_back(certificates, runner, present, file, volumes):
    in_file = [{"docker": {"volumes": ["/of-nobody"]}}, {"name": "b", "docker": {"volumes": ["/of-another"]}}]
    in_file += [{"name": "a", "docker": {"volumes": present}}] if present is not None else []
    [found] = wanted({**DOCKER, **runner}, ca_certificates=certificates, present=in_file)
    assert found.get("tls-ca-file", "-") == file
    assert found.get("docker", {}).get("volumes", "-") == volumes


@pytest.mark.parametrize(
    ("certificates", "runner", "present", "environment"),
    [
        ({}, {}, ["A=1"], "-"),
        ({"c": PEM}, {}, None, CA_ENVIRONMENT),
        ({"c": PEM}, {}, ["A=1", *CA_ENVIRONMENT], ["A=1", *CA_ENVIRONMENT]),
        ({"c": PEM}, {"environment": ["B=2"]}, ["A=1"], ["B=2", *CA_ENVIRONMENT]),
        ({"c": PEM}, {"environment": ["SSL_CERT_FILE="]}, None, ["SSL_CERT_FILE=", CA_ENVIRONMENT[1]]),
        ({"c": PEM}, {"environment": None}, ["A=1"], CA_ENVIRONMENT),
        # The host need not trust the authority of that one, for which GitLab Runner tells git what to trust.
        ({"c": PEM}, {"tls-ca-file": "/own"}, CA_ENVIRONMENT, CA_ENVIRONMENT[:1]),
        ({"c": PEM}, {"tls-ca-file": None}, None, CA_ENVIRONMENT),
        ({"c": PEM}, {"executor": "shell"}, None, "-"),
        # Refused by runner_config, which says what it has to be.
        ({"c": PEM}, {"environment": "B=2"}, None, "B=2"),
        ({"c": None}, {}, ["A=1", *CA_ENVIRONMENT], ["A=1"]),
        ({"c": None}, {}, CA_ENVIRONMENT, None),
        ({"c": None}, {"environment": ["B=2"]}, ["A=1", *CA_ENVIRONMENT], ["B=2"]),
        ({"c": None}, {}, None, "-"),
    ],
)
def test_programs_of_jobs_are_told_of_certificate_authorities(certificates, runner, present, environment):
    in_file = [{"name": "a", "environment": present}] if present else []
    [found] = wanted({**DOCKER, **runner}, ca_certificates=certificates, present=in_file)
    assert found.get("environment", "-") == environment


HIDDEN = "/srv/VALUE_REDACTED:/x"


@pytest.mark.parametrize(
    ("certificates", "present", "changes"),
    [
        ({"c": PEM}, [HIDDEN], True),
        ({"c": PEM}, [CA_VOLUMES[0], HIDDEN], True),
        ({"c": PEM}, [*CA_VOLUMES, HIDDEN], False),
        ({"c": None}, [CA_VOLUMES[0], HIDDEN], True),
        ({"c": None}, [HIDDEN], False),
        ({}, [HIDDEN], False),
    ],
)
def test_volumes_without_their_secrets_are_not_written(certificates, present, changes):
    options = {"ca_certificates": certificates, "present": [{"name": "a", "docker": {"volumes": present}}]}
    if changes:
        with pytest.raises(ValueError, match='the runner "a" has a secret in docker.volumes'):
            wanted(DOCKER, **options)
    else:
        assert "VALUE_REDACTED" not in str(wanted(DOCKER, **options))
    [listed] = wanted({**DOCKER, "docker": {"volumes": ["/own"]}}, **options)
    assert listed["docker"]["volumes"][0] == "/own"


def test_an_environment_without_its_secrets_is_not_written():
    there = {"name": "a", "environment": ["TOKEN=VALUE_REDACTED"]}
    options = {"ca_certificates": {"c": PEM}, "present": [there]}
    with pytest.raises(ValueError, match='the runner "a" has a secret in environment of config.toml.* in environment'):
        wanted(DOCKER, **options)
    assert wanted({**DOCKER, "environment": ["TOKEN=x"]}, **options)[0]["environment"] == ["TOKEN=x", *CA_ENVIRONMENT]
    there["environment"] = [CA_ENVIRONMENT[1], "TOKEN=VALUE_REDACTED", CA_ENVIRONMENT[0]]
    assert "environment" not in wanted(DOCKER, **options)[0]


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=2)
TABLES = st.recursive(VALUES, lambda inner: st.dictionaries(st.sampled_from("abcd"), inner), max_leaves=8)
DICTIONARIES = st.dictionaries(st.sampled_from("abcd"), TABLES)
VOLUMES = st.lists(st.sampled_from(["/cache", "/srv", *CA_VOLUMES]), max_size=3, unique=True)
LISTED = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b"])},
    optional={
        "executor": st.sampled_from(["docker", "docker", "shell"]),
        "state": st.sampled_from(["present", "absent"]),
        "token": TOKENS,
        "tls-ca-file": st.none() | st.just("/own"),
        "environment": st.lists(
            st.sampled_from(["A=1", "SSL_CERT_FILE=/own", *CA_ENVIRONMENT]), max_size=3, unique=True
        ),
        "feature_flags": st.none() | st.dictionaries(st.sampled_from(["FF_NETWORK_PER_BUILD", "A"]), st.booleans()),
        "docker": st.fixed_dictionaries(
            {},
            optional={
                "host": st.none() | st.just("tcp://x"),
                "network_mode": st.none() | st.just("host"),
                "volumes": VOLUMES,
                "ulimit": DICTIONARIES,
            },
        ),
    },
)


def is_within(listed: Any, found: Any) -> bool:
    """Lists, which are those of volumes and environments, may have grown by the certificate authorities."""
    if isinstance(listed, dict):
        return isinstance(found, dict) and all(key in found and is_within(listed[key], found[key]) for key in listed)
    return bool(listed == (found[: len(listed)] if isinstance(listed, list) else found))


@given(
    st.lists(LISTED, max_size=3), LISTED, st.lists(LISTED, max_size=2), st.booleans(), st.sampled_from([None, PEM, ""])
)
def test_what_is_listed_stays(runners, defaults, present, network, pem):
    certificates = {} if pem == "" else {"company": pem}
    options = {"network_per_build": network, "ca_certificates": certificates, "present": present}
    before = copy.deepcopy((runners, defaults, present))
    found = wanted(*runners, defaults=defaults, **options)
    assert (runners, defaults, present) == before
    assert wanted(*found, defaults=defaults, **options) == found
    for listed, result in zip(runners, found):
        assert is_within(listed, result)


# --- GitLab's answers ---------------------------------------------------------


def answer(status: int, json: Any = None, **keys: Any) -> dict[str, Any]:
    found = {"item": {"name": "a", "id": 4, "token": "glrt-secret"}, "status": status, "msg": f"Status was {status}"}
    return {**found, **({} if json is None else {"json": json}), **keys}


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (answer(401, {"message": "401 Unauthorized"}), "401 Unauthorized (HTTP status 401)"),
        (answer(403, {"error": "insufficient_scope"}), "insufficient_scope (HTTP status 403)"),
        (answer(400, {"message": {"tag_list": ["is bad"]}}), "{'tag_list': ['is bad']} (HTTP status 400)"),
        (answer(-1), "Status was -1 (HTTP status -1)"),
        (answer(502, "no JSON object"), "Status was 502 (HTTP status 502)"),
    ],
)
def test_a_refusal_is_said_in_the_words_of_gitlab(result, said):
    good = [answer(201, {"id": 1}), {"item": {"name": "a"}, "skipped": True}]
    assert _runner_role.refusals([*good, result], "created") == [f'GitLab has not created the runner "a": {said}']
    gone = [answer(204), answer(404, {"message": "404 Not found"})]
    expected = [f'GitLab has not deleted the runner "a" (id 4): {said}']
    assert _runner_role.refusals([*gone, result], "deleted") == expected


def test_what_gitlab_has_created_gets_into_the_file():
    forever = answer(201, {"id": 7, "token": "glrt-7", "token_expires_at": None})
    expiring = answer(201, {"id": 8, "token": "glrt-8", "token_expires_at": "2027-01-01T00:00:00.000Z"})
    results = [
        forever,
        {**expiring, "item": {"name": "b"}},
        answer(401, {"message": "no"}),
        {"item": {}, "skipped": True},
    ]
    assert _runner_role.created_fields(results, "2026-12-24T12:00:00Z") == {
        "a": {"id": 7, "token": "glrt-7"},
        "b": {
            "id": 8,
            "token": "glrt-8",
            "token_expires_at": "2027-01-01T00:00:00.000Z",
            "token_obtained_at": "2026-12-24T12:00:00Z",
        },
    }


@pytest.mark.parametrize("name", ["apt", "docker", "pki", "security", "ssh", "xdg"])
def test_a_directory_of_the_system_is_not_for_the_runner(name):
    assert _runner_role._SHARED_DIRECTORY.fullmatch(f"/etc/{name}")
