# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Subordinate uid and gid ranges: parse the files, decide what a user still needs, find a place for it.

The files are described in subuid(5), their limits in login.defs(5). Podman maps the ranges of a user in the
order of their first ids, wherever they stand in the file: a range that is added above all others of its user
leaves the owners of existing files as they are.

In a container with a user namespace only some ids exist, those of user_namespaces(7). The kernel maps a range only
if all of it lies in one line of that map.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Optional

UID_FILE = "/etc/subuid"
GID_FILE = "/etc/subgid"

# uid_t has 32 bits, and its last value means "no id".
LAST_ID = 2**32 - 2
# Below are systemd's dynamic users, nobody, and the "no id" of 16 bits.
_FIRST_ID = 65536


class SubidError(Exception):
    """What is wanted cannot be had; the text says why and what to do."""


@dataclass(frozen=True, order=True)
class Range:
    """C(count) ids from C(start)."""

    start: int
    count: int

    @property
    def end(self) -> int:
        """The first id behind the range."""
        return self.start + self.count

    def overlaps(self, other: Range) -> bool:
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        return f"{self.start}-{self.end - 1}"


class Entry(NamedTuple):
    """One valid line of a file."""

    owner: str
    """The name of the user, or its uid in digits."""
    range: Range
    line: int


class Account(NamedTuple):
    """A real user or group."""

    kind: str
    """C(user) or C(group)."""
    name: str
    id: int


class Limits(NamedTuple):
    """Which ids may be subordinate."""

    lowest: int
    """The first that can be no real user's or group's."""
    first: int
    """The first that is chosen."""
    last: int
    """The last that is chosen."""


class Existing(NamedTuple):
    """The ids that exist on a host: the lines of its maps, lowest first."""

    uids: list[Range] = [Range(0, LAST_ID + 1)]
    gids: list[Range] = [Range(0, LAST_ID + 1)]

    @property
    def both(self) -> list[Range]:
        """Where a range of uids and gids can lie, lowest first."""
        pairs = ((max(a.start, b.start), min(a.end, b.end)) for a in self.uids for b in self.gids)
        return sorted(Range(start, end - start) for start, end in pairs if start < end)

    def problem(self, wanted: str, user: str, last: int) -> str:
        """Why a user cannot have the wanted ids, and what to do. Takes the last id that it needs."""

        def text(ranges: list[Range]) -> str:
            return ", ".join(f"{found.start} to {found.end - 1}" for found in ranges)

        if self.uids == self.gids:
            exist = f"ids {text(self.uids)}"
        else:
            kinds = (("uids", self.uids), ("gids", self.gids))
            exist = " and the ".join(f"{kind} {text(ranges)}" for kind, ranges in kinds if ranges != Existing().uids)
        parts = " (a range has to lie in one of these parts)" if len(self.uids + self.gids) > 2 else ""
        return (
            f"this host is a container in which only the {exist} exist{parts}, so {wanted} cannot be used for {user};"
            f" give it more ids, 0 to {last} at least (Proxmox and LXC: lxc.idmap, and root's lines in {UID_FILE} and"
            f" {GID_FILE} of the machine that it runs on; Podman: --uidmap and --gidmap; Docker: userns-remap)"
        )


class Plan(NamedTuple):
    """The ranges to add to each file, or to remove from it."""

    uids: list[Range]
    gids: list[Range]
    warnings: list[str]


# --- reading ------------------------------------------------------------------


def parse(text: str, path: str) -> tuple[list[Entry], list[str]]:
    """The valid lines of a file, and a sentence about each of the others that is not a comment or blank."""
    entries: list[Entry] = []
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.match(r"([^:\s]+):([0-9]{1,20}):([0-9]{1,20})\Z", line.strip(), re.ASCII)
        found = Range(int(match.group(2)), int(match.group(3))) if match else Range(0, 0)
        if match and found.count > 0 and found.end - 1 <= LAST_ID:
            entries.append(Entry(match.group(1), found, number))
        else:
            problems.append(
                f"{path} line {number}: {line!r} is not OWNER:FIRST:COUNT; it gives no ids and is left alone."
            )
    return entries, problems


