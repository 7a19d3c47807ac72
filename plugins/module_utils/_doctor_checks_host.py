# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Checks of what lies under Podman: the user, its ids and session, cgroups, kernel and limits."""

from __future__ import annotations

import re
import shlex
from typing import Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _subid
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor import (
    ERROR,
    INFO,
    MANAGER_LOSS,
    RESTART_LOSS,
    WARNING,
    Finding,
    Host,
    Skip,
    Table,
    printable,
    sed_pattern,
    set_sysctls,
)

CHECKS = Table()
NEEDED_IDS = 65536
KINDS = ("subuid", "subgid")


# --- the user and its ids ---


@CHECKS.check(
    "user.missing",
    ERROR,
    title="The runner user does not exist",
    why="Everything on a rootless CI host belongs to one ordinary system user: the runner service, Podman, and the "
    "containers.",
    variable="rootless_user",
    reference="useradd(8)",
)
def user_missing(host: Host) -> Optional[Finding]:
    error = host.facts["user"].get("error")
    if not error:
        return None
    name = error.split()[2]
    return Finding(
        f"{error[0].upper()}{error[1:]}.",
        ("getent passwd: no entry",),
        (f"useradd --system --create-home --skel /dev/null --shell /bin/bash {shlex.quote(name)}",),
    )


def ids_of(host: Host) -> _subid.Host:
    """The user's subordinate ids, and who else has which ids."""
    subids = host.need("subids")
    uids, gids = (
        [_subid.Entry(line["owner"], _subid.Range(line["start"], line["count"]), line["line"]) for line in subids[kind]]
        for kind in KINDS
    )
    accounts = [
        _subid.Account(kind, name, number)
        for kind, key in (("user", "users"), ("group", "groups"))
        for name, number in subids[key]
    ]
    return _subid.Host(host.user, host.uid, uids, gids, accounts, _subid.Limits(**subids["limits"]))


def own_lines(ids: _subid.Host, kind: str) -> list[_subid.Entry]:
    """The user's lines of one of the files, by name or by number."""
    entries = ids.uid_entries if kind == "subuid" else ids.gid_entries
    return [entry for entry in entries if _subid.owned([entry], ids.user, ids.uid)]


def usermod(ids: _subid.Host, added: _subid.Plan, removed: Optional[_subid.Plan] = None) -> str:
    options = [
        f"--{action}-{kind}s {found}"
        for action, plan in (("del", removed), ("add", added))
        if plan
        for kind, ranges in zip(KINDS, (plan.uids, plan.gids))
        for found in ranges
    ]
    return f"usermod {' '.join(options)} {shlex.quote(ids.user)}"


def edit_ids(reason: object) -> str:
    """What is left where no command can give the user its ids."""
    return f"${{EDITOR:-vi}} {_subid.UID_FILE} {_subid.GID_FILE}  # {printable(reason)}"


def add_ids(host: Host, start: Optional[int] = None) -> tuple[str, ...]:
    """Give the user what it lacks of the ids that containers need, or of those from C(start) on."""
    ids = ids_of(host)
    try:
        return (usermod(ids, _subid.plan_present(ids, NEEDED_IDS, start, grow=True)), *migrate(host))
    except _subid.SubidError as error:
        return (edit_ids(error),)


def migrate(host: Host) -> tuple[str, ...]:
    """Make Podman use the ranges that there are now. This stops every container."""
    if not host.get("commands.podman"):
        return ()
    return (host.as_user("podman system migrate"),)


MIGRATE_LOSS = (
    "podman system migrate stops every running container of the user: jobs that run fail. Wait for them or stop the "
    "runner first."
)


def describe(lines: list[_subid.Entry]) -> str:
    return ", ".join(f"{line.owner}:{line.range.start}:{line.range.count}" for line in lines) or "no line"


@CHECKS.check(
    "userns.subuid_missing",
    ERROR,
    title="The runner user has no subordinate ids",
    why="Without a range Podman can map one user only: images with files of other users cannot be unpacked, and no "
    "process in a container can have another user. useradd --system, which GitLab's package uses, does not "
    "allocate one.",
    applies="every release, above all users made by useradd --system",
    variable="userns_subid_count",
    reference="subuid(5), Podman troubleshooting 10",
)
def subuid_missing(host: Host) -> Optional[Finding]:
    ids = ids_of(host)
    missing = [kind for kind in KINDS if not own_lines(ids, kind)]
    if not missing:
        return None
    return Finding(
        f"{host.user} has no line in {' and '.join(f'/etc/{kind}' for kind in missing)}.",
        tuple(f"/etc/{kind}: no line of {host.user} ({host.uid})" for kind in missing),
        add_ids(host),
        MIGRATE_LOSS,
    )


