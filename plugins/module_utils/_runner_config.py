# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""GitLab Runner's config.toml: check wanted data against the known keys, and merge it into the file's text.

Two steps, because the second may have to be repeated when the file changes meanwhile: prepare() turns the
options of the module into a Request, apply() merges a Request into a text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _toml, _toml_edit
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._config_schema import (
    CHOICES,
    DEPRECATED,
    FEATURE_FLAGS,
    SCHEMA,
    VERSION,
)
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._redact import (
    REDACTED,
    is_secret_key,
    redact_data,
    redact_string,
)
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._toml import Data, Equivalent, ExactKeys

INDENT = "  "  # what GitLab Runner itself writes

# GitLab Runner reads these at its start only; all else it re-reads by itself within 3 s.
RESTART_KEYS = ("listen_address", "session_server", "connection_max_age")

ACKNOWLEDGEMENTS = ("privileged", "socket_mount", "host_network", "ssl_no_verify")

# Smaller numbers stop GitLab Runner, or are refused by it.
_MINIMUM = {"concurrent": 1, "runners.request_concurrency": 1}

# What an executor cannot work without, as paths below [[runners]].
_REQUIRED = ("url", "token", "executor")
_REQUIRED_BY_EXECUTOR: dict[str, tuple[str, ...]] = {
    "custom": ("custom.run_exec",),
    "docker-autoscaler": ("autoscaler.plugin",),
    "docker+machine": ("machine.MachineDriver", "machine.MachineName"),
    "instance": ("autoscaler.plugin",),
    "parallels": ("parallels.base_name",),
    "ssh": ("ssh.host",),
    "virtualbox": ("virtualbox.base_name",),
}
# What GitLab Runner writes when the server exchanges a token.
_OF_TOKEN = ("token", "token_obtained_at", "token_expires_at")
# Executors that start containers; without docker.image only jobs work that name their own image.
_DOCKER_EXECUTORS = ("docker", "docker-windows", "docker-autoscaler", "docker+machine")

_ROOTLESS_HOST = re.compile(r"unix://(?:/var)?/run/user/\d+/")
# The socket itself, or a directory that it is in, as the source of a volume.
_SOCKET = re.compile(r"(?:docker|podman)\.sock(?:$|[:/])|^(?:/var)?/run(?:/podman|/user(?:/\d+(?:/podman)?)?)?/*:|^/+:")
_LABEL_KEY = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{2,64}")
_LABEL_VALUE = re.compile(r"[a-zA-Z0-9._-]{1,256}")

# What stands for a secret in what modules return: this collection's and Ansible's words for it, and asterisks in place
# of a part. A script may have asterisks of its own.
_STANDS_FOR_SECRET = re.compile(rf"{REDACTED}|VALUE_SPECIFIED_IN_NO_LOG_PARAMETER|(?<!\*)\*{{8}}(?!\*)")
_STANDS_FOR_SECRET_IN_SCRIPT = re.compile(rf"{REDACTED}|VALUE_SPECIFIED_IN_NO_LOG_PARAMETER")

_DURATION = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|[+-]?0")
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


class ConfigError(Exception):
    """The wanted data is nothing that GitLab Runner understands, or does not fit to the file."""


class Request:
    """What is wanted of the file, checked and converted."""

    def __init__(self) -> None:
        self.settings: Data = {}
        self.runners: list[Data] = []
        self.absent: list[Data] = []
        self.purge = False
        self.keep_tokens = False
        self.cache_volume = False
        self.acknowledge: Sequence[str] = ()
        self.warnings: list[str] = []


class Outcome:
    """A text with a request merged into it, and what that means."""

    def __init__(self, text: str, before: Data, after: Data) -> None:
        self.text = text
        self.before = before
        self.after = after
        self.added: list[str] = []
        self.updated: list[str] = []
        self.removed: list[str] = []
        self.unmanaged: list[str] = []
        self.tokens_kept: list[str] = []
        self.warnings: list[str] = []

    @property
    def runners(self) -> list[Data]:
        """Name, id, url and executor of each runner, without secrets."""
        return [
            {
                "name": name_of(runner),
                **{key: redact_data(lookup(runner, key), key) for key in ("id", "url", "executor")},
            }
            for runner in runners_of(self.after)
        ]

    @property
    def restart_reasons(self) -> list[str]:
        """The keys that have changed and that a running GitLab Runner does not read again."""
        return [key for key in RESTART_KEYS if not _toml.same(lookup(self.before, key), lookup(self.after, key))]


