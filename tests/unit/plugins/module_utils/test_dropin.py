# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _dropin
from ansible_collections.rootless.gitlab_runner.plugins.module_utils._dropin import DropinError
from hypothesis import given, settings
from hypothesis import strategies as st

# --- parse --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", {}, id="nothing"),
        pytest.param("# only\n; comments\n\n", {}, id="comments"),
        pytest.param("[Unit]\nAfter = a.service \n", {"Unit": [("After", "a.service")]}, id="spaces"),
        pytest.param("[Unit]\r\nAfter=a\r\n", {"Unit": [("After", "a")]}, id="crlf"),
        pytest.param("\ufeff[Unit]\nAfter=a", {"Unit": [("After", "a")]}, id="byte order mark, no last line break"),
        pytest.param("[S]\nExecStart=\nExecStart=/a\n", {"S": [("ExecStart", ""), ("ExecStart", "/a")]}, id="reset"),
        pytest.param("[S]\nA=1\n[U]\nB=2\n[S]\nC=3\n", {"S": [("A", "1"), ("C", "3")], "U": [("B", "2")]}, id="twice"),
        pytest.param("[S]\nA=x=y\n", {"S": [("A", "x=y")]}, id="equals sign in the value"),
        # The three examples of systemd.syntax(7).
        pytest.param(
            "[S]\nA=value 2 \\\n       value 2 continued\n",
            {"S": [("A", "value 2         value 2 continued")]},
            id="joined",
        ),
        pytest.param(
            "[S]\nA=value 3\\\n# ignored\n; ignored too\n       continued\n",
            {"S": [("A", "value 3        continued")]},
            id="joined around comments",
        ),
        pytest.param('[S]\nA="x" "y z" "..."\n', {"S": [("A", '"x" "y z" "..."')]}, id="quotes stay"),
        pytest.param("[S]\nA=x\\\\\nB=y\n", {"S": [("A", "x\\\\"), ("B", "y")]}, id="escaped backslash does not join"),
        pytest.param("[S]\nA=x \\\n\nB=y\n", {"S": [("A", "x"), ("B", "y")]}, id="blank line ends a joined line"),
        pytest.param("[S]\nA=x \\\n", {"S": [("A", "x")]}, id="file ends in a joined line"),
        pytest.param("[S]\nA=x \\\n# end", {"S": [("A", "x")]}, id="file ends in a comment of a joined line"),
    ],
)
def test_parse(text, expected):
    assert _dropin.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[Unit\nA=1\n", "line 1: expected a section header such as [Service]"),
        ("[Unit]\n\n[]\n", "line 3: expected a section header"),
        ("[Unit]\n# fine\nAfter\n", "line 3: expected Directive=value"),
        ("# fine\nAfter=x\n", "line 2: After= stands before the first section header"),
    ],
)
def test_parse_names_the_line_of_an_error(text, message):
    with pytest.raises(DropinError) as error:
        _dropin.parse(text)
    assert message in str(error.value)


# --- normalize ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, ["yes"]),
        (False, ["no"]),
        (7200, ["7200"]),
        (0.5, ["0.5"]),
        ("64G", ["64G"]),
        ("  padded \n", ["padded"]),
        (None, [""]),
        ("", [""]),
        ([], []),
        (["a", "b"], ["a", "b"]),
        (["", "/usr/bin/x"], ["", "/usr/bin/x"]),
        ([None, True, 1], ["", "yes", "1"]),
        ("C:\\\\", ["C:\\\\"]),
    ],
)
def test_normalize_spells_values_as_systemd_does(value, expected):
    result = _dropin.normalize({"Service": {"X": value, "Type": "simple"}}, "service")
    assert result == {"Service": [("X", text) for text in expected] + [("Type", "simple")]}


