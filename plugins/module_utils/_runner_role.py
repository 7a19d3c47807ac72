# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the role runner makes of its variables and of what GitLab answers."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils._config_schema import CHOICES
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._redact import REDACTED

Runner = dict[str, Any]

# The feature flag for a network per build. Podman has no links, by which jobs find their services otherwise.
NETWORK_FLAG = "FF_NETWORK_PER_BUILD"

# ------------------------------------------------------------------------------------------- the variables

# What problems() looks at.
VARIABLES = (
    "runner_api_token",
    "runner_binary_checksum",
    "runner_binary_url",
    "runner_ca_certificates",
    "runner_config_path",
    "runner_create",
    "runner_drain_timeout",
    "runner_install_method",
    "runner_package_files",
    "runner_runners",
    "runner_runners_defaults",
    "runner_token_update",
    "runner_user",
    "runner_working_directory",
)

# In the definition of the service these are more than characters of a path.
_SPECIAL_TO_SYSTEMD = re.compile(r"""[\s"'\\$%]""")

# The directory of config.toml is given to the runner user, so it must be nobody else's.
_SHARED_DIRECTORY = re.compile(
    """
      [^/].*
    | /+[^/]*
    | /(home|usr|var)/[^/]+
    | /usr/local/[^/]+
    | /root/.*
    | /(var/)?run/user/[^/]+
    | /etc/([^/]+[.]d|apt|ca-certificates|containers|default|docker|network|pki|security|ssh|ssl|systemd|xdg)
    """,
    re.VERBOSE,
)


def problems(variables: Mapping[str, Any]) -> list[str]:
    """What is wrong with the variables of the role, without their secrets; nothing if the role can work with them.

    variables: All of VARIABLES.
    """
    return list(_problems(variables))


def _problems(variables: Mapping[str, Any]) -> Iterator[str]:
    path, user = str(variables["runner_config_path"]), str(variables["runner_user"])
    if _SHARED_DIRECTORY.fullmatch(posixpath.normpath(posixpath.dirname(path))):
        yield (
            f"runner_config_path: {path} is in a directory that is not of the runner alone, and the directory of "
            f"config.toml is given to {user}. Move the file into a directory of its own, such as /etc/gitlab-runner, "
            "and name it there."
        )
    for name in ("runner_config_path", "runner_working_directory"):
        if _SPECIAL_TO_SYSTEMD.search(str(variables[name])):
            yield (
                f"{name}: {variables[name]} has a space or another character that is special to systemd (quotes, \\, "
                "$, %); name a path without."
            )
    runners, create = variables["runner_runners"], variables["runner_create"]
    for index, runner in enumerate(runners):
        needs_token = variables["runner_token_update"] != "on_create" and _name(runner) not in create
        for problem in _problems_of_runner(runner, variables["runner_runners_defaults"], needs_token):
            yield f"runner_runners[{index}]{problem}"
    names = {_name(runner) for runner in runners}
    for name in create:
        if name not in names:
            yield f'runner_create["{name}"]: no runner of runner_runners has this name.'
    if create and not variables["runner_api_token"]:
        yield (
            "runner_api_token is missing; runner_create needs an access token with the scope create_runner "
            "(and manage_runner to delete runners)."
        )
    method = variables["runner_install_method"]
    if method == "deb" and len(variables["runner_package_files"] or ()) != 2:
        yield (
            "runner_package_files: name the two files, gitlab-runner_VERSION_ARCH.deb and "
            "gitlab-runner-helper-images_VERSION_all.deb, which must be installed together."
        )
    if method == "binary" and not (variables["runner_binary_url"] and variables["runner_binary_checksum"]):
        yield (
            'runner_binary_url and runner_binary_checksum ("sha256:...") are needed for runner_install_method: binary.'
        )
    for name, text in variables["runner_ca_certificates"].items():
        is_file_name = re.fullmatch("[A-Za-z0-9._-]+", name)
        if text is not None and not (is_file_name and "-----BEGIN CERTIFICATE-----" in str(text)):
            yield (
                f'runner_ca_certificates["{name}"]: the name becomes a file name (letters, digits, ".", "_", "-"), '
                'and the value is a PEM certificate, such as lookup("file", "ca.pem").'
            )
    seconds = variables["runner_drain_timeout"]
    if _integer(seconds) < 1:
        yield (
            f"runner_drain_timeout: {seconds} is not a time that running jobs get to finish; name at least one second. "
            "systemd takes 0 for a wait without an end."
        )
    if user == "root" or not re.fullmatch("[a-z_][a-z0-9_-]{0,31}", user):
        yield (f'runner_user: "{user}" cannot be the runner user; name a user that is not root, such as gitlab-runner.')