@CHECKS.check(
    "userns.subuid_size",
    ERROR,
    title="The runner user has too few subordinate ids",
    why="Images use user ids up to 65535 (nobody is 65534). An id that the range does not reach cannot be unpacked.",
    variable="userns_subid_count",
    reference="Podman rootless tutorial",
    after=("userns.subuid_missing",),
)
def subuid_size(host: Host) -> Optional[Finding]:
    ids = ids_of(host)
    sums = {kind: _subid.total(ranges) for kind, ranges in zip(KINDS, (ids.uids, ids.gids))}
    short = [kind for kind, total in sums.items() if total < NEEDED_IDS]
    if not short:
        return None
    return Finding(
        f"{host.user} has {' and '.join(f'{sums[kind]} ids in /etc/{kind}' for kind in short)}; containers need "
        f"{NEEDED_IDS}.",
        tuple(f"/etc/{kind}: {describe(own_lines(ids, kind))}" for kind in short),
        add_ids(host),
        MIGRATE_LOSS,
    )


@CHECKS.check(
    "userns.subuid_overlap",
    ERROR,
    title="The runner user shares subordinate ids with somebody else",
    why="Two users with one range own each other's container files, and a process that breaks out of a container of "
    "one has the rights of the other. usermod does not refuse an overlap.",
    variable="userns_subid_start",
    reference="subuid(5), Podman rootless tutorial",
    after=("userns.subuid_missing",),
)
def subuid_overlap(host: Host) -> Optional[Finding]:
    ids = ids_of(host)
    clashes, shared = [], []
    for kind, entries, account in zip(KINDS, (ids.uid_entries, ids.gid_entries), ("user", "group")):
        own = own_lines(ids, kind)
        for line in own:
            others = [
                f"/etc/{kind}: {describe([entry])}"
                for entry in entries
                if entry not in own and entry.range.overlaps(line.range)
            ]
            others += [
                f"{account} {other.name} has the id {other.id}"
                for other in ids.accounts
                if other.kind == account and line.range.start <= other.id < line.range.end
            ]
            if others:
                clashes += [f"/etc/{kind}: {describe([line])} meets {other}" for other in others]
                shared.append(line.range)
    if not clashes:
        return None
    stop = host.as_user("podman system reset --force") if host.get("store.exists") else ""
    return Finding(
        f"The range of {host.user} meets {len(clashes)} other{'s' if len(clashes) > 1 else ''}: "
        f"{clashes[0].partition(' meets ')[2]}.",
        tuple(clashes),
        (
            host.stop_jobs(),
            *((stop,) if stop else ()),
            # usermod takes no range away from a user who has processes.
            f"systemctl stop user@{host.uid}.service",
            _replace(ids, shared),
            f"systemctl start user@{host.uid}.service",
            *migrate(host),
            host.start_jobs(),
        ),
        f"The files of every container and image in {host.get('store.graph_root')} belong to the shared ids: the "
        "store is emptied, with all images, containers and volumes. Save what is wanted first (podman save, podman "
        "volume export).",
    )


def _replace(ids: _subid.Host, shared: list[_subid.Range]) -> str:
    """The command that takes ranges from the user, and gives it others as far as it needs them."""

    def without(entries: list[_subid.Entry], ranges: list[_subid.Range]) -> list[_subid.Entry]:
        own = _subid.owned(entries, ids.user, ids.uid)
        return [
            *(entry for entry in entries if not _subid.owned([entry], ids.user, ids.uid)),
            *(_subid.Entry(ids.user, found, 0) for found in _subid.subtract(own, ranges)),
            # The old ids are for nobody: files of them may be left somewhere.
            *(_subid.Entry("", found, 0) for found in ranges),
        ]

    try:
        plans = [_subid.plan_absent(ids, found) for found in _subid.merge(shared)]
        removed = _subid.Plan([r for plan in plans for r in plan.uids], [r for plan in plans for r in plan.gids], [])
        rest = ids._replace(
            uid_entries=without(ids.uid_entries, removed.uids), gid_entries=without(ids.gid_entries, removed.gids)
        )
        return usermod(ids, _subid.plan_present(rest, NEEDED_IDS, None, grow=True), removed)
    except _subid.SubidError as error:
        return edit_ids(error)


@CHECKS.check(
    "userns.subgid_mismatch",
    WARNING,
    title="Subordinate user and group ids differ",
    why="Nothing fails at once, but owners and groups of files in containers map to different numbers, which is "
    "confusing when something else does.",
    variable="userns_subid_start",
    reference="subuid(5), subgid(5)",
    after=("userns.subuid_missing", "userns.subuid_size", "userns.subuid_overlap"),
)
def subgid_mismatch(host: Host) -> Optional[Finding]:
    ids = ids_of(host)
    if ids.uids == ids.gids:
        return None
    added = _subid.Plan(_subid.subtract(ids.gids, ids.uids), _subid.subtract(ids.uids, ids.gids), [])
    taken = [
        f"{found} overlaps {other}" for found in added.uids + added.gids for other in [ids.conflict(found)] if other
    ]
    shifted = any(
        found.start < own.start
        for new, old in ((added.uids, ids.uids), (added.gids, ids.gids))
        for found in new
        for own in old
    )
    return Finding(
        f"The ranges of {host.user} in /etc/subuid and /etc/subgid are not the same.",
        tuple(f"/etc/{kind}: {describe(own_lines(ids, kind))}" for kind in KINDS),
        (edit_ids("; ".join(taken)),) if taken else (usermod(ids, added), *migrate(host)),
        MIGRATE_LOSS
        + (
            " Ids are added below others, so that the owners of files in existing images and containers shift. That is "
            "right where the user had these ids before; otherwise empty the store (podman system reset)."
            if shifted
            else ""
        ),
    )


