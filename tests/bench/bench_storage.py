#!/usr/bin/env python3
# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time five container starts and 5 000 small files on each kind of storage, on a test host of its own.

Run inside the test bed: C(tests/support/testbed run tests/bench/bench_storage.py [HOST]). With HOST, that
running host is used, and kept. Prints a Markdown table with the median of three runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TMPFS = "/srv/bench-storage"
FUSE = "--storage-opt overlay.mount_program=/usr/bin/fuse-overlayfs"
# Podman's options, and what then is the file system of a container's root (vfs: that of the storage).
KINDS = {
    "vfs": ("--storage-driver vfs", None),
    "fuse-overlayfs": (f"--storage-driver overlay {FUSE}", "fuse.fuse-overlayfs"),
    "overlay of the kernel": ("--storage-driver overlay", "overlay"),
}
# An image of 100 MB in 2 000 files, and then what is timed. To stdout goes the file system, and then milliseconds.
SCRIPT = r"""
set -eu
store=$1; shift
mkdir -p "$store"
podman() { command podman --root "$store/root" --runroot "$store/run" "$@"; }
timed() { start=$(date +%s%N); "$@" >&2; echo $((($(date +%s%N) - start) / 1000000)); }
starts() { for _ in 1 2 3 4 5; do podman "$@" run --rm --network none bench true; done; }
files='i=0; while [ $i -lt 5000 ]; do echo x > /d/$i; i=$((i+1)); done; cat /d/* > /dev/null; rm -r /d'
small() { podman "$@" run --rm --network none bench sh -c "mkdir /d; $files"; }
podman "$@" import /srv/gitlab-standin/job-image.tar base >&2
content='i=0; mkdir /image; while [ $i -lt 2000 ]; do head -c 50000 /dev/zero > /image/$i; i=$((i+1)); done'
printf 'FROM base\nRUN %s\n' "$content" |
    podman "$@" build --quiet --tag bench --file - /srv/gitlab-standin >&2
podman "$@" run --rm --network none bench cat /proc/mounts | while read -r _ path type _; do
    [ "$path" != / ] || echo "$type"
done
for _ in 1 2 3; do timed starts "$@"; timed small "$@"; done
# Podman keeps the directory of its overlays mounted in the user's mount namespace.
podman "$@" unshare sh -c 'umount --lazy "$1/root/overlay" 2>/dev/null; rm -rf "$1"' sh "$store"
"""


def on_host(host: str, command: str, *arguments: str, user: str = "root") -> str:
    prefix = ["podman", "exec", host]
    if user != "root":
        uid = on_host(host, f"id -u {user}").strip()
        session = [f"XDG_RUNTIME_DIR=/run/user/{uid}", f"HOME=/home/{user}"]
        prefix += ["runuser", "-u", user, "--", "env", "-C", "/", *session]
    full = [*prefix, "sh", "-c", command, "sh", *arguments]
    result = subprocess.run(full, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{command}: {result.stdout}{result.stderr}")
    return result.stdout


def play(playbook: str) -> None:
    command = ["ansible-playbook", "-i", "molecule/_shared/inventory", playbook]
    environment = {**os.environ, "MOLECULE_SCENARIO_NAME": "bench", "CI_HOST_PLATFORMS": "debian13"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


def measure(host: str) -> None:
    on_host(host, "apt-get update -q && apt-get install -qy --no-install-recommends fuse-overlayfs")
    on_host(host, f"mkdir -p {TMPFS} && mount -t tmpfs -o size=3G,huge=within_size,mode=0777 tmpfs {TMPFS}")
    print("| storage | 5 container starts | 5 000 small files |\n|---|---|---|")
    try:
        for place, path in (("disk", "/home/gitlab-runner/bench"), ("tmpfs", f"{TMPFS}/bench")):
            for kind, (options, expected) in KINDS.items():
                # A directory for each: Podman stays with fuse-overlayfs where it has used it.
                store = f"{path}-{kind.replace(' ', '-')}"
                filesystem, *lines = on_host(host, SCRIPT, store, *options.split(), user="gitlab-runner").split()
                if filesystem != (expected or filesystem):
                    sys.exit(f"{kind}, {place}: a container has {filesystem}, not {expected}")
                times = [int(line) / 1000 for line in lines]
                starts, files = statistics.median(times[::2]), statistics.median(times[1::2])
                print(f"| {kind}, {place} | {starts:.2f} s | {files:.2f} s |", flush=True)
    finally:
        on_host(host, f"umount --lazy {TMPFS} && rmdir {TMPFS}")


def main() -> None:
    if len(sys.argv) > 1:
        measure(sys.argv[1])
        return
    for playbook in ("molecule/_shared/create.yml", "molecule/_shared/prepare.yml", "molecule/storage/vary.yml"):
        play(playbook)
    try:
        measure("bench-debian13")
    finally:
        play("molecule/_shared/destroy.yml")


if __name__ == "__main__":
    main()
