# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What an existing GitLab Runner needs to run its jobs in rootless Podman, and what its adoption does."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.rootless.gitlab_runner.plugins.module_utils._runner_role import NETWORK_FLAG, Runner, table

# Where Docker listens, root's Podman, or a user's (with the slip of four slashes in the procedure of 2021).
_LOCAL_SOCKET = re.compile(
    r"(unix:/{2,4}(var/)?run/(docker|podman/podman|user/\d+/(podman/podman|podman|docker))\.sock)?"
)
_SOCKET_VOLUME = re.compile(r"[^:]*(docker|podman)\.sock:")


@dataclass(frozen=True)
class Plan:
    """How a host is adopted.

    user, socket: The runner user, and the URL of the socket of its Podman; empty while there is no such user.
    network_per_build: Whether a docker executor gets a network per build where nothing was said about networks.
    listed, gone: The names of the runners that config.toml is to have, besides those that it has or, with C(purge),
      alone; and the names of those of them that it is not to have.
    strace_files: Drop-ins that run the service under strace, which go with C(remove_strace).
    source_files: Package sources that ours takes the place of.
    in_docker_group: Whether the user is in the group docker, which it leaves with C(stop_docker).
    """

    user: str
    socket: str = ""
    network_per_build: bool = True
    listed: Collection[str] = ()
    gone: Collection[str] = ()
    purge: bool = False
    strace_files: Collection[str] = ()
    remove_strace: bool = False
    source_files: Collection[str] = ()
    in_docker_group: bool = False
    stop_docker: bool = False


def wanted(runners: Iterable[Runner], plan: Plan) -> list[Runner]:
    """What is set in the docker executors of a config.toml that use a Docker or Podman of this host.

    One without a name is left out, because a name is how it is found again.
    """
    found = []
    for runner in runners:
        docker = table(runner, "docker")
        if "name" in runner and _uses_docker(runner) and _LOCAL_SOCKET.fullmatch(str(docker.get("host", ""))):
            change = {"name": runner["name"], "docker": {"host": plan.socket}}
            if plan.network_per_build and not docker.get("network_mode") and not _says_whether_network(runner):
                change["feature_flags"] = {NETWORK_FLAG: True}
            found.append(change)
    return found


def _uses_docker(runner: Runner) -> bool:
    return bool(runner.get("executor") == "docker")


def _says_whether_network(runner: Runner) -> bool:
    environment = runner.get("environment") or []
    return NETWORK_FLAG in table(runner, "feature_flags") or any(
        str(line).startswith(f"{NETWORK_FLAG}=") for line in environment
    )


def mounts(runners: Iterable[Runner]) -> list[str]:
    """Which runners give their jobs a Docker to control, and what becomes of it."""
    return [
        f'runner "{runner.get("name", "")}": docker.volumes has "{volume}" (socket_mount). Its jobs control Docker; '
        "that socket is not opened for a job of the runner user. For jobs that are to control the runner user's Podman "
        "instead, put its socket into the volume."
        for runner in runners
        for volume in table(runner, "docker").get("volumes") or []
        if _SOCKET_VOLUME.match(str(volume))
    ]


def report(info: Mapping[str, Any], plan: Plan) -> list[str]:
    """What will be done, line by line.

    info: What runner_config_info says about config.toml, its C(drift) for the settings alone.
    """
    return list(_report(info, plan))


def _report(info: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    named = {runner["name"]: runner for runner in info["runners"] if "name" in runner}
    changes = wanted(named.values(), plan)
    for change in changes:
        name = change["name"]
        host = table(named[name], "docker").get("host", "")
        if not plan.socket or host != plan.socket:
            new = plan.socket or f"the socket of the Podman of {plan.user}"
            yield f'runner "{name}": docker.host {host or "(unset)"} becomes {new}'
        if "feature_flags" in change:
            yield f'runner "{name}": {NETWORK_FLAG} is switched on, so that jobs find their services'
    for name, runner in named.items():
        if name not in [change["name"] for change in changes]:
            host = f", docker.host {runner['docker']['host']}" if _uses_docker(runner) else ""
            shell = ", whose jobs run in the sandbox of the service" if runner.get("executor") == "shell" else ""
            yield f'runner "{name}" keeps its settings: executor {runner.get("executor", "(none)")}{host}{shell}'
    for change in info["drift"]:
        yield (
            f"config.toml: {change['path']} {json.dumps(change['before'])} becomes {json.dumps(change['after'])} "
            "(from the variables of the role runner; to keep it, set them accordingly)"
        )
    names = [runner.get("name", "") for runner in info["runners"]]
    for name in plan.listed:
        if name not in names and name not in plan.gone:
            yield f'runner "{name}" of runner_runners is not in config.toml: it is added'
    for name in names:
        if name in plan.gone:
            yield f'runner "{name}" is REMOVED, because its state is absent in runner_runners'
        if plan.purge and name not in plan.listed:
            yield f'runner "{name}" is not in runner_runners: it is REMOVED, because runner_purge is true'
    for oddity in [*info["unknown_keys"], *info["deprecated_keys"], *info["invalid_values"]]:
        yield f"config.toml, left as it is: {oddity}"
    for path in plan.strace_files:
        fate = (
            "removed"
            if plan.remove_strace
            else "kept, but rootless.conf overrides it (adopt_remove_strace: true removes it)"
        )
        yield f"{path} runs the runner under strace: it is {fate}"
    for path in plan.source_files:
        yield (
            f"{path} names the repository of GitLab Runner too, and apt accepts no two keys for one: it is replaced by "
            "gitlab-runner.sources"
        )
    if plan.in_docker_group:
        until = f'it stays, until "gpasswd --delete {plan.user} docker" or adopt_docker: stop'
        fate = "it leaves the group" if plan.stop_docker else until
        yield f"{plan.user} is in the group docker, which is as good as root: {fate}"
    yield f"Docker is {'stopped and disabled, unless containers run' if plan.stop_docker else 'left alone'}"
    yield from mounts(info["runners"])
