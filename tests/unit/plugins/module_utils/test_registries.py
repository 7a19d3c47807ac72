# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._registries import tables


def without_null(value):
    if isinstance(value, list):
        return [without_null(item) for item in value]
    if isinstance(value, dict):
        return {key: without_null(item) for key, item in value.items() if item is not None}
    return value


@pytest.mark.parametrize(
    ("mirrors", "insecure", "registries", "expected"),
    [
        (
            {"docker.io": ["m1", "m2"]},
            ["m2"],
            [{"location": "own"}],
            [
                {"location": "docker.io", "mirror": [{"location": "m1"}, {"location": "m2", "insecure": True}]},
                {"location": "m2", "insecure": True},
                {"location": "own"},
            ],
        ),
        # One table for each: Podman would refuse two that differ, and take one of two that do not.
        ({}, ["a"], [{"location": "a"}], [{"location": "a", "insecure": True}]),
        ({}, ["a"], [{"location": "a", "insecure": False}], None),
        ({}, ["a"], [{"prefix": "b", "location": "a", "insecure": True}], None),
        ({}, ["*.lab"], [{"prefix": "*.lab", "insecure": True}], None),
        ({"a": ["m"]}, [], [{"location": "a"}], [{"location": "a", "mirror": [{"location": "m"}]}]),
        ({"a": ["m"]}, [], [{"location": "a", "mirror": [{"location": "n"}]}], None),
    ],
)  # fmt: skip
def test_tables(mirrors, insecure, registries, expected):
    """Without an expectation nothing is added to what is written out."""
    assert without_null(tables(mirrors, insecure, registries)) == (expected or registries)


def test_no_registry_is_no_table():
    assert tables({}, [], []) is None


def test_what_is_not_said_is_removed():
    removed = dict.fromkeys(("prefix", "insecure", "blocked", "mirror-by-digest-only"))
    mirror = {"location": "m", "insecure": None, "pull-from-mirror": None}
    assert tables({}, [], [{"location": "a", "mirror": [{"location": "m"}]}]) == [
        {"location": "a", **removed, "mirror": [mirror]}
    ]
