# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _runner_adoption
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._runner_adoption import Plan

SOCKET = "unix:///run/user/995/podman/podman.sock"
PLAN = Plan("gitlab-runner", SOCKET)
DOCKER = {"name": "a", "executor": "docker"}
FLAGS = {"feature_flags": {"FF_NETWORK_PER_BUILD": True}}
LAST = "Docker is left alone"


def info(*runners: dict[str, Any], **keys: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = {"drift": [], "unknown_keys": [], "deprecated_keys": [], "invalid_values": []}
    return {**nothing, "runners": [*runners], **keys}


@pytest.mark.parametrize(
    ("host", "local"),
    [
        (None, True),
        ("", True),
        ("unix:///var/run/docker.sock", True),
        ("unix:///run/docker.sock", True),
        ("unix:///run/podman/podman.sock", True),
        ("unix:////run/user/997/podman/podman.sock", True),
        ("unix:///run/user/997/docker.sock", True),
        (SOCKET, True),
        ("tcp://docker:2376", False),
        ("ssh://docker/run/docker.sock", False),
        ("unix:///srv/docker.sock", False),
    ],
)
def test_only_a_socket_of_this_host_is_replaced(host, local):
    runner = {**DOCKER, "docker": {} if host is None else {"host": host}}
    change = {"name": "a", "docker": {"host": SOCKET}, **FLAGS}
    assert _runner_adoption.wanted([runner], PLAN) == ([change] if local else [])
    assert _runner_adoption.wanted([{**runner, "executor": "docker-autoscaler"}], PLAN) == []


@pytest.mark.parametrize(
    ("runner", "plan", "flags"),
    [
        ({}, PLAN, FLAGS),
        ({"docker": {"network_mode": ""}, "environment": ["A=FF_NETWORK_PER_BUILD="]}, PLAN, FLAGS),
        ({"docker": {"network_mode": "host"}}, PLAN, {}),
        ({"feature_flags": {"FF_NETWORK_PER_BUILD": False}}, PLAN, {}),
        ({"environment": ["A=1", "FF_NETWORK_PER_BUILD=0"]}, PLAN, {}),
        ({}, Plan("gitlab-runner", SOCKET, network_per_build=False), {}),
    ],
)
def test_a_network_is_switched_on_where_nothing_was_said(runner, plan, flags):
    change = {"name": "a", "docker": {"host": SOCKET}, **flags}
    assert _runner_adoption.wanted([{**DOCKER, **runner}], plan) == [change]


def test_what_has_no_name_or_other_types_is_left_to_others():
    odd = {"name": "odd", "executor": "docker", "docker": "x", "feature_flags": 1, "environment": [1]}
    assert [runner["name"] for runner in _runner_adoption.wanted([{"executor": "docker"}, odd], PLAN)] == ["odd"]
    lines = _runner_adoption.report(info({"executor": "docker"}, odd), PLAN)
    assert lines[0] == f'runner "odd": docker.host (unset) becomes {SOCKET}' and lines[-1] == LAST


def test_sockets_in_jobs_are_named():
    volumes = ["/cache", "/var/run/docker.sock:/var/run/docker.sock", "/srv/docker.sock-of-old:/x"]
    runners = [{**DOCKER, "docker": {"volumes": volumes}}, {"docker": {"volumes": ["/run/podman/podman.sock:/x"]}}, {}]
    found = _runner_adoption.mounts(runners)
    assert [line.partition(" (socket_mount)")[0] for line in found] == [
        'runner "a": docker.volumes has "/var/run/docker.sock:/var/run/docker.sock"',
        'runner "": docker.volumes has "/run/podman/podman.sock:/x"',
    ]
    assert _runner_adoption.report(info(*runners), PLAN)[-3:] == [LAST, *found]


@pytest.mark.parametrize(
    ("known", "plan", "lines"),
    [
        (info(), {}, []),
        (info({**DOCKER, "docker": {"host": SOCKET}, **FLAGS}), {}, []),
        (
            info({**DOCKER, "docker": {"host": "unix:///run/docker.sock"}}),
            {},
            [
                f'runner "a": docker.host unix:///run/docker.sock becomes {SOCKET}',
                'runner "a": FF_NETWORK_PER_BUILD is switched on, so that jobs find their services',
            ],
        ),
        (
            info({**DOCKER, **FLAGS}),
            {"socket": ""},
            ['runner "a": docker.host (unset) becomes the socket of the Podman of gitlab-runner'],
        ),
        (
            info({"name": "s", "executor": "shell"}, {"name": "n"}, {**DOCKER, "docker": {"host": "tcp://x"}}),
            {},
            [
                'runner "s" keeps its settings: executor shell, whose jobs run in the sandbox of the service',
                'runner "n" keeps its settings: executor (none)',
                'runner "a" keeps its settings: executor docker, docker.host tcp://x',
            ],
        ),
        (
            info(drift=[{"path": "log_level", "before": None, "after": "info"}]),
            {},
            [
                'config.toml: log_level null becomes "info" (from the variables of the role runner; to keep it, set '
                "them accordingly)"
            ],
        ),
        (
            info({"name": "old"}),
            {"listed": ["new"], "purge": True},
            [
                'runner "old" keeps its settings: executor (none)',
                'runner "new" of runner_runners is not in config.toml: it is added',
                'runner "old" is not in runner_runners: it is REMOVED, because runner_purge is true',
            ],
        ),
        (
            info({"name": "old"}),
            {"listed": ["old", "older"], "gone": ["old", "older"], "purge": True},
            [
                'runner "old" keeps its settings: executor (none)',
                'runner "old" is REMOVED, because its state is absent in runner_runners',
            ],
        ),
        (
            info(unknown_keys=["u"], deprecated_keys=["d"], invalid_values=["i"]),
            {},
            [f"config.toml, left as it is: {oddity}" for oddity in "udi"],
        ),
        (
            info(),
            {"strace_files": ["/s"], "source_files": ["/l"]},
            [
                "/s runs the runner under strace: it is kept, but rootless.conf overrides it (adopt_remove_strace: "
                "true removes it)",
                "/l names the repository of GitLab Runner too, and apt accepts no two keys for one: it is replaced by "
                "gitlab-runner.sources",
            ],
        ),
        (info(), {"strace_files": ["/s"], "remove_strace": True}, ["/s runs the runner under strace: it is removed"]),
        (
            info(),
            {"in_docker_group": True},
            [
                "gitlab-runner is in the group docker, which is as good as root: it stays, until "
                '"gpasswd --delete gitlab-runner docker" or adopt_docker: stop'
            ],
        ),
    ],
)
def test_the_report_says_what_is_done(known, plan, lines):
    assert _runner_adoption.report(known, Plan(**{"user": "gitlab-runner", "socket": SOCKET, **plan})) == [*lines, LAST]


def test_docker_is_stopped_when_told():
    assert _runner_adoption.report(info(), Plan("ci", SOCKET, in_docker_group=True, stop_docker=True)) == [
        "ci is in the group docker, which is as good as root: it leaves the group",
        "Docker is stopped and disabled, unless containers run",
    ]


def test_a_runner_that_is_there_is_not_said_to_be_added():
    known = {key: [] for key in ("drift", "unknown_keys", "deprecated_keys", "invalid_values")}
    info = {"runners": [{"name": "a", "executor": "shell"}], **known}
    assert not any("is added" in line for line in _runner_adoption.report(info, Plan("me", SOCKET, listed=["a"])))