def _problems_of_runner(runner: Runner, defaults: Runner, needs_token: bool) -> Iterator[str]:
    """Each begins with what comes after the runner, such as C(.token)."""
    if not _name(runner):
        yield " has no name; a name is how a runner is found again in config.toml."
    if not _is_present(runner):
        return
    whole = {**defaults, **runner}
    token, executor, executors = str(whole.get("token") or ""), whole.get("executor", ""), CHOICES["runners.executor"]
    if not token and needs_token:
        yield (
            ".token is missing; create the runner in GitLab and put its authentication token (glrt-...) there, from a "
            "vault or a lookup."
        )
    elif token.startswith("GR1348941"):
        yield (
            ".token is a registration token, which GitLab has deprecated and a runner cannot work with; create the "
            "runner in GitLab and use its authentication token (glrt-...)."
        )
    elif re.search("[^!-~]", token):
        yield (
            ".token holds a line break or another character that no token has; store it again without, for example by "
            '"ansible-vault encrypt_string --prompt".'
        )
    if not whole.get("url"):
        yield ".url is missing; it is the address of GitLab, such as https://gitlab.example.com."
    elif not re.match(r"https?://|\$", str(whole["url"]), re.IGNORECASE):
        yield ".url has to begin with https:// or http://, such as https://gitlab.example.com."
    if executor not in executors:
        yield (
            f'.executor: "{executor}" is not an executor; for jobs in Podman it is docker. GitLab Runner knows '
            f"{', '.join(executors)}."
        )


def _name(runner: Runner) -> str:
    return str(runner.get("name") or "")


def _is_present(runner: Runner) -> bool:
    return bool(runner.get("state", "present") == "present")


def _integer(value: Any) -> int:
    """A number that may be text, as variables of the command line are; 0 for what is none."""
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return 0


# --------------------------------------------------------------------------------------------- the runners


def wanted(
    runners: Iterable[Runner],
    defaults: Runner,
    *,
    socket: str,
    network_per_build: bool,
    ca_certificates: Mapping[str, Optional[str]],
    ca_file: str,
    ca_volumes: Sequence[str],
    ca_environment: Sequence[str],
    created: Mapping[str, Runner],
    present: Iterable[Runner],
) -> list[Runner]:
    """The listed runners, each with what it needs in the runner user's Podman unless it says otherwise.

    A docker executor gets the socket and a network per build. With certificate authorities a runner trusts them, and a
    docker executor mounts them into its jobs: its helper image installs the one for git, and programs of jobs are told
    by their environment where to look.
    What is switched off or taken back is None, which removes it from config.toml.

    defaults: What each runner has that does not say otherwise. It is looked at and not added: config.toml gets it from
      runner_config.
    socket: The URL of the socket of the Podman.
    ca_certificates: The texts of the certificate authorities by name; None takes one back.
    ca_file, ca_volumes, ca_environment: The file that has them all, and the volumes and the environment by which jobs
      get them.
    created: What GitLab has said of runners that were made just now, by name; see created_fields().
    present: The runners of config.toml, without secrets. The volumes and the environment of one that lists none stay.
      Raises ValueError if a secret is among those and they have to change: what is left of it must not be written.
    """
    trusted = any(text is not None for text in ca_certificates.values())
    in_file = {_name(runner): runner for runner in reversed([*present])}
    found = []
    for runner in runners:
        whole = _merged(defaults, runner)
        docker, flags = table(whole, "docker"), table(whole, "feature_flags")
        uses_docker = _is_present(runner) and whole.get("executor") == "docker"
        added: Runner = {}
        if ca_certificates and _is_present(runner) and "tls-ca-file" not in whole:
            added["tls-ca-file"] = ca_file if trusted else None
        if uses_docker and "host" not in docker:
            added["docker"] = {"host": socket}
        if uses_docker and "network_mode" not in docker and NETWORK_FLAG not in flags:
            added["feature_flags"] = {NETWORK_FLAG: True if network_per_build else None}
        result = _merged({**added, **created.get(_name(runner), {})}, runner)
        if uses_docker and ca_certificates:
            there = in_file.get(_name(runner), {})
            kept = table(there, "docker")
            loses_cache = docker.get("disable_cache", kept.get("disable_cache"))
            # Git would take its variable before what GitLab Runner tells it to trust, which is another file then.
            has_own = whole.get("tls-ca-file") not in (None, ca_file)
            entries = [entry for entry in ca_environment if not (has_own and _variable(entry) == "GIT_SSL_CAINFO")]
            mounts, variables = (ca_volumes, entries) if trusted else ((), ())
            in_docker = kept.get("volumes", [] if loses_cache else ["/cache"])
            in_runner = there.get("environment", [])
            try:
                volumes = _extended("docker.volumes", docker, in_docker, ca_volumes, mounts, _target)
                environment = _extended("environment", whole, in_runner, ca_environment, variables, _variable)
            except ValueError as error:
                raise ValueError(
                    f'the runner "{_name(runner)}" has a secret in {error} of config.toml, so that it cannot be '
                    f"changed for the certificate authorities; list what it has in {error} of the runner"
                ) from None
            if volumes is not None:
                result = _merged(result, {"docker": {"volumes": volumes}})
            if environment is not None:
                result["environment"] = environment or None
        found.append(result)
    return found


