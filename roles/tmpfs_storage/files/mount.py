# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted on a path, what /etc/fstab says of it, and what is in it. Changes nothing."""

import errno
import json
import os
import sys

path = sys.argv[1]
there = os.path.realpath(path)
found = {"huge": os.path.exists("/sys/kernel/mm/transparent_hugepage/shmem_enabled")}


def table(name):
    if os.path.exists(name):
        with open(name) as file:
            for line in file:
                fields = line.partition("#")[0].split()
                if len(fields) > 3:
                    yield fields[1].rstrip("/"), fields[2], fields[3]


for point, kind, options in table("/proc/self/mounts"):
    if point == there:
        found.update(type=kind, noswap="noswap" in options.split(","))
for point, kind, options in table(sys.argv[2]):
    if point == path:
        found.update(fstab_type=kind, fstab_options=options)

if found.get("type") == "tmpfs":
    use = os.statvfs(there)
    found.update(
        uid=os.stat(there).st_uid,
        bytes=(use.f_blocks - use.f_bfree) * use.f_frsize,
        inodes=use.f_files - use.f_ffree,
    )
    # The overlay of the kernel keeps its notes in extended attributes of users, which tmpfs has since Linux 6.6.
    try:
        os.getxattr(there, "user.rootless-gitlab-runner")
        found["native"] = True
    except OSError as error:
        found["native"] = error.errno == errno.ENODATA
elif "type" not in found and os.path.isdir(there):
    found["entries"] = sorted(os.listdir(there))
print(json.dumps(found))
