# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that docs/operations.md gives for a host do what it says, in the order in which they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest
from ci_host import IMAGE

PAGE = Path(__file__).parents[3] / "docs/operations.md"
FENCED = re.findall(r"^ *```sh\n(.*?)^ *```", PAGE.read_text(), re.S | re.M)
BLOCKS = [dedent(block) for block in FENCED if "ansible-" not in block]
AS_USER = "runuser -u gitlab-runner -- env -C / XDG_RUNTIME_DIR=/run/user/$(id -u gitlab-runner)"
# How a block begins, and what has to be in its output.
EXPECTED = {
    "systemctl status gitlab-runner": r"(?s)active \(running\).*podman\.socket.*active \((listening|running)\)",
    "uid=": r"^/srv/rootless-containers/storage$",
    f"{AS_USER} podman ps -a": r"busy",
    "runuser -u gitlab-runner -- gitlab-runner verify": r"is valid",
    "systemctl stop gitlab-runner\n": r"^inactive$",
    "systemctl stop --no-block": r"(?s)^(deactivating|inactive)$.*busy",
    # Nothing of it runs, and no container is left. It counts as failed if the stop comes before systemd has begun to
    # start it again.
    "systemctl kill": r"^(inactive|failed)\n0\n0$",
    f"{AS_USER} sh": r"(?s)tmpfs.*^Images",
    f"{AS_USER} rootless-podman prune": r"^localhost/unused +1 ",
    f"{AS_USER} podman image prune": r"^[0-9a-f]{64}$",
    f"{AS_USER} podman volume prune": r"^unused$",
    "mount -o remount": r"\bsize=16777216k\b",
    "systemctl is-active gitlab-runner\n": r"(?s)^active\nactive\n.*/srv/rootless-containers tmpfs",
}
# A runner that has only just been started does not yet know the signal to drain.
START = "systemctl start gitlab-runner; timeout 30 sh -c 'until ss -ltn | grep -q 127.0.0.1:9252; do :; done'"
AFTERWARDS = {
    "systemctl stop gitlab-runner\n": f"systemctl is-active gitlab-runner; {START}",
    "systemctl stop --no-block": START,
    f"{AS_USER} rootless-podman prune": f"{AS_USER} podman images",
    "systemctl kill": "systemctl is-active gitlab-runner; systemctl show -P MainPID gitlab-runner; "
    f"{AS_USER} podman ps -aq | wc -l; {START}",
    "mount -o remount": "grep /srv/rootless-containers /proc/mounts; mount -o remount,size=2G /srv/rootless-containers",
}


@pytest.fixture(scope="module", autouse=True)
def job(as_runner, job_image):
    job_image()
    as_runner(f"podman run --detach --name busy {IMAGE} sleep 1000")
    as_runner("podman volume create unused && podman import --quiet /srv/gitlab-standin/job-image.tar unused:1")
    yield
    as_runner("podman rm --all --force --time 0; podman image rm --all --force; podman volume prune --force")


def begins(block: str, table: dict[str, str]) -> list[str]:
    return [start for start in table if block.startswith(start)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_commands_of_the_operations_page(host, block):
    if "systemctl reboot" in block:
        pytest.skip("the scenario default reboots")
    if "userdel" in block:
        pytest.skip("the tests that follow need the user")
    (start,) = begins(block, EXPECTED)
    after = "\n".join(AFTERWARDS[key] for key in begins(block, AFTERWARDS))
    # The shell of the second block reads its commands here.
    result = host.run(
        "sh -c %s", f"exec 2>&1; {{\n{block}\n}} <<'END'\npodman info --format '{{{{.Store.GraphRoot}}}}'\nEND\n{after}"
    )
    assert re.search(EXPECTED[start], result.stdout, re.MULTILINE), result.stdout
    assert not re.search(r"(?i)usage:|unknown|not found|no such", result.stdout), result.stdout


def test_every_expectation_belongs_to_a_block():
    assert [start for start in {**EXPECTED, **AFTERWARDS} if not any(block.startswith(start) for block in BLOCKS)] == []
