# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _subid
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._subid import (
    Account,
    Entry,
    Existing,
    Host,
    Limits,
    Range,
    SubidError,
)
from hypothesis import given, settings
from hypothesis import strategies as st

LIMITS = Limits(lowest=65536, first=100000, last=600100000)


def host(uids="", gids=None, uid=996, accounts=(), limits=LIMITS, uid_map="", gid_map=None):
    """A host with these files; without C(gids) both are equal, and without C(gid_map) the maps are."""
    files = [_subid.parse(text, "")[0] for text in (uids, uids if gids is None else gids)]
    maps = [_subid.parse_map(text) for text in (uid_map, uid_map if gid_map is None else gid_map)]
    return Host("me", uid, files[0], files[1], list(accounts), limits, Existing(*maps))


# --- reading ------------------------------------------------------------------


def test_parse_keeps_valid_lines_and_names_the_others():
    text = "# comment\n\nme:100000:65536\n996:200000:1\n"
    text += "me:1:2:3\n:1:2\nme:x:1\nme:5:0\nme:4294967295:1\n  \nme:1:\u0661\nme:1" + "0" * 5000 + ":1\n"
    entries, problems = _subid.parse(text, "/etc/subuid")
    assert entries == [Entry("me", Range(100000, 65536), 3), Entry("996", Range(200000, 1), 4)]
    assert [problem.split(" is not")[0] for problem in problems] == [
        "/etc/subuid line 5: 'me:1:2:3'",
        "/etc/subuid line 6: ':1:2'",
        "/etc/subuid line 7: 'me:x:1'",
        "/etc/subuid line 8: 'me:5:0'",
        "/etc/subuid line 9: 'me:4294967295:1'",
        "/etc/subuid line 11: 'me:1:\u0661'",
        f"/etc/subuid line 12: 'me:1{'0' * 5000}:1'",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", LIMITS),
        ("# SUB_UID_MIN 5\nSUB_UID_MIN\t\t   200000\n", Limits(65536, 200000, 600100000)),
        ("SUB_GID_MIN 300000\nSUB_UID_MAX 400000\n", Limits(65536, 300000, 400000)),
        ("SUB_UID_MIN 1000\nSUB_GID_MIN 1000\nUID_MAX 120000\n", Limits(120001, 120001, 600100000)),
        ("SUB_UID_MIN 0x30000\nGID_MAX 0200000\n", Limits(65537, 0x30000, 600100000)),
        ("SUB_UID_MIN many\nSUB_UID_MAX 99999999999\n", LIMITS),
    ],
)
def test_parse_limits(text, expected):
    assert _subid.parse_limits(text) == expected


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("", "files"),
        ("passwd: files\n# subid: sss\n", "files"),
        ("subid: files\n", "files"),
        (" subid :\tsss # from the directory\n", "sss"),
    ],
)
def test_parse_source(text, source):
    assert _subid.parse_source(text) == source


def test_parse_getsubids():
    assert _subid.parse_getsubids("0: me 100000 65536\n1: me 300000 10\n") == [
        Range(100000, 65536),
        Range(300000, 10),
    ]
    assert _subid.parse_getsubids("Error fetching ranges\n") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [Range(0, 4294967295)]),
        ("no map\n", [Range(0, 4294967295)]),
        ("         0          0 4294967295\n", [Range(0, 4294967295)]),
        ("         0     100000      65536\n", [Range(0, 65536)]),
        ("1006 101006 64530\n0 100000 1005\n1005 1005 1\n", [Range(0, 1005), Range(1005, 1), Range(1006, 64530)]),
    ],
)
def test_parse_map(text, expected):
    assert _subid.parse_map(text) == expected


def test_owned_by_name_or_number():
    entries = _subid.parse("me:1:1\n996:2:1\nother:3:1\n0996:4:1\n9960:5:1\n", "")[0]
    assert _subid.owned(entries, "me", 996) == [Range(1, 1), Range(2, 1), Range(4, 1)]
    assert _subid.owned(entries, "me", None) == [Range(1, 1)]