# ------------------------------------------------------------------------------------------------------- data


def lookup(data: Any, path: str) -> Any:
    """The value at a dotted path, where keys match as GitLab Runner matches them; None if there is none."""
    for key in path.split("."):
        if not isinstance(data, dict):
            return None
        data = data.get(_toml.spelling(data, key, {}, True))
    return data


def runners_of(data: Data) -> list[Data]:
    """The [[runners]] of a file's data."""
    runners = lookup(data, "runners")
    return [runner for runner in runners if isinstance(runner, dict)] if isinstance(runners, list) else []


def name_of(runner: Data) -> str:
    """The name of a runner of a file; empty if it has none, or something else in its place."""
    name = lookup(runner, "name")
    return name if isinstance(name, str) else ""


def nanoseconds(value: Any) -> Optional[int]:
    """The nanoseconds of a duration in Go's form ("1h30m") or as an integer, else None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        return None
    total = sum(float(number) * _NANOSECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    return -round(total) if value.startswith("-") else round(total)


def _deep_merge(defaults: Data, wanted: Data) -> Data:
    """Wanted data over defaults; null counts as wanted. The order of keys is that of the wanted data."""
    merged: Data = ExactKeys() if isinstance(wanted, ExactKeys) else {}
    for key, value in wanted.items():
        default = defaults.get(key)
        merged[key] = _deep_merge(default, value) if isinstance(value, dict) and isinstance(default, dict) else value
    for key, value in defaults.items():
        merged.setdefault(key, value)
    return merged


# ------------------------------------------------------------------------------------------------ the schema


class Checker:
    """Checks data against the schema and converts it; collects what it finds.

    C(strict) refuses what would have to be converted, as GitLab Runner does when it reads a file.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.unknown: list[str] = []
        self.errors: list[str] = []
        self.deprecated: list[str] = []
        self.warnings: list[str] = []
        self.stand_ins = False

    def table(self, data: Data, schema: Data, path: str, owner: str) -> Data:
        """A table with the keys and types of the schema. C(owner) starts each message ("runner 'a': ")."""
        checked: Data = {}
        for key, value in data.items():
            name = _schema_key(schema, key)
            if name is None:
                self.unknown.append(f"{owner}{_join(path, key)}{_hint(schema, key)}")
                checked[key] = value
                continue
            if name in checked:
                self.errors.append(f"{owner}{_join(path, key)} is there twice, in different case")
            checked[name] = self.value(value, schema[name], _join(path, name), owner)
        return checked

    def value(self, value: Any, schema: Any, path: str, owner: str) -> Any:
        """A value in the type of the schema. None stays None: it removes a key."""
        if value is None:
            return None
        if path in DEPRECATED:
            self.deprecated.append(f"{owner}{path} ({DEPRECATED[path]})")
        if isinstance(schema, dict):
            if isinstance(value, dict):
                return self.table(value, schema, path, owner)
            return self.mistyped(value, "a table", path, owner)
        if isinstance(schema, list):
            if isinstance(value, list) and all(isinstance(item, dict) for item in value):
                return [self.table(item, schema[0], path, owner) for item in value]
            return self.mistyped(value, "a list of tables", path, owner)
        if schema.startswith("map of "):
            return self.map(value, schema[7:], path, owner)
        if schema.startswith("array of "):
            return self.array(value, schema[9:], path, owner)
        if schema == "string or array of string":
            return self.string_or_array(value, path, owner)
        return self.scalar(value, schema, path, owner)

    def map(self, value: Any, kind: str, path: str, owner: str) -> Any:
        if not isinstance(value, dict):
            return self.mistyped(value, "a table", path, owner)
        if kind == "any":
            return _exact(value)
        if path == "runners.feature_flags":
            for flag in value:
                self.flag(flag, path, owner)
        if path in ("labels", "runners.labels"):
            for key, label in value.items():
                if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(str(label)):
                    self.errors.append(f"{owner}{path} has a label that GitLab Runner refuses: {key}")
        result = ExactKeys()
        for key, item in value.items():
            result[key] = None if item is None else self.value(item, kind, _join(path, key), owner)
        return result

    def flag(self, flag: str, path: str, owner: str) -> None:
        if flag not in FEATURE_FLAGS:
            self.unknown.append(f"{owner}{_join(path, flag)}{_hint(FEATURE_FLAGS, flag)}")
        elif FEATURE_FLAGS[flag]:
            self.deprecated.append(f"{owner}{_join(path, flag)} ({FEATURE_FLAGS[flag]})")

    def array(self, value: Any, kind: str, path: str, owner: str) -> Any:
        if not isinstance(value, list):
            return self.mistyped(value, "a list", path, owner)
        return [self.scalar(item, kind, path, owner) for item in value]

    def string_or_array(self, value: Any, path: str, owner: str) -> Any:
        if isinstance(value, list):
            wanted = self.array(value, "string", path, owner)
            as_list = wanted
        else:
            wanted = self.scalar(value, "string", path, owner)
            as_list = [wanted]
        return Equivalent(wanted, lambda old: (old if isinstance(old, list) else [old]) == as_list)

    def scalar(self, value: Any, kind: str, path: str, owner: str) -> Any:
        converted = _convert(value, kind)
        if converted is None or (self.strict and kind != "float" and type(converted) is not type(value)):
            return self.mistyped(value, _KINDS[kind], path, owner)
        choices = CHOICES.get(path)
        if choices and converted not in choices:
            close = difflib.get_close_matches(str(converted), choices, 1)
            hint = f", did you mean '{close[0]}'?" if close else ""
            known = ", ".join(f"'{choice}'" for choice in choices)
            self.errors.append(f"{owner}{path} is '{converted}'{hint} Known are {known}")
        if path in _MINIMUM and converted < _MINIMUM[path]:
            self.errors.append(f"{owner}{path} is {converted}, but has to be at least {_MINIMUM[path]}")
        if path == "runners.token" and (" " in converted or not converted.isprintable()):
            self.errors.append(
                f"{owner}{path} holds whitespace or a control character, such as a line break at its end. Store it"
                " again without, for example by 'ansible-vault encrypt_string --prompt'"
            )
        if kind != "duration":
            return converted
        length = nanoseconds(converted) or 0
        if isinstance(converted, int) and 0 < converted < 10**6:
            self.warnings.append(
                f"{owner}{path} is {converted}, and numbers are nanoseconds there;"
                f" for {converted} seconds write '{converted}s'."
            )
        return Equivalent(converted, lambda old: nanoseconds(old) == length)

    def mistyped(self, value: Any, wanted: str, path: str, owner: str) -> Any:
        self.errors.append(f"{owner}{path} has to be {wanted}, but is {_kind_of(value)}{_shown(value, path)}")
        return value

    def redacted(self, value: Any, path: str, owner: str) -> None:
        """Find what was read without its secrets, and would be written so."""
        if isinstance(value, dict):
            for key, item in value.items():
                self.redacted(item, _join(path, str(key)), owner)
        elif isinstance(value, (list, tuple)):
            for item in value:
                self.redacted(item, path, owner)
        elif isinstance(value, str):
            found = (_STANDS_FOR_SECRET_IN_SCRIPT if path.endswith("_script") else _STANDS_FOR_SECRET).search(value)
            if found:
                self.errors.append(f"{owner}{path} holds {found[0]}, which stands for a secret and is no value")
                self.stand_ins = True