def parse_limits(text: str) -> Limits:
    """Which ids may be subordinate, from the text of /etc/login.defs."""
    settings = dict(re.findall(r"^[ \t]*([A-Z_]+)[ \t]+(\S+)", text, re.MULTILINE))

    def number(name: str, default: int) -> int:
        digits = settings.get(name, "")
        try:
            return int(digits, 8 if re.match(r"0[0-7]", digits) else 0)
        except ValueError:
            return default

    lowest = max(number("UID_MAX", 60000) + 1, number("GID_MAX", 60000) + 1, _FIRST_ID)
    return Limits(
        lowest=lowest,
        first=max(number("SUB_UID_MIN", 100000), number("SUB_GID_MIN", 100000), lowest),
        last=min(number("SUB_UID_MAX", 600100000), number("SUB_GID_MAX", 600100000), LAST_ID),
    )


def parse_map(text: str) -> list[Range]:
    """The ids that exist, from the text of /proc/self/uid_map or gid_map. All of them if it has no line."""
    found = re.findall(
        r"^[ \t]*([0-9]{1,10})[ \t]+[0-9]{1,10}[ \t]+([0-9]{1,10})[ \t]*$", text, re.MULTILINE | re.ASCII
    )
    return sorted(Range(int(start), int(count)) for start, count in found) or Existing().uids


def parse_source(text: str) -> str:
    """Where subordinate ids come from (C(files), or a plugin), from the text of /etc/nsswitch.conf."""
    match = re.search(r"^[ \t]*subid[ \t]*:[ \t]*([^\s#]+)", text, re.MULTILINE)
    return match.group(1) if match else "files"


def parse_getsubids(text: str) -> list[Range]:
    """The ranges in the output of C(getsubids)."""
    found = re.findall(r"^[0-9]+: \S+ ([0-9]+) ([0-9]+)$", text, re.MULTILINE)
    return [Range(int(start), int(count)) for start, count in found]


def owned(entries: Iterable[Entry], user: str, uid: Optional[int]) -> list[Range]:
    """The ranges of a user, by name or by number, in the order of the file."""
    return [entry.range for entry in entries if _is_owner(entry, user, uid)]


def _is_owner(entry: Entry, user: str, uid: Optional[int]) -> bool:
    return entry.owner == user or (uid is not None and re.fullmatch(f"0*{uid}", entry.owner) is not None)


# --- arithmetic ---------------------------------------------------------------


def merge(ranges: Iterable[Range]) -> list[Range]:
    """The same ids as few ranges, lowest first."""
    result: list[Range] = []
    for found in sorted(ranges):
        if result and found.start <= result[-1].end:
            start = result[-1].start
            result[-1] = Range(start, max(result[-1].end, found.end) - start)
        else:
            result.append(found)
    return result


def total(ranges: Iterable[Range]) -> int:
    """How many different ids the ranges have."""
    return sum(found.count for found in merge(ranges))


def subtract(wanted: Iterable[Range], ranges: Iterable[Range]) -> list[Range]:
    """The ids of C(wanted) that are not in C(ranges), as few ranges, lowest first."""
    taken = merge(ranges)
    result: list[Range] = []
    for found in merge(wanted):
        start = found.start
        for other in taken:
            if other.end <= start or other.start >= found.end:
                continue
            if other.start > start:
                result.append(Range(start, other.start - start))
            start = other.end
        if start < found.end:
            result.append(Range(start, found.end - start))
    return result


def lies_in(wanted: Range, ranges: Iterable[Range]) -> bool:
    """Whether one of the ranges has all of the wanted ids."""
    return any(found.start <= wanted.start and wanted.end <= found.end for found in ranges)


def first_gap(count: int, occupied: Iterable[Range], limits: Limits) -> Optional[int]:
    """The lowest first id of C(count) free ids; None if there are not as many in a row."""
    start = limits.first
    for found in merge(occupied):
        if found.start - start >= count:
            break
        start = max(start, found.end)
    return start if start + count - 1 <= limits.last else None


# --- deciding -----------------------------------------------------------------