def _extended(
    path: str,
    listed: Runner,
    present: Sequence[Any],
    ours: Sequence[str],
    missing: Sequence[str],
    name_of: Callable[[Any], str],
) -> Optional[list[Any]]:
    """A list of config.toml with the items that are missing in it, or without those that were added; None if it stays.

    listed: The table that has it in the list of runners, and the last word then, by the names of the items.
    present: What the file has.
    ours: All items that may have been added.
    """
    key = path.rpartition(".")[2]
    if key in listed:
        items = [] if listed[key] is None else listed[key]
        if not missing or not isinstance(items, list):
            return None
    else:
        items = [item for item in present if item not in ours]
        if not missing and len(items) == len(present):
            return None
    names = {name_of(item) for item in items}
    # Nothing can be mounted below a directory that is read-only, or the host's.
    result = [*items, *(item for item in missing if not names & {*_above(name_of(item))})]
    if key not in listed and REDACTED in str(present):
        if {*map(str, result)} == {*map(str, present)}:
            return None
        raise ValueError(path)
    return result


def _target(volume: Any) -> str:
    """Where a volume is in the container."""
    parts = str(volume).split(":")
    return (parts[1] if len(parts) > 1 else parts[0]).rstrip("/")


def _above(path: str) -> Iterator[str]:
    """A path and all directories above it; a name of a variable is only itself."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _variable(entry: Any) -> str:
    """The name of a variable of C(environment)."""
    return str(entry).partition("=")[0]


def table(runner: Mapping[str, Any], key: str) -> Runner:
    """The table of that name in a runner; an empty one where there is none, or something else."""
    value = runner.get(key)
    return value if isinstance(value, dict) else {}


def _merged(below: Runner, above: Runner) -> Runner:
    """Both, with the tables in them merged; whatever else is in both, such as a list, is that of the second."""
    result = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            result[key] = _merged(below[key], above[key])
    return result


# ------------------------------------------------------------------------------------------ GitLab's answers

# https://docs.gitlab.com/api/users/#create-a-runner-linked-to-a-user and
# https://docs.gitlab.com/api/runners/#delete-a-runner; one that is not there is as good as deleted.
_SUCCESSES = {"created": (201,), "deleted": (204, 404)}


def refusals(results: Iterable[Mapping[str, Any]], done: str) -> list[str]:
    """What GitLab has refused, in its words and without the request, which holds the access token.

    results: Those of ansible.builtin.uri in a loop over runners.
    done: What GitLab was asked for: C(created) or C(deleted).
    """
    found = []
    for result in results:
        status, runner = result.get("status"), result["item"]
        if "skipped" not in result and status not in _SUCCESSES[done]:
            answer = table(result, "json")
            said = answer.get("message", answer.get("error", result.get("msg")))
            which = f'"{runner["name"]}"' + (f" (id {runner['id']})" if done == "deleted" else "")
            found.append(f"GitLab has not {done} the runner {which}: {said} (HTTP status {status})")
    return found


def created_fields(results: Iterable[Mapping[str, Any]], obtained_at: str) -> dict[str, Runner]:
    """What config.toml gets of the runners that GitLab has created, by their names.

    results: As for refusals().
    obtained_at: The time, as GitLab Runner writes it. It asks for a new token when three quarters of the time until
      C(token_expires_at) are over.
    """
    found = {}
    for result in results:
        if result.get("status") in _SUCCESSES["created"]:
            made = result["json"]
            fields = {"id": made["id"], "token": made["token"]}
            if made.get("token_expires_at"):
                fields |= {"token_expires_at": made["token_expires_at"], "token_obtained_at": obtained_at}
            found[str(result["item"]["name"])] = fields
    return found