@CHECKS.check(
    "userns.mapping_stale",
    ERROR,
    title="Podman still uses an old mapping of ids",
    why="Podman keeps its user namespace alive between commands. Ranges that were changed later are not in it until "
    "it is renewed.",
    variable="userns_subid_grow",
    reference="podman-system-migrate(1), Podman troubleshooting 19",
    after=("userns.subuid_missing",),
)
def mapping_stale(host: Host) -> Optional[Finding]:
    mapped = [_subid.Range(first, size) for inside, first, size in host.need("podman.info.uidmap") if inside]
    ids = ids_of(host)
    lost = _subid.subtract(ids.uids, mapped)
    if not lost:
        return None
    return Finding(
        f"/etc/subuid gives {', '.join(map(str, lost))}, which is not in the user namespace of Podman.",
        (
            f"podman info: uidmap {host.need('podman.info.uidmap')}",
            f"/etc/subuid: {describe(own_lines(ids, 'subuid'))}",
        ),
        migrate(host),
        MIGRATE_LOSS,
    )


@CHECKS.check(
    "userns.store_foreign_ids",
    ERROR,
    title="The store holds files of ids that are not mapped any more",
    why="When a range is replaced, all files of containers keep the old ids, and every podman command fails with "
    "'permission denied'. Adding the old range again as a second line repairs that without a loss.",
    variable="userns_subid_start",
    reference="podman-system-migrate(1)",
    after=("userns.subuid_missing",),
)
def store_foreign_ids(host: Host) -> Optional[Finding]:
    owners = host.need("store.foreign_ids.owners")
    ids = ids_of(host)
    uids, gids = ({int(pair.split()[column]) for pair in owners} for column in (0, 1))
    strange = {
        "uid": _unmapped(uids - {host.uid}, ids.uids),
        # The group root on a directory that an administrator made for the user does no harm.
        "gid": _unmapped(gids - {host.need("user.gid"), 0}, ids.gids),
    }
    if not any(strange.values()):
        if not host.need("store.foreign_ids")["complete"]:
            raise Skip("the store is too large to look at every file in time; its first files are in order")
        return None
    numbers = sorted({*strange["uid"], *strange["gid"]})
    evidence = tuple(
        f"{host.get('store.graph_root')}: files of {kind} {', '.join(map(str, found[:5]))}"
        for kind, found in strange.items()
        if found
    )
    lost = [number for number in numbers if number >= 65536]
    if not lost:
        # Not a lost range but files that somebody else, most often root, has put there.
        return Finding(
            f"The store holds files of {'root' if numbers == [0] else f'the ids {numbers[:5]}'}: a podman command was "
            "run as somebody else.",
            evidence,
            (
                f"find {shlex.quote(host.get('store.graph_root'))} -xdev \\( "
                f"{' -o '.join(f'-uid {n} -o -gid {n}' for n in numbers[:5])} \\) "
                f"-exec chown -h {shlex.quote(host.user)}: {{}} +",
            ),
        )
    start = _old_start(host, lost)
    return Finding(
        f"{host.get('store.graph_root')} holds files of ids from {lost[0]} on, which no range of {host.user} covers "
        "now.",
        evidence,
        add_ids(host, start),
        f"{MIGRATE_LOSS} The old range is taken to begin at {start}: look at a backup of /etc/subuid if there is one. "
        f"The role does the same with userns_subid_start: {start} and userns_subid_count: {NEEDED_IDS}; "
        "podman_scan_storage: true has it look whether files of other lost ids are left.",
    )


def _unmapped(numbers: set[int], ranges: list[_subid.Range]) -> list[int]:
    return sorted(number for number in numbers if not any(own.start <= number < own.end for own in ranges))


def _old_start(host: Host, ids: list[int]) -> int:
    """Where the lost range began: a backup of /etc/subuid has it, otherwise the numbers suggest it."""
    for entry in host.get("subids.backup", []):
        if entry["owner"] in (host.user, str(host.uid)) and entry["start"] <= ids[0] < entry["start"] + entry["count"]:
            return int(entry["start"])
    # shadow counts in steps of 65536 from 100000 on; people and this collection take round numbers.
    candidates = (
        ids[0] // 65536 * 65536,
        ids[0] // 100000 * 100000,
        (ids[0] - 100000) // 65536 * 65536 + 100000,
    )
    return max(candidate for candidate in candidates if candidate <= ids[0])


