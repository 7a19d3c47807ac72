# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._idmap import compare, describe
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._subid import Range, merge, subtract
from hypothesis import given
from hypothesis import strategies as st

BOTH = ["/etc/subuid", "/etc/subgid"]


def mapping(ranges):
    """As podman info has it: the user itself is id 0."""
    entries = [{"container_id": 0, "host_id": 995, "size": 1}]
    for start, count in ranges:
        entries.append({"container_id": sum(entry["size"] for entry in entries), "host_id": start, "size": count})
    return entries


def compared(uids, gids, subuid, subgid):
    sides = {
        name: [{"start": start, "count": count} for start, count in ranges]
        for name, ranges in (("subuid", subuid), ("subgid", subgid))
    }
    return compare({"uidmap": mapping(uids), "gidmap": mapping(gids)}, sides)


@pytest.mark.parametrize(
    ("mapped", "granted", "lost", "new"),
    [
        ([(100000, 65536)], [(100000, 65536)], [], []),
        ([(100000, 65536)], [(400000, 65536)], [(100000, 65536)], [(400000, 65536)]),
        ([(100000, 65536)], [(100000, 65536), (400000, 65536)], [], [(400000, 65536)]),
        ([(100000, 131072)], [(100000, 65536), (165536, 65536)], [], []),
        ([(100000, 65536), (165536, 65536)], [(100000, 131072)], [], []),
        # Only what differs, not the whole line.
        ([(100000, 65536)], [(100000, 131072)], [], [(165536, 65536)]),
        ([(100000, 131072)], [(100000, 65536)], [(165536, 65536)], []),
        # Somebody has taken away all, or the look at the files has failed: the module subid_range knows which.
        ([(100000, 65536)], [], [], []),
        # Podman has begun before there were any.
        ([], [(100000, 65536)], [], [(100000, 65536)]),
    ],
)
def test_what_differs(mapped, granted, lost, new):
    changes = compared(mapped, mapped, granted, granted)
    assert [tuple(vars(change.range).values()) for change in changes.lost] == lost
    assert [tuple(vars(change.range).values()) for change in changes.new] == new
    assert all(change.files == BOTH for change in changes.lost + changes.new)


def test_the_file_is_named_that_has_changed():
    changes = compared([(100000, 65536)], [(100000, 65536)], [(100000, 65536)], [(400000, 65536)])
    lost, new = describe(changes, "ci")
    assert "100000-165535 of ci are no longer in /etc/subgid, but" in lost
    assert "400000-465535 of /etc/subgid yet" in new


@pytest.mark.parametrize("mappings", [{}, {"uidmap": None, "gidmap": []}])
def test_of_what_nothing_is_known_nothing_is_missed(mappings):
    assert compare(mappings, {"subuid": [{"start": 1, "count": 1}]}) == ([], [])
    assert compare({"uidmap": mapping([(1, 1)])}, {}) == ([], [])


RANGES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 20)), min_size=1, max_size=4)


@given(RANGES, RANGES)
def test_to_restore_what_is_lost_loses_nothing(mapped, granted):
    changes = compared(mapped, mapped, granted, granted)
    restored = granted + [(change.range.start, change.range.count) for change in changes.lost]
    assert compared(mapped, mapped, restored, restored).lost == []
    news = [change.range for change in changes.new]
    assert subtract(news, [Range(*each) for each in granted]) == []
    assert merge(news) == subtract([Range(*each) for each in granted], [Range(*each) for each in mapped])
