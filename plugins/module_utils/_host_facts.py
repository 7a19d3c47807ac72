# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Gather what is true of a host, without changing it.

Each fact is gathered by a small function of its own. What cannot be found out becomes C({"error": reason})
in its place. Podman is only run where its store exists already, because every Podman command, even C(podman
info), creates one.
"""

from __future__ import annotations

import bisect
import concurrent.futures
import contextlib
import errno
import glob
import grp
import http.client
import json
import os
import platform
import pwd
import re
import shlex
import signal
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterable, Iterator
from typing import Any, Callable, Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _redact, _subid, _toml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor import version

# Seconds until a command counts as hanging, and until a search of the store or of the journal is given up.
TIMEOUT = 8.0
SEARCH_TIME = 1.5
# A Podman that hangs is an error of the host, one that a busy host keeps waiting is none.
PODMAN_INFO_TIMEOUT = 30.0

SYSCTLS = (
    "fs.inotify.max_user_instances",
    "fs.inotify.max_user_watches",
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.keys.maxbytes",
    "kernel.keys.maxkeys",
    "kernel.unprivileged_userns_clone",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "user.max_user_namespaces",
    "vm.max_map_count",
)
COMMANDS = (
    "aardvark-dns", "crun", "fuse-overlayfs", "gitlab-runner", "iptables", "netavark", "nft", "pasta",
    "podman", "rootless-podman", "slirp4netns",
)  # fmt: skip
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SYSTEM_STORAGE_CONF = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
# What Podman reads in place of a resolv.conf whose only server is the one of systemd-resolved or NetworkManager.
BEHIND_STUB = {
    "127.0.0.53": "/run/systemd/resolve/resolv.conf",
    "127.0.0.1": "/run/NetworkManager/no-stub-resolv.conf",
}
HELPER_DIRS = ("/usr/libexec/podman", "/usr/lib/podman", "/usr/local/libexec/podman", "/usr/local/lib/podman")

# The keys of config.toml that checks look at. Everything else stays on the host: it may be secret.
RUNNER_KEYS = ("name", "executor", "feature_flags", "limit", "tls-ca-file")
DOCKER_KEYS = (
    "cache_dir", "cpus", "cpuset_cpus", "devices", "disable_cache", "dns", "helper_image", "host", "image",
    "memory", "network_mode", "privileged", "pull_policy", "security_opt", "shm_size", "ulimit", "volumes",
)  # fmt: skip
PUBLIC_ENVIRONMENT = ("FF_NETWORK_PER_BUILD", "GIT_SSL_NO_VERIFY", "DOCKER_HOST", "DOCKER_API_VERSION", "SSL_CERT_FILE")
PRUNES = r"podman.* prune|clear-docker-cache"

Fact = Any


class HostError(Exception):
    """A fact could not be gathered; the text says why."""


class Hangs(HostError):
    """A command took too long."""


def redact(value: Fact, key: str = "") -> Fact:
    """A fact without the secrets in its strings. Numbers stay: under the key of a secret they say where it is."""
    if isinstance(value, str):
        return _redact.redact_string(value, key)
    if isinstance(value, dict):
        return {name: redact(item, nearest) for name, item, nearest in _redact.nearest_keys(value, key)}
    if isinstance(value, (list, tuple)):
        return [redact(item, nearest) for item, nearest in zip(value, _redact.item_keys(value, key))]
    return value


# --- parsers ---


def subid_lines(text: str) -> list[dict[str, Any]]:
    """The lines of a subuid(5) or subgid(5) file: owner (name or id), start, count, number of the line."""
    return [
        {"owner": entry.owner, "start": entry.range.start, "count": entry.range.count, "line": entry.line}
        for entry in _subid.parse(text, "")[0]
    ]


def parse_properties(text: str) -> list[dict[str, str]]:
    """The blocks that C(systemctl show) prints for several units."""
    return [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.strip().split("\n\n")
    ]


def parse_mounts(text: str) -> list[dict[str, str]]:
    """The mounts of C(/proc/self/mountinfo), in the order in which they were made."""
    mounts = []
    for line in text.splitlines():
        before, _dash, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if len(fields) > 5 and len(tail) > 2:
            mounts.append(
                {
                    "target": _unescape(fields[4]),
                    "fstype": tail[0],
                    "source": _unescape(tail[1]),
                    "options": ",".join(dict.fromkeys(f"{fields[5]},{tail[2]}".split(","))),
                }
            )
    return mounts


def mount_of(mounts: Iterable[dict[str, str]], path: str) -> Optional[dict[str, str]]:
    """The mount that a path is on; of several mounts on one place the last one, which hides the others."""
    found = None
    for mount in mounts:
        target = mount["target"].rstrip("/")
        if (path == target or path.startswith(f"{target}/")) and (
            found is None or len(target) >= len(found["target"].rstrip("/"))
        ):
            found = mount
    return found


def parse_fstab(text: str) -> list[dict[str, Any]]:
    """The entries of fstab(5) with their line numbers."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("#", 1)[0].split()
        if len(fields) >= 4:
            entries.append({"target": _unescape(fields[1]), "fstype": fields[2], "options": fields[3], "line": number})
    return entries


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def toml_lines(document: _toml.Document) -> dict[str, int]:
    """Where the keys and tables of a TOML document are.

    Returns line numbers by path: C(runners[0].docker.host) for a key, C([runners[0].docker]) for the header of a table.
    The number is 0 where a command that knows the line cannot change it: a value over several lines, a dotted key,
    an inline table and all that is in it, a table without a plain header of its own.
    """
    text = document.text
    ends = [match.start() for match in re.finditer("\n", text)]
    lines: dict[str, int] = {}

    def number(place: int) -> int:
        return bisect.bisect_left(ends, place) + 1

    def line_of_header(table: _toml.Table) -> int:
        if table.kind != _toml.HEADER or not isinstance(table.host, _toml.Section):
            return 0
        plain = re.compile(rf"[ \t]*\[\[?[ \t]*{re.escape('.'.join(table.path))}[ \t]*\]")
        return number(table.host.start) if plain.match(text, table.host.start) else 0

    def line_of_key(table: _toml.Table, key: str, node: _toml.Value | _toml.Table) -> int:
        entry = node.entry
        if entry is None or table.kind not in (_toml.ROOT, _toml.HEADER) or len(entry.keys) > 1:
            return 0
        plain = re.fullmatch(r"[\w-]+", key) and text.startswith((key, f'"{key}"', f"'{key}'"), entry.start)
        return number(entry.start) if plain and number(entry.start) == number(node.end) else 0

    def visit(table: _toml.Table, path: str) -> None:
        for key, node in table.items.items():
            name = f"{path}.{key}" if path else key
            if isinstance(node, _toml.Tables):
                lines[f"[{name}]"] = 0
                for index, item in enumerate(node.tables):
                    lines[f"[{name}[{index}]]"] = line_of_header(item)
                    visit(item, f"{name}[{index}]")
                continue
            if isinstance(node, _toml.Value) or node.kind == _toml.INLINE:
                lines[name] = line_of_key(table, key, node)
            if isinstance(node, _toml.Table):
                if node.kind != _toml.IMPLICIT:
                    lines[f"[{name}]"] = line_of_header(node)
                visit(node, name)

    visit(document.root, "")
    return lines