@CHECKS.check(
    "userns.newuidmap",
    ERROR,
    title="newuidmap or newgidmap cannot map ids",
    why="Only these two programs may write the mapping of a user's namespace, and need to be setuid root or to have "
    "a capability. Copying an image of a system without extended attributes loses the capability.",
    variable="",
    reference="newuidmap(1), Podman troubleshooting 9",
)
def newuidmap(host: Host) -> Optional[Finding]:
    broken, evidence, commands = [], [], []
    for name in ("newuidmap", "newgidmap"):
        tool = host.need(f"idmap_tools.{name}")
        if not tool.get("path"):
            broken.append(f"{name} is not installed")
            evidence.append(f"{name}: not in PATH")
            commands = [host.install("uidmap:shadow-utils")]
        elif not tool["capable"] and not (tool["setuid"] and tool["uid"] == 0):
            broken.append(f"{name} has neither the setuid bit nor the capability")
            evidence.append(f"{tool['path']}: mode {tool['mode']}, owner {tool['uid']}, no capability")
            program = shlex.quote(tool["path"])
            commands.append(f"chown root: {program} && chmod 4755 {program}")
    if not broken:
        return None
    text = "; ".join(broken)
    return Finding(f"{text[0].upper()}{text[1:]}.", tuple(evidence), tuple(dict.fromkeys(commands)))


@CHECKS.check(
    "userns.clone_sysctl",
    ERROR,
    title="The kernel forbids user namespaces to ordinary users",
    why="Kernels of Debian have a switch of their own for it. Where it does not exist there is nothing to set.",
    applies="kernels of Debian and Ubuntu",
    variable="userns_sysctls",
    reference="Debian 11 release notes 5.1.14",
)
def clone_sysctl(host: Host) -> Optional[Finding]:
    value = host.sysctl("kernel.unprivileged_userns_clone")
    if value != "0":
        return None
    return Finding(
        "kernel.unprivileged_userns_clone is 0: no user but root can make a user namespace.",
        ("/proc/sys/kernel/unprivileged_userns_clone: 0",),
        set_sysctls({"kernel.unprivileged_userns_clone": "1"}),
    )


@CHECKS.check(
    "userns.max",
    ERROR,
    title="The kernel allows too few user namespaces",
    why="Each rootless container needs at least one.",
    applies="hardened hosts",
    variable="userns_sysctls",
    reference="user_namespaces(7)",
)
def userns_max(host: Host) -> Optional[Finding]:
    value = host.sysctl("user.max_user_namespaces")
    if value is None:
        raise Skip("the kernel does not have user.max_user_namespaces")
    if int(value) >= 1000:
        return None
    return Finding(
        f"user.max_user_namespaces is {value}.",
        (f"/proc/sys/user/max_user_namespaces: {value}",),
        set_sysctls({"user.max_user_namespaces": "28633"}),
        severity=WARNING if int(value) else ERROR,
    )


@CHECKS.check(
    "userns.apparmor",
    ERROR,
    title="AppArmor keeps Podman from making user namespaces",
    why="Ubuntu allows user namespaces only to programs with a profile, and the profile of podman names "
    "/usr/bin/podman. A Podman from elsewhere has none.",
    applies="Ubuntu 24.04 and later",
    variable="userns_podman_executable",
    reference="containers/podman issue 24642",
)
def userns_apparmor(host: Host) -> Optional[Finding]:
    if host.sysctl("kernel.apparmor_restrict_unprivileged_userns") != "1":
        return None
    path = host.need("podman.path")
    profiles = host.need("apparmor.profiles")
    if any(entry["userns"] and _attaches(entry["attaches"], path) for entry in profiles):
        return None
    lines = ["abi <abi/4.0>,", f"profile rootless-podman {path} flags=(unconfined) {{", "  userns,", "}"]
    return Finding(
        f"AppArmor restricts user namespaces, and no profile allows them to {path}.",
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns: 1",
            f"/etc/apparmor.d: no profile attaches to {path}",
        ),
        (
            f"printf '%s\\n' {' '.join(map(shlex.quote, lines))} > /etc/apparmor.d/rootless-podman",
            "apparmor_parser --replace /etc/apparmor.d/rootless-podman",
        ),
    )


def _attaches(pattern: str, path: str) -> bool:
    """Whether an AppArmor attachment, as far as profiles of programs use it, matches a path."""
    text = (
        re.escape(pattern)
        .replace(r"\{", "(?:")
        .replace(r"\}", ")")
        .replace(",", "|")
        .replace(r"\*\*", ".*")
        .replace(r"\*", "[^/]*")
    )
    return bool(pattern) and re.fullmatch(text, path) is not None


@CHECKS.check(
    "userns.pasta_apparmor",
    WARNING,
    title="AppArmor stops pasta",
    why="Where pasta may not do what it needs, containers get no network; slirp4netns works. Where it may not get "
    "signals from Podman, which has a profile of its own, Podman cannot end it when the last container on a network "
    "goes (kill network process: permission denied), and a process is left each time.",
    applies="Ubuntu 24.04 and later",
    variable="podman_containers_conf",
    reference="rootlesskit docs/network.md, Launchpad bug 2077158, containers/podman issue 27372",
)
def pasta_apparmor(host: Host) -> Optional[Finding]:
    denials = [line for line in _denials(host) if re.search(r'profile="(pasta|passt)', line)]
    if not denials:
        return None
    own = [line for line in denials if not _is_signal_to_pasta(line)]
    if not own:
        return _signals_to_pasta(denials)
    return Finding(
        f"AppArmor denied pasta something in the last day ({len(own)} lines in the journal).",
        tuple(own[-3:]),
        (
            host.install("slirp4netns"),
            *host.edit(host.need("containers_conf.own"), ("network", "default_rootless_network_cmd", '"slirp4netns"')),
        ),
    )