@pytest.mark.parametrize(
    ("sections", "kind", "message"),
    [
        (
            {"Serivce": {"A": 1}},
            "service",
            "no section 'Serivce', only Unit, Install, Service; did you mean Service?",
        ),
        ({"Service": {"A": 1}}, "socket", "a socket unit has no section 'Service'"),
        ({"Target": {"A": 1}}, "target", "a target unit has no section 'Target', only Unit, Install"),
        ({1: {"A": 1}}, "service", "no section 1"),
        (
            {"Service": ["A=1"]},
            "service",
            "sections.Service: expected a dictionary of directives, got a list",
        ),
        ({"Service": None}, "service", "sections.Service: expected a dictionary of directives, got nothing"),
        ({"Service": {"A=B": 1}}, "service", "sections.Service: 'A=B' is not the name of a directive"),
        ({"Service": {"A": {"B": 1}}}, "service", "sections.Service.A: expected a value or a list of values"),
        ({"Service": {"A": [["x"]]}}, "service", "sections.Service.A: expected a value or a list of values"),
        ({"Service": {"A": "x\n[Unit]"}}, "service", "sections.Service.A: the value has a line break"),
        ({"Service": {"A": "x\ry"}}, "service", "sections.Service.A: the value has a line break"),
        ({"Service": {"A": "x\\"}}, "service", "sections.Service.A: the value ends in a backslash"),
        ({"Service": {"A": "\udc80"}}, "service", "sections.Service.A: the value cannot be written as UTF-8"),
        ({}, "service", "use state: absent"),
        ({"Service": {"A": []}}, "service", "use state: absent"),
    ],
)
def test_normalize_refuses(sections, kind, message):
    with pytest.raises(DropinError) as error:
        _dropin.normalize(sections, kind)
    assert message in str(error.value)


def test_sections_for_other_programs_are_allowed():
    assert _dropin.normalize({"X-Site": {"Owner": "me"}}, "timer") == {"X-Site": [("Owner", "me")]}


@pytest.mark.parametrize(
    ("unit", "kind", "template"),
    [
        ("gitlab-runner.service", "service", None),
        ("user@.service", "service", None),
        ("user@1000.service", "service", "user@.service"),
        ("dev-disk-by\\x2duuid.swap", "swap", None),
        ("user-1000.slice", "slice", None),
        ("user-.slice", "slice", None),
    ],
)
def test_unit_names(unit, kind, template):
    assert (_dropin.unit_type(unit), _dropin.template_of(unit)) == (kind, template)


@pytest.mark.parametrize(
    "unit", ["", "gitlab-runner", "../x.service", "a b.service", "x.conf", "@.service", "x.service\n"]
)
def test_bad_unit_names(unit):
    with pytest.raises(DropinError, match="is not the name of a unit"):
        _dropin.unit_type(unit)


def test_file_names():
    assert _dropin.file_name("override") == _dropin.file_name("override.conf") == "override.conf"
    for name in ("", ".conf", ".hidden", "a/b", "..", "a\nb", "x" * 300):
        with pytest.raises(DropinError, match="cannot be the name of a drop-in"):
            _dropin.file_name(name)


