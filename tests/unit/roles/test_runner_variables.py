# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runner role makes of its variables, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleUndefinedVariable
from ansible.parsing.dataloader import DataLoader
from ansible.template import trust_as_template
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _runner_config, _toml

ROLES = Path(__file__).parents[3] / "roles"
USER = "gitlab-runner"
PASSWD = ["x", "995", "990", "", "/home/gitlab-runner", "/bin/bash"]

OTHER = ["x", "1", "2", "", "/", ""]


def looked_up(entry: list[str] | None) -> dict[str, Any]:
    return {"ansible_facts": {"getent_passwd": {USER: entry}}}


@pytest.fixture(scope="module")
def value(render):
    """A function that returns the value of an expression among the variables of the role."""
    adoption = DataLoader().load_from_file(str(ROLES / "runner/vars/adopt.yml"), trusted_as_template=True)

    def run(expression: str, **variables: Any) -> Any:
        return render("runner", expression, **{**adoption, "__userns_getent": looked_up(PASSWD), **variables})

    return run


@pytest.mark.parametrize(
    ("directory", "refused"), [("/etc/gitlab-runner", False), ("/etc", True), ("/etc/gitlab-runner/..", True)]
)
def test_a_directory_that_others_share_is_not_taken_over(value, directory: str, refused: bool) -> None:
    path = f"{directory}/config.toml"
    known = {
        "__runner_adopt_info": {"exists": True, "runners": []},
        "runner_config_path": path,
        "__runner_adopt_mounts": [],
    }
    for name in ("__runner_problems", "__runner_adopt_problems"):
        problems = value(name, **known)
        assert bool(problems) is refused
        assert not refused or (path in problems[0] and "Move the file into a directory of its own" in problems[0])


@pytest.mark.parametrize(
    ("variables", "uid", "group"),
    [
        ({}, "995", "990"),
        ({"__userns_getent": looked_up(OTHER), "__runner_getent": looked_up(PASSWD)}, "995", "990"),
        # The user came after the look-up that the adoption begins with.
        ({"__runner_getent": looked_up(None)}, "995", "990"),
        ({"__runner_getent": {"skipped": True}}, "995", "990"),
        ({"__userns_getent": looked_up(None), "__runner_getent": looked_up(None)}, "", USER),
    ],
)  # fmt: skip
def test_the_user_is_what_was_looked_up(value, variables, uid, group):
    """The facts of the play (none here, see render) may be those of another look-up."""
    assert (value("__runner_uid", **variables), value("__runner_group", **variables)) == (uid, group)
    assert value("__runner_service_sections.Service.Group", **variables) == group


def test_a_user_that_nobody_has_looked_up_is_an_error(value):
    """As with --start-at-task: the socket in config.toml would be that of nobody."""
    for name in ("__runner_uid", "__runner_group", "__runner_wanted"):
        with pytest.raises(AnsibleUndefinedVariable, match="start-at-task"):
            value(name, __userns_getent={}, runner_runners=[{"name": "a", "executor": "docker"}])


@pytest.mark.parametrize(("method", "path"), [("deb", "/usr/bin"), ("binary", "/usr/local/bin")])
def test_the_program_that_is_started_is_the_one_that_has_to_be_there(value, method, path):
    """The unit of the package can name one that somebody removes: systemd would skip the start, without an error."""
    found = value("__runner_service_sections.Unit.ConditionFileIsExecutable", runner_install_method=method)
    assert found == ["", f"{path}/gitlab-runner"]


def test_a_directive_without_a_value_is_left_out(value):
    """systemd refuses DevicePolicy= and ProtectProc= without one, and CapabilityBoundingSet= is no capability."""
    loose = {"DevicePolicy": None, "CapabilityBoundingSet": None, "PrivateTmp": False}
    directives = value("__runner_sandbox_directives", runner_hardening_directives=loose)
    assert not {"DevicePolicy", "CapabilityBoundingSet"} & set(directives)
    assert (directives["PrivateTmp"], directives["AmbientCapabilities"]) == (False, "")