class Host(NamedTuple):
    """A user, and who has which ids on its host."""

    user: str
    uid: Optional[int]
    """None: the user does not exist yet."""
    uid_entries: list[Entry]
    gid_entries: list[Entry]
    accounts: list[Account]
    limits: Limits
    existing: Existing = Existing()

    @property
    def uids(self) -> list[Range]:
        return merge(owned(self.uid_entries, self.user, self.uid))

    @property
    def gids(self) -> list[Range]:
        return merge(owned(self.gid_entries, self.user, self.uid))

    @property
    def occupied(self) -> list[Range]:
        return [entry.range for entry in self.uid_entries + self.gid_entries] + [
            Range(account.id, 1) for account in self.accounts
        ]

    def conflict(self, wanted: Range) -> Optional[str]:
        """Who else has ids of the range; None: nobody."""
        for path, entries in ((UID_FILE, self.uid_entries), (GID_FILE, self.gid_entries)):
            for entry in entries:
                if entry.range.overlaps(wanted) and not _is_owner(entry, self.user, self.uid):
                    return f"the range {entry.range} of {entry.owner} ({path} line {entry.line})"
        for account in self.accounts:
            if wanted.start <= account.id < wanted.end:
                return f"the {account.kind} {account.name}, whose id is {account.id}"
        return None


def plan_present(host: Host, count: int, start: Optional[int], grow: bool) -> Plan:
    """What to add so that the user has enough subordinate ids, the same uids as gids.

    Takes the number of ids, the first of them (None: ids are chosen as far as the user lacks them), and
    whether a user that has ranges may get more.

    A range that exists is never moved, and ranges that are chosen lie above all others of the user.

    Raises SubidError.
    """
    _check_own(host)
    warnings = [
        f"The subordinate ids {found} of {host.user} overlap {other}: each can reach the other's files."
        " They stay, since files may belong to them."
        for found in merge(host.uids + host.gids)
        for other in [host.conflict(found)]
        if other
    ]
    if start is None:
        uids, gids = _choose(host, count)
        enough = min(total(host.uids), total(host.gids)) >= count
    else:
        uids, gids = _fix(host, Range(start, count))
        enough = not uids and not gids
        if any(added.start < own.start for added in uids + gids for own in host.uids + host.gids):
            warnings.append(
                f"The subordinate ids {Range(start, count)} lie below others of {host.user}, so that ids"
                " inside of containers shift. This is right when the user had them before."
            )
    if (host.uids or host.gids) and not grow:
        if not enough:
            wanted = f"{count} ids" if start is None else f"the ids {Range(start, count)}"
            raise SubidError(
                f"{host.user} has subordinate ids already ({_describe(host.uids, host.gids)}), but not"
                f" {wanted}; set grow: true to append what is missing."
            )
        uids, gids = [], []
    if merge(host.uids + uids) != merge(host.gids + gids):
        warnings.append(
            f"The subordinate uids and gids of {host.user} differ"
            f" ({_describe(host.uids + uids, host.gids + gids)}). They are left so."
        )
    return Plan(uids, gids, warnings)


def _check_own(host: Host) -> None:
    """Refuse ranges that the user has and Podman cannot map: it maps all of them, or fails."""
    for path, entries, existing in (
        (UID_FILE, host.uid_entries, host.existing.uids),
        (GID_FILE, host.gid_entries, host.existing.gids),
    ):
        for entry in entries:
            if _is_owner(entry, host.user, host.uid) and not lies_in(entry.range, existing):
                where = f"the subordinate ids {entry.range} of {path} line {entry.line}"
                raise SubidError(
                    f"{host.existing.problem(where, host.user, entry.range.end - 1)}; remove the line only if no files"
                    " in the user's containers, images and volumes belong to these ids."
                )


def _fix(host: Host, wanted: Range) -> tuple[list[Range], list[Range]]:
    """What the user lacks of certain ids."""
    uids, gids = subtract([wanted], host.uids), subtract([wanted], host.gids)
    for added in merge(uids + gids):
        if added.start < host.limits.lowest or added.end - 1 > LAST_ID:
            raise SubidError(
                f"start: the subordinate ids {wanted} for {host.user} must lie between {host.limits.lowest},"
                f" above the ids of real users and groups, and {LAST_ID}."
            )
    for ranges, existing in ((uids, host.existing.uids), (gids, host.existing.gids)):
        for added in ranges:
            if not lies_in(added, existing):
                problem = host.existing.problem(f"the subordinate ids {added}", host.user, added.end - 1)
                free = _first_existing_gap(host, wanted.count, host.limits)
                advice = "" if free is None else ", or leave start out to have free ids chosen"
                raise SubidError(f"start: {problem}{advice}.")
    for added in merge(uids + gids):
        other = host.conflict(added)
        if other:
            raise SubidError(
                f"start: the subordinate ids {wanted} for {host.user} overlap {other};"
                " choose another start, or leave it out to have free ids chosen."
            )
    return uids, gids