# --- same_meaning -------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[Service]\nPrivateTmp=1\n", "[Service]\nPrivateTmp=yes\n"),
        ("[Service]\nPrivateTmp=OFF\n", "[Service]\nPrivateTmp=no\n"),
        ("[Service]\nA=1\nB=2\n", "[Service]\nB=2\nA=1\n"),
        ("[Service]\nA=1\n[Service]\nB=2\n", "[Service]\nA=1\nB=2\n"),
        ("[Service]\nA=1\n[Unit]\n", "[Service]\nA=1\n"),
        ("[Unit]\nAfter=a.service b.service\n", "[Unit]\nAfter=b.service\nAfter=a.service\n"),
        ("[Unit]\nAfter=a.service\nAfter=a.service\n", "[Unit]\nAfter=a.service\n"),
        ('[Service]\nEnvironment="A=1" B=2\n', "[Service]\nEnvironment=A=1\nEnvironment='B=2'\n"),
        ('[Service]\nEnvironment="A=x y"\n', "[Service]\nEnvironment=A=x\\sy\n"),
        ('[Service]\nEnvironment="A=\\x41"\n', "[Service]\nEnvironment=A=\\101\n"),
        ("[Unit]\nAfter=\"a\\x2db.mount\" 'c.mount'\n", "[Unit]\nAfter=c.mount a\\x2db.mount\n"),
        ('[Service]\nReadWritePaths="/a\\x2db"\n', "[Service]\nReadWritePaths=/a\\x2db\n"),
        ("[Service]\nExecStart=/a \\\n  --b\n", "[Service]\nExecStart=/a --b\n"),
        ('[Service]\nExecStart=/a\\x2db "\\x2dc"\n', "[Service]\nExecStart=/a-b -c\n"),
        ('[Service]\nExecStart=/a "--b"\n', "[Service]\nExecStart=/a --b\n"),
        ("[Service]\nTimeoutStopSec=2h\n", "[Service]\nTimeoutStopSec=7200\n"),
        ("[Service]\nTimeoutStopSec=5min 20s\n", "[Service]\nTimeoutStopSec=320\n"),
        ("[Service]\nRestartSec=100ms\n", "[Service]\nRestartSec=0.1\n"),
        (
            "[Service]\nExecStart=/old\nExecStart=\nExecStart=/new\n",
            "[Service]\nExecStart=\nExecStart=/new\n",
        ),
        ("[Unit]\nConditionHost=a\nConditionUser=\n", "[Unit]\nConditionUser=\n"),
    ],
)
def test_same_meaning(one, other):
    assert _dropin.same_meaning(_dropin.parse(one), _dropin.parse(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[Service]\nA=1\n", "[Service]\nA=2\n"),
        ("[Service]\nA=1\n", "[Unit]\nA=1\n"),
        ("[Service]\nA=1\n", "[Service]\na=1\n"),
        ("[Service]\nExecStart=/a\n", "[Service]\nExecStart=\nExecStart=/a\n"),
        ("[Service]\nExecStartPre=/a\nExecStartPre=/b\n", "[Service]\nExecStartPre=/b\nExecStartPre=/a\n"),
        ("[Service]\nExecStart=yes\n", "[Service]\nExecStart=true\n"),
        ("[Service]\nSyslogIdentifier=on\n", "[Service]\nSyslogIdentifier=yes\n"),
        ("[Service]\nExecStart=/a ; /b\n", '[Service]\nExecStart=/a ";" /b\n'),
        ('[Service]\nExecStart=/a "b c"\n', "[Service]\nExecStart=/a b c\n"),
        ("[Service]\nEnvironment=A=1 A=2\n", "[Service]\nEnvironment=A=2 A=1\n"),
        ("[Service]\nEnvironment='A=x y'\n", "[Service]\nEnvironment=A=x y\n"),
        ("[Service]\nTimeoutStopSec=infinity\n", "[Service]\nTimeoutStopSec=0\n"),
        ("[Service]\nTimeoutStopSec=5\n", "[Service]\nTimeoutStopSec=5min\n"),
        ("[Service]\nDelegate=cpu\n", "[Service]\nDelegate=yes\n"),
        ("[Socket]\nListenStream=/a\nListenDatagram=/b\n", "[Socket]\nListenDatagram=/b\nListenStream=/a\n"),
        ("[Timer]\nOnCalendar=\nOnBootSec=5\n", "[Timer]\nOnBootSec=5\nOnCalendar=\n"),
        ("[Path]\nPathExists=/a\nDirectoryNotEmpty=\n", "[Path]\nPathExists=/a\n"),
        ("[Unit]\nAfter=a-b.mount\n", "[Unit]\nAfter=a\\x2db.mount\n"),
        ("[Unit]\nRequires=a-b.mount\n", '[Unit]\nRequires="a\\x2db.mount"\n'),
        ("[Install]\nWantedBy=a-b.mount\n", "[Install]\nWantedBy=a\\x2db.mount\n"),
        ("[Unit]\nRequiresMountsFor=/a-b\n", "[Unit]\nRequiresMountsFor=/a\\x2db\n"),
        ("[Service]\nReadWritePaths=/a-b\n", "[Service]\nReadWritePaths=/a\\x2db\n"),
    ],
)
def test_another_meaning(one, other):
    assert not _dropin.same_meaning(_dropin.parse(one), _dropin.parse(other))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", []),
        (" a  b\t", ["a", "b"]),
        ("\"a b\" 'c d'", ["a b", "c d"]),
        ('"a\\"b"', ['a"b']),
        ("'' x", ["", "x"]),
        ("\\u00fc", ["\u00fc"]),
        ('a"b"', None),
        ('"a"b', None),
        ('"a', None),
        ("a\\qb", None),
        ("\\xff", None),
        ("\\UFFFFFFFF", None),
    ],
)
def test_split_words(value, words):
    assert _dropin.split_words(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a\\x2db 'c\\q'", ["a\\x2db", "c\\q"]),
        ("a\\ b", None),
        ('"a\\"b"', None),
    ],
)
def test_split_words_that_keep_their_escapes(value, words):
    assert _dropin.split_words(value, unescape=False) == words