@pytest.mark.parametrize("owner", ["\u00b2", "\u0669\u0669\u0666", "9" * 5000])
def test_owners_that_are_no_number(owner):
    entries = _subid.parse(f"{owner}:1:1\n", "")[0]
    assert len(entries) == 1 and _subid.owned(entries, "me", 996) == []


# --- present ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_host", "count", "uids", "gids"),
    [
        pytest.param(host(), 65536, [Range(100000, 65536)], [Range(100000, 65536)], id="empty files"),
        pytest.param(host("me:100000:65536\n"), 65536, [], [], id="enough"),
        pytest.param(host("996:100000:65536\n"), 65536, [], [], id="enough, by number"),
        pytest.param(host("me:100000:30000\nme:500000:40000\n"), 65536, [], [], id="enough in two ranges"),
        pytest.param(
            host("a:100000:65536\nb:165536:65536\n"),
            65536,
            [Range(231072, 65536)],
            [Range(231072, 65536)],
            id="behind",
        ),
        pytest.param(
            host("a:165536:65536\n"),
            65536,
            [Range(100000, 65536)],
            [Range(100000, 65536)],
            id="a gap that just fits",
        ),
        pytest.param(
            host("a:165535:65536\n"),
            65536,
            [Range(231071, 65536)],
            [Range(231071, 65536)],
            id="a gap too small",
        ),
        pytest.param(
            host("a:100000:65536\n", "b:165536:65536\n"),
            65536,
            [Range(231072, 65536)],
            [Range(231072, 65536)],
            id="both files count",
        ),
        pytest.param(
            host(accounts=[Account("user", "x", 120000), Account("group", "y", 190000)]),
            65536,
            [Range(120001, 65536)],
            [Range(120001, 65536)],
            id="real ids",
        ),
        pytest.param(
            host("me:100000:1000\n"),
            65536,
            [Range(101000, 64536)],
            [Range(101000, 64536)],
            id="only what is missing",
        ),
        pytest.param(
            host("me:300000:1000\n"),
            65536,
            [Range(301000, 64536)],
            [Range(301000, 64536)],
            id="above the own range",
        ),
        pytest.param(host("me:100000:65536\n", ""), 65536, [], [Range(100000, 65536)], id="gids missing"),
        pytest.param(host("", "me:100000:65536\n"), 65536, [Range(100000, 65536)], [], id="uids missing"),
        pytest.param(
            host("me:100000:65536\n", "b:100000:1\n"),
            65536,
            [Range(165536, 65536)],
            [Range(165536, 65536)],
            id="gids missing and taken",
        ),
        pytest.param(
            host("me:100000:65536\n", "me:300000:65536\n"),
            65536,
            [],
            [],
            id="enough, though not the same",
        ),
        pytest.param(
            host("me:100000:1000\n", "me:300000:65536\n"),
            65536,
            [Range(300000, 65536)],
            [],
            id="too few uids, taken from the gids",
        ),
        pytest.param(
            host("me:300000:65536\n", "me:100000:1000\n"),
            65536,
            [],
            [Range(300000, 65536)],
            id="too few gids, taken from the uids",
        ),
        pytest.param(
            host("me:100000:1000\n", "me:300000:2000\n"),
            65536,
            [Range(300000, 2000), Range(302000, 63536)],
            [Range(302000, 63536)],
            id="too few of both, the new ones the same",
        ),
        pytest.param(
            host(uid_map="0 100000 1065536"),
            65536,
            [Range(100000, 65536)],
            [Range(100000, 65536)],
            id="a container with enough ids",
        ),
        pytest.param(
            host(uid_map="0 0 4294967295", gid_map="0 100000 65536\n300000 300000 65536"),
            65536,
            [Range(300000, 65536)],
            [Range(300000, 65536)],
            id="a container, behind a gap of its gids",
        ),
        pytest.param(
            # newuidmap maps no range that lies in two lines.
            host(uid_map="0 100000 120000\n120000 220000 100000"),
            65536,
            [Range(120000, 65536)],
            [Range(120000, 65536)],
            id="a container, not across two lines of its map",
        ),
        pytest.param(
            host("me:110000:65536\n", "", uid_map="0 0 900000", gid_map="0 0 120000\n120000 120000 800000"),
            65536,
            [Range(175536, 65536)],
            [Range(175536, 65536)],
            id="gids missing, and not in one line of the map",
        ),
    ],
)
def test_present(on_host, count, uids, gids):
    plan = _subid.plan_present(on_host, count, None, True)
    assert (plan.uids, plan.gids) == (uids, gids)


