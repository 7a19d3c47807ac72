# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted on a path, what /etc/fstab, SELinux and AppArmor say of it, and what is in it. Changes nothing."""

import contextlib
import errno
import json
import os
import sys

path = sys.argv[1]
there = os.path.realpath(path)
found = {"huge": os.path.exists("/sys/kernel/mm/transparent_hugepage/shmem_enabled")}


def lines(name):
    if os.path.exists(name):
        with open(name) as file:
            for line in file:
                yield line.partition("#")[0].split()


def table(name):
    for fields in lines(name):
        if len(fields) > 3:
            yield fields[1].rstrip("/"), fields[2], fields[3]


for point, kind, options in table("/proc/self/mounts"):
    if point == there:
        found.update(type=kind, noswap="noswap" in options.split(","))
for point, kind, options in table(sys.argv[2]):
    if point == path:
        found.update(fstab_type=kind, fstab_options=options)

# The paths that are labelled like another path: what "semanage fcontext --equal" writes.
for fields in lines(sys.argv[3] + "/config"):
    if fields and fields[0].startswith("SELINUXTYPE="):
        rules = os.path.join(sys.argv[3], fields[0].partition("=")[2], "contexts/files/file_contexts.subs")
        found["equal"] = dict(rule for rule in lines(rules) if len(rule) == 2)

# The profile of pasta allows a run root in the runtime directory of the user only.
found["confined"] = ["pasta", "(enforce)"] in lines(sys.argv[4])

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
    with contextlib.suppress(OSError):
        found["label"] = os.getxattr(there, "security.selinux").decode().rstrip("\0")
elif "type" not in found and os.path.isdir(there):
    found["entries"] = sorted(os.listdir(there))
print(json.dumps(found))