# --- update -------------------------------------------------------------------


def wanted(**sections):
    return _dropin.normalize(sections, "service")


def test_a_new_file_says_who_manages_it():
    assert _dropin.update(None, wanted(Unit={"After": "a.service"}, Service={"ExecStart": ["", "/a"]})) == (
        "# Managed by Ansible (rootless.gitlab_runner.systemd_dropin)\n"
        "[Unit]\nAfter=a.service\n\n[Service]\nExecStart=\nExecStart=/a\n"
    )


def test_equal_meaning_is_not_rewritten():
    text = "[Service]\n# why\nPrivateTmp=1\nExecStart=/a \\\n   --b"
    assert _dropin.update(text, wanted(Service={"ExecStart": "/a --b", "PrivateTmp": True})) == text


def test_comments_stay_and_directives_that_are_not_listed_go():
    before = """\
### Editing /etc/systemd/system/x.service.d/override.conf
[Unit]
# of the unit
After=old.service

[Service]
; why it is on
PrivateTmp=1
# the command
ExecStart=
ExecStart=/old \\
# about the option
    --option
Nice=5

# the end
"""
    sections = wanted(
        Service={"PrivateTmp": True, "ExecStart": ["", "/new"], "User": "me"}, Install={"Alias": "y.service"}
    )
    assert (
        _dropin.update(before, sections)
        == """\
### Editing /etc/systemd/system/x.service.d/override.conf
# of the unit

[Service]
; why it is on
PrivateTmp=1
# the command
ExecStart=
ExecStart=/new
# about the option
User=me

# the end

[Install]
Alias=y.service
"""
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("[Service]\nUser=a\\", "[Service]\nUser=a\nGroup=b\n", id="backslash"),
        pytest.param("[Service]\nUser=a \\\n", "[Service]\nUser=a\nGroup=b\n", id="backslash and line break"),
        pytest.param("[Service]\nUser=a \\\n# c\n", "[Service]\n# c\nUser=a\nGroup=b\n", id="comment"),
        pytest.param("[Service]\nUser=a\n[Service] \\\n", "[Service]\nUser=a\n[Service]\nGroup=b\n", id="header"),
        pytest.param("[Service] \\\n# c", "# c\n[Service]\nUser=a\nGroup=b\n", id="header and comment"),
        pytest.param("[Service]\nUser=a\n\\", "[Service]\nUser=a\nGroup=b\n\n", id="backslash alone"),
    ],
)
def test_a_file_that_ends_inside_of_a_joined_line(before, after):
    sections = wanted(Service={"User": "a", "Group": "b"})
    assert _dropin.update(before, sections) == after
    assert _dropin.update(after, sections) == after


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_mark_stay(newline):
    before = "\ufeff# c\n[Service]\nUser=a\nExecStart=/a \\\n  --b\nNice=5\n"
    after = "\ufeff# c\n[Service]\nUser=b\nExecStart=/a \\\n  --b\n\n[Unit]\nAfter=x.service\n"
    sections = wanted(Service={"User": "b", "ExecStart": "/a --b"}, Unit={"After": "x.service"})
    assert _dropin.update(before.replace("\n", newline), sections) == after.replace("\n", newline)


def test_each_line_keeps_its_own_end():
    before = "# c\r\n[Service]\nUser=a\r\nExecStart=/a \\\r# d\n /b\n\r# e"
    after = "# c\r\n[Service]\nUser=a\r\nExecStart=/a \\\r# d\n /b\n\rGroup=b\r\n# e\r\n"
    assert _dropin.update(before, wanted(Service={"User": "a", "ExecStart": "/a /b", "Group": "b"})) == after


