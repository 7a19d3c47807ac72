# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a check of the doctor is, and how all of them are run on the facts of one host.

A check is a pure function from facts to a finding. C(_host_facts) gathers the facts, and C(_doctor_checks)
holds the table.
"""

from __future__ import annotations

import operator
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Callable, Optional

ERROR, WARNING, INFO = SEVERITIES = ("error", "warning", "info")
MANAGER_LOSS = "Restarting the user's manager stops every running container of the user."
RESTART_LOSS = "Requests that are being answered are cut off: let running jobs finish first."


class Skip(Exception):
    """Raised by a check that cannot be made; the text says why."""


@dataclass(frozen=True)
class Finding:
    """What is wrong here.

    summary: one sentence with the values that were seen. evidence: what was looked at and what was there.
    remedy: shell commands for root, as they are to be typed. loss: what the remedy destroys or interrupts.
    severity: instead of the check's.
    """

    summary: str
    evidence: tuple[str, ...] = ()
    remedy: tuple[str, ...] = ()
    loss: str = ""
    severity: str = ""


@dataclass(frozen=True)
class Check:
    """One row of the table.

    podman: the versions that it applies to, such as C(>=4,<5); empty for all. applies: the same for
    releases, in words. after: checks whose finding explains one of this check, which then is not reported as well.
    variable: the role variable that puts it right.
    """

    id: str
    severity: str
    function: Callable[[Host], Optional[Finding]]
    title: str
    why: str
    reference: str
    variable: str = ""
    applies: str = "every release"
    podman: str = ""
    after: tuple[str, ...] = ()


class Table(list[Check]):
    """An ordered list of checks that functions are added to by a decorator."""

    def check(
        self, identifier: str, severity: str, **columns: Any
    ) -> Callable[..., Callable[[Host], Optional[Finding]]]:
        def add(function: Callable[[Host], Optional[Finding]]) -> Callable[[Host], Optional[Finding]]:
            self.append(Check(identifier, severity, function, **columns))
            return function

        return add


def version(text: str) -> tuple[int, ...]:
    """The numbers at the beginning of a version: C(4.3.1+ds1) is (4, 3, 1)."""
    found = re.match(r"[^0-9]*(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in found.group(1).split(".")) if found else ()


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


def in_range(text: str, spec: str) -> bool:
    """Whether a version satisfies all comma-separated conditions, such as C(>=4.2,<5)."""
    have = version(text)
    for condition in spec.split(","):
        sign = condition.rstrip("0123456789.")
        wanted = version(condition)
        width = max(len(have), len(wanted))
        left, right = (numbers + (0,) * (width - len(numbers)) for numbers in (have, wanted))
        if not COMPARISONS[sign](left, right):
            return False
    return True


class Host:
    """The facts of one host, as checks ask for them."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    def get(self, path: str, default: Any = None) -> Any:
        """The fact at a path such as C(store.mount.fstype); C(default) where it is null or not known."""
        value: Any = self.facts
        for name in path.split("."):
            if not isinstance(value, dict) or "error" in value:
                return default
            value = value.get(name)
        return default if value is None or (isinstance(value, dict) and "error" in value) else value

    def need(self, path: str) -> Any:
        """The same for a check that cannot be made without it. Raises Skip."""
        value: Any = self.facts
        for name in path.split("."):
            if not isinstance(value, dict):
                raise Skip(f"{path} is not known")
            if "error" in value:
                raise Skip(value["error"])
            value = value.get(name)
        if isinstance(value, dict) and "error" in value:
            raise Skip(value["error"])
        if value is None:
            raise Skip(f"{path} is not known")
        return value

    def sysctl(self, name: str) -> Optional[str]:
        """A kernel parameter; None where the kernel does not have it."""
        return self.facts.get("sysctl", {}).get(name)

    @property
    def user(self) -> str:
        return str(self.need("user.name"))

    @property
    def uid(self) -> int:
        return int(self.need("user.uid"))

    @property
    def gid(self) -> int:
        """The number of the user's primary group, which need not have the name of the user."""
        return int(self.need("user.gid"))

    @property
    def home(self) -> str:
        return str(self.need("user.home"))

    @property
    def runtime_dir(self) -> str:
        return f"/run/user/{self.uid}"

    @property
    def podman(self) -> str:
        """The version of Podman."""
        return str(self.need("podman.version"))

    @property
    def runners(self) -> list[dict[str, Any]]:
        """The sections of config.toml, reduced to what is not secret."""
        return list(self.need("runner.config.runners"))

    @property
    def docker_runners(self) -> list[dict[str, Any]]:
        """Those of them whose jobs run in containers of this host."""
        found = [runner for runner in self.runners if runner.get("executor") == "docker"]
        if not found:
            raise Skip(f"{self.need('runner.config.path')} has no runner with the docker executor")
        return found

    # --- commands of remedies ---

    def as_user(self, command: str) -> str:
        """A command line that root types to run a command as the runner user, in its session."""
        return (
            f"runuser -u {shlex.quote(self.user)} -- env -C / HOME={shlex.quote(self.home)} "
            f"XDG_RUNTIME_DIR={self.runtime_dir} DBUS_SESSION_BUS_ADDRESS=unix:path={self.runtime_dir}/bus "
            f"{command}"
        )

    def systemctl_user(self, arguments: str) -> str:
        return self.as_user(f"systemctl --user {arguments}")

    def install(self, *packages: str) -> str:
        """Install packages; names are Debian's, with the one of Red Hat after a colon where it differs."""
        dnf = self.get("os.family") == "redhat"
        names = [(name.split(":") * 2)[1] if dnf else name.split(":")[0] for name in packages]
        return f"{'dnf' if dnf else 'apt-get'} install --yes {' '.join(map(shlex.quote, names))}"

    def open_controllers(self) -> str:
        """Have systemd give a running user manager the controllers that are delegated to it, and stop nothing.

        After daemon-reload it does so only when it sets up another unit beside the manager.
        """
        return f"systemd-run --quiet --scope --slice=user-{self.uid}.slice true"

    def stop_jobs(self) -> str:
        """Stop the runner; with the unit of the role this waits for running jobs."""
        return f"systemctl stop {shlex.quote(self.facts.get('service', 'gitlab-runner'))}"

    def start_jobs(self) -> str:
        return f"systemctl start {shlex.quote(self.facts.get('service', 'gitlab-runner'))}"

    def edit(self, file: dict[str, Any], *changes: tuple[str, str, Optional[str]]) -> tuple[str, ...]:
        """Commands that change keys of a TOML file.

        Takes the fact about the file and for each change its table (such as C(runners[0].docker), empty for
        the top), its key, and its value in TOML (None removes the key). Where one of them is in no line that a
        command can change, it opens an editor.
        """
        path, prefix = shlex.quote(file["path"]), self._as_owner(file)
        lines = file.get("lines", {})
        scripts: list[list[str]] = []
        created: dict[str, list[str]] = {}
        for table, key, value in changes:
            name, header, text = f"{table}.{key}" if table else key, f"[{table}]", f"{key} = {value}"
            if lines.get(name) == 0 or (name not in lines and value is not None and _closed(lines, table)):
                return self.editor(file, "; ".join(_describe(*change) for change in changes))
            if name in lines:
                scripts.append(_at(lines, name, f"s|=.*|= {sed_text(value)}|" if value is not None else "d"))
            elif value is None:
                continue
            elif header in lines:
                scripts.append(_at(lines, header, f"a {sed_text(text)}"))
            else:
                created.setdefault(table, []).append(text)
        appended: list[str] = []
        # What belongs to no table comes first.
        for table, texts in sorted(created.items()):
            if re.search(r"\[\d+\]", table):
                scripts += _in_section(lines, table, texts)
            elif not table and any(name.startswith("[") for name in lines):
                scripts += [[f"1i {sed_text(text)}"] for text in texts]
            else:
                appended += ([f"[{table}]"] if table else []) + texts
        commands = []
        if scripts:
            options = " ".join(f"-e {shlex.quote(part)}" for script in scripts for part in script)
            commands.append(f"{prefix}sed -i {options} {path}")
        if appended:
            if file.get("exists"):
                # The last line may lack its end.
                appended.insert(0, "")
            else:
                commands += self._make_folder(file)
            commands.append(f"printf '%s\\n' {' '.join(map(shlex.quote, appended))} | {prefix}tee -a {path}")
        return tuple(commands)

    def editor(self, file: dict[str, Any], change: str) -> tuple[str, ...]:
        """Commands that open a file in an editor, for a change in words."""
        command = f"{self._as_owner(file)}${{EDITOR:-vi}} {shlex.quote(file['path'])}  # {printable(change)}"
        return (command,) if file.get("exists") else (*self._make_folder(file), command)

    def _make_folder(self, file: dict[str, Any]) -> tuple[str, ...]:
        return (f"{self._as_owner(file)}mkdir -p {shlex.quote(file['path'].rpartition('/')[0])}",)

    def _as_owner(self, file: dict[str, Any]) -> str:
        """What runs a command as the runner user if a file is in its home directory."""
        return f"runuser -u {shlex.quote(self.user)} -- " if file["path"].startswith(f"{self.home}/") else ""


