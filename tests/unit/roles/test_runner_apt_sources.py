# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Package sources of GitLab's repository beside that of the role, with which apt would read none at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "roles/runner/files/apt_sources.py"
URL = "https://packages.gitlab.com/runner/gitlab-runner/debian"
MARK = "# In gitlab-runner.sources now: "
OTHERS = "deb http://deb.debian.org/debian trixie main\n"
LINES = f"{OTHERS}deb [signed-by=/k.gpg] {URL}/ trixie main\n # deb {URL} trixie main\ndeb-src {URL} trixie main\n"
LINES += f"deb {URL}-of-somebody trixie main\n"
STANZA = f"# Of GitLab\nTypes: deb\nURIs:\n {URL}/\n# {OTHERS}Suites: trixie\n"
DEBIAN = f"Types: deb\nURIs: http://deb.debian.org/debian\n# {URL}\nSuites: trixie\n"


def run(*arguments: object) -> list[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize(
    ("name", "before", "marked"),
    [
        ("sources.list", LINES, (1, 3)),
        ("sources.list.d/runner_gitlab-runner.list", LINES, (1, 3)),
        ("sources.list.d/a.list", OTHERS, ()),
        ("sources.list.d/a.sources", f"{DEBIAN}\n{STANZA} \n{DEBIAN}", (6, 7, 8, 10)),
        ("sources.list.d/a.sources", f"{STANZA}Components: \xe4\n", (1, 2, 3, 5, 6)),
        ("sources.list.d/a.sources", DEBIAN, ()),
        ("sources.list.d/gitlab-runner.sources", STANZA, ()),
        ("sources.list.d/a.list.save", LINES, ()),
    ],
)  # fmt: skip
def test_other_sources_are_commented_out_and_given_back(tmp_path, name, before, marked):
    (tmp_path / "sources.list.d").mkdir()
    file = tmp_path / name
    file.write_text(before, encoding="utf-8")
    file.chmod(0o640)
    own = tmp_path / "sources.list.d/gitlab-runner.sources"
    assert run("comment", tmp_path, own, f"{URL}/") == [str(file)] * bool(marked)
    lines = file.read_text(encoding="utf-8").splitlines(True)
    assert [index for index, line in enumerate(lines) if line.startswith(MARK)] == [*marked]
    assert "".join(line.removeprefix(MARK) for line in lines) == before
    assert file.stat().st_mode & 0o777 == 0o640
    assert run("comment", tmp_path, own, URL) == []
    assert run("restore", file, tmp_path / "gone") == [str(file)] * bool(marked)
    assert file.read_text(encoding="utf-8") == before
    assert {*tmp_path.rglob("*")} == {file, file.parent, tmp_path / "sources.list.d"} - {tmp_path}


def test_an_adoption_replaces_the_repository_of_the_vendor_by_a_mirror(tmp_path):
    file = tmp_path / "sources.list"
    file.write_text(LINES)
    run("comment", tmp_path, "none", "https://mirror.example.com/gitlab", "/runner/gitlab-runner/")
    assert file.read_text().count(MARK) == 3