def test_the_service_finds_the_plugins_of_its_user(value):
    """Without them the executors instance and docker-autoscaler do not start."""
    assert f"-{PASSWD[4]}/.config/fleeting" in value("__runner_hardening_directives.BindReadOnlyPaths")


@pytest.mark.parametrize(
    ("wanted", "socket", "units", "missing"),
    [
        ("stop", True, ["docker.service", "docker.socket"], ""),
        ("stop", True, ["docker.service"], "docker.socket"),
        ("stop", True, [], "docker.socket, docker.service"),
        ("stop", False, [], ""),
        ("keep", True, [], ""),
    ],
)
def test_a_docker_that_cannot_be_stopped_is_refused(value, wanted, socket, units, missing):
    problems = value(
        "__runner_adopt_problems",
        adopt_docker=wanted,
        __runner_adopt_info={"exists": True, "runners": []},
        __runner_adopt_mounts=[],
        __runner_adopt_docker_socket={"stat": {"exists": socket}},
        __runner_adopt_docker_units={
            "results": [
                {"item": unit, "status": {"LoadState": "loaded" if unit in units else "not-found"}}
                for unit in ("docker.socket", "docker.service")
            ]
        },
    )
    assert len(problems) == bool(missing)
    for problem in problems:
        assert f"needs {missing}, and" in problem and "snap stop --disable docker" in problem


def test_the_environment_is_literal(value):
    environment = {"PROXY": "http://u:%C3@p", "N": 1}
    found = value("__runner_service_sections.Service.Environment", runner_environment=environment)
    assert found == ['"N=1"', '"PROXY=http://u:%%C3@p"']


FILE = b"""listen_address = "127.0.0.1:9252"
log_format = "text"
log_level = "info"

[[runners]]
  name = "a"
  url = "https://gitlab.example.com"
  token = "glrt-a"
  executor = "docker"
  [runners.docker]
    image = "alpine"
    host = "unix:///run/user/995/podman/podman.sock"
  [runners.feature_flags]
    FF_NETWORK_PER_BUILD = true
"""


@pytest.fixture(scope="module")
def configured(value):
    """A function that returns what becomes of a config.toml."""

    def run(before: bytes, **variables: Any) -> str:
        runner = {"name": "a", "url": "https://gitlab.example.com", "token": "glrt-a", "executor": "docker"}
        variables = {"runner_runners": [runner | {"docker": {"image": "alpine"}}], **variables}
        settings, runners = value("__runner_wanted_settings", **variables), value("__runner_wanted", **variables)
        defaults = variables.get("runner_runners_defaults", {})
        return _runner_config.apply(before, _runner_config.prepare(settings, runners, defaults)).text

    return run


def test_what_is_switched_off_goes(configured):
    assert configured(FILE) == FILE.decode()
    off = configured(FILE, runner_listen_address="", runner_network_per_build=False)
    assert "listen_address" not in off and "FF_NETWORK_PER_BUILD" not in off
    assert configured(off.encode(), runner_listen_address="", runner_network_per_build=False) == off
    new = configured(b"", runner_listen_address="", runner_network_per_build=False)
    assert "listen_address" not in new and "feature_flags" not in new


def test_what_is_listed_has_the_last_word(configured):
    flags = {"feature_flags": {"FF_NETWORK_PER_BUILD": True}}
    variables = {"runner_runners_defaults": flags, "runner_network_per_build": False}
    own = {"runner_settings": {"listen_address": "127.0.0.1:9252"}, "runner_listen_address": ""}
    assert configured(FILE, **variables, **own) == FILE.decode()


INVOCATION = "0123456789abcdef0123456789abcdef"
DROPINS = "/etc/systemd/system/gitlab-runner.service.d/rootless.conf /run/systemd/system/gitlab-runner.service.d"