_KINDS = {
    "string": "a string",
    "boolean": "true or false",
    "integer": "an integer",
    "float": "a number",
    "duration": "a duration with its unit, such as '1h30m' or '30s'",
    "datetime": "a date with time and zone, such as '2026-01-31T12:00:00Z'",
}


def _convert(value: Any, kind: str) -> Any:
    """A scalar in the type of the schema if that is possible without loss, else None."""
    if kind == "string":
        if isinstance(value, str):
            return value
        return None if isinstance(value, (bool, list, dict)) or value is None else str(value)
    if kind == "boolean":
        if isinstance(value, str):
            return {"true": True, "false": False}.get(value.lower())
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if kind == "integer":
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value):
            return int(value)
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return int(value)
        return value if isinstance(value, int) and abs(value) < 1 << 63 else None
    if kind == "float":
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?", value):
            return float(value)
        return float(value) if isinstance(value, (int, float)) and abs(value) < 2**53 else None
    if kind == "duration":
        if isinstance(value, int):
            return value if abs(value) < 1 << 63 else None
        return value if isinstance(value, str) and nanoseconds(value) is not None else None
    moment = _toml.parse_date_time(value) if isinstance(value, str) else value
    return moment if isinstance(moment, datetime) and moment.tzinfo is not None else None