def _is_signal_to_pasta(line: str) -> bool:
    return 'operation="signal"' in line and 'profile="pasta"' in line and 'denied_mask="send"' not in line


def _signals_to_pasta(denials: list[str]) -> Finding:
    """The profile of pasta takes signals from programs without a profile only."""
    folder = "/etc/apparmor.d/abstractions/base.d"
    # Beside the file of the role userns. A rule that is there twice does no harm.
    file = f"{folder}/rootless-doctor"
    peers = {match.group(1) for line in denials for match in [re.search(r'peer="([A-Za-z0-9_.-]+)"', line)] if match}
    rules = " ".join(f"'signal (receive) peer={peer},'" for peer in sorted(peers))
    return Finding(
        f"AppArmor kept signals of Podman from pasta in the last day ({len(denials)} lines in the journal).",
        tuple(denials[-3:]),
        (
            f"mkdir -p {folder}",
            f"printf '%s\\n' {rules} > {file}"
            if rules
            else f"${{EDITOR:-vi}} {file}  # add: signal (receive) peer=..., with the peer from the log",
            "apparmor_parser --replace /etc/apparmor.d/usr.bin.pasta",
        ),
    )


def _denials(host: Host) -> list[str]:
    denials = host.need("journal").get("denials")
    if isinstance(denials, dict):
        raise Skip(denials["error"])
    return list(denials or [])


@CHECKS.check(
    "apparmor.host_profile_attaches",
    WARNING,
    title="A profile of the host confines programs in containers",
    why="AppArmor attaches by path, also in containers: a program in an image with the path of a confined program of "
    "the host is confined like it, and fails where it has no right to.",
    applies="Ubuntu 24.04 and later",
    reference="containers/podman issues 28578 and 29421",
)
def host_profile_attaches(host: Host) -> Optional[Finding]:
    ranges = ids_of(host).uids
    ours = []
    for line in _denials(host):
        found = re.search(r"fsuid=(\d+)", line)
        if found and any(own.start <= int(found.group(1)) < own.end for own in ranges):
            ours.append(line)
    if not ours:
        return None
    profiles = sorted(
        {match.group(1) for line in ours for match in [re.search(r'profile="([\w./-]+)"', line)] if match}
    )
    return Finding(
        f"AppArmor denied programs in containers something in the last day (profiles {', '.join(profiles)}).",
        tuple(ours[-3:]),
        (host.install("apparmor-utils"), *(f"aa-disable {shlex.quote(name)}" for name in profiles)),
        "The profile is off for the program of the host as well; a rule in /etc/apparmor.d/local/ is the finer way.",
    )


# --- the session ---


@CHECKS.check(
    "session.linger",
    ERROR,
    title="The runner user has no linger",
    why="Without it systemd starts no manager for a user who is not logged in, and stops it with all containers at "
    "the last logout.",
    variable="podman_user",
    reference="loginctl(1), GitLab Runner: Use Podman",
)
def linger(host: Host) -> Optional[Finding]:
    if host.need("session")["linger"]:
        return None
    path = f"/var/lib/systemd/linger/{host.user}"
    return Finding(
        f"Lingering is not enabled for {host.user}.",
        (f"{path}: does not exist",),
        (f"loginctl enable-linger {shlex.quote(host.user)}",),
    )


def start_manager(host: Host) -> tuple[str, ...]:
    return (f"systemctl start user@{host.uid}.service",)


@CHECKS.check(
    "session.user_manager",
    ERROR,
    title="The user manager does not run",
    why="The user's systemd holds podman.socket; while it is down, nothing answers the runner.",
    variable="podman_user",
    reference="user@.service(5)",
    after=("session.linger",),
)
def user_manager(host: Host) -> Optional[Finding]:
    state = host.need("units.user_manager.ActiveState")
    if state == "active":
        return None
    return Finding(
        f"user@{host.uid}.service is {state}.",
        (f"systemctl show user@{host.uid}.service: ActiveState={state}",),
        (f"systemctl reset-failed user@{host.uid}.service; systemctl start user@{host.uid}.service",),
    )


@CHECKS.check(
    "session.runtime_dir",
    ERROR,
    title="The run time directory of the user is missing or not its own",
    why="Podman keeps its socket, its locks and the state of containers there.",
    variable="podman_user",
    reference="pam_systemd(8), Podman troubleshooting 31",
    after=("session.linger", "session.user_manager"),
)
def runtime_dir(host: Host) -> Optional[Finding]:
    found = host.need("session").get("runtime_dir")
    if found and "error" in found:
        raise Skip(found["error"])
    if found and found["uid"] == host.uid and found["mode"] == "0700":
        return None
    if not found:
        return Finding(
            f"{host.runtime_dir} does not exist.",
            (f"{host.runtime_dir}: not there",),
            (
                f"systemctl restart user-runtime-dir@{host.uid}.service",
                f"systemctl restart user@{host.uid}.service",
            ),
            MANAGER_LOSS,
        )
    return Finding(
        f"{host.runtime_dir} belongs to uid {found['uid']} with mode {found['mode']} instead of {host.uid} with 0700.",
        (f"{host.runtime_dir}: uid {found['uid']}, mode {found['mode']}",),
        (f"chown {shlex.quote(host.user)}: {host.runtime_dir} && chmod 0700 {host.runtime_dir}",),
    )