def printable(text: object) -> str:
    """The text without characters that a terminal would obey, or that end a line: a command would begin there."""
    return "".join(char if char.isprintable() else "\ufffd" for char in str(text))


def _describe(table: str, key: str, value: Optional[str]) -> str:
    """A change of C(edit), for somebody who makes it by hand."""
    return (f"remove {key}" if value is None else f"set {key} = {value}") + (f" in [{table}]" if table else "")


def _closed(lines: dict[str, int], table: str) -> bool:
    """Whether no header can be written for a table, since it or one above it is there in another form."""
    parts = table.split(".")
    above = [".".join(parts[: count + 1]) for count in range(len(parts))]
    return any(
        name in lines or lines.get(f"[{name}]") == 0 or (name.endswith("]") and f"[{name}]" not in lines)
        for name in above
    )


def _in_section(lines: dict[str, int], table: str, texts: list[str]) -> list[list[str]]:
    """Scripts of sed that add a table with some keys to one of several sections, such as C(runners[0])."""
    section = table[: table.rindex("]") + 1]
    tables = [name for name, line in lines.items() if name.startswith(f"[{section}.") and line]
    if tables:
        # It goes before the first table of that section.
        first = min(tables, key=lambda name: lines[name])
        return [_at(lines, first, "i " + "\\n".join([f"[{_plain(table)}]", *map(sed_text, texts)]))]
    # A header would take the keys of the section that follow.
    return [_at(lines, f"[{section}]", f"a {table[len(section) + 1 :]}.{sed_text(text)}") for text in texts]