def _kind_of(value: Any) -> str:
    for kind, name in (
        (bool, "a boolean"),
        (str, "a string"),
        (int, "an integer"),
        (float, "a number"),
        (list, "a list"),
        (dict, "a table"),
    ):
        if isinstance(value, kind):
            return name
    return "a date or time"


def _shown(value: Any, path: str) -> str:
    """The value at a path for a message, if it is no secret. What else is in a table or a list may be one."""
    key = path.rpartition(".")[2].strip("\"'")
    if isinstance(value, (dict, list)) or is_secret_key(key):
        return ""
    text = redact_string(str(value), key)
    return f": {text}" if len(text) <= 40 else f": {text[:37]}..."


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return ExactKeys((key, _exact(item)) for key, item in value.items())
    return value


def _join(path: str, key: str) -> str:
    name = _toml.format_key(key)
    return f"{path}.{name}" if path else name


def _schema_key(schema: Data, key: str) -> Optional[str]:
    """The schema's spelling of a key: the exact one, else one that differs in case only."""
    if key in schema:
        return key
    folded = key.lower()
    return next((name for name in schema if name.lower() == folded), None)


def _hint(schema: Any, key: str) -> str:
    close = difflib.get_close_matches(key, list(schema), 1)
    if not close:
        # Another case must not make a key unlike its right spelling.
        folded = {name.lower(): name for name in schema}
        close = [folded[name] for name in difflib.get_close_matches(key.lower(), list(folded), 1)]
    if close:
        return f", did you mean '{close[0]}'?"
    places = [path for path in _places(SCHEMA, key.lower(), "") if path]
    return f", which is a key of {' and '.join(places[:3])}" if places else ""


def _places(schema: Any, key: str, path: str) -> list[str]:
    """The tables of the whole schema that have a key."""
    if isinstance(schema, list):
        schema = schema[0]
    if not isinstance(schema, dict):
        return []
    found = [f"[{path}]" if path else "the top level"] if any(name.lower() == key for name in schema) else []
    for name, inner in schema.items():
        found += _places(inner, key, _join(path, name))
    return found


# ----------------------------------------------------------------------------------------------- the request


def prepare(
    settings: Data,
    runners: Sequence[Data],
    defaults: Data,
    *,
    purge: bool = False,
    token_update: str = "always",
    cache_volume: bool = False,
    unknown_keys: str = "fail",
    acknowledge: Sequence[str] = (),
) -> Request:
    """Check the options of the module against the schema. Raises ConfigError that names every fault."""
    request = Request()
    request.purge = purge
    request.keep_tokens = token_update == "on_create"
    request.cache_volume = cache_volume
    request.acknowledge = acknowledge
    checker = Checker()
    schema = SCHEMA["runners"][0]
    if any(key.lower() == "runners" for key in settings):
        raise ConfigError("settings has the key 'runners': list the runners in the option runners")
    for key in ("name", "id", "state"):
        if lookup(defaults, key) is not None:
            raise ConfigError(f"runner_defaults has the key '{key}', which belongs to a single runner")
    checker.redacted(settings, "", "settings: ")
    request.settings = checker.table(settings, SCHEMA, "", "settings: ")
    checker.redacted(defaults, "runners", "runner_defaults: ")
    checked_defaults = checker.table(defaults, schema, "runners", "runner_defaults: ")
    names: set[str] = set()
    for number, runner in enumerate(runners, 1):
        wanted = dict(runner)
        state = wanted.pop("state", None) or "present"
        name = wanted.get("name")
        if not isinstance(name, str) or not name:
            raise ConfigError(f"runner {number} of the list has no name; every runner needs one, as a string")
        if name in names:
            raise ConfigError(f"the runner '{name}' is listed twice")
        names.add(name)
        checker.redacted(wanted, "runners", f"runner '{name}': ")
        if state not in ("present", "absent"):
            raise ConfigError(f"runner '{name}': state has to be present or absent, but is '{state}'")
        if state == "absent":
            request.absent.append({"name": name})
        else:
            checked = checker.table(wanted, schema, "runners", f"runner '{name}': ")
            request.runners.append(_deep_merge(checked_defaults, checked))
    if checker.stand_ins:
        checker.errors.append("give the values themselves; a key that is not listed stays as it is in the file")
    if checker.errors:
        raise ConfigError("; ".join(checker.errors))
    if checker.unknown and unknown_keys != "ignore":
        text = f"unknown to GitLab Runner {VERSION}: {'; '.join(checker.unknown)}"
        if unknown_keys == "fail":
            raise ConfigError(f"{text} (unknown_keys: warn or ignore lets them pass)")
        request.warnings.append(f"Keys {text}.")
    if checker.deprecated:
        request.warnings.append(f"Deprecated in GitLab Runner {VERSION}: {'; '.join(checker.deprecated)}.")
    request.warnings += checker.warnings
    return request