@CHECKS.check(
    "session.dbus",
    ERROR,
    title="The user has no D-Bus",
    why="Podman asks the user's systemd over D-Bus for a cgroup for each container. On Debian the package that "
    "provides the bus is only recommended by podman.",
    applies="Debian and Ubuntu",
    variable="podman_packages",
    reference="containers/podman issues 12983 and 13895",
    after=("session.linger", "session.user_manager", "session.runtime_dir"),
)
def dbus(host: Host) -> Optional[Finding]:
    if host.need("session")["bus"]:
        return None
    packages = host.get("packages", {})
    missing = host.get("os.family") == "debian" and "dbus-user-session" not in packages
    return Finding(
        f"{host.runtime_dir}/bus does not exist"
        + (", because dbus-user-session is not installed." if missing else "."),
        (f"{host.runtime_dir}/bus: not there",),
        (
            *((host.install("dbus-user-session"),) if missing else ()),
            host.systemctl_user("daemon-reload"),
            host.systemctl_user("restart dbus.socket"),
        ),
    )


@CHECKS.check(
    "session.cgroup_manager",
    WARNING,
    title="Podman manages cgroups by itself",
    why="With the cgroupfs manager containers live in the cgroup of the service that started them, and are killed "
    "with it.",
    variable="podman_containers_conf",
    reference="containers/podman issue 13154",
    after=("session.linger", "session.user_manager", "session.runtime_dir", "session.dbus"),
)
def cgroup_manager(host: Host) -> Optional[Finding]:
    if host.need("podman.info.cgroup_manager") == "systemd":
        return None
    configured = host.get("containers_conf.merged.engine", {}).get("cgroup_manager")
    return Finding(
        f"Podman uses the cgroup manager {host.need('podman.info.cgroup_manager')}"
        + (", which containers.conf asks for." if configured else ", because it finds no session with D-Bus."),
        (f"podman info: cgroupManager {host.need('podman.info.cgroup_manager')}",),
        (
            *(
                host.edit(host.need("containers_conf.own"), ("engine", "cgroup_manager", '"systemd"'))
                if configured
                else ()
            ),
            host.systemctl_user("restart dbus.socket"),
            host.systemctl_user("stop podman.service"),
        ),
        RESTART_LOSS,
    )


def boot_with(name: str, value: str) -> tuple[str, ...]:
    """Commands that set a parameter of the kernel's command line, and boot with it.

    GRUB joins two lines of this file, and of a parameter that is given twice the last one counts.
    """
    scripts = (
        rf"/^GRUB_CMDLINE_LINUX\(_DEFAULT\)\?=/s/\b{sed_pattern(name)}=[^[:space:]\"']*//g",
        f'$a GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {name}={value}"',
    )
    return (
        f"sed -i {' '.join(f'-e {shlex.quote(script)}' for script in scripts)} /etc/default/grub",
        "update-grub || grub2-mkconfig -o /boot/grub2/grub.cfg",
        "systemctl reboot",
    )


@CHECKS.check(
    "cgroup.version",
    ERROR,
    title="The host does not use cgroup v2",
    why="Limits of rootless containers work with cgroup v2 only, and crun refuses the hybrid layout.",
    applies="Ubuntu 20.04 and RHEL 8 by default",
    reference="GitLab Runner: Use Podman, podman-run(1)",
)
def cgroup_version(host: Host) -> Optional[Finding]:
    kind = host.need("cgroup.fstype")
    if kind == "cgroup2":
        return None
    return Finding(
        f"/sys/fs/cgroup is {kind}, so that the host has cgroup v1 or both versions at once.",
        (
            f"/sys/fs/cgroup: {kind}",
            *(f"kernel command line: {word}" for word in host.get("kernel.parameters", []) if "cgroup" in word),
        ),
        boot_with("systemd.unified_cgroup_hierarchy", "1"),
        "The host is rebooted.",
    )


@CHECKS.check(
    "cgroup.delegation",
    WARNING,
    title="A cgroup controller that jobs are limited by is not delegated",
    why="systemd gives user managers memory and pids, later releases cpu as well. A limit by another controller "
    "makes the start of a container fail, or does nothing.",
    variable="podman_delegate_controllers",
    reference="systemd.resource-control(5), Podman troubleshooting 26",
    after=("cgroup.version", "session.user_manager"),
)
def cgroup_delegation(host: Host) -> Optional[Finding]:
    delegated, available = set(host.need("cgroup.delegated")), set(host.need("cgroup.available"))
    wanted = {"memory": "memory", "cpus": "cpu", "cpuset_cpus": "cpuset"}
    used = {
        wanted[key]
        for runner in host.get("runner.config.runners", [])
        for key in runner.get("docker", {})
        if key in wanted
    }
    lacking = sorted(((used | {"cpu", "memory", "pids"}) & available) - delegated)
    if not lacking:
        return None
    return Finding(
        f"user@{host.uid}.service lacks the controllers {', '.join(lacking)}.",
        (
            f"cgroup.controllers of user@{host.uid}.service: {' '.join(sorted(delegated)) or 'none'}",
            f"of the host: {' '.join(sorted(available))}",
        ),
        (
            "mkdir -p /etc/systemd/system/user@.service.d",
            "printf '%s\\n' '[Service]' 'Delegate=cpu cpuset io memory pids' > "
            "/etc/systemd/system/user@.service.d/rootless-delegate.conf",
            "systemctl daemon-reload",
            host.open_controllers(),
        ),
        severity=ERROR if used & set(lacking) else WARNING,
    )