@pytest.mark.parametrize(
    ("on_host", "uids", "gids"),
    [
        pytest.param(host(), [Range(200000, 100)], [Range(200000, 100)], id="new"),
        pytest.param(host("me:200000:65536\n"), [], [], id="part of a range"),
        pytest.param(host("me:200000:10\n"), [Range(200010, 90)], [Range(200010, 90)], id="longer"),
        pytest.param(
            host("me:200010:10\n"),
            [Range(200000, 10), Range(200020, 80)],
            [Range(200000, 10), Range(200020, 80)],
            id="around",
        ),
        pytest.param(host("me:200000:100\n", ""), [], [Range(200000, 100)], id="gids missing"),
        pytest.param(host("me:400000:65536\n"), [Range(200000, 100)], [Range(200000, 100)], id="one more"),
    ],
)
def test_present_with_start(on_host, uids, gids):
    plan = _subid.plan_present(on_host, 100, 200000, True)
    assert (plan.uids, plan.gids) == (uids, gids)


@pytest.mark.parametrize(
    ("on_host", "start", "grow", "message"),
    [
        (host("a:200000:10\n"), 199950, True, "overlap the range 200000-200009 of a (/etc/subuid line 1)"),
        (
            host("", "# x\na:200000:10\n"),
            199950,
            True,
            "overlap the range 200000-200009 of a (/etc/subgid line 2)",
        ),
        (
            host(accounts=[Account("user", "x", 200099)]),
            200000,
            True,
            "overlap the user x, whose id is 200099",
        ),
        (
            host(accounts=[Account("group", "y", 200000)]),
            200000,
            True,
            "overlap the group y, whose id is 200000",
        ),
        (
            host(),
            1000,
            True,
            "must lie between 65536, above the ids of real users and groups, and 4294967294",
        ),
        (host(), -5, True, "must lie between 65536"),
        (host(), 4294967200, True, "must lie between 65536"),
        (host("me:100000:65536\n"), 200000, False, "but not the ids 200000-200099; set grow: true"),
        (host("me:100000:50\n"), None, False, "(uids: 100000-100049; gids: 100000-100049), but not 100 ids"),
        (host("me:100000:100\n", ""), None, False, "(uids: 100000-100099; gids: none), but not 100 ids"),
        (
            host(limits=Limits(65536, 100000, 100098)),
            None,
            True,
            "no 100 free subordinate ids in a row for me",
        ),
    ],
)
def test_present_refuses(on_host, start, grow, message):
    with pytest.raises(SubidError) as error:
        _subid.plan_present(on_host, 100, start, grow)
    assert message in str(error.value)


LXC = "0 100000 65536"
SPLIT = "0 100000 200050\n200050 300050 100000"


