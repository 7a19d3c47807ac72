# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Checks of GitLab Runner: its service, its configuration and the certificates around it."""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import Any, Optional
from urllib.parse import urlsplit

from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor import (
    ERROR,
    INFO,
    WARNING,
    Finding,
    Host,
    Skip,
    Table,
    in_range,
)
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor_checks_podman import (
    per_build,
)
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._toml import format_string

CHECKS = Table()
# The script of GitLab that adds its package repository.
ADD_REPOSITORY = "https://packages.gitlab.com/install/repositories/runner/gitlab-runner/script"


def _unit(host: Host) -> dict[str, str]:
    unit = dict(host.need("units.runner"))
    if unit.get("LoadState") != "loaded":
        raise Skip(f"there is no {host.facts.get('service')}.service")
    return unit


def _executable(unit: dict[str, str]) -> str:
    found = re.search(r"argv\[\]=(.*?) ;", unit.get("ExecStart", ""))
    return found.group(1) if found else unit.get("ExecStart", "")


def _dropins(host: Host) -> str:
    """The folder with the drop-ins of the service, as a word of a command."""
    return shlex.quote(f"/etc/systemd/system/{_service(host)}.service.d")


def _service(host: Host) -> str:
    return str(host.facts.get("service", "gitlab-runner"))


def _mode(unit: dict[str, str]) -> str:
    """How the service runs: root, strace, userns or user."""
    command = _executable(unit)
    if "strace" in command:
        return "strace"
    if unit.get("User") in ("", "root", "0", None):
        return "root"
    return "userns" if "--map-root-user" in command else "user"


# --- the service ---


@CHECKS.check(
    "runner.missing",
    ERROR,
    title="GitLab Runner is not installed",
    why="Without the runner no job reaches this host.",
    variable="runner_version",
    reference="GitLab Runner: install",
)
def runner_missing(host: Host) -> Optional[Finding]:
    unit = host.get("units.runner", {})
    if host.need("runner").get("program") or unit.get("LoadState") == "loaded":
        return None
    # What distributions have by the name of the runner, if anything, is years old, and comes without this package.
    known, kind = "apt-cache madison gitlab-runner-helper-images | grep -q .", "deb"
    if host.get("os.family") == "redhat":
        known, kind = "dnf --quiet list gitlab-runner-helper-images >/dev/null 2>&1", "rpm"
    return Finding(
        "There is no gitlab-runner in PATH and no unit for it.",
        ("gitlab-runner: not found",),
        (
            f"{known} || curl --fail --silent --show-error --location {ADD_REPOSITORY}.{kind}.sh | bash",
            host.install("gitlab-runner"),
        ),
    )


@CHECKS.check(
    "runner.unit_user",
    ERROR,
    title="The runner service runs as root or under strace",
    why="The service needs no privilege when it is given --config. Packages make it run as root; the strace trick of "
    "2021 stops it at every system call, and signals reach the wrong process.",
    variable="runner_launch",
    reference="systemd.exec(5), GitLab Runner: run as a non-root user",
    after=("runner.missing", "user.missing"),
)
def unit_user(host: Host) -> Optional[Finding]:
    unit = _unit(host)
    mode, command = _mode(unit), _executable(unit)
    user = unit.get("User") or "root"
    if mode in ("user", "userns") and user in (host.user, str(host.uid)):
        return None
    found = re.search(r"--working-directory[= ]\"?([^\s\"]+)", command)
    directory = found.group(1) if found else host.home
    service, folder = _service(host), _dropins(host)
    lines = [
        "[Unit]",
        f"After=user@{host.uid}.service",
        f"Wants=user@{host.uid}.service",
        "[Service]",
        f"User={host.user}",
        f"Group={host.gid}",
        "ExecStart=",
        f"ExecStart={host.need('runner').get('program') or '/usr/bin/gitlab-runner'} run --config "
        f"{_config_path(host)} --working-directory {directory} --service {service}",
        # The runner lets its jobs finish. Those of a shell or custom executor are processes of the service, too.
        "KillSignal=SIGQUIT",
        "KillMode=mixed",
        "TimeoutStopSec=7200",
    ]
    text = "runs under strace" if mode == "strace" else f"runs as {user}"
    # With this option strace is a bystander: signals reach the runner itself.
    bystander = mode == "strace" and re.search(r"strace .*-D\b", command)
    # Otherwise it is what the signal of the new drop-in goes to, and need not end by it.
    stop_first = mode == "strace" and not bystander
    return Finding(
        f"{service}.service {text}.",
        (f"systemctl show {service}: User={unit.get('User')}", f"ExecStart: {command}"),
        (
            *((host.stop_jobs(),) if stop_first else ()),
            f"mkdir -p {folder}",
            f"printf '%s\\n' {' '.join(map(shlex.quote, lines))} > {folder}/rootless.conf",
            *_own_config(host),
            "systemctl daemon-reload",
            f"systemctl {'start' if stop_first else 'restart'} {shlex.quote(service)}",
        ),
        "Running jobs are aborted by the restart: wait for them, or stop the runner with SIGQUIT first.",
        severity=WARNING if bystander and user == host.user else ERROR,
    )


