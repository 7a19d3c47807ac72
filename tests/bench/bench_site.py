#!/usr/bin/env python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the executed tasks of site.yml and of the doctor and take their time, on a test host of its own.

Run by "make bench", inside the test bed. Prints Markdown tables.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = "debian13"
HOST = f"bench-{PLATFORM}"
ENVIRONMENT = {
    **os.environ,
    "MOLECULE_SCENARIO_NAME": "bench",
    "CI_HOST_PLATFORMS": PLATFORM,
    "ANSIBLE_PIPELINING": "true",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks",
    "PROFILE_TASKS_TASK_OUTPUT_LIMIT": "all",
}


def play(playbook: str, variables: dict | None = None) -> tuple[dict[str, int], float, str]:
    """Run a playbook with extra variables; return the recap of the host, the seconds it took, and the output."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(variables or {}, file)
        file.flush()
        command = ["ansible-playbook", "-i", "molecule/_shared/inventory", "-e", f"@{file.name}", playbook]
        start = time.monotonic()
        result = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - start
    if result.returncode:
        sys.exit(result.stdout + result.stderr)
    recap = re.findall(r"(\w+)=(\d+)", re.findall(rf"^{HOST} +: (.*)$", result.stdout, re.M)[-1])
    return {key: int(value) for key, value in recap}, seconds, result.stdout


def roles(output: str) -> dict[str, tuple[int, float]]:
    """What each role took of a play: its executed tasks, and the seconds of all its tasks."""
    tasks = re.findall(r"^TASK \[rootless\.gitlab_runner\.(\w+) : .*\n.*\n(?:ok|changed): ", output, re.M)
    seconds: dict[str, float] = {}
    for role, time_taken in re.findall(r"^rootless\.gitlab_runner\.(\w+) : .* -+ ([\d.]+)s$", output, re.M):
        seconds[role] = seconds.get(role, 0) + float(time_taken)
    return {role: (tasks.count(role), seconds[role]) for role in dict.fromkeys(tasks)}


def runners(count: int, image: str = "localhost/job-image-standin:latest") -> list[dict]:
    shared = {"url": "http://127.0.0.1:8929", "token": "glrt-stand-in-token-1", "executor": "docker"}
    return [{"name": f"runner-{n}", **shared, "docker": {"image": image, "pull_policy": "never"}} for n in range(count)]


def main() -> None:
    play("molecule/_shared/create.yml")
    play("molecule/_shared/prepare.yml")
    print("| run of site.yml | runners | executed tasks | changed | seconds |\n|---|---|---|---|---|")
    try:
        for count in (1, 10, 100):
            wanted = {"runner_runners": runners(count), "tmpfs_storage_enabled": True, "tmpfs_storage_size": "2G"}
            for title in ("first" if count == 1 else "more runners", "nothing to do"):
                recap, seconds, output = play("rootless.gitlab_runner.site", wanted)
                print(f"| {title} | {count} | {recap['ok']} | {recap['changed']} | {seconds:.0f} |", flush=True)
            wanted["runner_runners"][0]["limit"] = count + 1
            recap, seconds, _output = play("rootless.gitlab_runner.site", wanted)
            print(f"| one key | {count} | {recap['ok']} | {recap['changed']} | {seconds:.0f} |", flush=True)
        print("\n| role, with nothing to do | executed tasks | seconds |\n|---|---|---|")
        for role, (tasks, seconds) in roles(output).items():
            print(f"| {role} | {tasks} | {seconds:.1f} |")
        print("\n| run of doctor.yml | executed tasks | seconds | of these the module |\n|---|---|---|---|")
        for _attempt in range(3):
            recap, seconds, output = play("rootless.gitlab_runner.doctor")
            task = float(re.findall(r"Examine the host -+ ([\d.]+)s", output)[-1])
            print(f"| healthy host | {recap['ok']} | {seconds:.1f} | {task:.1f} |", flush=True)
    finally:
        play("molecule/_shared/destroy.yml")


if __name__ == "__main__":
    main()
