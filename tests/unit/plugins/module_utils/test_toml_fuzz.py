# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hostile files: each ends in success or in an error for the user, and never in another exception."""

from __future__ import annotations

import random

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _runner_config, _toml
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._redact import redact_string, redact_text

CONFIG = b"""\
# by hand
concurrent = 0x04 # four
sentry_dsn = 'https://user:hidden-a@sentry/1'
[session_server]
  listen_address = "[::]:8093"

[[runners]]
  name = "build"
  url = "https://gitlab.example.com"
  token = "glrt-hidden-bbbbbbbbbbbb"
  token_expires_at = 2026-02-01T00:00:00Z
  executor = "docker"
  environment = ["A=1", 'DB_PASSWORD=hidden-c',
    "C=2", # three
  ]
  pre_build_script = '''
export TOKEN=hidden-d
'''
  labels = { a = "b", "c d".e = 1.5 }
  [runners.docker]
    image = "alpine"
    [[runners.docker.services]]
      name = "postgres"
[machine.shutdown_drain]
enabled = true
[[runners]]
  name = "second"
"""
PIECES = [
    *[b"\0", b"\r", b"\n", b'"', b"'", b'"""', b"'''", b"\\", b"[", b"]", b"[[", b"{", b"}", b"=", b".", b",", b"#"],
    *[b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"0x", b"1e999", b"-", b"+nan", b"9" * 20],
    *[b"9999-99-99", b"[runners]\n", b"[[runners]]\n", b"[runners.docker]\n", b'name = "build"\n', b"a.b = 1\n"],
    *[b"\\uD800", b"\\U00110000"],
]
REQUEST = _runner_config.prepare(
    {"concurrent": 5, "check_interval": None, "session_server": {"session_timeout": 60}},
    [
        {"name": "build", "url": "u", "token": "glrt-hidden-e", "docker": {"services": [{"name": "redis"}]}},
        {"name": "new", "url": "u", "token": "glrt-hidden-f", "executor": "shell"},
        {"name": "second", "state": "absent"},
    ],
    {"executor": "docker", "labels": {"team": "core"}},
)


def check(content):
    """Apply a request; if that works, the result has to be readable and stable. Return whether it worked."""
    try:
        outcome = _runner_config.apply(content, REQUEST)
    except (_toml.TomlError, _runner_config.ConfigError) as error:
        assert 0 < len(str(error)) < 1000 and "hidden" not in redact_string(str(error))
        return False
    assert _runner_config.apply(outcome.text.encode(), REQUEST).text == outcome.text
    return True


def test_the_file_itself_is_fine():
    assert check(CONFIG)


def test_cut_off_at_every_place():
    results = [check(CONFIG[:place]) for place in range(len(CONFIG))]
    assert len(results) > 600 and results[0] and False in results


def test_damaged_at_random():
    chance = random.Random(20260131)
    worked = 0
    for _round in range(800):
        content = CONFIG
        for _damage in range(chance.randint(1, 3)):
            place = chance.randrange(len(content))
            kind = chance.randrange(4)
            if kind == 0:
                content = content[:place] + chance.choice(PIECES) + content[place:]
            elif kind == 1:
                content = content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :]
            elif kind == 2:
                content = content[:place] + content[place + chance.randrange(40) :]
            else:
                lines = content.splitlines(keepends=True)
                lines.insert(chance.randrange(len(lines)), chance.choice(lines))
                content = b"".join(lines)
        worked += check(content)
        redact_text(content.decode("utf-8", "replace"), b"key")
    assert 0 < worked < 800


@pytest.mark.parametrize(
    "content",
    [
        CONFIG.decode().encode("utf-16"),
        CONFIG.decode().encode("utf-32"),
        CONFIG + "# Grüße".encode("latin-1"),
        b"\xff\xfe",
        b"\0" * 1000,
        b"[" * 100_000,
        b"a = " + b"[" * 100_000,
        b"a = " + b"{a=" * 100_000,
        b".".join([b"a"] * 100_000) + b" = 1\n",
        b"[" + b".".join([b"a"] * 100_000) + b"]\n",
        b"a = " + b"9" * 1_000_000,
        b"a = 0x" + b"f" * 1_000_000,
        b"a = '''" + b"\r" * 1000 + b"'''\n",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_configuration(content):
    assert check(content) is False


@pytest.mark.parametrize(
    ("content", "works"),
    [
        (b"#" + b"x" * 10_000_000, True),
        (b"a = '" + b"x" * 10_000_000 + b"'\n", True),
        (b'a = "' + b"\\n" * 500_000 + b'"\n', True),
        (b"a = [" + b"1," * 100_000 + b"]\n", True),
        (b"\n" * 10_000_000, True),
        (b"a = '" + b"x" * 10_000_000, False),
        (b"a" * 10_000_000, False),
        (b"a = 1" + b" " * 10_000_000 + b"x", False),
        (b'"' * 10_000_000, False),
    ],
    ids=["comment", "string", "escapes", "array", "lines", "open string", "key", "blanks", "quotes"],
)
def test_files_of_many_megabytes(content, works):
    assert check(content) is works