def _config_path(host: Host) -> str:
    return str(host.facts.get("config_path", "/etc/gitlab-runner/config.toml"))


def _config_files(host: Host) -> list[dict[str, Any]]:
    """Owner and mode of config.toml and of what the runner keeps beside it. Raises Skip where there is none."""
    runner = host.need("runner")
    if not runner["file"]:
        raise Skip(f"{_config_path(host)} does not exist")
    host.need("runner.file")
    return [runner["file"], *([runner["system_id"]] if host.get("runner.system_id") else [])]


def _owners(entries: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(f"{entry['path']}: uid {entry['uid']}, gid {entry['gid']}, mode {entry['mode']}" for entry in entries)


def _own_config(host: Host) -> tuple[str, ...]:
    """Commands that give the configuration to the runner user."""
    path = _config_path(host)
    folder, owner = path.rpartition("/")[0], shlex.quote(host.user)
    names = [path, f"{folder}/.runner_system_id"] if host.get("runner.system_id") else [path]
    commands = [
        f"chown {owner}: {' '.join(map(shlex.quote, names))}",
        f"chmod 0600 {' '.join(map(shlex.quote, names))}",
    ]
    if folder.count("/") > 1:
        # A directory of its own, not /etc itself.
        commands.append(f"chown {owner}: {shlex.quote(folder)} && chmod 0700 {shlex.quote(folder)}")
    return tuple(commands)


@CHECKS.check(
    "runner.config_perm",
    ERROR,
    title="The runner user cannot read the configuration",
    why="A service that may not read config.toml stops at once. Every upgrade of the package sets the directory to "
    "0700, so that the runner user has to own it.",
    variable="runner_config_path",
    reference="GitLab Runner package, post-install",
    after=("user.missing",),
)
def config_perm(host: Host) -> Optional[Finding]:
    access, files = host.need("access"), _config_files(host)
    unknown = [entry["path"] for entry in files if entry["path"] not in access]
    if unknown:
        raise Skip(f"whether {host.user} can read {unknown[0]} was not found out")
    closed = [entry["path"] for entry in files if not access[entry["path"]]["read"]]
    if not closed:
        return None
    return Finding(
        f"{host.user} cannot read {' and '.join(closed)}.",
        _owners([host.need("runner.directory"), *files]),
        _own_config(host),
    )


@CHECKS.check(
    "runner.config_owner",
    WARNING,
    title="The configuration does not belong to the runner user",
    why="The next upgrade of the package sets the directory to 0700 and locks out everybody but its owner; and when "
    "GitLab rotates a token, the runner cannot write the new one, and is locked out after the next restart.",
    variable="runner_config_path",
    reference="GitLab Runner package, post-install",
    after=("user.missing", "runner.config_perm"),
)
def config_owner(host: Host) -> Optional[Finding]:
    wrong = [entry for entry in [host.need("runner.directory"), *_config_files(host)] if entry["uid"] != host.uid]
    if not wrong:
        return None
    return Finding(
        f"{' and '.join(entry['path'] for entry in wrong)} {'belong' if len(wrong) > 1 else 'belongs'} to uid "
        f"{wrong[0]['uid']}, not to {host.user}.",
        _owners(wrong),
        _own_config(host),
    )


@CHECKS.check(
    "runner.token_exposed",
    ERROR,
    title="Other users can read the runner's tokens",
    why="Whoever has an authentication token can take the jobs of the runner, with their secrets.",
    variable="runner_config_path",
    reference="GitLab Runner: security",
)
def token_exposed(host: Host) -> Optional[Finding]:
    runner = host.need("runner")
    file, folder = runner["file"], runner["directory"]
    if not file or "mode" not in file:
        raise Skip(f"{_config_path(host)} cannot be looked at")
    mode = int(file["mode"], 8)
    if not mode & 0o004 and not (mode & 0o040 and file["gid"] not in (0, host.get("user.gid"))):
        return None
    guarded = folder and "mode" in folder and not int(folder["mode"], 8) & 0o001
    return Finding(
        f"{file['path']} has mode {file['mode']}"
        + (f", and only {folder['path']} with mode {folder['mode']} keeps others out." if guarded else "."),
        (f"{file['path']}: mode {file['mode']}, gid {file['gid']}",),
        (f"chmod 0600 {shlex.quote(file['path'])}",),
        "" if guarded else "Tokens that others may have read should be reset in GitLab.",
        severity=WARNING if guarded else ERROR,
    )


@CHECKS.check(
    "runner.config_invalid",
    ERROR,
    title="The configuration cannot be parsed",
    why="A runner that runs keeps its old configuration; one that starts stops.",
    variable="runner_runners",
    reference="GitLab Runner: advanced configuration",
)
def config_invalid(host: Host) -> Optional[Finding]:
    config = host.need("runner")["config"]
    error = config.get("error", "")
    if "is not valid TOML" not in error:
        host.need("runner.config")
        return None
    path = _config_path(host)
    found = re.search(r"line (\d+)", error)
    return Finding(
        error if error.startswith("/") else f"{path} {error}",
        (error,),
        (f"${{EDITOR:-vi}} {f'+{found.group(1)} ' if found else ''}{shlex.quote(path)}",),
    )


@CHECKS.check(
    "runner.inactive",
    ERROR,
    title="The runner service does not run",
    why="Without it no job reaches this host.",
    variable="runner_user",
    reference="systemctl(1)",
    after=("runner.missing", "user.missing", "runner.unit_user", "runner.config_perm", "runner.config_invalid"),
)
def inactive(host: Host) -> Optional[Finding]:
    unit = _unit(host)
    if unit.get("ActiveState") in ("active", "reloading"):
        return None
    service = _service(host)
    evidence = (f"systemctl show {service}: ActiveState={unit.get('ActiveState')}",)
    if unit.get("ActiveState") == "deactivating":
        # Running jobs may take hours, and a start would replace the stop that waits for them.
        return Finding(
            f"{service}.service is stopping; with the unit of the role it waits for running jobs.",
            evidence,
            severity=INFO,
        )
    return Finding(
        f"{service}.service is {unit.get('ActiveState')}.",
        evidence,
        (f"systemctl reset-failed {shlex.quote(service)}; systemctl enable --now {shlex.quote(service)}",),
    )


@CHECKS.check(
    "runner.unit_order",
    WARNING,
    title="The runner does not wait for the user's manager",
    why="After a boot the service may take a job before the socket of Podman is there: 'Cannot connect to the Docker "
    "daemon'.",
    variable="runner_launch",
    reference="systemd.unit(5)",
    after=("runner.missing", "user.missing", "runner.unit_user"),
)
def unit_order(host: Host) -> Optional[Finding]:
    unit = _unit(host)
    manager = f"user@{host.uid}.service"
    missing = [key for key in ("After", "Wants") if manager not in unit.get(key, "").split()]
    if not missing:
        return None
    service, folder = _service(host), _dropins(host)
    return Finding(
        f"{service}.service has no {' and no '.join(f'{key}={manager}' for key in missing)}.",
        tuple(f"systemctl show {service}: {key}={unit.get(key, '')}" for key in missing),
        (
            f"mkdir -p {folder}",
            f"printf '%s\\n' '[Unit]' 'After={manager}' 'Wants={manager}' > {folder}/rootless-order.conf",
            "systemctl daemon-reload",
        ),
    )


@CHECKS.check(
    "runner.docker_group",
    ERROR,
    title="The runner user is in the group docker",
    why="Members of this group control a Docker daemon that runs as root, and so are root.",
    reference="Docker: attack surface of the daemon",
)
def docker_group(host: Host) -> Optional[Finding]:
    if "docker" not in host.need("user.groups"):
        return None
    return Finding(
        f"{host.user} is in the group docker.",
        (f"groups: {' '.join(host.need('user.groups'))}",),
        (f"gpasswd --delete {shlex.quote(host.user)} docker",),
    )


@CHECKS.check(
    "runner.helper_mismatch",
    WARNING,
    title="Runner and helper images have different versions",
    why="The helper image of the same version is the only one that the runner is tested with.",
    variable="runner_version",
    reference="GitLab Runner package",
)
def helper_mismatch(host: Host) -> Optional[Finding]:
    packages = host.need("packages")
    runner, helper = packages.get("gitlab-runner"), packages.get("gitlab-runner-helper-images")
    if not runner or not helper:
        raise Skip("the runner or its helper images are not installed as packages")
    if runner == helper:
        return None
    return Finding(
        f"gitlab-runner is {runner}, and gitlab-runner-helper-images {helper}.",
        (f"dpkg: gitlab-runner {runner}", f"dpkg: gitlab-runner-helper-images {helper}"),
        (
            "apt-get install --yes --allow-downgrades "
            + " ".join(shlex.quote(f"{name}={runner}") for name in ("gitlab-runner", "gitlab-runner-helper-images")),
        ),
    )


@CHECKS.check(
    "runner.platform_key",
    WARNING,
    title="This runner fails with images for a given platform",
    why="GitLab Runner 19.2 asks Podman for something that only Docker's API 1.49 has, when a job sets "
    "image:docker:platform.",
    applies="GitLab Runner 19.2",
    variable="runner_version",
    reference="gitlab-org/gitlab-runner merge request 6990",
)
def platform_key(host: Host) -> Optional[Finding]:
    have = host.need("packages").get("gitlab-runner")
    if not have:
        raise Skip("the runner is not installed as a package")
    if not in_range(have, ">=19.2,<19.3"):
        return None
    return Finding(
        f"gitlab-runner is {have}; jobs with image:docker:platform fail.",
        (f"dpkg: gitlab-runner {have}",),
        (
            "apt-get update",
            # Otherwise the package also removes what it takes for unused in the Docker or Podman of root.
            "NO_DOCKER_PRUNE=1 apt-get install --yes gitlab-runner gitlab-runner-helper-images",
        ),
        "Running jobs are aborted by the upgrade, which restarts the service, unless the unit stops with SIGQUIT: wait "
        "for them, or stop the runner with SIGQUIT first.",
    )


# --- config.toml ---


@CHECKS.check(
    "socket.config_host",
    ERROR,
    title="The runner does not talk to the user's Podman",
    why="Without docker.host the runner takes /var/run/docker.sock. The uid in the path differs between hosts.",
    variable="runner_runners",
    reference="GitLab Runner: Use Podman",
    after=("user.missing",),
)
def config_host(host: Host) -> Optional[Finding]:
    wanted = _socket(host)
    wrong = []
    docker, environment = host.docker_runners, _environment(dict(host.get("units.runner", {})))
    default = next((entry.partition("=")[2] for entry in environment if entry.startswith("DOCKER_HOST=")), "")
    for index, runner in enumerate(host.runners):
        present = str(runner.get("docker", {}).get("host") or default)
        if runner in docker and _plain_address(present) != wanted:
            wrong.append((index, runner))
    if not wrong:
        return None
    return Finding(
        f"The runner {wrong[0][1].get('name')} has {_host_text(wrong[0][1])} instead of {wanted}.",
        tuple(f"config.toml: {runner.get('name')}: {_host_text(runner)}" for _index, runner in wrong),
        host.edit(
            host.need("runner.config"),
            *((f"runners[{index}].docker", "host", f'"{wanted}"') for index, _runner in wrong),
        ),
    )


def _socket(host: Host) -> str:
    """The address of the user's Podman."""
    return f"unix://{host.runtime_dir}/podman/podman.sock"


def _plain_address(address: str) -> str:
    # /var/run is a link to /run.
    return address.replace("unix:///var/run/", "unix:///run/", 1)


def _environment(unit: dict[str, str]) -> list[str]:
    """The variables of the service that choose the engine."""
    unset = unit.get("UnsetEnvironment", "").split()
    return [
        entry
        for entry in unit.get("Environment", "").split()
        if entry.split("=")[0] in ("DOCKER_HOST", "DOCKER_API_VERSION")
        and not {entry, entry.split("=")[0]}.intersection(unset)
    ]


def _host_text(runner: dict[str, Any]) -> str:
    value = runner.get("docker", {}).get("host")
    return f"docker.host {value}" if value else "no docker.host"


@CHECKS.check(
    "socket.env_conflict",
    WARNING,
    title="The environment of the runner points to another engine",
    why="DOCKER_HOST and DOCKER_API_VERSION of the service are in force where config.toml says nothing.",
    variable="runner_environment",
    reference="GitLab Runner: docker executor",
)
def env_conflict(host: Host) -> Optional[Finding]:
    right = f"DOCKER_HOST={_socket(host)}"
    found = [entry for entry in _environment(_unit(host)) if _plain_address(entry) != right]
    if not found:
        return None
    service, folder = _service(host), _dropins(host)
    names = " ".join(entry.split("=")[0] for entry in found)
    return Finding(
        f"{service}.service sets {', '.join(found)}.",
        (f"systemctl show {service}: {' '.join(found)}",),
        (
            f"mkdir -p {folder}",
            f"printf '%s\\n' '[Service]' 'UnsetEnvironment={names}' > {folder}/rootless-environment.conf",
            "systemctl daemon-reload",
            f"systemctl restart {shlex.quote(service)}",
        ),
        "Running jobs are aborted by the restart unless the unit stops with SIGQUIT.",
    )


@CHECKS.check(
    "socket.mounted_into_jobs",
    ERROR,
    title="Jobs get the socket of Podman",
    why="A job that reaches the socket controls all containers of the runner user, those of other jobs included, and "
    "its files.",
    variable="runner_runners",
    reference="GitLab Runner: Use Podman",
)
def mounted_into_jobs(host: Host) -> Optional[Finding]:
    found = []
    for index, runner in enumerate(host.runners):
        for volume in runner.get("docker", {}).get("volumes") or []:
            if re.search(r"(podman|docker)\.sock", str(volume)):
                found.append((index, runner, volume))
    if not found:
        return None
    changes = {}
    for index, runner, _volume in found:
        kept = [
            volume for volume in runner["docker"]["volumes"] if not re.search(r"(podman|docker)\.sock", str(volume))
        ]
        changes[index] = _toml_list(kept)
    return Finding(
        f"The runner {found[0][1].get('name')} mounts {found[0][2]} into its jobs.",
        tuple(f"config.toml: {runner.get('name')}: {volume}" for _index, runner, volume in found),
        host.edit(
            host.need("runner.config"),
            *((f"runners[{index}].docker", "volumes", value) for index, value in changes.items()),
        ),
    )


def _toml_list(values: list[Any]) -> str:
    return "[" + ", ".join(format_string(str(value)) for value in values) + "]"


@CHECKS.check(
    "net.ff_network_per_build",
    WARNING,
    title="Services of jobs cannot be found by name",
    why="Podman has no links between containers; a network for each build resolves the names instead.",
    variable="runner_network_per_build",
    reference="GitLab Runner: Use Podman",
)
def ff_network_per_build(host: Host) -> Optional[Finding]:
    docker = host.docker_runners
    without = [
        (index, runner)
        for index, runner in enumerate(host.runners)
        if runner in docker and not per_build(runner) and not runner.get("docker", {}).get("network_mode")
    ]
    if not without:
        return None
    return Finding(
        f"The runner {without[0][1].get('name')} makes no network for each build (FF_NETWORK_PER_BUILD).",
        tuple(
            f"config.toml: {runner.get('name')}: feature_flags {runner.get('feature_flags')}"
            for _index, runner in without
        ),
        host.edit(
            host.need("runner.config"),
            *((f"runners[{index}].feature_flags", "FF_NETWORK_PER_BUILD", "true") for index, _runner in without),
        ),
    )


@CHECKS.check(
    "runner.privileged",
    WARNING,
    title="Jobs run privileged",
    why="In rootless Podman a privileged container is not root on the host, but it has all capabilities of its "
    "namespace and no seccomp filter: much more of the kernel can be attacked. To build images, /dev/fuse in "
    "devices is enough.",
    variable="runner_runners",
    reference="GitLab Runner: Use Podman to build container images",
)
def privileged(host: Host) -> Optional[Finding]:
    found = [
        (index, runner)
        for index, runner in enumerate(host.runners)
        if runner.get("docker", {}).get("privileged") is True
    ]
    if not found:
        return None
    return Finding(
        f"The runner {found[0][1].get('name')} has privileged = true.",
        tuple(f"config.toml: {runner.get('name')}: privileged = true" for _index, runner in found),
        host.edit(
            host.need("runner.config"),
            *((f"runners[{index}].docker", "privileged", "false") for index, _runner in found),
        ),
        "Jobs that rely on it fail; they need devices or another image.",
    )


@CHECKS.check(
    "cache.perm",
    WARNING,
    title="Containers cannot enter a directory of the host that jobs use",
    why="The runner user mounts the directory, so that it has to be able to enter each one on the way; otherwise a job "
    "ends with 'received 409'. Root in a container is that user outside, other users are others, to whom the directory "
    "itself must be open.",
    variable="runner_runners",
    reference="GitLab Runner: docker executor, volumes",
    after=("user.missing",),
)
def cache_perm(host: Host) -> Optional[Finding]:
    closed: dict[str, tuple[dict[str, Any], str]] = {}
    missing = []
    # The runner makes directories of its own in these, and opens them.
    caches = {str(runner.get("docker", {}).get("cache_dir")) for runner in host.runners}
    for path, entries in host.need("certificates")["host_paths"].items():
        if not path.startswith("/"):
            # It is relative to the working directory of the runner.
            continue
        plain = posixpath.normpath(re.sub("/+", "/", path))
        closed.update(_closed_folders(host, path, entries, "" if path in caches else plain))
        if plain != "/" and (not entries or entries[-1].get("path") != plain):
            missing.append(path)
    if not closed and not missing:
        return None
    names = [*closed, *missing]
    return Finding(
        f"{names[0]} {'is closed to users of containers' if closed else 'does not exist'}, and config.toml gives it to "
        "jobs.",
        (
            *(f"{path}: uid {entry['uid']}, mode {entry['mode']}" for path, (entry, _who) in closed.items()),
            *(f"{path}: not there" for path in missing),
        ),
        (
            *(f"install -d -o {shlex.quote(host.user)} -g {host.gid} -m 0755 {shlex.quote(path)}" for path in missing),
            *(f"chmod {who}+x {shlex.quote(path)}" for path, (_entry, who) in closed.items()),
        ),
    )


def _closed_folders(
    host: Host, path: str, entries: list[dict[str, Any]], mounted: str
) -> dict[str, tuple[dict[str, Any], str]]:
    """The folders that keep a container from a path, of those that lead to it and itself, and who cannot enter them.

    Who mounts it is the runner user, so that others have to enter only what is mounted.
    """
    # Asked as that user: it may have the right by another of its groups, or by an access control list.
    reached = host.get("access", {}).get(path, {}).get("read", False)
    closed = {}
    for entry in entries:
        if "mode" not in entry or not entry.get("folder", True):
            continue
        who = "o"
        if entry["path"] != mounted:
            if reached:
                continue
            # The kernel looks at the first of these that fits.
            who = "u" if entry["uid"] == host.uid else "g" if entry["gid"] == host.gid else "o"
        if not int(entry["mode"], 8) & {"u": 0o100, "g": 0o010, "o": 0o001}[who]:
            closed[entry["path"]] = (entry, who)
    return closed


# --- certificates ---


def _host_of(runner: dict[str, Any]) -> str:
    return urlsplit(str(runner.get("url", ""))).hostname or ""


def _own_ca(host: Host, runner: dict[str, Any]) -> Optional[str]:
    """The file with the private CA that a runner uses, if any."""
    if runner.get("tls-ca-file"):
        return str(runner["tls-ca-file"])
    names = (f"/{_host_of(runner)}.crt",)
    certificates = host.get("certificates", {})
    return next(
        (path for path in [*certificates.get("own", []), *certificates.get("system", [])] if path.endswith(names)),
        None,
    )


@CHECKS.check(
    "ca.runner",
    ERROR,
    title="The runner does not find the CA of GitLab",
    why="A runner that is not root looks for certificates in ~/.gitlab-runner/certs, no longer in "
    "/etc/gitlab-runner/certs; and a tls-ca-file has to be readable for it.",
    variable="runner_runners",
    reference="GitLab Runner: self-signed certificates",
    after=("user.missing",),
)
def ca_runner(host: Host) -> Optional[Finding]:
    access, certificates = host.need("access"), host.need("certificates")
    user_mode = _mode(dict(host.get("units.runner", {}))) == "user"
    owner = f"-o {shlex.quote(host.user)} -g {host.gid}"
    places = [f"{host.home}/.gitlab-runner", f"{host.home}/.gitlab-runner/certs"]
    for runner in host.runners:
        own, name = runner.get("tls-ca-file"), _host_of(runner)
        if own and not access.get(own, {}).get("read"):
            folders = "".join(f" && chmod o+x {shlex.quote(folder)}" for folder in _folders(own))
            return Finding(
                f"The runner {runner.get('name')} has tls-ca-file {own}, which {host.user} cannot read.",
                (f"{own}: not readable by {host.user}",),
                (f"{_if_certificate(own)} && chmod o+r {shlex.quote(own)}{folders}",),
            )
        system = f"/etc/gitlab-runner/certs/{name}.crt"
        mine = f"{host.home}/.gitlab-runner/certs/{name}.crt"
        if not own and user_mode and system in certificates["system"] and mine not in certificates["own"]:
            return Finding(
                f"The CA of {name} is in /etc/gitlab-runner/certs, where a runner that is not root does not look.",
                (f"{system}: exists", f"{mine}: not there"),
                (
                    f"install -d {owner} -m 0700 {' '.join(map(shlex.quote, places))}",
                    f"install {owner} -m 0644 {shlex.quote(system)} {shlex.quote(mine)}",
                    # A sandbox shows the directory only where it was there at the start.
                    host.stop_jobs(),
                    host.start_jobs(),
                ),
                "Running jobs are aborted by the restart unless the unit stops with SIGQUIT.",
            )
    return None


def _if_certificate(path: str) -> str:
    """A command that stops the next one if a file, which the runner user may name at will, is something else."""
    return f"openssl x509 -noout -in {shlex.quote(path)}"


def _folders(path: str) -> list[str]:
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: count + 1]) for count in range(1, len(parts))]