@pytest.mark.parametrize(
    ("status", "due"),
    [
        ({}, False),
        ({"NeedDaemonReload": "yes"}, True),
        ({"DropInPaths": f"{DROPINS}/rootless-due-{INVOCATION}.conf"}, True),
        # It is about to restart, and has restarted.
        ({"DropInPaths": f"{DROPINS}/rootless-due-{INVOCATION}.conf", "Job": "4711"}, False),
        ({"DropInPaths": f"{DROPINS}/rootless-due-{INVOCATION[::-1]}.conf"}, False),
    ],
)
def test_a_restart_that_is_due_is_seen(value, status, due):
    found = {"status": {"NeedDaemonReload": "no", "InvocationID": INVOCATION, **status}}
    assert value("__runner_restart_due", __runner_service=found) is due


def test_a_creation_is_tried_with_a_token_that_is_none(value):
    runners = [{"name": "new"}, {"name": "listed", "state": "present"}, {"name": "old"}, {"name": "other"}]
    runners += [{"name": "gone", "state": "absent"}]
    variables = {"runner_runners": runners, "runner_create": dict.fromkeys(("new", "listed", "old", "gone"), {})}
    # The last one has no name, which GitLab Runner does not mind.
    in_the_file = [{"name": "old"}, {"name": "gone", "id": 7}, {"id": 8}]
    known = {"__runner_known": {"runners": in_the_file}, "__runner_creation_is_tried": True}
    tokens = dict.fromkeys(("new", "listed"), {"token": "glrt-that-GitLab-will-make"})
    assert value("__runner_created_fields", **variables, **known) == tokens
    assert value("__runner_created_fields", **{**variables, **known, "__runner_creation_is_tried": False}) == {}
    assert value("__runner_created_fields", runner_runners=runners, ansible_check_mode=True) == {}
    assert value("__runner_to_delete", **variables, **known) == [{"name": "gone", "id": 7}]


def test_what_gitlab_answers_gets_into_the_file_or_is_said(value):
    made = {"id": 7, "token": "glrt-made", "token_expires_at": "2027-01-01T00:00:00Z"}
    answers = [{"item": {"name": "new"}, "status": 201, "json": made}]
    variables = {"runner_runners": [{"name": "new"}, {"name": "old"}], "__runner_created": {"results": answers}}
    new, old = value("__runner_wanted", **variables)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", new.pop("token_obtained_at"))
    assert (new, old) == ({**made, "name": "new"}, {"name": "old"})
    assert value("__runner_not_created", **variables) == []
    refused = {"results": [{"item": {"name": "a", "id": 7}, "status": 403, "json": {"message": "403 Forbidden"}}]}
    assert value("__runner_not_created", __runner_created=refused) == [
        'GitLab has not created the runner "a": 403 Forbidden (HTTP status 403)'
    ]
    assert value("__runner_not_deleted", __runner_deleted=refused) == [
        'GitLab has not deleted the runner "a" (id 7): 403 Forbidden (HTTP status 403)'
    ]


def test_volumes_that_are_not_listed_stay_with_and_without_certificate_authorities(configured, value):
    mounts = value("__runner_ca_volumes")
    runner = {"name": "a", "docker": {"image": "alpine"}, "executor": "docker"}

    def volumes(of_the_file: list[str] | None, listed: dict[str, Any], pem: str | None) -> list[str] | None:
        line = "" if of_the_file is None else f"    volumes = {json.dumps(of_the_file)}\n"
        before = FILE.replace(b'    host = "unix', line.encode() + b'    host = "unix')
        docker = {} if of_the_file is None else {"volumes": of_the_file}
        text = configured(
            before,
            runner_runners=[{**runner, "docker": {**runner["docker"], **listed}}],
            runner_ca_certificates={"company": pem},
            __runner_in_file={"runners": [{"name": "a", "docker": docker}, {"docker": {"volumes": ["/of-nobody"]}}]},
        )
        return _toml.loads(text)["runners"][0]["docker"].get("volumes")

    own = ["/cache", "/srv/ccache:/ccache"]
    assert volumes(own, {}, "PEM") == own + mounts
    assert volumes(own + mounts, {}, "PEM") == own + mounts
    assert volumes(own + mounts, {}, None) == own
    assert volumes(None, {}, "PEM") == ["/cache", *mounts]
    # The list has the last word.
    assert volumes(own + mounts, {"volumes": ["/cache"]}, "PEM") == ["/cache", *mounts]
    assert volumes(own + mounts, {"volumes": ["/cache"]}, None) == ["/cache"]