def test_an_update_that_would_not_say_what_it_should_is_refused(monkeypatch):
    monkeypatch.setattr(_dropin, "_rendered", lambda line: "User=b")
    with pytest.raises(DropinError, match="would not say what it should"):
        _dropin.update("[Service]\nUser=a \\", wanted(Service={"User": "a", "Group": "b"}))


def test_a_broken_file_is_not_touched():
    with pytest.raises(DropinError, match="line 1"):
        _dropin.update("User=me\n", wanted(Service={"User": "me"}))


# --- secrets ------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "[Service]\nEnvironment=A_TOKEN=s3cr3t\n",
        "[Service]\nEnvironment=PATH=/bin A_TOKEN=s3cr3t B=1\n",
        '[Service]\nEnvironment="DB_PASSWORD=s3cr3t \\"s3cr3t" B=1\n',
        "[Service]\nEnvironment='DB_PASSWORD=x s3cr3t'\n",
        '[Service]\nEnvironment=API_KEY="x s3cr3t"\n',
        '[Service]\nEnvironment="API_KEY=x s3cr3t\n',
        "[Service]\nEnvironment = B=1 \\\n# about C_SECRET=s3cr3t\n  C_SECRET=s3cr3t\n",
        '[Service]\nEnvironment="C_SECRET=x \\\n  s3cr3t"\n',
        "[Service]\n# Environment=A_TOKEN=s3cr3t\n",
        "[Service]\nSetCredential=key:s3cr3t x s3cr3t\n",
        "[Service]\nEnvironment=HTTP_PROXY=http://me:s3cr3t@proxy:3128\n",
        "[Service]\nExecStart=/usr/bin/x https://me:s3cr3t@host/\n",
        "[Service]\nEnvironment=DB_PASS=s3cr3t\n",
        "[Service]\r\nEnvironment=DB_PASS=s3cr3t\r\nEnvironment='SIGN_KEY=x s3cr3t'\r\n",
        "[Service]\rUser=a\rEnvironment='SIGN_KEY=x s3cr3t'\r",
        "[Service]\nExecStart=/usr/bin/x --token glrt-s3cr3tabcdef --name y\n",
        "[Service]\nExecStart=/usr/bin/x --token s3cr3t \\\n  --name y\n",
        '[Service]\nExecStart=/usr/bin/env A=1 "DB_PASS=x s3cr3t" /usr/bin/x\n',
        "[Service]\nExecStart=/usr/bin/x --token YWJjs3cr3t==\n",
        "[X-Site]\nApiToken=s3cr3t\n",
        "[Service]\n# DB_PASS=s3cr3t\n; password=s3cr3t\n# it was glrt-s3cr3tabcdef\n",
    ],
)
def test_secrets_are_not_in_a_redacted_text(text):
    redacted = _dropin.redact(text, b"key")
    assert "s3cr3t" not in redacted
    assert "VALUE_REDACTED " in redacted
    assert _dropin.redact(text.replace("s3cr3t", "0th3r"), b"key") != redacted
    assert redacted.count("\n") >= text.count("\n") - 2


@pytest.mark.parametrize(
    "text",
    [
        "[Service]\nEnvironment=PATH=/bin:/usr/bin LANG=C\nLoadCredential=token:/etc/token\n",
        "[Service]\nKeyringMode=shared\nEnvironmentFile=/etc/default/x\nPassEnvironment=A_TOKEN\n",
        "[Service]\nPrivateTmp=yes\n# PrivateUsers=yes\nSetCredential=\nImportCredential=token.*\n",
        "\ufeff[Socket]\r\nPassCredentials=yes\r\n",
    ],
)
def test_what_is_not_secret_stays(text):
    assert _dropin.redact(text, b"key") == text


def test_only_the_secret_words_of_a_line_are_redacted():
    redacted = _dropin.redact("[Service]\r\nEnvironment=A_TOKEN=one B=1 'C_KEY=two words' D=2\r\n", b"key")
    pattern = r"\[Service\]\r\nEnvironment=A_TOKEN=VALUE_REDACTED \w{8} B=1 'C_KEY=VALUE_REDACTED \w{8}' D=2\r\n"
    assert re.fullmatch(pattern, redacted)