def _has_volume(runner: dict[str, Any], target: str) -> bool:
    return any(str(volume).split(":")[1:2] == [target] for volume in runner.get("docker", {}).get("volumes") or [])


@CHECKS.check(
    "ca.helper",
    WARNING,
    title="The helper container does not know the private CA",
    why="The helper clones the repository and moves caches and artifacts. It installs "
    "/etc/gitlab-runner/certs/ca.crt when it starts, so a volume is enough and a helper image of one's own is "
    "not needed.",
    variable="runner_runners",
    reference="GitLab Runner: trusting TLS certificates in containers",
)
def ca_helper(host: Host) -> Optional[Finding]:
    target = "/etc/gitlab-runner/certs/ca.crt"
    docker = host.docker_runners
    lacking = [
        (index, runner, _own_ca(host, runner))
        for index, runner in enumerate(host.runners)
        if runner in docker and _own_ca(host, runner) and not _has_volume(runner, target)
    ]
    if not lacking:
        return None
    return Finding(
        f"The runner {lacking[0][1].get('name')} trusts {lacking[0][2]}, which its helper containers do not get.",
        tuple(
            f"config.toml: {runner.get('name')}: volumes {runner['docker'].get('volumes')}"
            for _index, runner, _ca in lacking
        ),
        host.edit(
            host.need("runner.config"),
            *(
                (
                    f"runners[{index}].docker",
                    "volumes",
                    _toml_list([*(runner["docker"].get("volumes") or []), f"{ca}:{target}:ro"]),
                )
                for index, runner, ca in lacking
            ),
        ),
    )