# ---------------------------------------------------------------------------------------------- the outcome


def apply(content: Optional[bytes], request: Request) -> Outcome:
    """Merge a request into the bytes of a file (None: there is no file).

    Raises TomlError (the file cannot be read) and ConfigError (the request does not fit to it).
    """
    document = _toml.parse(_toml.decode(content or b""))
    before = document.data
    present = runners_of(before)
    _check_names(document, present)
    outcome = Outcome(document.text, before, before)
    plan, removed = _plan(request, document, present, outcome)
    after_runners = _toml.merge_tables(present, plan, removed, True)
    after = _toml.merge(before, request.settings, True)
    key = _toml.spelling(before, "runners", {}, True)
    if after_runners:
        after[key] = after_runners
    elif present:
        del after[key]
    outcome.after = after
    # Runners that stay keep their order, and new ones follow: so they pair with the names of the plan.
    kept = [index for index in range(len(present)) if index not in removed]
    final = {index: after_runners[place] for place, index in enumerate(kept)}
    created = iter(after_runners[len(kept) :])
    problems: list[str] = []
    for index, wanted in plan:
        runner = next(created) if index is None else final[index]
        problems += _missing(runner, outcome) + _dangers(runner, request.acknowledge)
        if index is None:
            outcome.added.append(wanted["name"])
        elif not _toml.same(present[index], runner):
            outcome.updated.append(wanted["name"])
    if problems:
        raise ConfigError("; ".join(problems))
    editor = _toml_edit.Editor(document, INDENT, fold_case=True)
    editor.merge(request.settings)
    editor.merge_tables(key, plan, removed)
    outcome.text = editor.text()
    if outcome.text != document.text:
        _toml_edit.verify(outcome.text, after)
    return outcome


def _check_names(document: _toml.Document, present: list[Data]) -> None:
    """Two runners of one name could not be told apart."""
    seen: dict[str, int] = {}
    for index, runner in enumerate(present):
        name = name_of(runner)
        if name:
            if name in seen:
                lines = " and ".join(f"line {_line(document, number)}" for number in (seen[name], index))
                raise ConfigError(f"two [[runners]] have the name '{name}', in {lines}; rename one of them")
            seen[name] = index


def _line(document: _toml.Document, index: int) -> int:
    """The line of a runner in the file."""
    node = document.root.items[_toml.spelling(document.root.items, "runners", {}, True)]
    if isinstance(node, _toml.Tables):
        host = node.tables[index].host
        return document.line(host.start) if isinstance(host, _toml.Section) else 1
    items = node.items if isinstance(node, _toml.Value) else None
    return document.line(items[index].start) if items else 1