@pytest.mark.parametrize(
    ("on_host", "start", "grow", "messages"),
    [
        pytest.param(
            host(uid_map=LXC),
            None,
            True,
            [
                "count: this host is a container in which only the ids 0 to 65535 exist, so 100 subordinate ids from"
                " 100000 cannot be used for me; give it more ids, 0 to 100099 at least",
                "lxc.idmap",
            ],
            id="the usual container of LXC",
        ),
        pytest.param(
            host("a:100000:65536\n", uid_map="0 0 4294967295", gid_map="0 100000 131072"),
            None,
            True,
            [
                "only the gids 0 to 131071 exist, so 100 subordinate ids from 165536",
                "0 to 165635 at least",
                "set start: 65536",
            ],
            id="few gids, free ids below those that are chosen",
        ),
        pytest.param(
            host("me:100000:50\n", uid_map="0 100000 100090", gid_map="0 100000 100095"),
            None,
            True,
            ["only the uids 0 to 100089 and the gids 0 to 100094 exist, so 50 subordinate ids from 100050"],
            id="no room for more",
        ),
        pytest.param(
            host(uid_map=LXC),
            200000,
            True,
            [
                "start: this host is a container in which only",
                "so the subordinate ids 200000-200099 cannot be used for me",
            ],
            id="start",
        ),
        pytest.param(
            host("me:200000:10\n", uid_map="0 0 200010"),
            200000,
            True,
            ["only the ids 0 to 200009 exist, so the subordinate ids 200010-200099 cannot"],
            id="start, the rest of a range",
        ),
        pytest.param(
            host(uid_map=SPLIT),
            200000,
            True,
            [
                "only the ids 0 to 200049, 200050 to 300049 exist (a range has to lie in one of these parts), so",
                "leave start out",
            ],
            id="start, across two lines of the map",
        ),
        *(
            pytest.param(
                host("996:100000:100\n", uid_map=LXC),
                start,
                grow,
                [
                    "only the ids 0 to 65535 exist, so the subordinate ids 100000-100099 of /etc/subuid line 1 cannot",
                    "remove the line only if",
                ],
                id=f"ids that the user has, {start}, {grow}",
            )
            for start, grow in ((None, True), (None, False), (100000, True), (70000, True))
        ),
        pytest.param(
            host("me:100000:100\n", "a:1:1\nme:100000:100\n", gid_map=LXC),
            None,
            True,
            ["only the gids 0 to 65535 exist, so the subordinate ids 100000-100099 of /etc/subgid line 2"],
            id="gids that the user has",
        ),
        pytest.param(
            host("me:200000:100\n", uid_map=SPLIT),
            None,
            True,
            ["200000-200099 of /etc/subuid line 1"],
            id="ids that the user has, across two lines of the map",
        ),
    ],
)
def test_present_refuses_ids_that_do_not_exist(on_host, start, grow, messages):
    with pytest.raises(SubidError) as error:
        _subid.plan_present(on_host, 100, start, grow)
    for message in messages:
        assert message in str(error.value)


def test_ids_of_others_that_do_not_exist_are_not_judged():
    on_host = host("a:900000:65536\n", uid_map="0 100000 200000")
    assert _subid.plan_present(on_host, 65536, None, True).uids == [Range(100000, 65536)]


@pytest.mark.parametrize("wanted", [None, Range(100000, 100)])
def test_absent_takes_ids_that_do_not_exist(wanted):
    plan = _subid.plan_absent(host("me:100000:100\n", uid_map=LXC), wanted)
    assert plan.uids == plan.gids == [Range(100000, 100)]


@pytest.mark.parametrize(
    ("on_host", "start", "grow", "message"),
    [
        (
            host("a:100000:10\nme:100005:100\n"),
            None,
            True,
            "100005-100104 of me overlap the range 100000-100009 of a",
        ),
        (host("me:400000:100\n"), 200000, True, "lie below others of me"),
        (
            host("me:100000:100\n", "me:300000:100\n"),
            None,
            True,
            "uids: 100000-100099; gids: 300000-300099",
        ),
        (host("me:100000:100\n", "me:300000:100\n"), None, False, "uids: 100000-100099; gids: 300000-300099"),
    ],
)
def test_present_warns(on_host, start, grow, message):
    assert message in " ".join(_subid.plan_present(on_host, 100, start, grow).warnings)


def test_a_usual_host_gets_no_warning():
    assert _subid.plan_present(host("a:100000:65536\n"), 65536, None, True).warnings == []


def test_the_range_of_the_2021_procedure_is_left_to_the_second_user():
    ordinary = "first:100000:65536\nsecond:165536:65536\n"
    with pytest.raises(SubidError, match="165536-231071 of second"):
        _subid.plan_present(host(ordinary), 65536, 200000, True)


