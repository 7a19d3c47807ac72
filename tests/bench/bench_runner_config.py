#!/usr/bin/env python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Time runner_config against the mere parsing and dumping of the same file by tomlkit.

    PYTHONPATH=.venv/collections .venv/bin/python tests/bench/bench_runner_config.py [--profile] [RUNNERS ...]

Each line is one size of config.toml: "change" sets three keys of every runner, "same" is the second run, which changes
nothing. Both are the whole module, from its options to its result, with diff mode. Exits with 1 if a change takes
more than 3 times as long as tomlkit.
"""

from __future__ import annotations

import contextlib
import cProfile
import io
import pstats
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomlkit
from ansible.module_utils.testing import patch_module_args
from ansible_collections.rootless.gitlab_runner.plugins.modules import runner_config

GOAL = 3.0

HEAD = """\
concurrent = 4
check_interval = 0

[session_server]
  session_timeout = 1800
"""

RUNNER = """
# Runner number {number}
[[runners]]
  name = "runner-{number}"
  url = "https://gitlab.example.com"
  id = {number}
  token = "glrt-{number:020d}"
  token_obtained_at = 2026-01-01T00:00:00Z
  token_expires_at = 0001-01-01T00:00:00Z
  executor = "docker"
  environment = ["DOCKER_DRIVER=overlay2", "FF_NETWORK_PER_BUILD=1"] # by hand
  [runners.cache]
    MaxUploadedArchiveSize = 0
  [runners.docker]
    tls_verify = false
    image = "alpine:latest"
    privileged = false
    host = "unix:///run/user/998/podman/podman.sock"
    volumes = ["/cache"]
    shm_size = 0
"""


def timed(function: Callable[[], Any]) -> float:
    """The shortest of three runs, in seconds."""
    times = []
    for _run in range(3):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def run_module(path: Path, count: int, *, diff: bool) -> dict[str, Any]:
    runners = [
        {
            "name": f"runner-{number}",
            "token": f"glrt-new-{number:016d}",
            "limit": 2,
            "docker": {"image": "alpine:3"},
        }
        for number in range(1, count + 1)
    ]
    options = {"path": str(path), "settings": {"concurrent": 8}, "runners": runners, "_ansible_diff": diff}
    output = io.StringIO()
    with patch_module_args(options), contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        runner_config.main()
    return {"changed": '"changed": true' in output.getvalue(), "failed": '"failed": true' in output.getvalue()}


def measure(count: int, path: Path, profile: bool) -> float:
    text = HEAD + "".join(RUNNER.format(number=number) for number in range(1, count + 1))

    def change() -> None:
        path.write_text(text, encoding="utf-8")
        assert run_module(path, count, diff=True) == {"changed": True, "failed": False}

    def same() -> None:
        assert run_module(path, count, diff=True) == {"changed": False, "failed": False}

    plain = timed(lambda: tomlkit.dumps(tomlkit.parse(text)))
    changed, unchanged = timed(change), timed(same)
    print(
        f"{count:7d} {len(text) // 1024:7d} KiB {plain:9.3f} s {changed:9.3f} s {unchanged:9.3f} s"
        f" {changed / plain:7.2f} {unchanged / plain:7.2f}"
    )
    if profile:
        profiler = cProfile.Profile()
        profiler.runcall(change)
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(25)
    return changed / plain


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--profile"]
    counts = [int(argument) for argument in arguments] or [1, 10, 100, 1000]
    print("runners        size    tomlkit      change        same  change/tk same/tk")
    with tempfile.TemporaryDirectory() as directory:
        ratios = [measure(count, Path(directory) / "config.toml", "--profile" in sys.argv) for count in counts]
    # One runner takes less time than starting to measure it.
    sys.exit(any(ratio > GOAL for count, ratio in zip(counts, ratios) if count > 1))


if __name__ == "__main__":
    main()
