#!/usr/bin/env python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what each launch mode of the runner role costs, with the very commands that the role uses.

Prints a Markdown table: microseconds for each operation, the best of several runs, and the factor against mode "user".
Needs unshare and strace.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
REPEAT = 2
ROUNDS = 5


def stat(count: int) -> None:
    for _ in range(count):
        os.stat("/")


def read(count: int) -> None:
    descriptor = os.open("/dev/zero", os.O_RDONLY)
    for _ in range(count):
        os.read(descriptor, 1)


def getuid(count: int) -> None:
    for _ in range(count):
        os.getuid()


def messages(count: int) -> None:
    """What the runner does most of the time: short messages over a socket."""
    here, there = socket.socketpair()
    for _ in range(count):
        here.send(b"x" * 512)
        there.recv(512)


def programs(count: int) -> None:
    """What a job of the shell executor does most of the time: it starts programs, which inherit a tracer."""
    for _ in range(count):
        subprocess.run(["/bin/true"], check=True)


WORK: dict[str, tuple[Callable[[int], None], int]] = {
    "stat()": (stat, 100_000),
    "read() of a byte": (read, 100_000),
    "getuid()": (getuid, 20_000),
    "message over a socket": (messages, 50_000),
    "start of a program": (programs, 200),
}


def measure() -> dict[str, float]:
    """Microseconds that each operation takes in this process."""
    result = {}
    for name, (work, count) in WORK.items():
        times = []
        for _ in range(REPEAT):
            start = time.perf_counter()
            work(count)
            times.append(time.perf_counter() - start)
        result[name] = min(times) / count * 1e6
    return result


def main() -> None:
    if sys.argv[1:] == ["measure"]:
        print(json.dumps(measure()))
        return
    launchers = yaml.safe_load((ROOT / "roles/runner/vars/main.yml").read_text())["__runner_launchers"]
    results: dict[str, dict[str, float]] = {launch: {} for launch in launchers}
    # In turn, so that what else the machine does falls on all of them.
    for _ in range(ROUNDS):
        for launch, command in launchers.items():
            line = [*shlex.split(command), sys.executable, __file__, "measure"]
            found = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)
            results[launch] = {name: min(value, results[launch].get(name, value)) for name, value in found.items()}
    print(f"| operation | {' | '.join(results)} |\n|---|{'---|' * len(results)}")
    for name in WORK:
        cells = [f"{result[name]:.2f} us ({result[name] / results['user'][name]:.1f}x)" for result in results.values()]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
