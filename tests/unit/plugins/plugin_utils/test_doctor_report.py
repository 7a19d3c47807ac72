# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import html.parser
import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.rootless.gitlab_runner.plugins.action import doctor_table
from ansible_collections.rootless.gitlab_runner.plugins.action.doctor_table import COLOURS
from ansible_collections.rootless.gitlab_runner.plugins.filter.doctor_html import FilterModule
from ansible_collections.rootless.gitlab_runner.plugins.plugin_utils._doctor_report import (
    fleet,
    headline,
    page,
    printable,
    selected,
    table,
    worst,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def finding(identifier="session.linger", severity="error", **changes):
    return {
        "id": identifier,
        "severity": severity,
        "title": "The runner user has no linger",
        "summary": "Lingering is not enabled for gitlab-runner.",
        "evidence": ["/var/lib/systemd/linger/gitlab-runner: does not exist"],
        "remedy": ["loginctl enable-linger gitlab-runner"],
        "loss": "",
        "variable": "podman_user",
        "reference": "loginctl(1)",
        **changes,
    }


def result(*findings):
    skipped = [{"id": "selinux.label", "reason": "SELinux is not enforcing"}]
    return {"findings": list(findings), "skipped_checks": skipped, "passed_checks": ["user.missing", "net.tool"]}


OWNED = "document.title='owned'"
ATTACK = f'</title></style></pre><script>{OWNED}</script><img src=x onerror="{OWNED}">\'"{{{{7*7}}}}'
HOSTILE = {
    f"ci{ATTACK}": result(
        finding(f"a.b{ATTACK}", ATTACK, summary=ATTACK, title=ATTACK, evidence=[ATTACK], remedy=[ATTACK], loss=ATTACK),
        finding(summary=ATTACK, reference=ATTACK, variable=ATTACK),
    ),
    "javascript:alert(1)": {
        "findings": ["not a finding", {}],
        "skipped_checks": [ATTACK, {"id": ATTACK}],
        "passed_checks": None,
    },
    "ci-3": {},
}


class Tags(html.parser.HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


# --- the terminal ---


def test_table_prints_errors_first_with_commands_that_can_be_copied():
    lines = table("ci-1", result(finding("net.ping", "info"), finding(remedy=["a " * 90])), width=60)
    texts = [text for text, _colour in lines]
    assert texts[0] == "ci-1: 1 error, 1 note (2 checks passed, 1 not made)"
    assert [text.split()[0] for text in texts if text.startswith("  ") and text[2] != " "] == ["ERROR", "INFO"]
    assert "            " + "a " * 90 in texts
    assert lines[0][1] == "error"


def test_table_leaves_out_what_is_less_severe():
    texts = [text for text, _colour in table("ci-1", result(finding("net.ping", "info")), "warning")]
    assert texts == ["ci-1: 1 note (2 checks passed, 1 not made)"]


def test_table_of_a_healthy_host():
    assert table("ci-1", result()) == [("ci-1: nothing to complain about (2 checks passed, 1 not made)", "ok")]


NOT_EXAMINED = [
    ({"failed": True, "msg": "no\npython\x1b[2J"}, "not examined: no python\ufffd[2J"),
    ({"unreachable": True, "msg": "ssh: timed out"}, "not examined: ssh: timed out"),
    ({"skipped": True}, "not examined: it was skipped"),
    (
        {"skipped": True, "changed": False, "skip_reason": "Conditional result was False"},
        "not examined: it was skipped (Conditional result was False)",
    ),
    ({"failed": True}, "not examined: the result has no findings"),
    ({"failed": True, "msg": " "}, "not examined: the result has no findings"),
    ({"results": []}, "not examined: the result has no findings"),
    ({"findings": 5, "skipped_checks": 5, "passed_checks": 5}, "not examined: the result has no findings"),
    ({}, "not examined: there is no result"),
]


@pytest.mark.parametrize(("outcome", "text"), NOT_EXAMINED)
@pytest.mark.parametrize("severity", ["info", "error"])
def test_table_of_a_host_that_was_not_examined(outcome, text, severity):
    assert table("ci-1", outcome, severity) == [(f"ci-1: {text}", "error")]


@pytest.mark.parametrize(
    ("outcome", "severity"),
    [
        (result(), "none"),
        (result(finding("net.ping", "info")), "info"),
        (result(finding("a.b", "info"), finding(severity="warning")), "warning"),
        ({**result(finding()), "failed": True, "msg": "failed_when"}, "error"),
        *((outcome, "error") for outcome, _text in NOT_EXAMINED),
    ],
)
def test_worst(outcome, severity):
    assert worst(outcome) == severity


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_nothing_that_a_host_says_reaches_the_terminal_as_a_command(text):
    entry = finding(summary=text, remedy=[text], loss=text, variable=text)
    for line, _colour in table(text, result(entry)):
        assert line.isprintable()


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "\x9b31m", "\u202eabc", "\u2066", "\x00", "\x7f"])
def test_printable_replaces_control_characters(text):
    assert "\ufffd" in printable(text)


def test_printable_keeps_other_scripts():
    assert printable("höst ünïcode 日本") == "höst ünïcode 日本"