def public_environment(entries: Any) -> list[str]:
    """The names of environment variables, with their values where a check needs them and they are no secret."""
    return [
        entry if entry.split("=")[0] in PUBLIC_ENVIRONMENT else entry.split("=")[0]
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, str)
    ]


def public_config(parsed: dict[str, Any]) -> dict[str, Any]:
    """What checks need to know of a parsed config.toml, and nothing that is secret."""
    runners = []
    for section in parsed.get("runners", []) if isinstance(parsed.get("runners"), list) else []:
        if not isinstance(section, dict):
            continue
        runner = {key: section[key] for key in RUNNER_KEYS if key in section}
        runner["url"] = str(section.get("url", ""))
        runner["environment"] = public_environment(section.get("environment"))
        docker = section.get("docker", {})
        # The containers of docker-autoscaler and docker+machine, and their volumes, are on other machines.
        if isinstance(docker, dict) and section.get("executor") == "docker":
            runner["docker"] = {key: docker[key] for key in DOCKER_KEYS if key in docker}
            services = docker.get("services", [])
            runner["docker"]["services"] = [
                str(service.get("name", ""))
                for service in (services if isinstance(services, list) else [])
                if isinstance(service, dict)
            ]
        runners.append(runner)
    session = parsed.get("session_server")
    listen = [
        parsed.get("listen_address"),
        session.get("listen_address") if isinstance(session, dict) else None,
    ]
    return {
        "concurrent": parsed.get("concurrent", 1),
        "listen": [str(address) for address in listen if address],
        "runners": runners,
    }


def parse_resolv(text: str) -> list[str]:
    """The name servers of resolv.conf(5)."""
    return [line.split()[1] for line in text.splitlines() if line.startswith("nameserver") and len(line.split()) > 1]


def resolv_instead(servers: list[str]) -> Optional[dict[str, Any]]:
    """The file that Podman reads in place of a resolv.conf with these name servers, and its name servers."""
    path = BEHIND_STUB.get(servers[0]) if len(servers) == 1 else None
    if path is None or not os.path.exists(path):
        return None
    return {"path": path, "servers": parse_resolv(read_or(path))}


def parse_routes(text: str) -> list[str]:
    """The directly connected networks of C(/proc/net/route), as C(address/prefix)."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] != "00000000" and fields[2] == "00000000":
            address = socket.inet_ntoa(int(fields[1], 16).to_bytes(4, "little"))
            found.append(f"{address}/{bin(int(fields[7], 16)).count('1')} {fields[0]}")
    return found


def has_capability(data: bytes, number: int) -> bool:
    """Whether the attribute C(security.capability) of a file permits a capability, effective at once."""
    if len(data) < 8:
        return False
    effective = int.from_bytes(data[0:4], "little") & 1
    return bool(effective and int.from_bytes(data[4:8], "little") >> number & 1)


# --- reading ---


def open_file(path: str, flags: int) -> int:
    """Open a regular file, as C(opener) of open(). A named pipe, which users can make, would block for ever."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def read(path: str) -> str:
    """The text of a file, or the first million characters of it. Raises HostError."""
    try:
        with open(path, encoding="utf-8", errors="replace", opener=open_file) as stream:
            return stream.read(1_000_000)
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}") from error


def read_or(path: str, default: str = "") -> str:
    try:
        return read(path)
    except HostError:
        return default


def status(path: str) -> Optional[dict[str, Any]]:
    """Owner and mode of a path; None where there is nothing. Raises HostError."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HostError(f"{path} cannot be looked at: {error.strerror}") from error
    mode, folder = f"{stat.S_IMODE(found.st_mode):04o}", stat.S_ISDIR(found.st_mode)
    return {"path": path, "uid": found.st_uid, "gid": found.st_gid, "mode": mode, "folder": folder}


def which(name: str) -> Optional[str]:
    for directory in (*PATH.split(":"), *HELPER_DIRS):
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None


def toml_file(path: str) -> dict[str, Any]:
    """A TOML file: path, exists, parsed, lines (see C(toml_lines)), or the error that parsing gave."""
    if not os.path.exists(path):
        return {"path": path, "exists": False, "parsed": {}, "lines": {}}
    try:
        document = _toml.parse(read(path))
    except HostError as error:
        return {"path": path, "exists": True, "error": str(error)}
    except _toml.TomlError as error:
        return {"path": path, "exists": True, "error": f"{path} is not valid TOML: {error}"}
    # Dates become text.
    parsed = json.loads(json.dumps(document.data, default=str))
    return {"path": path, "exists": True, "parsed": parsed, "lines": toml_lines(document)}


def without_data(fact: dict[str, Any]) -> dict[str, Any]:
    """What a remedy needs to know of a TOML file; its data may be secret."""
    return {key: value for key, value in fact.items() if key != "parsed"}


def guarded(function: Callable[..., Fact], *arguments: Any) -> Fact:
    """The fact, or why it could not be gathered."""
    try:
        return function(*arguments)
    except (HostError, OSError, subprocess.SubprocessError) as error:
        return {"error": str(error) or type(error).__name__}
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # A host can hold anything; one odd file must not keep the other facts from being gathered.
        return {"error": f"what was found could not be read ({type(error).__name__}: {error})"}


class Account:
    """The runner user, and how to run commands as that user."""

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise HostError(f"the user {name} does not exist") from None
        self.uid, self.gid, self.home, self.shell = entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell
        self.group_ids = os.getgrouplist(name, self.gid)
        self.runtime_dir = f"/run/user/{self.uid}"

    def run(self, *command: str, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
        """Run a command as the user, in its session, and return what it printed. Raises HostError."""
        if os.geteuid() not in (0, self.uid):
            raise HostError(f"only root and {self.name} can find that out; run it with become")
        environment = {
            "HOME": self.home,
            "USER": self.name,
            "LOGNAME": self.name,
            "PATH": PATH,
            "LC_ALL": "C",
            "XDG_RUNTIME_DIR": self.runtime_dir,
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.runtime_dir}/bus",
        }
        become: dict[str, Any] = {}
        if os.geteuid() == 0:
            become = {"user": self.uid, "group": self.gid, "extra_groups": self.group_ids}
        return execute(command, timeout, env=environment, **become)


def execute(command: Iterable[str], timeout: float = TIMEOUT, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed, whatever its exit status. Raises HostError."""
    command = list(command)
    options.setdefault("env", {"PATH": PATH, "LC_ALL": "C", "HOME": "/"})
    try:
        # run_command of AnsibleModule has no timeout, cannot become another user, and is not for threads.
        return subprocess.run(  # pylint: disable=ansible-bad-function
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
            cwd="/",
            start_new_session=True,
            **options,
        )
    except subprocess.TimeoutExpired:
        raise Hangs(f"{' '.join(command[:3])} took more than {timeout:g} seconds") from None
    except OSError as error:
        raise HostError(f"{command[0]} cannot be run: {error.strerror}") from error


