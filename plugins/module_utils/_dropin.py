# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Drop-ins of systemd units as text: parse, compare by meaning, edit in place.

The syntax is that of systemd.syntax(7); which directives add up, and which of them an empty assignment resets
together, is from systemd.unit(5), systemd.exec(5), systemd.socket(5), systemd.timer(5) and systemd.path(5).
"""

from __future__ import annotations

import difflib
import re
from fractions import Fraction
from typing import Any, NamedTuple, Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils._redact import (
    Span,
    join_spans,
    redact_spans,
    secret_spans,
)

HEADER = "# Managed by Ansible (rootless.gitlab_runner.systemd_dropin)"

Assignments = list[tuple[str, str]]
"""Directives and their values in the order of the file; the empty value resets."""

Sections = dict[str, Assignments]

_WHITESPACE = " \t\n\r"
_BYTE_ORDER_MARK = "\ufeff"
# As systemd reads lines: it takes all of these for the end of one.
_LINE_END = re.compile(r"\r\n|\n\r|\n|\r")
_LINE = re.compile(rf"[^\r\n]*(?:{_LINE_END.pattern})|[^\r\n]+")

_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")
_UNIT = re.compile(
    r"(?P<prefix>[A-Za-z0-9:_.\\-]+)(?P<instance>@[A-Za-z0-9:_.\\@%-]*)?"
    r"\.(?P<type>service|socket|device|mount|automount|swap|target|path|timer|slice|scope)\Z"
)
_TYPES_WITHOUT_SECTION = ("device", "target")

_BOOLEANS = {
    **dict.fromkeys(("1", "yes", "y", "true", "t", "on"), "yes"),
    **dict.fromkeys(("0", "no", "n", "false", "f", "off"), "no"),
}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Elsewhere "on" and "yes" are two texts, or two commands.
_BOOLEAN_DIRECTIVES = _names("""
    Accept AllowIsolate BlockIOAccounting Broadcast CPUAccounting CPUSchedulingResetOnFork DefaultDependencies
    Delegate DynamicUser FixedRandomDelay FlushPending ForceUnmount FreeBind GuessMainPID IOAccounting
    IPAccounting IgnoreOnIsolate IgnoreSIGPIPE KeepAlive LazyUnmount LockPersonality MakeDirectory
    MemoryAccounting MemoryDenyWriteExecute MemoryKSM MountAPIVFS NoDelay NoNewPrivileges NonBlocking
    OnClockChange OnTimezoneChange PassCredentials PassPacketInfo PassSecurity Persistent PrivateDevices
    PrivateIPC PrivateMounts PrivateNetwork PrivateTmp PrivateUsers ProtectClock ProtectControlGroups
    ProtectHome ProtectHostname ProtectKernelLogs ProtectKernelModules ProtectKernelTunables ProtectSystem
    ReadWriteOnly RefuseManualStart RefuseManualStop RemainAfterElapse RemainAfterExit RemoveIPC RemoveOnStop
    RestrictNamespaces RestrictRealtime RestrictSUIDSGID ReusePort RootDirectoryStartOnly
    SELinuxContextFromNet SendSIGHUP SendSIGKILL SloppyOptions StopWhenUnneeded SurviveFinalKillSignal
    SyslogLevelPrefix TTYReset TTYVHangup TTYVTDisallocate TasksAccounting Transparent WakeSystem Writable
""")

_MICROSECONDS = {
    **dict.fromkeys(("us", "usec", "\u00b5s", "\u03bcs"), 1),
    **dict.fromkeys(("ms", "msec"), 1000),
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1000000),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60 * 1000000),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600 * 1000000),
    **dict.fromkeys(("d", "day", "days"), 86400 * 1000000),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86400 * 1000000),
}
_TIME_SPAN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z\u00b5\u03bc]*)")

# One assignment of two words is two assignments of one word. The order of units and mounts is free.
_SETS_OF_WORDS = _names("""
    After Also Before BindsTo Conflicts JoinsNamespaceOf OnFailure OnSuccess PartOf PropagatesReloadTo
    PropagatesStopTo ReloadPropagatedFrom RequiredBy Requires RequiresMountsFor Requisite StopPropagatedFrom
    Upholds WantedBy Wants WantsMountsFor
""")
_LISTS_OF_WORDS = _names("""
    BindPaths BindReadOnlyPaths Environment ExecPaths InaccessiblePaths NoExecPaths PassEnvironment
    ReadOnlyPaths ReadWritePaths SupplementaryGroups TemporaryFileSystem UnsetEnvironment
