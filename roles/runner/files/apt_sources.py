# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Comment the sources of a repository out, or give them back. Prints the files that have changed.

Arguments: "comment", the directory of apt, the file that is left alone, and what is in the addresses of the
repository; or "restore", and files.
"""

import glob
import os
import re
import shutil
import sys

MARK = "# In gitlab-runner.sources now: "
action, arguments = sys.argv[1], sys.argv[2:]


def commented(text, is_deb822, named):
    """In the one format a source is a line, in the other one what is between empty lines."""
    if not is_deb822:
        is_source = re.compile(r"[ \t]*deb(-src)?[ \t]")
        lines = text.splitlines(True)
        return "".join(MARK + line if is_source.match(line) and named.search(line) else line for line in lines)
    parts = re.split(r"(\n(?:[ \t]*\n)+)", text)
    for index in range(0, len(parts), 2):
        fields = [line for line in parts[index].splitlines(True) if not line.startswith("#")]
        if named.search("".join(fields)):
            lines = parts[index].splitlines(True)
            parts[index] = "".join(line if line.startswith("#") or not line.strip() else MARK + line for line in lines)
    return "".join(parts)


if action == "comment":
    directory, own = arguments[:2]
    names = "|".join(re.escape(address.rstrip("/")) for address in arguments[2:])
    named = re.compile(rf"(?:{names})(?=[/\s]|\Z)")
    files = [f"{directory}/sources.list", *glob.glob(f"{directory}/sources.list.d/*")]
    files = [file for file in files if file.endswith((".list", ".sources")) and os.path.isfile(file) and file != own]
else:
    files = [file for file in arguments if os.path.isfile(file)]
for file in sorted(files):
    with open(file, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        before = stream.read()
    after = commented(before, file.endswith(".sources"), named) if action == "comment" else before.replace(MARK, "")
    if after != before:
        # Complete or not at all, under a name that apt overlooks.
        there = os.path.realpath(file)
        new = there + ".new~"
        with open(new, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(after)
        shutil.copymode(there, new)
        os.replace(new, there)
        print(file)