# --- facts without the user ---


def os_facts() -> Fact:
    values = {}
    for line in read("/etc/os-release").splitlines():
        key, _equals, value = line.partition("=")
        values[key] = value.strip().strip("\"'")
    family = (
        "redhat"
        if {"rhel", "fedora", "centos"} & set(f"{values.get('ID')} {values.get('ID_LIKE')}".split())
        else "debian"
    )
    return {
        "id": values.get("ID", ""),
        "version_id": values.get("VERSION_ID", ""),
        "name": values.get("PRETTY_NAME", ""),
        "family": family,
    }


def kernel_facts() -> Fact:
    line = next((line for line in read_or("/proc/self/maps").splitlines() if line.endswith("[vsyscall]")), "")
    parameters = ("vsyscall", "systemd.unified_cgroup_hierarchy")
    return {
        "release": platform.release(),
        "machine": platform.machine(),
        "parameters": [word for word in read_or("/proc/cmdline").split() if word.split("=")[0] in parameters],
        "vsyscall": "none" if not line else "emulate" if "r-x" in line else "xonly",
    }


def sysctl_facts() -> Fact:
    found = {}
    for name in SYSCTLS:
        value = read_or(f"/proc/sys/{name.replace('.', '/')}").strip()
        found[name] = " ".join(value.split()) or None
    return found


def memory_facts() -> Fact:
    values = dict(line.split(":", 1) for line in read("/proc/meminfo").splitlines() if ":" in line)
    return {key: int(values[name].split()[0]) * 1024 for key, name in (("total", "MemTotal"), ("swap", "SwapTotal"))}


def idmap_tool(name: str, capability: int) -> Fact:
    path = which(name)
    if path is None:
        return {"path": None}
    data = b""
    with contextlib.suppress(OSError):
        data = os.getxattr(path, "security.capability")
    fact = status(path) or {}
    return {
        **fact,
        "capable": has_capability(data, capability),
        "setuid": bool(int(fact.get("mode", "0"), 8) & 0o4000),
    }


def module_facts() -> Fact:
    release = platform.release()
    loaded = {line.split()[0] for line in read_or("/proc/modules").splitlines()}
    builtin = read_or(f"/lib/modules/{release}/modules.builtin")
    signs = {
        "ip_tables": "/proc/net/ip_tables_names",
        "nf_tables": "",
        "tun": "/dev/net/tun",
        "bridge": "/sys/module/bridge",
    }
    found: dict[str, Optional[bool]] = {}
    for name, sign in signs.items():
        if (
            name in loaded
            or os.path.isdir(f"/sys/module/{name}")
            or f"/{name}.ko" in builtin
            or (sign and os.path.exists(sign))
        ):
            found[name] = True
        else:
            # Without the list of what is built in, "not loaded" says nothing.
            found[name] = False if builtin else None
    return found


def device_facts() -> Fact:
    return {path: (guarded(status, path) or {}).get("mode") for path in ("/dev/fuse", "/dev/net/tun")}


def apparmor_facts() -> Fact:
    profiles: list[dict[str, Any]] = []
    for path in sorted(glob.glob("/etc/apparmor.d/*")):
        text = read_or(path, "") if os.path.isfile(path) else ""
        for match in re.finditer(r"^\s*(?:profile\s+(\S+)\s+)?((?:@\{\w+\}|/)\S*)?[^\n{]*\{", text, re.MULTILINE):
            if match.group(1) or match.group(2):
                profiles.append(
                    {
                        "file": path,
                        "name": match.group(1) or "",
                        "attaches": match.group(2) or "",
                        "userns": "userns" in text,
                    }
                )
    relevant = [
        entry
        for entry in profiles
        if re.search(r"podman|pasta|passt|crun|runc|slirp", f"{entry['name']}{entry['attaches']}{entry['file']}")
    ]
    return {
        "enabled": read_or("/sys/module/apparmor/parameters/enabled").strip() == "Y",
        "profiles": relevant,
    }


def kubic_facts() -> Fact:
    files = glob.glob("/etc/apt/sources.list") + glob.glob("/etc/apt/sources.list.d/*")
    sources = [path for path in sorted(files) if re.search(r"devel:/?kubic", read_or(path))]
    keys = [path for path in sorted(glob.glob("/etc/apt/trusted.gpg.d/*")) if "kubic" in path.lower()]
    return {"sources": sources, "keys": keys}


def selinux_facts(path: str) -> Fact:
    mode = read_or("/sys/fs/selinux/enforce").strip()
    context = None
    if mode:
        with contextlib.suppress(OSError):
            context = os.getxattr(path, "security.selinux").decode().rstrip("\0")
    return {"enforcing": mode == "1", "context": context}


def space_facts(paths: Iterable[str]) -> Fact:
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):
            data = os.statvfs(path)
            found[path] = {
                "size": data.f_blocks * data.f_frsize,
                "inodes": data.f_files,
                "used_percent": round(100 * (1 - data.f_bavail / data.f_blocks)) if data.f_blocks else 0,
                "inodes_percent": round(100 * (1 - data.f_favail / data.f_files)) if data.f_files else 0,
            }
    return found


def package_versions(names: Iterable[str]) -> dict[str, str]:
    result = execute(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status} ${Version}\n", *names])
    return {
        fields[0]: fields[2]
        for fields in map(str.split, result.stdout.splitlines())
        if len(fields) == 3 and fields[1] == "installed"
    }


def sudo_facts() -> Fact:
    if which("sudo") is None:
        return {"rs": False, "scripts": []}
    scripts = [
        path
        for pattern in ("/usr/local/bin/*", "/usr/local/sbin/*", "/etc/cron.d/*", "/etc/cron.daily/*")
        for path in sorted(glob.glob(pattern))
        if os.path.isfile(path) and re.search(r"\bsudo\s+-\w*E", read_or(path, "")[:65536])
    ]
    # The alternative of Ubuntu is /usr/lib/cargo/bin/sudo.
    program = os.path.realpath(which("sudo") or "")
    return {"rs": "sudo-rs" in program or "/cargo/bin/" in program, "scripts": scripts}


def journal(*arguments: str) -> Fact:
    """The lines of the last day that match."""
    if which("journalctl") is None:
        raise HostError("this host has no journalctl")
    result = execute(
        ["journalctl", "--quiet", "--no-pager", "--since=-24h", "--lines=200", *arguments], 2 * SEARCH_TIME
    )
    # Exit status 1 means that no line matched.
    if result.returncode > 1 or (result.returncode and result.stderr.strip()):
        raise HostError(f"the journal cannot be searched: {result.stderr.strip()}")
    return result.stdout.splitlines()