@CHECKS.check(
    "ca.job",
    INFO,
    title="Jobs do not know the private CA",
    why="Programs in a job that fetch from hosts with a private certificate need the CA in the place where they look "
    "for it. update-ca-certificates of Debian, Ubuntu and Alpine takes what is mounted into "
    "/usr/local/share/ca-certificates, when the job runs it or installs ca-certificates. (A mount at /etc/ssl/certs "
    "would make that fail.) For other jobs SSL_CERT_FILE in environment may name a mounted bundle that has the CA.",
    variable="runner_ca_certificates",
    reference="GitLab Runner: trusting TLS certificates in containers",
    after=("ca.helper",),
)
def ca_job(host: Host) -> Optional[Finding]:
    docker = host.docker_runners
    lacking = [
        (index, runner, ca)
        for index, runner in enumerate(host.runners)
        for ca in [_own_ca(host, runner)]
        if runner in docker and ca and not _jobs_find_a_ca(runner)
    ]
    if not lacking:
        return None
    target = "/usr/local/share/ca-certificates/rootless-gitlab-runner.crt"
    return Finding(
        f"The runner {lacking[0][1].get('name')} trusts a private CA that its jobs do not get.",
        tuple(
            f"config.toml: {runner.get('name')}: volumes {runner['docker'].get('volumes')}"
            for _index, runner, _ca in lacking
        ),
        host.edit(
            host.need("runner.config"),
            *(
                (
                    f"runners[{index}].docker",
                    "volumes",
                    _toml_list([*(runner["docker"].get("volumes") or []), f"{ca}:{target}:ro"]),
                )
                for index, runner, ca in lacking
            ),
        ),
    )