def set_sysctls(values: dict[str, str]) -> tuple[str, ...]:
    """Commands that set kernel parameters now and at every boot, in a file that is read after the role's."""
    file = "/etc/sysctl.d/61-rootless-doctor.conf"
    lines = " ".join(shlex.quote(f"{name} = {value}") for name, value in values.items())
    return (f"printf '%s\\n' {lines} >> {file}", f"sysctl --load {file}")


def _plain(name: str) -> str:
    """A path of C(lines) as it stands in the file: without the numbers of sections."""
    return re.sub(r"\[\d+\]", "", name)


def _at(lines: dict[str, int], name: str, command: str) -> list[str]:
    """A script of sed that does something at a key or a header.

    It finds the line by what is in it. Where that is not unique the number counts as well, so that nothing is done to
    another line when the file has changed since.
    """
    if name.startswith("["):
        same = [other for other in lines if other.startswith("[") and _plain(other[1:-1]) == _plain(name[1:-1])]
        pattern = rf"^[[:space:]]*\[\[\?[[:space:]]*{re.escape(_plain(name[1:-1]))}[[:space:]]*\]"
    else:
        key = name.rpartition(".")[2]
        same = [other for other in lines if not other.startswith("[") and other.rpartition(".")[2] == key]
        pattern = rf"^[[:space:]]*[\"']\?{re.escape(key)}[\"']\?[[:space:]]*="
    if len(same) == 1:
        return [f"/{pattern}/{command}"]
    return [f"{lines[name]}{{/{pattern}/{command}", "}"]


def sed_text(text: str) -> str:
    """Text for the right side of sed's C(s|||), or for its commands C(a) and C(i)."""
    return re.sub(r"([\\&|\n])", r"\\\1", text)


def sed_pattern(text: str) -> str:
    """Text for the left side of sed's C(s|||), or for an address C(\\|...|)."""
    return re.sub(r"([\\.*^$\[\]|])", r"\\\1", text).replace("\n", "\\n")


def run(checks: Iterable[Check], facts: dict[str, Any]) -> dict[str, list[Any]]:
    """Run every check.

    Returns C(findings) (most severe first, otherwise in the order of the table), C(skipped_checks) (C(id) and
    C(reason)) and C(passed_checks) (ids). Each id is in exactly one of them.
    """
    host = Host(facts)
    findings: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    passed: list[str] = []
    explained: dict[str, str] = {}
    for check in checks:
        try:
            found = _run_one(check, host, explained)
        except Skip as error:
            skipped.append({"id": check.id, "reason": str(error)})
        except Exception as error:
            # A host can hold anything; one odd file must not keep the other checks from being made.
            skipped.append(
                {
                    "id": check.id,
                    "reason": f"what was found could not be judged ({type(error).__name__}: {error})",
                }
            )
        else:
            if found is None:
                passed.append(check.id)
            else:
                findings.append(
                    {
                        "id": check.id,
                        "severity": found.severity or check.severity,
                        "title": check.title,
                        "summary": found.summary,
                        "evidence": list(found.evidence),
                        "remedy": list(found.remedy),
                        "loss": found.loss,
                        "variable": check.variable,
                        "reference": check.reference,
                    }
                )
    findings.sort(key=lambda entry: SEVERITIES.index(entry["severity"]))
    return {"findings": findings, "skipped_checks": skipped, "passed_checks": passed}


def _run_one(check: Check, host: Host, found: dict[str, str]) -> Optional[Finding]:
    """Run one check. C(found) has the checks that have found something, and for each the one that explains it."""
    if check.podman and not in_range(host.podman, check.podman):
        raise Skip(f"does not apply to Podman {host.podman} (applies to {check.podman})")
    finding = check.function(host)
    if finding:
        cause = next((found[identifier] for identifier in check.after if identifier in found), None)
        found[check.id] = cause or check.id
        if cause:
            raise Skip(f"follows from {cause}")
    return finding