# --- absent -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_host", "wanted", "uids", "gids"),
    [
        (host(), None, [], []),
        (host("a:100000:10\n"), None, [], []),
        (
            host("me:100000:10\nme:200000:5\n"),
            None,
            [Range(100000, 10), Range(200000, 5)],
            [Range(100000, 10), Range(200000, 5)],
        ),
        (host("me:100000:10\n", ""), None, [Range(100000, 10)], []),
        (
            host("me:100000:10\nme:200000:5\n"),
            Range(100005, 200000),
            [Range(100005, 5), Range(200000, 5)],
            [Range(100005, 5), Range(200000, 5)],
        ),
        (host("me:100000:10\n996:200000:5\n"), Range(100000, 10), [Range(100000, 10)], [Range(100000, 10)]),
    ],
)
def test_absent(on_host, wanted, uids, gids):
    plan = _subid.plan_absent(on_host, wanted)
    assert (plan.uids, plan.gids) == (uids, gids)


def test_absent_refuses_lines_that_usermod_does_not_find():
    with pytest.raises(SubidError, match="/etc/subuid line 2 names me by its uid 996"):
        _subid.plan_absent(host("me:100000:10\n996:200000:5\n"), None)


@pytest.mark.parametrize(
    ("before", "added", "removed", "after"),
    [
        ("", [Range(1, 2), Range(9, 1)], [], "me:1:2\nme:9:1\n"),
        ("# c\n\nbad\nme:1:2", [Range(9, 1)], [], "# c\n\nbad\nme:1:2\nme:9:1\n"),
        ("a:1:2\nme:10:10\n# c\n", [], [Range(10, 10)], "a:1:2\n# c\n"),
        ("me:10:10\na:1:2\nme:30:10\n", [], [Range(15, 20)], "me:10:5\na:1:2\nme:35:5\n"),
    ],
)
def test_predict(before, added, removed, after):
    assert _subid.predict(before, "me", added, removed) == after


# --- properties ---------------------------------------------------------------

RANGES = st.builds(Range, st.integers(0, 60), st.integers(1, 20))
SMALL = Limits(lowest=10, first=20, last=200)


@st.composite
def maps(draw):
    """Some of the pieces between some ids, so that ranges touch as well as leave gaps."""
    cuts = sorted(draw(st.sets(st.integers(0, 220), min_size=2, max_size=6)))
    pieces = [Range(start, end - start) for start, end in zip(cuts, cuts[1:])]
    return draw(st.lists(st.sampled_from(pieces), unique=True, min_size=1).map(sorted))


MAPS = st.one_of(st.just(_subid.parse_map("")), maps())


def lies_in(wanted, ranges):
    return any(found.start <= wanted.start and wanted.end <= found.end for found in ranges)


def ids(ranges):
    return {number for found in ranges for number in range(found.start, found.end)}


@st.composite
def hosts(draw):
    entries = [
        [
            Entry(draw(st.sampled_from(["me", "996", "a", "b"])), found, line)
            for line, found in enumerate(draw(st.lists(RANGES, max_size=5)), 1)
        ]
        for _file in range(2)
    ]
    accounts = [Account("user", f"u{number}", number) for number in draw(st.lists(st.integers(0, 90), max_size=3))]
    return Host("me", 996, entries[0], entries[1], accounts, SMALL, Existing(draw(MAPS), draw(MAPS)))


@given(st.lists(RANGES), st.lists(RANGES))
def test_arithmetic_is_that_of_sets(some, others):
    assert ids(_subid.merge(some)) == ids(some)
    assert _subid.total(some) == len(ids(some))
    rest = _subid.subtract(some, others)
    assert ids(rest) == ids(some) - ids(others)
    for ranges in (rest, _subid.merge(some)):
        assert all(one.end < other.start for one, other in zip(ranges, ranges[1:]))


@given(st.integers(1, 30), st.lists(RANGES))
def test_the_first_gap_is_the_first(count, occupied):
    taken = ids(occupied)
    fits = [
        start
        for start in range(SMALL.first, SMALL.last - count + 2)
        if not taken.intersection(range(start, start + count))
    ]
    assert _subid.first_gap(count, occupied, SMALL) == (fits[0] if fits else None)