""")
# Of those, the ones in which systemd resolves escapes as C has them. In a list of units they are a part of the name
# (a-b.mount and a\x2db.mount are two), and in paths a backslash means no more than the character behind it.
_ESCAPED_WORDS = _names("Environment UnsetEnvironment")
# Directives that fill one list: their order counts, and an empty one of them resets all.
_GROUPS = tuple(
    (section, re.compile(rf"(?:{pattern})\Z"))
    for section, pattern in (
        ("Unit", r"Condition\w+"),
        ("Unit", r"Assert\w+"),
        ("Socket", r"Listen\w+"),
        ("Timer", r"On(\w+Sec|Calendar)"),
        ("Path", r"Path(Exists|ExistsGlob|Changed|Modified)|DirectoryNotEmpty"),
        (None, r"Bind(ReadOnly)?Paths"),
        (None, r"StandardInput(Text|Data)"),
    )
)

_ESCAPES = {
    **{"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"},
    **{"\\": "\\", '"': '"', "'": "'", "s": " "},
}
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\\"'s])|x([0-9a-fA-F]{2})|([0-3][0-7]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))",
    re.DOTALL,
)
# Where escapes stay, it depends on the directive whether this ends a word.
_ESCAPED_END = re.compile(r"\\[ \t\"']")
_WORD = re.compile(
    r"""[ \t]*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|((?:[^ \t"'\\]|\\.)+))(?=[ \t]|\Z)""", re.DOTALL
)


class DropinError(Exception):
    """A drop-in, or what is wanted of it, is not valid; the text says where and what to do."""


class Line(NamedTuple):
    """One logical line of a unit file: several lines of text where a backslash joins them."""

    text: str
    """The text of the file, with line ends."""
    section: Optional[str]
    """The section of a header or an assignment; None for comments and blank lines."""
    directive: Optional[str] = None
    """None for headers, comments and blank lines."""
    value: str = ""
    comments: tuple[str, ...] = ()
    """Comment lines between joined lines, with line ends."""
    open: bool = False
    """Whether the file ends after a backslash, which would join the line with one that is put after it."""


# --- reading ------------------------------------------------------------------


def parse_lines(text: str) -> list[Line]:
    """Split the text of a unit file into logical lines, losing nothing but a byte order mark.

    Raises DropinError for what systemd would reject or ignore: a broken section header, a line without C(=),
    an assignment outside of a section.
    """
    lines: list[Line] = []
    section: Optional[str] = None
    pending: list[str] = []
    comments: list[str] = []
    logical = ""
    raw_lines = _LINE.findall(text[1:] if text.startswith(_BYTE_ORDER_MARK) else text)
    for number, raw in enumerate(raw_lines, 1):
        stripped = raw.lstrip(_WHITESPACE)
        if stripped.startswith(("#", ";")):
            # A comment may stand between two lines that a backslash joins, and is no part of the value there.
            if pending:
                pending.append(raw)
                comments.append(raw)
            else:
                lines.append(Line(raw, None))
            continue
        pending.append(raw)
        logical += raw.rstrip("\r\n")
        if _ends_in_escape(logical):
            logical = logical[:-1] + " "
            continue
        line = _parse_logical_line("".join(pending), logical.strip(_WHITESPACE), section, tuple(comments), number)
        section = line.section or section
        lines.append(line)
        pending, comments, logical = [], [], ""
    if pending:
        line = _parse_logical_line(
            "".join(pending), logical.strip(_WHITESPACE), section, tuple(comments), len(raw_lines)
        )
        lines.append(line._replace(open=True))
    return lines


def parse(text: str) -> Sections:
    """The assignments of a unit file by section. Raises DropinError as C(parse_lines) does."""
    sections: Sections = {}
    for line in parse_lines(text):
        if line.section is not None:
            assignments = sections.setdefault(line.section, [])
            if line.directive is not None:
                assignments.append((line.directive, line.value))
    return sections


def _parse_logical_line(
    text: str, logical: str, section: Optional[str], comments: tuple[str, ...], number: int
) -> Line:
    if not logical:
        return Line(text, None, comments=comments)
    if logical.startswith("["):
        if not logical.endswith("]") or len(logical) < 3:
            raise DropinError(f"line {number}: expected a section header such as [Service]; correct or remove the line")
        return Line(text, logical[1:-1], comments=comments)
    directive, separator, value = logical.partition("=")
    if not separator:
        raise DropinError(f"line {number}: expected Directive=value; correct or remove the line")
    if section is None:
        raise DropinError(
            f"line {number}: {directive.strip(_WHITESPACE)}= stands before the first section header,"
            " where systemd ignores it; correct or remove the line"
        )
    return Line(text, section, directive.strip(_WHITESPACE), value.strip(_WHITESPACE), comments)


def _ends_in_escape(text: str) -> bool:
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


# --- what is wanted -----------------------------------------------------------


def unit_type(unit: str) -> str:
    """The type of a unit (C(service) for C(user@.service)). Raises DropinError if it is not a unit's name."""
    match = _UNIT.match(unit)
    if not match or len(unit) > 255:
        raise DropinError(
            f"unit: {unit!r} is not the name of a unit; expected a name with its type,"
            " such as gitlab-runner.service, user@.service or user@1000.service"
        )
    return match.group("type")


def template_of(unit: str) -> Optional[str]:
    """C(user@.service) for C(user@1000.service); None for a unit that is not an instance."""
    match = _UNIT.match(unit)
    if not match or len(match.group("instance") or "") < 2:
        return None
    return "{prefix}@.{type}".format(**match.groupdict())


def file_name(name: str) -> str:
    """The file name of a drop-in called C(name). Raises DropinError if it cannot be one."""
    base = name[: -len(".conf")] if name.endswith(".conf") else name
    if not base or base.startswith(".") or "/" in base or not base.isprintable() or len(base) > 240:
        raise DropinError(f"name: {name!r} cannot be the name of a drop-in; expected a file name such as override")
    return base + ".conf"


def normalize(sections: dict[str, Any], kind: str) -> Sections:
    """The wanted directives as the file spells them.

    Takes sections as people write them in YAML (section -> directive -> value or list of values) and the
    type of the unit. A boolean becomes C(yes) or C(no), a null becomes the empty assignment, each element of
    a list an assignment of its own, an empty list no assignment.

    Raises DropinError for what has no meaning in a unit file of that type.
    """
    known = ["Unit", "Install"] + ([] if kind in _TYPES_WITHOUT_SECTION else [kind.capitalize()])
    result: Sections = {}
    for section, directives in sections.items():
        if section not in known and not (str(section).startswith("X-") and _NAME.match(section)):
            close = difflib.get_close_matches(str(section), known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise DropinError(f"sections: a {kind} unit has no section {section!r}, only {', '.join(known)}{hint}")
        if not isinstance(directives, dict):
            raise DropinError(f"sections.{section}: expected a dictionary of directives, got {_kind_of(directives)}")
        assignments: Assignments = []
        for directive, values in directives.items():
            if not isinstance(directive, str) or not _NAME.match(directive):
                raise DropinError(f"sections.{section}: {directive!r} is not the name of a directive")
            for value in values if isinstance(values, list) else [values]:
                assignments.append((directive, _spell(value, f"sections.{section}.{directive}")))
        if assignments:
            result[section] = assignments
    if not result:
        raise DropinError("sections: there is no directive in it; to remove the drop-in use state: absent")
    return result


def _spell(value: Any, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise DropinError(f"{where}: expected a value or a list of values, got {_kind_of(value)}")
    text = value.strip(_WHITESPACE)
    if re.search(r"[\n\r\0]", text):
        raise DropinError(f"{where}: the value has a line break; write one line, or a list of values")
    if _ends_in_escape(text):
        raise DropinError(f"{where}: the value ends in a backslash, which joins it with the next line; double it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DropinError(f"{where}: the value cannot be written as UTF-8") from error
    return text


def _kind_of(value: Any) -> str:
    names = {dict: "a dictionary", list: "a list", str: "a string", type(None): "nothing"}
    return names.get(type(value), f"a value of type {type(value).__name__}")


# --- comparing ----------------------------------------------------------------


def same_meaning(one: Sections, other: Sections) -> bool:
    """Whether systemd reads the same from both.

    Spelling and quoting of values and the order of unrelated directives are free.
    """
    return _meaning(one) == _meaning(other)


def _meaning(sections: Sections) -> dict[tuple[str, str], Any]:
    return {key: _meaning_of_group(group) for key, group in _groups(sections).items()}


def _groups(sections: Sections) -> dict[tuple[str, str], Assignments]:
    """The assignments that belong together, by section and group."""
    groups: dict[tuple[str, str], Assignments] = {}
    for section, assignments in sections.items():
        for directive, value in assignments:
            groups.setdefault(_group(section, directive), []).append((directive, value))
    return groups


def _group(section: str, directive: str) -> tuple[str, str]:
    for of_section, pattern in _GROUPS:
        if of_section in (None, section) and pattern.match(directive):
            return section, pattern.pattern
    return section, directive


def _meaning_of_group(assignments: Assignments) -> Any:
    result: list[Any] = []
    for directive, value in assignments:
        if value == "":
            # What was assigned before has no effect.
            result = [(directive, None)]
        elif directive in _SETS_OF_WORDS or directive in _LISTS_OF_WORDS:
            words = split_words(value, unescape=directive in _ESCAPED_WORDS)
            result.extend((directive, word) for word in words or [value])
        else:
            result.append((directive, _meaning_of_value(directive, value)))
    if assignments[0][0] in _SETS_OF_WORDS and (assignments[0][0], None) not in result:
        return sorted(set(result))
    return result


def _meaning_of_value(directive: str, value: str) -> Any:
    if directive in _BOOLEAN_DIRECTIVES:
        return _BOOLEANS.get(value.lower(), value)
    if directive.endswith("Sec") and not directive.endswith("NSec"):
        return _time_span(value)
    # A semicolon that stands alone separates commands, a quoted one does not: left as it is.
    if directive.startswith("Exec") and ";" not in value:
        return split_words(value) or value
    return value


def _time_span(text: str) -> Any:
    """A time span of systemd.time(7) in microseconds; the text itself if it is none."""
    total = Fraction(0)
    position = 0
    while position < len(text):
        match = _TIME_SPAN.match(text, position)
        if not match or match.group(2) not in _MICROSECONDS:
            return text
        total += Fraction(match.group(1)) * _MICROSECONDS[match.group(2)]
        position = match.end()
    return total


def split_words(value: str, unescape: bool = True) -> Optional[list[str]]:
    """The words of a value without their quotes; None where that is not certain.

    Takes whether escapes are resolved. Else they stay as they are spelled.

    Source: systemd.syntax(7), section Quoting.
    """
    if not unescape and _ESCAPED_END.search(value):
        return None
    words: list[str] = []
    position = 0
    end = len(value.rstrip(_WHITESPACE))
    while position < end:
        match = _WORD.match(value, position, end)
        if not match:
            return None
        word = next(group for group in match.groups() if group is not None)
        try:
            words.append(_ESCAPE.sub(_unescape, word) if unescape else word)
        except (ValueError, OverflowError):
            return None
        position = match.end()
    return words


def _unescape(match: re.Match[str]) -> str:
    letter, byte, octal, short, long, _unknown = match.groups()
    if letter:
        return _ESCAPES[letter]
    if short or long:
        return chr(int(short or long, 16))
    number = int(byte, 16) if byte else int(octal, 8) if octal else 0
    # Above 127 such an escape is a byte, of which several may make one character.
    if not 0 < number < 128:
        raise ValueError(match.group(0))
    return chr(number)


# --- writing ------------------------------------------------------------------


def render(sections: Sections) -> str:
    """The text of a unit file with these sections, without a comment."""
    return "\n".join(
        f"[{section}]\n" + "".join(f"{directive}={value}\n" for directive, value in assignments)
        for section, assignments in sections.items()
    )


def _rendered(line: Line) -> str:
    """A logical line as one line of text, without the comments in it."""
    if line.directive is not None:
        return f"{line.directive}={line.value}"
    return "" if line.section is None else f"[{line.section}]"


def update(before: Optional[str], sections: Sections) -> str:
    """The text of a drop-in that has exactly the wanted directives.

    Takes the present text (None: no file) and normalized sections. What means the same already stays as it is
    spelled, and every comment stays. So do line ends, which new lines share, and a byte order mark: systemd reads
    LF, CR LF and CR alike, and skips the mark.

    Raises DropinError if the present text is not valid.
    """
    if before is not None and same_meaning(parse(before), sections):
        return before
    after = f"{HEADER}\n{render(sections)}" if before is None else _edit(before, sections)
    if not same_meaning(parse(after), sections):
        raise DropinError(
            "the edited text would not say what it should; please report this as a fault of the collection"
        )
    return after


def _edit(before: str, sections: Sections) -> str:
    present = parse(before)
    present_groups = _groups(present)
    missing = _groups(sections)
    kept = {
        key
        for key, group in missing.items()
        if key in present_groups and _meaning_of_group(group) == _meaning_of_group(present_groups[key])
    }
    # Each line with the section that a new directive may follow it in.
    result: list[tuple[str, Optional[str]]] = []
    removed = False
    for line in parse_lines(before):
        if line.open:
            result.extend((comment, line.section) for comment in line.comments)
            line = line._replace(text=_rendered(line), comments=())
        if line.section is None:
            blank = not line.text.strip(_WHITESPACE)
            if not (blank and removed and (not result or not result[-1][0].strip(_WHITESPACE))):
                result.append((line.text, None))
            continue
        removed = False
        if line.directive is None:
            if line.section in sections:
                result.append((line.text, line.section))
            else:
                result.extend((comment, None) for comment in line.comments)
                removed = True
            continue
        key = _group(line.section, line.directive)
        if key in kept:
            result.append((line.text, line.section))
            missing.pop(key, None)
            continue
        result.extend((comment, line.section) for comment in line.comments)
        replacement = missing.pop(key, [])
        result.extend((f"{directive}={value}", line.section) for directive, value in replacement)
        removed = not replacement

    for (section, _name), group in missing.items():
        positions = [index for index, (_text, of_section) in enumerate(result) if of_section == section]
        if not positions:
            if result and result[-1][0].strip(_WHITESPACE):
                result.append(("", None))
            result.append((f"[{section}]", section))
            positions = [len(result) - 1]
        at = positions[-1] + 1
        result[at:at] = [(f"{directive}={value}", section) for directive, value in group]
    line_end = _LINE_END.search(before)
    newline = line_end.group() if line_end else "\n"
    mark = _BYTE_ORDER_MARK if before.startswith(_BYTE_ORDER_MARK) else ""
    return mark + "".join(text if text.endswith(("\n", "\r")) else text + newline for text, _section in result)


# --- secrets ------------------------------------------------------------------

# One line of text, and those that a backslash joins with it, comments in between included. Names in capitals
# are those of environment variables.
_TEXT_LINE = re.compile(
    rf"(?<![^\r\n])(?P<start>[ \t]*[#;]*[ \t]*(?:(?P<directive>[A-Z][A-Za-z0-9-]*[a-z][A-Za-z0-9-]*)[ \t]*=)?)"
    rf"(?P<value>(?:\\(?:{_LINE_END.pattern})(?:[ \t]*[#;][^\r\n]*(?:{_LINE_END.pattern}))*|[^\r\n])*)"
)
_VARIABLE = re.compile(
    r"""(?:"(?P<name1>\w+)=(?P<value1>(?:\\.|[^"\\])*)
    |'(?P<name2>\w+)=(?P<value2>(?:\\.|[^'\\])*)
    |(?<!\S)(?P<name3>\w+)=(?P<value3>(?:\\.|"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|[^\s"'\\])*))""",
    re.DOTALL | re.VERBOSE,
)


def redact(text: str, digest_key: bytes) -> str:
    """The text of a unit file without secrets, each of which a digest stands for, as in C(redact_value).

    In comments too.
    """

    def redact_line(match: re.Match[str]) -> str:
        return match.group("start") + redact_value(match.group("directive") or "", match.group("value"), digest_key)

    return _TEXT_LINE.sub(redact_line, text)


def redact_value(directive: str, value: str, digest_key: bytes) -> str:
    """The value of a directive, or with the directive "" any text, without secrets.

    The digest only tells whether two secrets are the same; its key has to be random and short-lived.
    """
    return redact_spans(value, _secret_spans(directive, value), digest_key)


def secrets(sections: Sections) -> list[str]:
    """The secrets in the wanted directives."""
    return [
        value[start:end]
        for assignments in sections.values()
        for directive, value in assignments
        for start, end in _secret_spans(directive, value)
    ]


def _secret_spans(directive: str, value: str) -> list[Span]:
    if directive.startswith("SetCredential"):
        start = value.find(":") + 1
        return [(start, len(value))] if value[start:] else []
    # Other directives for credentials hold paths and names. The blank before the value lets it be a line of words,
    # of which the first can be an assignment: by itself it would be one assignment up to its end.
    key = "" if "Credential" in directive else directive
    spans = [(max(start - 1, 0), end - 1) for start, end in secret_spans(" " + value, key)]
    for match in _VARIABLE.finditer(value):
        number = next(number for number in "123" if match.group("name" + number))
        if match.group("value" + number) and secret_spans(match.group("name" + number) + "=x"):
            spans.append(match.span("value" + number))
    return join_spans(spans)