def _jobs_find_a_ca(runner: dict[str, Any]) -> bool:
    """Whether certificates are mounted where images look for them, or programs are told where they are."""
    places = ("/etc/ssl/certs", "/usr/local/share/ca-certificates", "/etc/pki/ca-trust")
    targets = [str(volume).split(":")[1:2] for volume in runner.get("docker", {}).get("volumes") or []]
    told = any(re.match("SSL_CERT_FILE=.", str(entry)) for entry in runner.get("environment") or [])
    return told or any(target and target[0].startswith(places) for target in targets)


@CHECKS.check(
    "ca.git_ssl_no_verify",
    ERROR,
    title="Git does not check certificates",
    why="Whoever is between the host and GitLab can give jobs other sources, and gets their tokens.",
    variable="runner_runners",
    reference="git-config(1), http.sslVerify",
)
def git_ssl_no_verify(host: Host) -> Optional[Finding]:
    found = []
    for index, runner in enumerate(host.runners):
        if any(
            re.match(r"GIT_SSL_NO_VERIFY=(?!(0|false|)$)", entry, re.IGNORECASE)
            for entry in runner.get("environment", [])
        ):
            found.append((index, runner))
    if not found:
        return None
    config = host.need("runner.config")
    lines = [config["lines"].get(f"runners[{index}].environment") for index, _runner in found]
    path = shlex.quote(config["path"])
    numbers = [number for number in lines if number]
    expression = " ".join(
        f'-e \'{number}s/"GIT_SSL_NO_VERIFY=[^"]*"[[:space:]]*,\\?[[:space:]]*//\'' for number in numbers
    )
    return Finding(
        f"The runner {found[0][1].get('name')} sets GIT_SSL_NO_VERIFY.",
        tuple(f"config.toml: {runner.get('name')}: GIT_SSL_NO_VERIFY" for _index, runner in found),
        (f"sed -i {expression} {path}",) if numbers else (f"sed -i '/^[[:space:]]*\"GIT_SSL_NO_VERIFY=/d' {path}",),
        "Jobs fail until the CA is known to the helper (ca.helper).",
    )