def _plan(
    request: Request, document: _toml.Document, present: list[Data], outcome: Outcome
) -> tuple[_toml.Plan, list[int]]:
    """Pair the wanted runners with the present ones: by name, else by server and id (and then rename)."""
    by_name = {name_of(runner): index for index, runner in enumerate(present)}
    by_id: dict[int, list[int]] = {}
    for place, runner in enumerate(present):
        number = lookup(runner, "id")
        if isinstance(number, int) and not isinstance(number, bool) and number:
            by_id.setdefault(number, []).append(place)
    plan: _toml.Plan = []
    used: dict[int, str] = {}
    for wanted in request.runners:
        name = wanted["name"]
        index = by_name.get(name)
        # Each server counts for itself.
        server = _server(wanted) or (_server(present[index]) if index is not None else None)
        same_id = [
            other
            for other in by_id.get(wanted.get("id") or 0, [])
            if server is None or _server(present[other]) in (server, None)
        ]
        if index is None and len(same_id) > 1:
            lines = " and ".join(f"line {_line(document, other)}" for other in same_id)
            raise ConfigError(
                f"the id {wanted['id']} of the runner '{name}' belongs to runners in {lines}; list its url, or the name"
                " that it has in the file"
            )
        if index is None and same_id:
            index = same_id[0]
        elif same_id and index not in same_id:
            raise ConfigError(
                f"the runner '{name}' is in the file, and its id {wanted['id']} belongs to another runner of"
                f" the file, '{name_of(present[same_id[0]])}'"
            )
        if index is not None:
            if index in used:
                raise ConfigError(f"the runners '{used[index]}' and '{name}' both mean the same section of the file")
            used[index] = name
            wanted = _with_token(wanted, present[index], request, outcome)
        if request.cache_volume:
            wanted = _with_cache(wanted, {} if index is None else present[index])
        plan.append((index, wanted))
    removed = []
    for runner in request.absent:
        index = by_name.get(runner["name"])
        if index is not None and index not in used:
            removed.append(index)
    for index in range(len(present)):
        if index not in used and index not in removed:
            if request.purge:
                removed.append(index)
            else:
                outcome.unmanaged.append(name_of(present[index]))
    outcome.removed = [name_of(present[index]) for index in sorted(removed)]
    return plan, sorted(removed)


def _server(runner: Data) -> Optional[str]:
    """The address of a runner's server; None if it has none."""
    url = lookup(runner, "url")
    return url.rstrip("/") if isinstance(url, str) else None


def _with_token(wanted: Data, present: Data, request: Request, outcome: Outcome) -> Data:
    """The wanted runner without its token, and the times of that, if the one that is there has to stay."""
    token = lookup(present, "token")
    if not token or wanted.get("token") is None or wanted["token"] == token:
        return wanted
    if request.keep_tokens:
        outcome.tokens_kept.append(wanted["name"])
        return {key: value for key, value in wanted.items() if key not in _OF_TOKEN}
    expires = lookup(present, "token_expires_at")
    if isinstance(expires, datetime) and expires.year > 1:
        outcome.warnings.append(
            f"The token of the runner '{wanted['name']}' has an expiry date, so that GitLab Runner rotates"
            " it. It was replaced by the listed one; if that may be older, use token_update: on_create."
        )
    return wanted


def _with_cache(wanted: Data, present: Data) -> Data:
    """The wanted runner with the volume for caches that GitLab Runner itself writes, where nobody names volumes."""
    docker, there = wanted.get("docker", {}), lookup(present, "docker")
    is_known = docker is None or "volumes" in docker or lookup(there, "volumes") is not None
    if (
        is_known
        or wanted.get("executor", lookup(present, "executor")) != "docker"
        or docker.get("disable_cache", lookup(there, "disable_cache"))
    ):
        return wanted
    return {**wanted, "docker": {**docker, "volumes": ["/cache"]}}


def _missing(runner: Data, outcome: Outcome) -> list[str]:
    """What GitLab Runner needs for this runner but does not find; an image is only recommended."""
    name, executor = lookup(runner, "name"), lookup(runner, "executor")
    needed = _REQUIRED + _REQUIRED_BY_EXECUTOR.get(executor if isinstance(executor, str) else "", ())
    missing = [path for path in needed if lookup(runner, path) in (None, "")]
    if executor in _DOCKER_EXECUTORS and not lookup(runner, "docker.image"):
        outcome.warnings.append(
            f"The runner '{name}' has no docker.image: jobs that do not name an image of their own fail."
        )
    if not missing:
        return []
    for_executor = f" with the executor {executor}" if executor else ""
    return [f"runner '{name}'{for_executor} lacks {', '.join(missing)}"]


