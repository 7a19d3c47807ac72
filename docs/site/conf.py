# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx configuration of the documentation site, which tests/support/build_docs builds."""

from __future__ import annotations

import re

from docutils import nodes

project = "rootless.gitlab_runner"
copyright = "the rootless.gitlab_runner authors"  # noqa: A001
extensions = ["myst_parser", "sphinx_antsibull_ext", "sphinx_copybutton"]
html_theme = "furo"
html_title = project
html_show_sphinx = False
myst_heading_anchors = 3
SOURCE = "https://gitlab.com/rootless/gitlab_runner/-/blob/main/"


def link(match: re.Match[str]) -> str:
    """A link of a page in docs/ as one of the site. Roles are pages of it, all else outside is in the repository."""
    path = match["path"]
    if role := re.fullmatch(r"roles/(\w+)/README\.md", path):
        return f"](collection/{role[1]}_role.rst)"
    return f"](readme.md{match['anchor'] or ''})" if path == "README.md" else f"]({SOURCE}{path})"


def read(_app: object, page: str, text: list[str]) -> None:
    """Changes what the site and the Git forges write in different ways."""
    if page == "readme":
        # Seen from the top of the repository.
        text[0] = re.sub(r"\]\((?!\w+:|#|docs/)", "](../", text[0]).replace("](docs/", "](")
    text[0] = re.sub(r"\]\(\.\./(?P<path>[^)#]+)(?P<anchor>#[^)]*)?\)", link, text[0])
    text[0] = re.sub(r'^<a id="([^"]+)"></a>$', r"(\1)=", text[0], flags=re.MULTILINE)


ANSIBLE = "https://docs.ansible.com/ansible/latest/"
ANSIBLE_PAGES = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}


def ansible_page(_app: object, _env: object, node: nodes.Element, content: nodes.Element) -> nodes.reference | None:
    """What Ansible's own documentation defines is linked there, and looked up here: the build needs no network."""
    target = node["reftarget"]
    page = ANSIBLE_PAGES.get(target)
    if module := re.fullmatch(r"ansible_collections\.(\w+)\.(\w+)\.(\w+_module)", target):
        page = f"collections/{module[1]}/{module[2]}/{module[3]}.html"
    return nodes.reference("", "", content, refuri=ANSIBLE + page, internal=False) if page else None


def setup(app: object) -> None:
    app.connect("missing-reference", ansible_page)  # type: ignore[attr-defined]
    app.connect("source-read", read)  # type: ignore[attr-defined]