@CHECKS.check(
    "ca.registry",
    ERROR,
    title="Podman does not know the CA of a private registry",
    why="Podman looks for it in /etc/containers/certs.d/HOST/ca.crt and among the host's own certificates.",
    variable="runner_ca_certificates",
    reference="containers-certs.d(5)",
)
def ca_registry(host: Host) -> Optional[Finding]:
    certificates = host.need("certificates")
    for runner in host.docker_runners:
        ca = _own_ca(host, runner)
        images = [runner.get("docker", {}).get(key) for key in ("image", "helper_image")]
        for image in filter(None, map(str, filter(None, images))):
            registry = image.split("/")[0]
            # The CA says nothing of a registry of somebody else.
            private = "/" in image and re.search("[.:]", registry) and _same_domain(registry, _host_of(runner))
            if ca and private and registry not in certificates["registries"] and not certificates["local"]:
                folder = f"/etc/containers/certs.d/{registry}"
                quoted = shlex.quote(folder)
                return Finding(
                    f"The runner {runner.get('name')} takes images from {registry} and GitLab has a private CA, but "
                    f"Podman has none for {registry}.",
                    (
                        f"config.toml: {image}",
                        f"{folder}: not there",
                        "/usr/local/share/ca-certificates: empty",
                    ),
                    (f"{_if_certificate(ca)} && install -D -m 0644 {shlex.quote(ca)} {quoted}/ca.crt",),
                )
    return None