def _choose(host: Host, count: int) -> tuple[list[Range], list[Range]]:
    """What the user lacks of a number of ids."""
    # First, for a file with too few, the ranges that only the other has, where that leaves its own in their order.
    uids, gids = (
        [
            found
            for found in subtract(other, own)
            if total(own) < count
            and (not own or found.start >= own[-1].end)
            and lies_in(found, existing)
            and not host.conflict(found)
        ]
        for own, other, existing in (
            (host.uids, host.gids, host.existing.uids),
            (host.gids, host.uids, host.existing.gids),
        )
    )
    lacking = count - min(total(host.uids + uids), total(host.gids + gids))
    if lacking > 0:
        above = max([0] + [found.end for found in host.uids + host.gids])
        limits = host.limits._replace(first=max(host.limits.first, above))
        start = _first_existing_gap(host, lacking, limits)
        if start is None:
            raise SubidError(_why_none(host, count, lacking, above, limits))
        uids.append(Range(start, lacking))
        gids.append(Range(start, lacking))
    return uids, gids


def _first_existing_gap(host: Host, count: int, limits: Limits) -> Optional[int]:
    """The lowest first id of C(count) free ids that exist; None if there are not as many in a row."""
    for existing in host.existing.both:
        within = limits._replace(first=max(limits.first, existing.start), last=min(limits.last, existing.end - 1))
        start = first_gap(count, host.occupied, within)
        if start is not None:
            return start
    return None


def _why_none(host: Host, count: int, lacking: int, above: int, limits: Limits) -> str:
    """Why there are no ids to choose, and what to do."""
    start = first_gap(lacking, host.occupied, limits)
    if start is None:
        return (
            f"count: there are no {lacking} free subordinate ids in a row for {host.user} between {limits.first}"
            f" and {limits.last}; ask for fewer, set start, or raise SUB_UID_MAX and SUB_GID_MAX in"
            " /etc/login.defs."
        )
    problem = host.existing.problem(f"{lacking} subordinate ids from {start}", host.user, start + lacking - 1)
    # Ids that exist outside of what is chosen from, which only an administrator can know to be free.
    other = _first_existing_gap(host, count, limits._replace(first=max(limits.lowest, above), last=LAST_ID))
    return f"count: {problem}{'' if other is None else f', or set start: {other}'}."


def plan_absent(host: Host, wanted: Optional[Range]) -> Plan:
    """What to remove so that the user has none of the wanted ids (None: no subordinate ids at all).

    Raises SubidError if a line would have to go that names the user by number, which usermod does not remove.
    """
    removed: list[list[Range]] = []
    for path, entries in ((UID_FILE, host.uid_entries), (GID_FILE, host.gid_entries)):
        own = merge(owned(entries, host.user, host.uid))
        found = own if wanted is None else subtract(own, subtract(own, [wanted]))
        for entry in entries:
            by_number = entry.owner != host.user and _is_owner(entry, host.user, host.uid)
            if by_number and any(entry.range.overlaps(part) for part in found):
                raise SubidError(
                    f"{path} line {entry.line} names {host.user} by its uid {entry.owner}, and usermod only"
                    " removes ranges of names; remove the line with an editor."
                )
        removed.append(found)
    return Plan(removed[0], removed[1], [])


def predict(text: str, user: str, added: list[Range], removed: list[Range]) -> str:
    """The text of a file after usermod added and removed ranges of a user."""
    lines: list[str] = []
    for line in text.split("\n"):
        entries = parse(line, "")[0]
        rests = subtract([entries[0].range], removed) if entries and entries[0].owner == user else []
        if entries and entries[0].owner == user and rests != [entries[0].range]:
            lines += [f"{user}:{rest.start}:{rest.count}" for rest in rests]
        else:
            lines.append(line)
    if lines[-1] == "":
        lines.pop()
    lines += [f"{user}:{found.start}:{found.count}" for found in added]
    return "".join(line + "\n" for line in lines)


def _describe(uids: list[Range], gids: list[Range]) -> str:
    def text(ranges: list[Range]) -> str:
        return ", ".join(map(str, merge(ranges))) or "none"

    return f"uids: {text(uids)}; gids: {text(gids)}"