@CHECKS.check(
    "session.config_owner",
    ERROR,
    title="Files of the user's configuration belong to somebody else",
    why="Directories that root made in the home of the user cannot be written by Podman and systemd of the user.",
    variable="podman_user",
    reference="Podman troubleshooting",
)
def config_owner(host: Host) -> Optional[Finding]:
    foreign = host.need("session")["foreign"]
    # Below the store the subordinate ids own files, and rightly so.
    foreign = [(path, uid) for path, uid in foreign if "/containers/storage/" not in path]
    if not foreign:
        return None
    return Finding(
        f"Not everything in {host.home} belongs to {host.user}: {foreign[0][0]} belongs to uid {foreign[0][1]}.",
        tuple(f"{path}: uid {uid}" for path, uid in foreign[:5]),
        tuple(f"chown -h {shlex.quote(host.user)}: {shlex.quote(path)}" for path, _uid in foreign),
    )


# --- the kernel and its limits ---


@CHECKS.check(
    "sysctl.keys",
    WARNING,
    title="The kernel allows the user few keys",
    why="Each container takes about fifteen entries of the user's key ring quota: with the default of 200 a handful "
    "of jobs at once fail with 'create keyring: Disk quota exceeded'.",
    variable="userns_sysctls",
    reference="keyrings(7), containers/crun issue 981",
)
def sysctl_keys(host: Host) -> Optional[Finding]:
    maximum = int(host.sysctl("kernel.keys.maxkeys") or 0)
    if not maximum:
        raise Skip("the kernel does not have kernel.keys.maxkeys")
    used, concurrent = host.need("keys")["used"], int(host.get("runner.config.concurrent", 1))
    if used > 0.7 * maximum:
        summary, severity = f"{used} of the {maximum} keys of {host.user} are in use.", ERROR
    elif maximum <= 200 and concurrent > 5:
        summary, severity = (
            f"kernel.keys.maxkeys is {maximum}, while {concurrent} jobs may run at once.",
            WARNING,
        )
    else:
        return None
    return Finding(
        summary,
        (
            f"/proc/sys/kernel/keys/maxkeys: {maximum}",
            f"/proc/key-users: {used} used",
            f"config.toml: concurrent = {concurrent}",
        ),
        set_sysctls({"kernel.keys.maxkeys": "20000", "kernel.keys.maxbytes": "500000"}),
        severity=severity,
    )


@CHECKS.check(
    "sysctl.inotify",
    WARNING,
    title="The kernel allows few inotify instances",
    why="All containers of the user share the limit, and build tools, systemd in containers and kind use many.",
    variable="userns_sysctls",
    reference="inotify(7)",
)
def sysctl_inotify(host: Host) -> Optional[Finding]:
    instances, watches = (
        host.sysctl("fs.inotify.max_user_instances"),
        host.sysctl("fs.inotify.max_user_watches"),
    )
    if instances is None or watches is None:
        raise Skip("the kernel does not have fs.inotify")
    low = {}
    if int(instances) < 512:
        low["fs.inotify.max_user_instances"] = "1024"
    if int(watches) < 16384:
        low["fs.inotify.max_user_watches"] = "524288"
    if not low:
        return None
    return Finding(
        f"fs.inotify.max_user_instances is {instances} and max_user_watches {watches}.",
        (f"max_user_instances: {instances}", f"max_user_watches: {watches}"),
        set_sysctls(low),
    )


@CHECKS.check(
    "sysctl.map_count",
    INFO,
    title="The kernel allows few memory maps",
    why="Elasticsearch and OpenSearch refuse to start as a service of a job below 262144.",
    variable="userns_sysctls",
    reference="GitLab Runner FAQ",
)
def sysctl_map_count(host: Host) -> Optional[Finding]:
    value = host.sysctl("vm.max_map_count")
    if value is None:
        raise Skip("the kernel does not have vm.max_map_count")
    services = [name for runner in host.runners for name in runner.get("docker", {}).get("services", [])]
    hungry = [name for name in services if re.search(r"elastic|opensearch", name)]
    if int(value) >= 262144 or not hungry:
        return None
    return Finding(
        f"vm.max_map_count is {value}, and config.toml lists the service {hungry[0]}.",
        (f"/proc/sys/vm/max_map_count: {value}",),
        set_sysctls({"vm.max_map_count": "262144"}),
    )