def unit_facts(units: dict[str, str]) -> Fact:
    """Properties of units of the system's manager, by the names that the caller gives to them."""
    if which("systemctl") is None or not os.path.isdir("/run/systemd/system"):
        return {"error": "systemd does not run this host"}
    names = (
        "Id LoadState ActiveState UnitFileState User Group ExecStart After Wants RequiresMountsFor "
        "Environment UnsetEnvironment TasksMax KillSignal MainPID DropInPaths"
    )
    result = execute(["systemctl", "show", *units.values(), *(f"--property={name}" for name in names.split())])
    blocks = parse_properties(result.stdout)
    if len(blocks) != len(units):
        return {"error": f"systemctl show says: {result.stderr.strip() or result.stdout[:200]}"}
    facts = {}
    for key, block in zip(units, blocks):
        for name in ("Environment", "UnsetEnvironment"):
            block[name] = " ".join(public_environment(_words(block.get(name, ""))))
        facts[key] = block
    return facts


def _words(text: str) -> list[str]:
    """The words of a list that systemctl show prints, where a word with blanks is in quotes."""
    try:
        return shlex.split(text)
    except ValueError:
        return []


# --- facts about the user's session and Podman ---


class Gatherer:
    """One pass over one host.

    Takes the options of the module. C(facts()) returns the nested dict of facts, redacted.
    """

    def __init__(
        self,
        user: str,
        config_path: str,
        service: str,
        tmpfs_path: Optional[str] = None,
        probe: str = "none",
        probe_image: Optional[str] = None,
    ) -> None:
        self.name, self.config_path, self.service = user, config_path, service
        self.tmpfs_path, self.probe, self.probe_image = tmpfs_path, probe, probe_image
        self.mounts = parse_mounts(read_or("/proc/self/mountinfo"))
        self.account: Optional[Account] = None

    def facts(self) -> dict[str, Fact]:
        user = guarded(self.user)
        account = self.account
        store = guarded(self.store) if account else user
        uid = account.uid if account else 0
        with concurrent.futures.ThreadPoolExecutor(max_workers=6) as pool:

            def start(function: Callable[..., Fact], *arguments: Any) -> concurrent.futures.Future[Fact]:
                return pool.submit(guarded, function, *arguments)

            # The slow ones first.
            pending = {
                "podman": start(self.podman, store) if account else None,
                "foreign_ids": start(self.foreign_ids, store) if account else None,
                "units": start(
                    unit_facts,
                    {
                        "runner": f"{self.service}.service".replace(".service.service", ".service"),
                        "podman_root": "podman.socket",
                        **({"user_manager": f"user@{uid}.service", "slice": f"user-{uid}.slice"} if account else {}),
                    },
                ),
                "user_units": start(self.user_units) if account else None,
                "attach": start(journal, f"_UID={uid}", "--output=cat", "--grep=preparing container")
                if account
                else None,
                "denials": start(self.denials),
                "packages": start(
                    package_versions,
                    [
                        "gitlab-runner",
                        "gitlab-runner-helper-images",
                        "dbus-user-session",
                        "containernetworking-plugins",
                    ],
                ),
                "access": start(self.access) if account else None,
            }
            resolv = parse_resolv(read_or("/etc/resolv.conf"))
            facts: dict[str, Fact] = {
                "root": os.geteuid() == 0,
                "service": self.service,
                "config_path": self.config_path,
                "user": user,
                "os": guarded(os_facts),
                "kernel": guarded(kernel_facts),
                "sysctl": sysctl_facts(),
                "memory": guarded(memory_facts),
                "modules": guarded(module_facts),
                "devices": guarded(device_facts),
                "commands": {name: which(name) for name in COMMANDS},
                "versions": {
                    "aardvark-dns": guarded(self.program_version, "aardvark-dns"),
                },
                "subids": guarded(self.subids),
                "idmap_tools": {
                    "newuidmap": guarded(idmap_tool, "newuidmap", 7),
                    "newgidmap": guarded(idmap_tool, "newgidmap", 6),
                },
                "apparmor": guarded(apparmor_facts),
                "kubic": guarded(kubic_facts),
                "sudo": guarded(sudo_facts),
                "fstab": parse_fstab(read_or("/etc/fstab")),
                "resolv": resolv,
                "resolv_instead": resolv_instead(resolv),
                "routes": guarded(lambda: parse_routes(read("/proc/net/route"))),
                "cgroup": guarded(self.cgroup),
                "storage_conf": guarded(self.storage_conf) if account else user,
                "containers_conf": guarded(self.containers_conf) if account else user,
                "registries": guarded(self.registries) if account else user,
                "session": guarded(self.session) if account else user,
                "store": store,
                "tmpfs": guarded(self.tmpfs, store),
                "runner": guarded(self.runner),
                "keys": guarded(self.keys) if account else user,
                "prune": guarded(self.prune) if account else user,
                "cni": guarded(self.cni) if account else user,
                "certificates": guarded(self.certificates) if account else user,
            }
            gathered = {key: future.result() if future else user for key, future in pending.items()}
        return redact(self.join(facts, gathered))

    def join(self, facts: dict[str, Fact], gathered: dict[str, Fact]) -> dict[str, Fact]:
        """Put together what was gathered side by side, and gather what follows from it."""
        facts["units"] = gathered["units"]
        facts["user_units"] = gathered["user_units"]
        facts["packages"] = gathered["packages"]
        facts["podman"] = gathered["podman"]
        facts["journal"] = {"attach": gathered["attach"], "denials": gathered["denials"]}
        facts["access"] = gathered["access"]
        if "error" not in facts["store"]:
            facts["store"]["foreign_ids"] = gathered["foreign_ids"]
        if self.account:
            facts["socket"] = guarded(self.socket, facts)
            facts["limits"] = guarded(self.limits, facts)
            facts["selinux"] = guarded(selinux_facts, facts["store"].get("graph_root", "/"))
            facts["probe"] = guarded(self.probed, facts)
        else:
            facts.update({key: facts["user"] for key in ("socket", "limits", "selinux", "probe")})
        return facts

    # The runner user.

    def user(self) -> Fact:
        self.account = account = Account(self.name)
        groups = []
        for number in account.group_ids:
            with contextlib.suppress(KeyError):
                groups.append(grp.getgrgid(number).gr_name)
        return {
            "name": account.name,
            "uid": account.uid,
            "gid": account.gid,
            "home": account.home,
            "shell": account.shell,
            "groups": groups,
        }

    def subids(self) -> Fact:
        source = _subid.parse_source(read_or("/etc/nsswitch.conf"))
        if source != "files":
            raise HostError(f"subordinate ids come from {source} (subid: in /etc/nsswitch.conf), not from files")
        return {
            "subuid": subid_lines(read_or(_subid.UID_FILE)),
            "subgid": subid_lines(read_or(_subid.GID_FILE)),
            "backup": subid_lines(read_or("/etc/subuid-")),
            "limits": _subid.parse_limits(read_or("/etc/login.defs"))._asdict(),
            "users": [
                [entry.pw_name, entry.pw_uid]
                for entry in pwd.getpwall()
                if entry.pw_uid >= 1000 and entry.pw_uid < 2**32 - 2
            ][:2000],
            "groups": [
                [entry.gr_name, entry.gr_gid]
                for entry in grp.getgrall()
                if entry.gr_gid >= 1000 and entry.gr_gid < 2**32 - 2
            ][:2000],
        }

    def session(self) -> Fact:
        account = self._account()
        foreign = []
        for base in (f"{account.home}/.config", f"{account.home}/.local"):
            for path in _walk(base, 3):
                with contextlib.suppress(OSError):
                    found = os.lstat(path)
                    if found.st_uid != account.uid:
                        foreign.append([path, found.st_uid])
        return {
            "linger": os.path.exists(f"/var/lib/systemd/linger/{account.name}"),
            "runtime_dir": guarded(status, account.runtime_dir),
            "bus": os.path.exists(f"{account.runtime_dir}/bus"),
            "foreign": foreign[:20],
        }

    def cgroup(self) -> Fact:
        mount = mount_of(self.mounts, "/sys/fs/cgroup") or {}
        root = read_or("/sys/fs/cgroup/cgroup.controllers").split()
        delegated = None
        if self.account:
            uid = self.account.uid
            name = f"/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers"
            delegated = read_or(name).split() if os.path.exists(name) else None
        return {"fstype": mount.get("fstype", "none"), "available": root, "delegated": delegated}

    def keys(self) -> Fact:
        uid = self._account().uid
        for line in read("/proc/key-users").splitlines():
            fields = line.replace(":", " ").split()
            if fields and fields[0] == str(uid):
                used, limit = fields[3].split("/")
                return {"used": int(used), "limit": int(limit)}
        return {"used": 0, "limit": None}

    def user_units(self) -> Fact:
        names = "LoadState ActiveState UnitFileState KillMode ExecStart FragmentPath Result"
        result = self._account().run(
            "systemctl", "--user", "show", "podman.socket", "podman.service",
            *(f"--property={name}" for name in names.split()),
        )  # fmt: skip
        blocks = parse_properties(result.stdout)
        if result.returncode or len(blocks) != 2:
            raise HostError(f"the user's manager does not answer: {result.stderr.strip() or result.stdout.strip()}")
        return {"socket": blocks[0], "service": blocks[1]}

    def prune(self) -> Fact:
        """What removes old images of the user: its own timers, and those of the system that name it."""
        account = self._account()
        folders = {
            "/etc/systemd/user/timers.target.wants": "",
            f"{account.home}/.config/systemd/user/timers.target.wants": "",
            "/etc/systemd/system/timers.target.wants": account.name,
        }
        timers = []
        for folder, name in folders.items():
            for path in sorted(glob.glob(f"{folder}/*.timer")):
                service = read_or(os.path.realpath(path)[: -len("timer")] + "service")
                # podman auto-update only removes what it has replaced.
                if re.search(PRUNES, service) and "auto-update" not in path and name in service:
                    timers.append(path)
        crontabs = [
            path
            for path in sorted(glob.glob("/etc/cron*/*"))
            if re.search(PRUNES, read_or(path)) and account.name in read_or(path)
        ]
        return {"timers": timers, "crontabs": crontabs}

    # Podman.

    def storage_conf(self) -> Fact:
        """The file that rootless Podman reads: one only, the user's before the system's."""
        home = self._account().home
        own = f"{home}/.config/containers/storage.conf"
        path = next((path for path in (own, *SYSTEM_STORAGE_CONF) if os.path.exists(path)), own)
        return {**toml_file(path), "own": own}

    def _system_store(self) -> Optional[str]:
        """Where the system's storage.conf has users' stores, which counts beside a file of the user up to Podman 5."""
        system = next((path for path in SYSTEM_STORAGE_CONF if os.path.exists(path)), None)
        table = toml_file(system).get("parsed", {}).get("storage") if system else None
        place = table.get("rootless_storage_path") if isinstance(table, dict) else None
        if not isinstance(place, str):
            return None
        program = which("podman")
        return place if not program or version(self._podman_version(program) or "") < (6,) else None

    def containers_conf(self) -> Fact:
        """The merged settings, with the user's file that a remedy would edit."""
        own = f"{self._account().home}/.config/containers/containers.conf"
        paths = ["/usr/share/containers/containers.conf", "/etc/containers/containers.conf"]
        paths += sorted(glob.glob("/etc/containers/containers.conf.d/*.conf"))
        paths += [own, *sorted(glob.glob(f"{own}.d/*.conf"))]
        merged: dict[str, dict[str, Any]] = {}
        for path in paths:
            fact = toml_file(path)
            if "error" in fact:
                return fact
            for table, values in fact["parsed"].items():
                if isinstance(values, dict):
                    merged.setdefault(table, {}).update(values)
        merged.get("containers", {}).pop("env", None)
        merged.get("engine", {}).pop("env", None)
        return {
            "merged": merged,
            "own": without_data(toml_file(own)),
            "sources": [path for path in paths if os.path.exists(path)],
        }

    def registries(self) -> Fact:
        home = self._account().home
        own = f"{home}/.config/containers/registries.conf"
        main = own if os.path.exists(own) else "/etc/containers/registries.conf"
        search, source = [], ""
        folders = ["/etc/containers/registries.conf.d", f"{own}.d"]
        for path in [main, *(path for folder in folders for path in sorted(glob.glob(f"{folder}/*.conf")))]:
            fact = toml_file(path)
            if "error" in fact:
                return fact
            if isinstance(fact["parsed"].get("unqualified-search-registries"), list):
                search, source = fact["parsed"]["unqualified-search-registries"], path
        dropin = without_data(toml_file(f"{own}.d/50-rootless-gitlab-runner.conf"))
        return {"search": search, "source": source, "dropin": dropin}

    def cni(self) -> Fact:
        files = sorted(glob.glob(f"{self._account().home}/.config/cni/net.d/*.conflist"))
        return {
            "var_lib": os.path.isdir("/var/lib/cni"),
            "files": files,
            "version_100": [path for path in files if re.search(r'"cniVersion":\s*"1\.0\.0"', read_or(path))],
        }

    def store(self) -> Fact:
        account = self._account()
        conf = self.storage_conf()
        table = conf.get("parsed", {}).get("storage", {})
        if not isinstance(table, dict):
            raise HostError(f"{conf['path']}: storage is no table")
        for key in ("graphroot", "rootless_storage_path", "runroot"):
            if not isinstance(table.get(key, ""), str):
                raise HostError(f"{conf['path']}: storage.{key} is no string")
        graph_root = default = f"{account.home}/.local/share/containers/storage"
        system = None
        run_root = f"{account.runtime_dir}/containers"
        if conf["path"] != conf["own"]:
            graph_root = table.get("rootless_storage_path") or graph_root
        else:
            own = table.get("graphroot") or table.get("rootless_storage_path")
            system = None if own else self._system_store()
            graph_root = own or system or graph_root
            run_root = table.get("runroot") or run_root
        variables = {
            "HOME": account.home,
            "UID": str(account.uid),
            "USER": account.name,
            "XDG_RUNTIME_DIR": account.runtime_dir,
        }
        graph_root = os.path.normpath(
            re.sub(r"\$\{?(\w+)\}?", lambda match: variables.get(match.group(1), match.group()), graph_root)
        )
        # A command that finds no pause process, such as the first one after a boot, only reads the user's file.
        if system and not self._store_content(graph_root)["exists"] and self._store_content(default)["exists"]:
            graph_root = default
        return {
            "graph_root": graph_root,
            "run_root": run_root,
            "conf_error": conf.get("error"),
            "mount": mount_of(self.mounts, os.path.realpath(graph_root)) or {},
            **self._store_content(graph_root),
            "kernel_xattr": self._user_xattr(graph_root),
            "pause_mount": self._pause_mount(graph_root),
            "space": space_facts(_nearest(path) for path in (graph_root, "/var/tmp", account.runtime_dir)),
        }

    @staticmethod
    def _store_content(graph_root: str) -> dict[str, Any]:
        try:
            entries = sorted(os.listdir(graph_root))
        except FileNotFoundError:
            return {"exists": False, "drivers": []}
        except OSError as error:
            return {
                "exists": None,
                "drivers": [],
                "list_error": f"{graph_root} cannot be listed: {error.strerror}",
            }
        known = [name for name in ("btrfs", "overlay", "vfs", "zfs") if f"{name}-images" in entries or name in entries]
        return {
            "exists": bool(known or {"libpod", "db.sql", "storage.lock"} & set(entries)),
            "drivers": known,
            "mount_program": read_or(f"{graph_root}/overlay/.has-mount-program").strip() or None,
            "boltdb": os.path.exists(f"{graph_root}/libpod/bolt_state.db"),
            "network_backend": read_or(f"{graph_root}/defaultNetworkBackend").strip() or None,
        }

    @staticmethod
    def _user_xattr(graph_root: str) -> Optional[bool]:
        """Whether the file system knows user.* attributes: reading one that is not there tells."""
        try:
            os.getxattr(_nearest(graph_root), "user.rootless")
        except OSError as error:
            if error.errno == errno.ENODATA:
                return True
            return False if error.errno == errno.ENOTSUP else None
        return True

    def foreign_ids(self, store: Fact) -> Fact:
        """The owners of the files of the store."""
        if "error" in store or not store["exists"]:
            raise HostError(f"{store.get('graph_root', 'the store')} holds no store yet")
        if os.geteuid() != 0:
            raise HostError("only root can look at all files of the store")
        command = ["find", store["graph_root"], "-xdev", "-printf", "%U %G\\n"]
        owners: set[str] = set()
        deadline = time.monotonic() + SEARCH_TIME
        # Read line by line, and given up in time: run_command of AnsibleModule keeps all output, and waits for the end.
        with subprocess.Popen(  # pylint: disable=ansible-bad-function
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd="/"
        ) as process:
            if process.stdout is None:
                raise AssertionError
            complete = True
            for number, line in enumerate(process.stdout):
                owners.add(line.strip())
                if number % 1000 == 0 and time.monotonic() > deadline:
                    complete = False
                    process.kill()
                    break
        return {"owners": sorted(owners)[:2000], "complete": complete}

    def podman(self, store: Fact) -> Fact:
        account = self._account()
        path = which("podman")
        if path is None:
            raise HostError("Podman is not installed")
        fact: dict[str, Any] = {"path": os.path.realpath(path), "version": self._podman_version(path)}
        asleep = None
        if "error" in store:
            asleep = store
        elif store["exists"] is None:
            asleep = {"error": store["list_error"]}
        elif not store["exists"] and self.probe == "none":
            asleep = {"error": f"{store['graph_root']} holds no store yet, and asking Podman would create one"}
        elif not os.path.isdir(account.runtime_dir):
            asleep = {
                "error": f"{account.runtime_dir} does not exist, and Podman would keep its state somewhere "
                "else without it"
            }
        if asleep:
            return {**fact, "info": asleep, "containers": asleep, "networks": asleep, "stderr": asleep}
        before = self._pause_process()
        try:
            info = self._ask_podman(path)
            fact["stderr"] = _lines(info.stderr)
            fact["info"] = guarded(_podman_info, info)
            fact["containers"] = guarded(self._containers, path)
            fact["networks"] = guarded(self._networks, path)
        except HostError as error:
            fact.update(
                {key: {"error": str(error)} for key in ("info", "containers", "networks", "stderr") if key not in fact}
            )
        finally:
            if before is None:
                self._end_pause_process()
        return fact

    def _ask_podman(self, path: str) -> subprocess.CompletedProcess[str]:
        try:
            return self._account().run(path, "info", "--format", "json", timeout=PODMAN_INFO_TIMEOUT)
        except Hangs:
            # In the form of what it says when it fails: it does no job either.
            raise HostError(f"podman info: no answer within {PODMAN_INFO_TIMEOUT:g} seconds") from None

    def _podman_version(self, path: str) -> Optional[str]:
        found = re.search(r"version (\S+)", execute([path, "--version"]).stdout)
        return found.group(1) if found else None

    def _containers(self, path: str) -> Fact:
        result = self._account().run(path, "ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.State}}")
        if result.returncode:
            raise HostError(f"podman ps: {_last(result.stderr)}")
        return [line.split()[:2] for line in result.stdout.splitlines() if line.split()]

    def _networks(self, path: str) -> Fact:
        result = self._account().run(path, "network", "ls", "--format", "json")
        if result.returncode:
            raise HostError(f"podman network ls: {_last(result.stderr)}")
        found = []
        for entry in json.loads(result.stdout or "[]"):
            subnets = [str(item.get("subnet")) for item in entry.get("subnets") or [] if isinstance(item, dict)]
            found.append({"name": entry.get("name") or entry.get("Name", ""), "subnets": subnets})
        return found

    def _pause_file(self) -> str:
        return f"{self._account().runtime_dir}/libpod/tmp/pause.pid"

    def _pause_process(self) -> Optional[int]:
        """The process that keeps the user's namespace between two commands, if it is there."""
        with contextlib.suppress(ValueError, OSError):
            pid = int(read_or(self._pause_file()).strip())
            if os.stat(f"/proc/{pid}").st_uid == self._account().uid:
                return pid
        return None

    def _pause_mount(self, path: str) -> Optional[dict[str, str]]:
        """The mount that Podman's processes see at a path, which can differ from everybody else's."""
        pid = self._pause_process()
        text = read_or(f"/proc/{pid}/mountinfo") if pid else ""
        return mount_of(parse_mounts(text), os.path.realpath(path)) if text else None

    def _end_pause_process(self) -> None:
        """End the pause process that the commands of this pass have started, so that nothing stays."""
        pid = self._pause_process()
        if pid is not None and re.search(r"catatonit|podman|pause", read_or(f"/proc/{pid}/comm")):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.unlink(self._pause_file())

    def program_version(self, name: str) -> Fact:
        path = which(name)
        found = re.search(r"(\d+\.\d+[\w.\-]*)", execute([path, "--version"]).stdout) if path else None
        return found.group(1) if found else None

    def socket(self, facts: dict[str, Fact]) -> Fact:
        account = self._account()
        path = f"{account.runtime_dir}/podman/podman.sock"
        fact: dict[str, Any] = {"path": path, "status": guarded(status, path), "docker_sock": None}
        with contextlib.suppress(OSError):
            found = os.stat("/var/run/docker.sock")
            fact["docker_sock"] = {"target": os.path.realpath("/var/run/docker.sock"), "uid": found.st_uid}
        running = (
            isinstance(facts.get("user_units"), dict)
            and facts["user_units"].get("service", {}).get("ActiveState") == "active"
        )
        if fact["status"] is None:
            fact["ping"] = {"error": f"{path} does not exist"}
        elif not running and not facts["store"].get("exists") and self.probe == "none":
            fact["ping"] = {
                "error": f"{facts['store'].get('graph_root')} holds no store yet, and a request would create one"
            }
        elif str(facts["podman"].get("info", {}).get("error", "")).startswith("podman info:"):
            # A service that fails again and again takes its socket down with it.
            fact["ping"] = {"error": "'podman info' fails, and so would the service"}
        else:
            fact["ping"] = self._ping(path, account.uid)
        return fact

    def _ping(self, path: str, uid: int) -> Fact:
        if os.geteuid() not in (0, uid):
            return {"error": f"only root and {self.name} can use {path}"}
        before = self._pause_process()
        connection = _UnixConnection(path)
        try:
            connection.request("GET", "/_ping", headers={"Host": "d"})
            response = connection.getresponse()
            response.read()
            return {"status": response.status, "api_version": response.getheader("Api-Version")}
        except (OSError, http.client.HTTPException) as error:
            return {"status": 0, "reason": str(error) or type(error).__name__}
        finally:
            connection.close()
            if before is None:
                self._end_pause_process()

    def limits(self, facts: dict[str, Fact]) -> Fact:
        units = facts["units"]
        fact: dict[str, Any] = {"tasks_max": None, "nofile": None, "nproc": None}
        if "error" in units:
            return units
        fact["tasks_max"] = units.get("slice", {}).get("TasksMax")
        pid = units.get("user_manager", {}).get("MainPID", "0")
        for line in read_or(f"/proc/{pid}/limits").splitlines() if pid != "0" else []:
            for key, title in (("nofile", "Max open files"), ("nproc", "Max processes")):
                if line.startswith(title):
                    soft, hard = line[len(title) :].split()[:2]
                    fact[key] = {"soft": soft, "hard": hard}
        fact["conmon"] = list(_conmons(self._account().uid))
        return fact

    def tmpfs(self, store: Fact) -> Fact:
        """The tmpfs that the store is on, or is meant to be on."""
        graph_root = store.get("graph_root", "")
        fstab = [entry for entry in parse_fstab(read_or("/etc/fstab")) if entry["fstype"] == "tmpfs"]
        wanted = self.tmpfs_path
        for entry in fstab:
            if not wanted and graph_root.startswith(entry["target"].rstrip("/") + "/"):
                wanted = entry["target"]
        mount = store.get("mount", {})
        if not wanted and mount.get("fstype") == "tmpfs":
            wanted = mount["target"]
        if not wanted:
            return {"path": None}
        mount = mount_of(self.mounts, wanted) or {}
        mounted = mount.get("fstype") == "tmpfs" and mount.get("target") == wanted.rstrip("/")
        return {
            "path": wanted,
            "mounted": mounted,
            "options": mount.get("options", "") if mounted else "",
            "fstab": next((entry for entry in fstab if entry["target"].rstrip("/") == wanted.rstrip("/")), None),
            "status": guarded(status, wanted),
            "space": space_facts([wanted]).get(wanted) if mounted else None,
        }

    # The runner.

    def runner(self) -> Fact:
        folder = os.path.dirname(self.config_path) or "/"
        fact: dict[str, Any] = {
            "program": which("gitlab-runner"),
            "directory": guarded(status, folder),
            "file": guarded(status, self.config_path),
            "system_id": guarded(status, f"{folder}/.runner_system_id"),
            "config": guarded(self._config),
        }
        return fact

    def _config(self) -> Fact:
        if not os.path.exists(self.config_path):
            hidden = os.path.isdir(os.path.dirname(self.config_path)) and not os.access(
                os.path.dirname(self.config_path), os.X_OK
            )
            raise HostError(f"{self.config_path} {'cannot be read' if hidden else 'does not exist'}")
        fact = toml_file(self.config_path)
        if "error" in fact:
            return fact
        return {**without_data(fact), **public_config(fact["parsed"])}

    def access(self) -> Fact:
        """What the runner user can read and write, asked as that user."""
        config = self.runner_paths()
        script = (
            'for path; do r=0; w=0; if [ -r "$path" ]; then r=1; fi; if [ -w "$path" ]; then w=1; fi; '
            'echo "$r$w $path"; done'
        )
        result = self._account().run("sh", "-c", script, "sh", *config)
        found = {}
        for line in result.stdout.splitlines():
            flags, _space, path = line.partition(" ")
            found[path] = {"read": flags[0] == "1", "write": flags[1] == "1"}
        return found

    def runner_paths(self) -> list[str]:
        folder = os.path.dirname(self.config_path)
        paths = [folder, self.config_path, f"{folder}/.runner_system_id"]
        config = guarded(self._config)
        for runner in config.get("runners", []):
            paths += [str(runner["tls-ca-file"])] if runner.get("tls-ca-file") else []
            docker = runner.get("docker", {})
            paths += [str(docker["cache_dir"])] if docker.get("cache_dir") else []
            paths += [path for path in _host_volumes(docker) if os.path.isabs(path)]
        return list(dict.fromkeys(paths))

    def certificates(self) -> Fact:
        home = self._account().home
        config = guarded(self._config)
        files = [str(runner["tls-ca-file"]) for runner in config.get("runners", []) if runner.get("tls-ca-file")]
        system, own = (
            sorted(glob.glob("/etc/gitlab-runner/certs/*")),
            sorted(glob.glob(f"{home}/.gitlab-runner/certs/*")),
        )
        registries = sorted(glob.glob("/etc/containers/certs.d/*")) + sorted(
            glob.glob(f"{home}/.config/containers/certs.d/*")
        )
        found = []
        certificates = [
            path
            for path in [
                *files,
                *system,
                *own,
                *(path for folder in registries for path in glob.glob(f"{folder}/*.crt")),
            ]
            if path.endswith((".crt", ".pem"))
        ]
        for path in dict.fromkeys(certificates):
            found.append({"path": path, "days": guarded(_days_left, path)})
        cache = {}
        for runner in config.get("runners", []):
            docker = runner.get("docker", {})
            cache_dir = [str(docker["cache_dir"])] if docker.get("cache_dir") else []
            for path in [*cache_dir, *_host_volumes(docker)]:
                cache[path] = [entry for entry in (guarded(status, parent) for parent in _parents(path)) if entry]
        return {
            "system": system,
            "own": own,
            "registries": [os.path.basename(path) for path in registries],
            "local": sorted(glob.glob("/usr/local/share/ca-certificates/**/*.crt", recursive=True)),
            "files": found,
            "host_paths": cache,
        }

    def denials(self) -> Fact:
        if read_or("/sys/module/apparmor/parameters/enabled").strip() != "Y":
            return []
        return journal("--dmesg", "--output=cat", '--grep=apparmor="DENIED"')

    # Probes, which are only made when they are asked for.

    def probed(self, facts: dict[str, Fact]) -> Fact:
        if self.probe == "none":
            return {"error": "no probe was asked for (probe: container or probe: pull)"}
        path = facts["commands"]["podman"]
        if path is None:
            raise HostError("Podman is not installed")
        command = [path, "--url", f"unix://{facts['socket']['path']}"]
        account = self._account()
        image = self.probe_image
        if self.probe == "pull":
            if not image:
                raise HostError("probe: pull needs probe_image")
            result = account.run(*command, "pull", "--quiet", image, timeout=120)
            return {
                "kind": "pull",
                "image": image,
                "ok": result.returncode == 0,
                "output": _lines(result.stderr)[-5:],
            }
        if not image:
            listed = account.run(*command, "images", "--format", "{{.ID}}", "--filter", "dangling=false")
            image = next(iter(listed.stdout.split()), None)
        if image is None:
            raise HostError("probe: container needs an image; there is none in the store, and probe_image is not given")
        # A container that ends at once whatever is in the image: what matters is that one could be started.
        result = account.run(
            *command, "run", "--rm", "--pull=never", "--entrypoint", '["/rootless-probe"]', image, timeout=60
        )
        started = result.returncode == 0 or re.search(
            r"rootless-probe.*(no such file|not found)", result.stderr, re.IGNORECASE | re.DOTALL
        )
        return {
            "kind": "container",
            "image": image,
            "ok": bool(started),
            "output": _lines(result.stderr)[-5:],
        }

    def _account(self) -> Account:
        if self.account is None:
            raise HostError(f"the user {self.name} does not exist")
        return self.account


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self.path)


