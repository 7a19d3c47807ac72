# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The ids that rootless Podman has mapped, compared with those that its user has been granted since.

Podman makes the user namespace of a user once, and all of that user's containers join it. What subuid(5) and subgid(5)
say later takes effect with podman-system-migrate(1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ansible_collections.rootless.gitlab_runner.plugins.module_utils._subid import GID_FILE, UID_FILE, Range, subtract


class Change(NamedTuple):
    """Ids that are on one side only."""

    range: Range
    files: list[str]
    """Which of /etc/subuid and /etc/subgid it is about."""


class Changes(NamedTuple):
    lost: list[Change]
    """Mapped, and no longer granted: files of containers belong to them."""
    new: list[Change]
    """Granted, and not mapped yet."""


def compare(mappings: Mapping[str, Any], granted: Mapping[str, Any]) -> Changes:
    """What has changed, lowest ids first.

    mappings: C(host.idMappings) of C(podman info), which is C(uidmap) and C(gidmap), lists of C(container_id),
    C(host_id) and C(size). Id 0 of containers is the user itself.
    granted: C(subuid) and C(subgid), lists of C(start) and C(count).
    A side of which nothing is known is not compared.
    """
    lost: dict[Range, list[str]] = {}
    new: dict[Range, list[str]] = {}
    for path, mapping, name in ((UID_FILE, "uidmap", "subuid"), (GID_FILE, "gidmap", "subgid")):
        if not mappings.get(mapping) or not granted.get(name):
            continue
        mapped = [Range(entry["host_id"], entry["size"]) for entry in mappings[mapping] if entry["container_id"] != 0]
        ranges = [Range(entry["start"], entry["count"]) for entry in granted[name]]
        for found, only in ((lost, subtract(mapped, ranges)), (new, subtract(ranges, mapped))):
            for each in only:
                found.setdefault(each, []).append(path)
    return Changes(_sorted(lost), _sorted(new))


def _sorted(found: Mapping[Range, list[str]]) -> list[Change]:
    return [Change(each, files) for each, files in sorted(found.items())]


def describe(changes: Changes, user: str) -> list[str]:
    """A sentence or two about each change."""
    return [
        f"The subordinate ids {lost.range} of {user} are no longer in {_both(lost.files)}, but the files in its"
        ' containers, images and volumes belong to them. Without them the files have the owner "nobody", and cannot be'
        " read or deleted."
        for lost in changes.lost
    ] + [f"Podman has not taken up the subordinate ids {new.range} of {_both(new.files)} yet." for new in changes.new]


def _both(files: Iterable[str]) -> str:
    return " and ".join(files)