@CHECKS.check(
    "limits.nofile_nproc",
    ERROR,
    title="Containers ask for more than the user may have",
    why="A rootless container cannot raise a hard limit: its start fails with 'setrlimit: Operation not permitted'.",
    variable="podman_containers_conf",
    reference="containers.conf(5), getrlimit(2)",
    after=("session.user_manager",),
)
def nofile_nproc(host: Host) -> Optional[Finding]:
    asked: dict[str, int] = {}
    for entry in host.get("containers_conf.merged.containers", {}).get("default_ulimits") or []:
        name, _equals, numbers = str(entry).partition("=")
        asked[name] = max(int(number) for number in re.findall(r"\d+", numbers))
    for runner in host.get("runner.config.runners", []):
        for name, numbers in (runner.get("docker", {}).get("ulimit") or {}).items():
            asked[name] = max(
                asked.get(name, 0),
                max((int(number) for number in re.findall(r"\d+", str(numbers))), default=0),
            )
    limits = host.need("limits")
    too_much = []
    for name in ("nofile", "nproc"):
        hard = str((limits.get(name) or {}).get("hard", ""))
        if name in asked and not hard:
            raise Skip("the limits of the user's manager are not known")
        if name in asked and hard != "unlimited" and asked[name] > int(hard):
            too_much.append((name, asked[name], hard))
    if not too_much:
        return None
    settings = " ".join(f"'Limit{name.upper()}={wanted}'" for name, wanted, _hard in too_much)
    return Finding(
        "; ".join(
            f"containers ask for {name} {wanted}, and {host.user} may have {hard}" for name, wanted, hard in too_much
        )
        + ".",
        tuple(f"user@{host.uid}.service: hard limit {name} {hard}" for name, _wanted, hard in too_much),
        (
            f"mkdir -p /etc/systemd/system/user@{host.uid}.service.d",
            f"printf '%s\\n' '[Service]' {settings} > "
            f"/etc/systemd/system/user@{host.uid}.service.d/rootless-limits.conf",
            "systemctl daemon-reload",
            f"systemctl restart user@{host.uid}.service",
        ),
        MANAGER_LOSS,
    )


@CHECKS.check(
    "limits.tasksmax",
    WARNING,
    title="The user may have too few tasks",
    why="All jobs together share the tasks of the user's slice; a fork beyond it fails in whatever job comes last.",
    reference="systemd.resource-control(5)",
)
def tasksmax(host: Host) -> Optional[Finding]:
    value = host.need("limits.tasks_max")
    jobs = int(host.need("runner.config.concurrent"))
    if value == "infinity" or int(value) >= 2048 * jobs or int(value) > 2**62:
        return None
    if int(value) >= 1024 * jobs and jobs <= 2:
        return None
    return Finding(
        f"user-{host.uid}.slice may have {value} tasks, and {jobs} jobs with 2048 each may run at once.",
        (f"systemctl show user-{host.uid}.slice: TasksMax={value}", f"config.toml: concurrent = {jobs}"),
        (f"systemctl set-property user-{host.uid}.slice TasksMax=infinity",),
    )


@CHECKS.check(
    "kernel.vsyscall",
    INFO,
    title="Very old images cannot run",
    why="Programs of CentOS 6 and of its time call vsyscall, and die with a segmentation fault where the kernel has "
    "none.",
    variable="userns_vsyscall",
    applies="x86-64",
    reference="moby/moby issue 34301",
)
def vsyscall(host: Host) -> Optional[Finding]:
    if host.need("kernel.machine") != "x86_64":
        raise Skip(f"{host.need('kernel.machine')} never had vsyscall")
    mode = host.need("kernel.vsyscall")
    images = [str(runner.get("docker", {}).get("image", "")) for runner in host.runners]
    old = [name for name in images if re.search(r"centos:(5|6)|debian:(wheezy|7)|ubuntu:1[0-4]\.", name)]
    if mode == "emulate" or not old:
        # A kernel without it is how it should be as long as nobody wants such an image.
        return None
    return Finding(
        f"The kernel has vsyscall={mode}, and config.toml names the image {old[0]}.",
        (
            f"/proc/self/maps: vsyscall {mode}",
            *(f"kernel command line: {word}" for word in host.get("kernel.parameters", []) if "vsyscall" in word),
        ),
        boot_with("vsyscall", "emulate"),
        "The host is rebooted, and gives up a protection against exploits.",
        severity=ERROR if mode == "none" else INFO,
    )


@CHECKS.check(
    "sudo.rs",
    WARNING,
    title="Scripts rely on an option that this sudo ignores",
    why="sudo-rs does not implement sudo -E: the environment, with XDG_RUNTIME_DIR, does not arrive.",
    applies="Ubuntu 25.10 and later",
    reference="trifectatechfoundation/sudo-rs issue 1299",
)
def sudo_rs(host: Host) -> Optional[Finding]:
    sudo = host.need("sudo")
    if not sudo["rs"] or not sudo["scripts"]:
        return None
    return Finding(
        f"sudo is sudo-rs, and {sudo['scripts'][0]} uses sudo -E.",
        tuple(f"{path}: sudo -E" for path in sudo["scripts"][:5]),
        tuple(
            f"sed -i 's/\\bsudo -Eu /runuser -u /; s/\\bsudo -E -u /runuser -u /' {shlex.quote(path)}"
            for path in sudo["scripts"]
        ),
    )
