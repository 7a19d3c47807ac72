# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runner role makes of its variables, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
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
        ("gitlab-runner", True),
    ],
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
        ({"__userns_getent": {}}, "", USER),
    ],
)  # fmt: skip
def test_the_user_is_what_was_looked_up(value, variables, uid, group):
    """The facts of the play (none here, see render) may be those of another look-up."""
    assert (value("__runner_uid", **variables), value("__runner_group", **variables)) == (uid, group)
    assert value("__runner_service_sections.Service.Group", **variables) == group


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


@pytest.mark.parametrize("seconds", [0, -1, "0"])
def test_a_drain_without_an_end_is_refused(value, seconds):
    problems = value("__runner_problems", runner_drain_timeout=seconds)
    assert len(problems) == 1 and problems[0].startswith("runner_drain_timeout: ")
    assert value("__runner_problems", runner_drain_timeout="1") == []


def test_an_adoption_refuses_what_the_role_refuses(value):
    """Before the service that is there is drained."""
    runner = {"name": "a", "url": "https://gitlab.example.com", "token": "glrt-a", "executor": "dokcer"}
    known = {"__runner_adopt_info": {"exists": True, "runners": []}, "__runner_adopt_mounts": []}
    problems = value("__runner_adopt_problems", runner_runners=[runner], **known)
    assert len(problems) == 1 and '"dokcer" is not an executor' in problems[0]