@given(hosts(), st.integers(1, 60), st.one_of(st.none(), st.integers(0, 120)))
@settings(deadline=None, max_examples=500)
def test_what_is_added_suffices_overlaps_nobody_and_is_no_more_than_needed(on_host, count, start):
    try:
        plan = _subid.plan_present(on_host, count, start, True)
    except SubidError:
        return
    before = {"uids": on_host.uids, "gids": on_host.gids}
    added = {"uids": plan.uids, "gids": plan.gids}
    occupied = ids(
        entry.range for entry in on_host.uid_entries + on_host.gid_entries if entry.owner not in ("me", "996")
    ) | {account.id for account in on_host.accounts}
    exist = on_host.existing._asdict()
    for kind, ranges in added.items():
        assert all(lies_in(found, exist[kind]) for found in ranges)
        assert not ids(ranges) & occupied
        assert not ids(ranges) & ids(before[kind])
        after = ids(before[kind]) | ids(ranges)
        if start is None:
            assert len(after) >= count
            # Who has enough of both keeps what it has.
            assert not ranges or min(len(ids(before["uids"])), len(ids(before["gids"]))) < count
            # Ids inside of containers stay the same: nothing comes before or between the present ranges.
            assert all(found.start >= max(ids(before[kind]), default=0) for found in ranges)
        else:
            assert set(range(start, start + count)) <= after
            assert ids(ranges) <= set(range(start, start + count))
    if start is None and before["uids"] == before["gids"]:
        assert added["uids"] == added["gids"]
        assert _subid.total(plan.uids) == max(0, count - _subid.total(before["uids"]))
    if not before["uids"] and not before["gids"]:
        assert added["uids"] == added["gids"]


@given(hosts(), st.integers(1, 60))
@settings(deadline=None, max_examples=300)
def test_ids_are_chosen_where_and_only_where_there_are_any(on_host, count):
    on_host = on_host._replace(user="new", uid=None)
    taken = ids(on_host.occupied)
    fits = [
        start
        for start in range(SMALL.first, SMALL.last - count + 2)
        if not taken.intersection(range(start, start + count))
        and lies_in(Range(start, count), on_host.existing.uids)
        and lies_in(Range(start, count), on_host.existing.gids)
    ]
    try:
        plan = _subid.plan_present(on_host, count, None, True)
    except SubidError:
        assert not fits
    else:
        assert plan.uids == plan.gids == [Range(fits[0], count)]


@given(hosts(), st.integers(1, 60), st.one_of(st.none(), st.integers(0, 120)))
@settings(deadline=None, max_examples=300)
def test_nothing_is_to_do_the_second_time(on_host, count, start):
    try:
        plan = _subid.plan_present(on_host, count, start, True)
    except SubidError:
        return
    after = on_host._replace(
        uid_entries=on_host.uid_entries + [Entry("me", found, 0) for found in plan.uids],
        gid_entries=on_host.gid_entries + [Entry("me", found, 0) for found in plan.gids],
    )
    again = _subid.plan_present(after, count, start, True)
    assert (again.uids, again.gids) == ([], [])


LINES = st.sampled_from(["# comment", "", "broken", "a:5:5", "me:20:10", "me:40:5", "b:1:1"])


@given(st.lists(LINES, unique=True), st.lists(RANGES, max_size=3))
def test_a_removal_takes_the_ids_and_nothing_else(lines, removed):
    text = "".join(line + "\n" for line in lines)
    after = _subid.predict(text, "me", [], removed)
    own = [_subid.owned(_subid.parse(content, "")[0], "me", None) for content in (text, after)]
    assert ids(own[1]) == ids(own[0]) - ids(removed)
    kept = [[line for line in content.split("\n") if not line.startswith("me:")] for content in (text, after)]
    assert kept[0] == kept[1]


def test_without_grow():
    assert _subid.plan_present(host(), 100, None, False).uids == [Range(100000, 100)]
    assert _subid.plan_present(host("me:100000:65536\n"), 100, 100000, False) == _subid.Plan([], [], [])
    assert _subid.plan_present(host("me:100000:100\n"), 100, 200000, True).warnings == []