def test_selected_orders_by_severity():
    found = [finding("a.a", "info"), finding("b.b", "warning"), finding("c.c", "error")]
    assert [entry["id"] for entry in selected(found, "warning")] == ["c.c", "b.b"]


def test_headline_counts():
    assert (
        headline(result(finding(), finding("b.b"), finding("c.c", "warning")))
        == "2 errors, 1 warning (2 checks passed, 1 not made)"
    )


# --- the page ---


def test_fleet_has_the_worst_host_first_and_those_not_reached_before():
    hosts = fleet(
        {"good": result(), "bad": result(finding()), "gone": {}, "so-so": result(finding(severity="warning"))}
    )
    assert [host["host"] for host in hosts] == ["gone", "bad", "so-so", "good"]
    assert [host["reached"] for host in hosts] == [False, True, True, True]


def test_page_shows_what_is_wrong():
    parsed = Tags(page({"ci-1": result(finding()), "ci-2": result()}, "2026-12-24"))
    text = "".join(parsed.text)
    for wanted in (
        "ci-1",
        "ci-2",
        "2026-12-24",
        "session.linger",
        "loginctl enable-linger gitlab-runner",
        "podman_user",
    ):
        assert wanted in text
    assert parsed.tags.count("details") == 3
    assert ("href", "#host-1-session.linger") in parsed.attributes and (
        "id",
        "host-1-session.linger",
    ) in parsed.attributes


def test_page_names_the_hosts_that_were_not_examined():
    text = "".join(Tags(page({f"ci-{number}": outcome for number, (outcome, _text) in enumerate(NOT_EXAMINED)})).text)
    assert f"{len(NOT_EXAMINED)}not examined" in text and "ssh: timed out" in text
    assert "could not be examined: it was skipped (Conditional" in text
    assert "not examined" not in "".join(Tags(page({"ci-1": result()})).text)


def test_page_loads_and_runs_nothing():
    parsed = Tags(page(HOSTILE))
    assert {"script", "img", "link", "iframe", "object"} & set(parsed.tags) == set()
    for name, value in parsed.attributes:
        assert not name.startswith("on") and name not in ("src", "style", "action")
        assert name != "href" or value.startswith("#")
    assert "http://" not in page(HOSTILE) and "https://" not in page(HOSTILE)
    assert "document.title='owned'" in "".join(parsed.text), "what the host said is shown as text"


def test_findings_in_an_odd_form_do_not_keep_the_others_out():
    text = "".join(Tags(page({**HOSTILE, "good": result(finding())})).text)
    assert "Lingering is not enabled" in text and "could not be examined" in text


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_runs_nothing_of_a_hostile_page(tmp_path):
    path = tmp_path / "fleet.html"
    path.write_text(page(HOSTILE))
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [
        BROWSER,
        "--headless",
        "--disable-gpu",
        *sandbox,
        f"--user-data-dir={tmp_path}/profile",
        "--dump-dom",
        path.as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    parsed = Tags(shown)
    assert (
        parsed.text[parsed.text.index(next(text for text in parsed.text if "CI hosts:" in text))]
        == "CI hosts: 1 errors, 0 warnings"
    )
    assert "script" not in parsed.tags and "img" not in parsed.tags
    assert "What the doctor found" in shown


# --- the filter ---


def test_filter():
    render = FilterModule().filters()["doctor_html"]
    assert render({"ci-1": result()}, "today").startswith("<!DOCTYPE html>")
    for wrong in ([], "x", {"a": 1}):
        with pytest.raises(AnsibleFilterError, match="dictionary of results"):
            render(wrong)


# --- the module ---


@pytest.fixture
def printed(monkeypatch):
    texts = []
    monkeypatch.setattr(doctor_table, "stringc", "{1}: {0}".format)
    monkeypatch.setattr(doctor_table.display, "display", texts.append)
    return texts


def run_module(outcome):
    task = SimpleNamespace(args={"result": outcome, "severity": "error"}, async_val=0, diff=False, check_mode=False)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    action = doctor_table.ActionModule(task, connection, SimpleNamespace(check_mode=False), None, None, None)
    return action.run(task_vars={"inventory_hostname": "ci-1"})


@pytest.mark.parametrize(
    ("outcome", "colour", "returned"),
    [
        (result(), COLOURS["ok"], {"worst": "none", "msg": "nothing to complain about (2 checks passed, 1 not made)"}),
        ({"failed": True, "msg": "boom"}, COLOURS["error"], {"worst": "error", "msg": "not examined: boom"}),
        ({"skipped": True}, COLOURS["error"], {"worst": "error", "msg": "not examined: it was skipped"}),
    ],
)
def test_module(printed, outcome, colour, returned):
    assert run_module(outcome) == {"changed": False, **returned}
    assert printed == [f"{colour}: ci-1: {returned['msg']}"]


def test_a_table_is_printed_at_once(printed):
    """Other hosts print theirs at the same time."""
    run_module(result(finding(remedy=["first", "second"])))
    (text,) = printed
    assert text.index("ci-1: 1 error") < text.index("first") < text.index("second")