def test_secrets_of_the_wanted_directives():
    sections = wanted(
        Service={
            "Environment": ["A=1", "B_TOKEN=one 'C_PASSWORD=two words'", "DB_PASS=four"],
            "SetCredential": "x:three",
            "ExecStart": "/x --token glrt-abcdefghijklmnop",
            "LoadCredential": "token:/etc/token",
            "User": "me",
        }
    )
    assert _dropin.secrets(sections) == ["one", "two words", "four", "three", "glrt-abcdefghijklmnop"]


# --- properties ---------------------------------------------------------------

DIRECTIVES = [
    "After",
    "ConditionHost",
    "ConditionUser",
    "Environment",
    "ExecStart",
    "Nice",
    "PrivateTmp",
    "RestartSec",
    "X-Y",
]
VALUES = st.one_of(
    st.sampled_from(["", "yes", "1", "a b", '"a b" c', "2h", "a\\\\", "# no comment", "[Unit]", "\\x20", "A=b"]),
    st.text(st.characters(exclude_categories=("Cs", "Cc"))).map(lambda text: text.strip(" \t\r\n").rstrip("\\")),
)
SECTIONS = st.dictionaries(
    st.sampled_from(["Unit", "Service", "Install", "X-Own"]),
    st.lists(st.tuples(st.sampled_from(DIRECTIVES), VALUES), min_size=1, max_size=6),
    min_size=1,
)
COMMENTS = st.sampled_from(["", "# a comment", "  ; another \\", "#"])


@st.composite
def files(draw):
    """A valid file, with comments anywhere, and joined lines, one of which may be the last."""
    lines = [draw(COMMENTS)]
    for section, assignments in draw(SECTIONS).items():
        lines += [f" [{section}]", draw(COMMENTS)]
        for directive, value in assignments:
            lines += (
                [f"{directive} = \\", "# inside", f"  {value}"] if draw(st.booleans()) else [f"{directive}={value}"]
            )
            lines.append(draw(COMMENTS))
    if draw(st.booleans()):
        lines += [f"{lines.pop()} \\"] + draw(st.lists(st.just("# inside")))
    return draw(st.sampled_from(["", "\ufeff"])) + draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines)


def comments_of(text):
    lines = re.split(r"[\r\n]+", text.lstrip("\ufeff"))
    return [line.strip() for line in lines if line.strip().startswith(("#", ";"))]


@given(SECTIONS)
@settings(deadline=None)
def test_what_is_rendered_is_parsed_the_same(sections):
    assert _dropin.parse(_dropin.render(sections)) == sections


@given(files(), SECTIONS)
@settings(deadline=None, max_examples=300)
def test_an_update_has_the_wanted_meaning_keeps_comments_and_is_final(before, sections):
    after = _dropin.update(before, sections)
    assert _dropin.same_meaning(_dropin.parse(after), sections)
    assert set(comments_of(before)) <= set(comments_of(after))
    assert before.startswith("\ufeff") == after.startswith("\ufeff")
    if "\n" not in before:
        assert ("\r" in before) == ("\r" in after and "\n" not in after)
    assert ("\r\n" in before) == ("\r\n" in after)
    assert _dropin.update(after, sections) == after


@given(st.text(st.sampled_from("[S]\r\n\\#;= A")))
@settings(deadline=None, max_examples=300)
def test_any_text_is_parsed_or_refused_and_no_line_is_lost(text):
    try:
        lines = _dropin.parse_lines(text)
    except DropinError:
        return
    assert "".join(line.text for line in lines) == text


@given(st.text(st.sampled_from("Environment= A_TOKEN=\"'\\\n#; x"), max_size=60))
@settings(deadline=None)
def test_redaction_of_any_text_comes_to_an_end(text):
    assert _dropin.redact(text, b"key") == _dropin.redact(text, b"key")


@pytest.mark.parametrize("value", ["hu;sh", "hu&sh", "hu|sh"])
def test_a_secret_goes_on_behind_what_ends_a_command(value):
    shown = _dropin.redact(f"[Service]\nEnvironment=DB_PASSWORD={value} A=1\n", b"k" * 16)
    assert "sh" not in shown and "A=1" in shown


@pytest.mark.parametrize(
    "kind", ["service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"]
)
def test_each_type_of_unit_is_known(kind):
    assert _dropin.unit_type(f"x.{kind}") == kind