def _podman_info(result: subprocess.CompletedProcess[str]) -> Fact:
    if result.returncode:
        raise HostError(f"podman info: {_last(result.stderr)}")
    data = json.loads(result.stdout)
    host, store = data.get("host", {}), data.get("store", {})
    status_of = store.get("graphStatus", {})
    return {
        "cgroup_manager": host.get("cgroupManager"),
        "cgroup_version": host.get("cgroupVersion"),
        "log_driver": host.get("logDriver"),
        "event_logger": host.get("eventLogger"),
        "network_backend": host.get("networkBackend") or "cni",
        "runtime": (host.get("ociRuntime") or {}).get("name"),
        "driver": store.get("graphDriverName"),
        "graph_root": store.get("graphRoot"),
        "run_root": store.get("runRoot"),
        "native_diff": status_of.get("Native Overlay Diff"),
        "uidmap": [
            [entry["container_id"], entry["host_id"], entry["size"]]
            for entry in (host.get("idMappings") or {}).get("uidmap") or []
        ],
        "images": (store.get("imageStore") or {}).get("number", 0),
        "container_count": (store.get("containerStore") or {}).get("number", 0),
        "running": (store.get("containerStore") or {}).get("running", 0),
    }


def _days_left(path: str) -> Fact:
    """Days until the first certificate of a file expires."""
    try:
        # The only function of the standard library that reads the dates of a certificate in a file.
        decode = ssl._ssl._test_decode_cert  # type: ignore[attr-defined] # pylint: disable=protected-access
        with open(path, "rb", opener=open_file) as stream:
            decoded = decode(f"/proc/self/fd/{stream.fileno()}")
    except (AttributeError, ssl.SSLError) as error:
        raise HostError(f"{path} is not a certificate: {error}") from error
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}") from error
    return int((ssl.cert_time_to_seconds(decoded["notAfter"]) - time.time()) // 86400)


def _host_volumes(docker: dict[str, Any]) -> list[str]:
    volumes = docker.get("volumes", [])
    parts = [volume.split(":") for volume in volumes if isinstance(volume, str)] if isinstance(volumes, list) else []
    # A socket among them has a check of its own.
    return [part[0] for part in parts if len(part) > 1 and part[0].startswith("/") and not part[0].endswith(".sock")]


def _conmons(uid: int, proc: str = "/proc") -> Iterator[dict[str, Any]]:
    """The user's conmon processes, which watch one container each, and the store that each belongs to.

    A job may run Podman in its container. What that starts can have the same uid, but is in another namespace.
    """
    uptime = float(read_or(f"{proc}/uptime", "0").split()[0])
    namespace = os.readlink(f"{proc}/self/ns/pid")
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (
                os.stat(f"{proc}/{entry}").st_uid == uid
                and read_or(f"{proc}/{entry}/comm").strip() == "conmon"
                and os.readlink(f"{proc}/{entry}/ns/pid") == namespace
            ):
                command = read_or(f"{proc}/{entry}/cmdline")
                found = re.search(r"\0-c\0([0-9a-f]{64})\0", command)
                root = re.search(r"\0--root\0--exit-command-arg\0([^\0]+)\0", command)
                started = int(read_or(f"{proc}/{entry}/stat").rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
                if found:
                    yield {
                        "pid": int(entry),
                        "container": found.group(1),
                        "root": root.group(1) if root else None,
                        "age": int(uptime - started),
                    }


def _walk(base: str, depth: int) -> Iterator[str]:
    """The paths below and including a directory, down to a depth, without following links."""
    if not os.path.lexists(base):
        return
    yield base
    if depth and os.path.isdir(base) and not os.path.islink(base):
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(base))[:500]:
                yield from _walk(f"{base}/{name}", depth - 1)


def _nearest(path: str) -> str:
    """The path, or the closest directory above it that exists."""
    while path != "/" and not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _parents(path: str) -> list[str]:
    """The path and all directories above it, from the outermost, without the root."""
    parts = [part for part in os.path.normpath(path).split("/") if part]
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()][:50]


def _last(text: str) -> str:
    return next(iter(reversed(_lines(text))), "no message")