def _same_domain(registry: str, gitlab: str) -> bool:
    """Whether a registry, which may have a port, is on the host of GitLab or in the domain of that."""
    name, parent = registry.partition(":")[0].lower(), gitlab.partition(".")[2]
    if not name or not gitlab or gitlab == "gitlab.com":
        return False
    # What is right of the first dot of an address, or of a name as short as example.com, is no domain of one owner.
    domain = parent if "." in parent and not re.search(r"\.\d+$", gitlab) else gitlab
    return name == gitlab or f".{name}".endswith(f".{domain}")


@CHECKS.check(
    "ca.expiry",
    WARNING,
    title="A certificate expires soon",
    why="From that day on no job is fetched, or no image.",
    reference="openssl-x509(1)",
)
def ca_expiry(host: Host) -> Optional[Finding]:
    soon = [
        (entry["days"], entry["path"])
        for entry in host.need("certificates")["files"]
        if isinstance(entry["days"], int) and entry["days"] < 30
    ]
    if not soon:
        return None
    days, path = min(soon)
    return Finding(
        f"{path} {'expires in ' + str(days) + ' days' if days >= 0 else 'has expired'}.",
        tuple(f"{name}: {left} days" for left, name in sorted(soon)),
        (f"openssl x509 -in {shlex.quote(path)} -noout -subject -issuer -enddate",),
        severity=ERROR if days < 0 else WARNING,
    )