def _dangers(runner: Data, acknowledged: Sequence[str]) -> list[str]:
    """The settings of a runner that open the host to its jobs and that are not acknowledged."""
    found: dict[str, str] = {}
    host = lookup(runner, "docker.host")
    rootless = isinstance(host, str) and _ROOTLESS_HOST.match(host) is not None
    for key in ("privileged", "services_privileged"):
        if lookup(runner, f"docker.{key}") is True and not rootless:
            found["privileged"] = (
                f"docker.{key} = true with docker.host = {host!r}, which is no rootless socket"
                " (unix:///run/user/<uid>/...): a job can take over the host"
            )
    volumes = lookup(runner, "docker.volumes")
    for volume in volumes if isinstance(volumes, list) else []:
        if isinstance(volume, str) and _SOCKET.search(volume):
            found["socket_mount"] = f"docker.volumes has {volume!r}: a job can control all containers of the host"
    if lookup(runner, "docker.network_mode") == "host":
        found["host_network"] = "docker.network_mode is 'host': a job reaches what listens on loopback"
    environment = lookup(runner, "environment")
    for entry in environment if isinstance(environment, list) else []:
        if isinstance(entry, str) and entry.startswith("GIT_SSL_NO_VERIFY="):
            found["ssl_no_verify"] = "environment has GIT_SSL_NO_VERIFY: certificates are not checked"
    return [
        f"runner '{lookup(runner, 'name')}': {text}. If that is meant, add '{name}' to acknowledge"
        for name, text in found.items()
        if name not in acknowledged
    ]


# --------------------------------------------------------------------------------------------------- reports


def inspect(data: Data) -> dict[str, list[str]]:
    """What is odd about a file's data: C(unknown) and C(deprecated) keys, and C(invalid) values."""
    checker = Checker(strict=True)
    globals_only = {key: value for key, value in data.items() if key.lower() != "runners"}
    checker.table(globals_only, SCHEMA, "", "")
    checker.redacted(globals_only, "", "")
    if not isinstance(lookup(data, "runners") or [], list):
        checker.mistyped(lookup(data, "runners"), "a list of tables, [[runners]]", "runners", "")
    for number, runner in enumerate(runners_of(data), 1):
        owner = f"runner '{name_of(runner)}': " if name_of(runner) else f"runner {number}: "
        checker.table(runner, SCHEMA["runners"][0], "runners", owner)
        checker.redacted(runner, "runners", owner)
    return {"unknown": checker.unknown, "deprecated": checker.deprecated, "invalid": checker.errors}


def public_runners(data: Data) -> list[Data]:
    """The runners of a file's data without secrets. A name stays as it is: a runner is found again by it."""
    found = []
    for runner in runners_of(data):
        public = redact_data(runner)
        if name_of(runner):
            public[_toml.spelling(runner, "name", {}, True)] = name_of(runner)
        found.append(json_data(public))
    return found


def drift(before: Data, after: Data) -> list[Data]:
    """The differences of two data of a file as a list of C(path), C(before) and C(after), without secrets.

    A key that is not there is None. Runners count as tables with their name as key.
    """
    found: list[Data] = []
    _differ("", _by_name(before), _by_name(after), "", found)
    return found


def _by_name(data: Data) -> Data:
    named = {key: value for key, value in data.items() if key.lower() != "runners"}
    for number, runner in enumerate(runners_of(data), 1):
        named[f"runners[{name_of(runner) or number}]"] = runner
    return named


def _differ(path: str, before: Any, after: Any, key: str, found: list[Data]) -> None:
    if _toml.same(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            inner = name if name.startswith("runners[") else _join("", name)
            _differ(f"{path}.{inner}" if path else inner, before.get(name), after.get(name), name, found)
    else:
        found.append({"path": path, "before": redact_data(before, key), "after": redact_data(after, key)})


def json_data(data: Any) -> Any:
    """Nested data with dates and times as strings, as a module can return it."""
    if isinstance(data, dict):
        return {key: json_data(value) for key, value in data.items()}
    if isinstance(data, list):
        return [json_data(value) for value in data]
    if data is None or isinstance(data, (str, bool, int, float)):
        return data
    return _toml.format_value(data)