def test_a_drain_without_an_end_is_refused(value):
    problems = value("__runner_problems", runner_drain_timeout="0")
    assert len(problems) == 1 and problems[0].startswith("runner_drain_timeout: ")
    assert value("__runner_problems", runner_drain_timeout="1") == []


@pytest.mark.parametrize("key", ["token", "limit"])
@pytest.mark.parametrize("expression", ["__runner_problems", "__runner_wanted"])
def test_an_undefined_variable_is_named(value, expression, key):
    """A runner with one was none at all, and what is wrong with it nothing that is there."""
    runner = {"name": "a", "url": "https://gitlab.example.com", "token": "glrt-a", "executor": "docker"}
    runner[key] = trust_as_template("{{ vault_token }}")
    with pytest.raises(AnsibleUndefinedVariable, match="'vault_token' is undefined"):
        value(expression, runner_runners=[{"name": "b", "state": "absent"}, runner])


@pytest.mark.parametrize("purge", [True, "yes"])
def test_an_adoption_says_what_it_does(value, purge):
    runners = [{"name": "a", "executor": "docker", "docker": {"volumes": ["/run/docker.sock:/x"]}}]
    oddities = {"drift": [], "unknown_keys": [], "deprecated_keys": ["old"], "invalid_values": []}
    known = {
        "__runner_adopt_info": {"exists": True, "runners": runners, **oddities},
        "__runner_adopt_strace": {"files": [{"path": "/s"}]},
        "__runner_adopt_sources": {"files": [{"path": "/l"}]},
        "__runner_adopt_groups": {"stdout": "gitlab-runner docker"},
        "runner_runners": [{"name": "b", "token": "glrt-b"}, {"name": "c", "state": "absent"}, {"state": "absent"}],
        "runner_purge": purge,
        "adopt_docker": "stop",
        "adopt_remove_strace": "true",
    }
    assert [line[:40] for line in value("__runner_adopt_report", **known)] == [
        'runner "a": docker.host (unset) becomes ',
        'runner "a": FF_NETWORK_PER_BUILD is swit',
        'runner "b" of runner_runners is not in c',
        'runner "a" is not in runner_runners: it ',
        "config.toml, left as it is: old",
        "/s runs the runner under strace: it is r",
        "/l names the repository of GitLab Runner",
        "gitlab-runner is in the group docker, wh",
        "Docker is stopped and disabled, unless c",
        'runner "a": docker.volumes has "/run/doc',
    ]
    host = {"host": "unix:///run/user/995/podman/podman.sock"}
    change = {"name": "a", "docker": host, "feature_flags": {"FF_NETWORK_PER_BUILD": True}}
    assert value("__runner_adopt_wanted", **known) == [change]


def test_an_adoption_refuses_what_the_role_refuses(value):
    """Before the service that is there is drained."""
    runner = {"name": "a", "url": "https://gitlab.example.com", "token": "glrt-a", "executor": "dokcer"}
    known = {"__runner_adopt_info": {"exists": True, "runners": []}, "__runner_adopt_mounts": []}
    problems = value("__runner_adopt_problems", runner_runners=[runner], **known)
    assert len(problems) == 1 and '"dokcer" is not an executor' in problems[0]
