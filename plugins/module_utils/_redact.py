# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Find secrets in configuration data and in TOML text, and replace them.

A string is a secret because of its key (C(token), C(SecretKey)), or a part of it is because of what it looks
like: an assignment to a secret's name (C(DB_PASSWORD=...)), an option or a header of such a name, a C(value) beside
such a C(name), a known form of token, a password in a URL.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _toml

REDACTED = "VALUE_REDACTED"

_SECRET_KEY = re.compile(
    r"(?:token|password|passwd|passphrase|secret|secretkey|accesskey|accountkey|privatekey|apikey|credentials?|dsn"
    r"|dockerconfigjson)$",
    re.IGNORECASE,
)
_SECRET_WORD = re.compile(r"(?:^|[-_])(?:pass|pat)$", re.IGNORECASE)
_SECRET_NAME = re.compile(
    r"token|passw|passphrase|secret|credential|private|auth(?!or)|api.?key|access.?key|(?:^|[-_])(?:key|pass|pat|dsn)$"
    r"|[-_]pwd$|sshpass$",
    re.IGNORECASE,
)
# Names of options that have their value in the next word, which would be any word after a name that is less clear.
_SECRET_OPTION = re.compile(r"(?:^|[-_])(?:auth|pwd)$|[-_]key$", re.IGNORECASE)
# A list under one of these has secrets. C(secrets) are mostly the names of Kubernetes' Secrets.
_SECRET_LIST = re.compile(r"(?:tokens|passwords|passwds|passphrases|(?:secret|access|private|api)keys)$", re.IGNORECASE)
_SECRET_HEADER = re.compile(
    r"(?:proxy-)?authorization|(?:set-)?cookie|(?:[A-Za-z]\w*-)+(?:token|key|secret|password|auth)", re.IGNORECASE
)
# Variables in capitals, and tables of variables.
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_VARIABLES = re.compile(r"(?:env(?:ironment|vars?)?|variables)$", re.IGNORECASE)
# What names a file says nothing about what is in there.
_FILE_NAME = re.compile(r"(?:file|path|dir)$", re.IGNORECASE)
_FILE = re.compile(r"[\"']?(?:~|\.\.?|\$\w+|\$\{\w+\})?/")
# A word of a shell, of which parts can be in quotes; or the rest of a line, where a quotation mark does not end.
_WORD = r"(?:\\(?:[\s\S]|\Z)|\"[^\"]*\"|'[^']*'|[^\s\"';&|\\])+"
_ASSIGNMENT = re.compile(r"(?<![\w-])-{0,2}([A-Za-z_][\w-]*):?=")
_ASSIGNED = re.compile(rf"{_WORD}|\"[^\"\n]*|'[^'\n]*")
# What follows an assignment that begins behind a quotation mark, up to the next one.
_QUOTED = {'"': re.compile(r"(?:[^\"\\\n]|\\.)+(?=\")"), "'": re.compile(r"[^'\n]+(?=')")}
_WHOLE_ASSIGNMENT = re.compile(r"-{0,2}([A-Za-z_][\w-]*)=(.+)", re.DOTALL)
# An option, and what is between it and its value: blanks, perhaps with the end of a line among them, the comma of a
# list of words, or what begins the next item of a list in YAML.
_OPTION = re.compile(
    r"(?<![\w-])--?([A-Za-z][\w-]*)(?:(?:\\?[\"'][ \t]*(,)[\s#]*)"
    r"|[\"']?[ \t]*(\r?\n)[ \t#]*-[ \t]+(?![\"']?-|[\w.-]+:(?:\s|\Z))"
    r"|[\"']?(?:[ \t]|\\(?:\r\n|[\r\n])(?:[ \t]*[#;]+)?)+)"
)
# What an option that is a whole item of such a list has before it in its line.
_ITEM = re.compile(r"[ \t#]*(?:-[ \t]+)+[\"']?")
_WHOLE_OPTION = re.compile(r"--?([A-Za-z][\w-]*)")
# The word of a list without its quotation marks, which have backslashes if the list is in a string itself.
_LISTED = re.compile(r"\\\"([^\"\\\r\n]+)|\"((?:[^\"\\\r\n]|\\.)+)|'([^'\r\n]+)")
# A name with a colon: a header, a line of YAML, or with its quotation marks what JSON has.
_FIELD = re.compile(
    r"(?:(?<![^\n])([ \t]*(?:-[ \t]+)*(?:\{\{-?[ \t]*)?\$?))?(?<![\w/.-])([A-Za-z_][\w.-]*)(\\?[\"'])?"
    r"[ \t]*(?::=|[:=])([ \t]*)(?:(?:Bearer|Basic|Token)[ \t]+)?",
    re.IGNORECASE,
)
_LINE = re.compile(r"[^\s][^\r\n]*")
# The keys of {name: DB_PASSWORD, value: ...} in YAML, JSON or TOML, perhaps in a string that has escapes; a name; what
# begins another item of a list; and a value in quotation marks, or in braces.
_BESIDE = re.compile(r"(?:(?<![\w.-])|(?<=\\[nrt]))\\?[\"']?(name|value)\\?[\"']?[ \t]*[:=][ \t]*", re.IGNORECASE)
_NAME = re.compile(r"\\?[\"']?([A-Za-z_][\w.-]*)")
_NEXT_ITEM = re.compile(r"(?:\n|\\n)[ \t#]*(?:-[ \t]|\[)|[{}]")
_QUOTED_VALUE = re.compile(
    r"\\\"((?:[^\"\\\n]|\\\\\\\"|\\(?!\"))*)|\"{3}([\s\S]*?)\"{3}|'{3}([\s\S]*?)'{3}"
    r"|\"((?:[^\"]|(?<=\\)\")*)(?<!\\)\"|'([^']*(?:''[^']*)*)'"
)
_COMMENT = re.compile(r"(?<=[ \t])#[^\n]*")
_BRACED_VALUE = re.compile(r"[^,}\n]+")
# Before a token is no letter and no digit, unless they belong to an escape. Two of the prefixes may begin other names.
# https://docs.gitlab.com/security/tokens/#token-prefixes
_LOOKS_SECRET = re.compile(
    r"(?=gl|GR1348941|AKIA)"
    r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4}))"
    r"(?:gl(?:(?:pat|oas|dt|rtr?|rct|cbt|ptt|ft|wt|soat|ffct)-[\w.-]{8,}|(?:agent|imt)-[\w.-]{20,})"
    r"|GR1348941[\w-]{8,}|AKIA[0-9A-Z]{16})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)",
    re.DOTALL,
)
# A reference to an environment variable, or to a value by a template, tells nothing. Without braces, only capital
# letters are one: other text that begins so may well be a password.
_REFERENCE = re.compile(r"[\"']?(?:\$(?:[A-Z_][A-Z0-9_]*|\{\w+\}|\{\{.*\}\})|\{\{[^\"'`{}]*\}\})[\"']?\Z", re.DOTALL)
# What looks like "key = value" in a comment: a string, an array, one word (a=b), or the rest of the line.
_COMMENTED = re.compile(r"(?<![\w-])([\w-]+)[\"']?[ \t]*(?::=|[=:])[ \t]*")
_CLOSED_VALUE = re.compile(
    r"\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'"
    r"|\[(?:\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^\]\"']){0,500}\]"
)
_COMMENTED_VALUE = re.compile(
    _CLOSED_VALUE.pattern + r"|(?<=[=:])[^\s,#]*[^\s,#\"'\])}]|(?<=[ \t])[^\s#]\S*(?:[ \t]+[^\s#]\S*)*"
)
# Lines of a comment that follow each other: a private key has several.
_COMMENTS = re.compile(r"#[^\n]*(?:\n[ \t]*#[^\n]*)*")

Span = tuple[int, int]


@lru_cache(maxsize=1000)
def is_secret_key(key: str) -> bool:
    """Whether strings under a key of this name are secrets."""
    return (
        _SECRET_KEY.search(key.replace("_", "").replace("-", "")) is not None
        or _SECRET_WORD.search(key) is not None
        or (_VARIABLE.fullmatch(key) is not None and _SECRET_NAME.search(key) is not None)
    )


def hides_tables(key: str) -> bool:
    """Whether all that is in a table under this key is secret. C(secret) has the names of Kubernetes' Secrets."""
    return is_secret_key(key) and key.lower() != "secret"


def secret_spans(text: str, key: str = "") -> list[Span]:
    """The parts of a string value, as (start, end), that are secret. C(key) is the nearest key above it."""
    if not text or _REFERENCE.match(text):
        return []
    if is_secret_key(key) and not _is_file(key, text):
        return [(0, len(text))]
    whole = _WHOLE_ASSIGNMENT.fullmatch(text)
    if whole and ("\n" not in text or key.lower() == "environment") and _SECRET_NAME.search(whole[1]):
        if _REFERENCE.match(whole[2]):
            return []
        if not _is_file(whole[1], whole[2]):
            return [whole.span(2)]
    spans = [match.span() for match in _LOOKS_SECRET.finditer(text)]
    # Most strings are none of these.
    if "=" in text or ":" in text:
        beside = [(start, end) for start, end in _beside(text) if start < end and not _REFERENCE.match(text[start:end])]
        spans += [*_assigned(text), *_fields(text), *beside]
    if "-" in text:
        spans += _options(text)
    return join_spans(spans)


def value_key(name: Any) -> str:
    """The key that a C(value) counts as beside this C(name): {name: DB_PASSWORD, value: ...} is an assignment."""
    return "password" if isinstance(name, str) and _SECRET_NAME.search(name) else "value"


def nearest_key(key: str, above: str = "", name: Any = None) -> str:
    """The key that a value counts as: its own one, or that of a secret.

    above: The key of the table that it is in. All in that of a secret is secret, and keys of variables are their names.
    name: The C(name) beside it.
    """
    if hides_tables(above):
        return above
    if key == "value":
        return value_key(name)
    if _is_variables(above) and _SECRET_NAME.search(key) and not _FILE_NAME.search(key):
        return "password"
    return key


def nearest_keys(table: dict[Any, Any], above: str = "") -> Iterator[tuple[Any, Any, str]]:
    """The keys and values of a table, each with the key that tells whether the value is secret."""
    for key, value in table.items():
        yield key, value, nearest_key(str(key), above, table.get("name"))


def item_keys(items: Iterable[Any], key: str) -> Iterator[str]:
    """The key that each item of a list counts as: that of the list, but for the value of an option before it.

    Strings and numbers in C(passwords) count as one each.
    """
    secret_option = False
    secret_list = _is_secret_list(key)
    for item in items:
        yield "password" if secret_option or (secret_list and isinstance(item, (str, int, float))) else key
        option = _WHOLE_OPTION.fullmatch(item) if isinstance(item, str) else None
        secret_option = option is not None and _is_secret_option(option[1])


def is_secret_number(value: Any, key: str) -> bool:
    """Whether a value is a number under the key of a secret: digits do not have to be quoted."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and is_secret_key(key)


def secrets_in(data: Any, key: str = "") -> Iterator[str]:
    """All secret strings, parts of strings, and numbers (as strings) in nested data."""
    if isinstance(data, dict):
        for name, value, nearest in nearest_keys(data, key):
            # {secret} is a table in YAML.
            yield from secrets_in(str(name) if value is None and hides_tables(key) else value, nearest)
    elif isinstance(data, (list, tuple)):
        for value, nearest in zip(data, item_keys(data, key)):
            yield from secrets_in(value, nearest)
    elif isinstance(data, str):
        for start, end in secret_spans(data, key):
            yield data[start:end]
    elif is_secret_number(data, key):
        yield str(data)


def redact_data(data: Any, key: str = "") -> Any:
    """Nested data with VALUE_REDACTED in place of each secret."""
    if isinstance(data, dict):
        if data and hides_tables(key):
            return REDACTED
        return {name: redact_data(value, nearest) for name, value, nearest in nearest_keys(data, key)}
    if isinstance(data, (list, tuple)):
        return [redact_data(value, nearest) for value, nearest in zip(data, item_keys(data, key))]
    if isinstance(data, str):
        return redact_string(data, key)
    return REDACTED if is_secret_number(data, key) else data


def redact_string(text: str, key: str = "", digest_key: Optional[bytes] = None) -> str:
    """A string with VALUE_REDACTED, and with C(digest_key) a short keyed digest, for each secret part."""
    return redact_spans(text, secret_spans(text, key), digest_key)


def redact_text(text: str, digest_key: bytes) -> str:
    """A TOML text, or another one, without the secrets of its values and comments, for a diff.

    The digest shows whether two secrets that share one C(digest_key) are equal. The key has to be
    random and short-lived: then that the digest does not help to guess the secret.
    """
    try:
        document = _toml.parse(text)
    except _toml.TomlError:
        return _redact_comment(text, digest_key)
    parts = []
    place = 0
    for key, value in _scalars(document):
        source = text[value.start : value.end]
        data = value.data if isinstance(value.data, str) else source
        redacted = redact_string(data, key, digest_key)
        parts.append(redact_comments(text[place : value.start], digest_key))
        parts.append(source if redacted == data else _toml.format_string(redacted, value.quotes or '"'))
        place = value.end
    parts.append(redact_comments(text[place:], digest_key))
    return "".join(parts)


def redact_comments(text: str, digest_key: bytes) -> str:
    """Text between the values of a TOML or YAML text, in which only the comments can hold a secret, without those."""
    return _COMMENTS.sub(lambda match: _redact_comment(match[0], digest_key), text)


def digest(secret: str, key: bytes) -> str:
    """A short keyed digest of a secret: 8 hexadecimal digits."""
    return hmac.new(key, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:8]


def redact_spans(text: str, spans: list[Span], digest_key: Optional[bytes]) -> str:
    """Text with VALUE_REDACTED, and with a key the digest, in place of each span. They are in order, none overlaps."""
    parts = []
    place = 0
    for start, end in spans:
        parts.append(text[place:start] + REDACTED)
        if digest_key is not None:
            parts.append(" " + digest(text[start:end], digest_key))
        place = end
    return "".join(parts) + text[place:]


def _redact_comment(text: str, digest_key: bytes) -> str:
    return redact_spans(text, join_spans([*_commented(text), *secret_spans(text)]), digest_key)


@lru_cache(maxsize=1000)
def _is_variables(key: str) -> bool:
    return _VARIABLES.search(key) is not None


def _is_file(name: str, value: str) -> bool:
    return _FILE_NAME.search(name) is not None and _FILE.match(value) is not None


@lru_cache(maxsize=1000)
def _is_secret_list(key: str) -> bool:
    return _SECRET_LIST.search(key.replace("_", "").replace("-", "")) is not None


def _is_secret_option(name: str) -> bool:
    return is_secret_key(name) or _SECRET_OPTION.search(name) is not None


# A value is looked at only if its key is that of a secret; so the next key is found even if it is in a value. A word in
# a value ends where that ends, at the latest: it is not looked at again, which would take quadratic time.


def _assigned(text: str) -> Iterator[Span]:
    end = 0
    for name in _ASSIGNMENT.finditer(text):
        if name.end() >= end and _SECRET_NAME.search(name[1]):
            quoted = _QUOTED.get(text[name.start() - 1 : name.start()])
            value = (quoted and quoted.match(text, name.end())) or _ASSIGNED.match(text, name.end())
            if value and not _REFERENCE.match(value[0]) and not _is_file(name[1], value[0]):
                yield value.span()
                end = value.end()


def _options(text: str) -> Iterator[Span]:
    for option in _OPTION.finditer(text):
        is_item = _ITEM.fullmatch(text, text.rfind("\n", 0, option.start()) + 1, option.start()) if option[3] else True
        if is_item and _is_secret_option(option[1]):
            value = _LISTED.match(text, option.end()) if option[2] else _ASSIGNED.match(text, option.end())
            if value and not _REFERENCE.match(value[value.lastindex or 0]):
                yield value.span(value.lastindex or 0)


def _fields(text: str) -> Iterator[Span]:
    end = 0
    for field in _FIELD.finditer(text):
        value = _field_value(text, field) if field.end() >= end else None
        if value and not _REFERENCE.match(value[value.lastindex or 0]):
            yield value.span(value.lastindex or 0)
            end = value.end()


def _field_value(text: str, field: re.Match[str]) -> Optional[re.Match[str]]:
    first_of_line, name, mark, blank = field.groups()
    if mark:
        return _LISTED.match(text, field.end()) if _is_secret_option(name) else None
    # Without a blank it may be a volume, or an image and its tag.
    if _SECRET_HEADER.fullmatch(name) and ":" in field[0] and (blank or name.isupper()):
        quoted = _QUOTED.get(text[field.start(2) - 1 : field.start(2)])
        return (quoted and quoted.match(text, field.end())) or (_LINE if blank else _ASSIGNED).match(text, field.end())
    # Of what is not in quotation marks, max_tokens and the like have numbers.
    is_list = _is_secret_list(name) and text[field.end() : field.end() + 1] in ("[", '"', "'")
    if first_of_line is not None and blank and "\n" in text and (is_secret_key(name) or is_list):
        return _LISTED.match(text, field.end()) or _COMMENTED_VALUE.match(text, field.end())
    return None


def _beside(text: str) -> Iterator[Span]:
    """Each C(value) with a C(name) of a secret before or after it."""
    keys = list(_BESIDE.finditer(text)) if "value" in text.lower() else []
    end = 0
    for number, key in enumerate(keys):
        name = _NAME.match(text, key.end()) if key.start() >= end and key[1].lower() == "name" else None
        if name is None or not _SECRET_NAME.search(name[1]):
            continue
        before, after = keys[number - 1 : number], keys[number + 1 : number + 2]
        if before and _is_value(before[0], end):
            span = _value_beside(text, before[0], key.start())
            if not _has_next_item(text, span[1], key.start(1)):
                yield span
        if after and _is_value(after[0], end) and not _has_next_item(text, name.end(), after[0].start(1)):
            span = _value_beside(text, after[0], len(text))
            yield span
            end = span[1]


def _is_value(key: re.Match[str], end: int) -> bool:
    return key[1].lower() == "value" and key.start() >= end


def _has_next_item(text: str, start: int, end: int) -> bool:
    return start > end or _NEXT_ITEM.search(_COMMENT.sub("", text[start:end])) is not None


def _value_beside(text: str, key: re.Match[str], limit: int) -> Span:
    """Where a value is: in quotation marks, up to a brace, or the rest of the line with all lines that are deeper."""
    start = key.end()
    quoted = _QUOTED_VALUE.match(text, start, limit)
    if quoted:
        return quoted.span(quoted.lastindex or 0)
    line = text.rfind("\n", 0, start) + 1
    end = _find(text, "\n", start, limit)
    if text.rfind("{", line, start) > text.rfind("}", line, start):
        braced = _BRACED_VALUE.match(text, start, limit)
        return braced.span() if braced else (start, start)
    depth = key.start(1) - line
    commented = "#" in text[line : line + depth]
    stop = _find(text, " #", start, end)
    while end < limit:
        following = _find(text, "\n", end + 1, limit)
        content = text[end + 1 : following]
        blank = content[: len(content) - len(content.lstrip(" \t#"))]
        if content.strip(" \t\r#") and (len(blank) <= depth or commented != ("#" in blank)):
            break
        end = following
        if content.strip(" \t\r#"):
            stop = end
    return start, start + len(text[start:stop].rstrip())


def _find(text: str, part: str, start: int, end: int) -> int:
    """Where a part begins, or the end."""
    found = text.find(part, start, end)
    return end if found < 0 else found


def _commented(text: str) -> Iterator[Span]:
    end = 0
    for key in _COMMENTED.finditer(text):
        if is_secret_key(key[1]) or _SECRET_NAME.search(key[1]):
            value = (_CLOSED_VALUE if key.end() < end else _COMMENTED_VALUE).match(text, key.end())
            if value and not _REFERENCE.match(value[0]) and not _is_file(key[1], value[0]):
                yield value.span()
                end = max(end, value.end())


def _scalars(document: _toml.Document) -> Iterator[tuple[str, _toml.Value]]:
    """All strings and secret numbers in the order of the text, each with the nearest key above it."""
    for section in document.sections:
        above = ""
        for key in section.table.path:
            above = nearest_key(key, above)
        yield from _scalars_of(section.entries, above)


def _scalars_of(entries: list[_toml.Entry], above: str) -> Iterator[tuple[str, _toml.Value]]:
    node = next((entry.node for entry in entries if entry.keys == ("name",)), None)
    name = node.data if isinstance(node, _toml.Value) else None
    for entry in entries:
        nearest = above
        for key in entry.keys:
            nearest = nearest_key(key, nearest, name if len(entry.keys) == 1 else None)
        yield from _scalars_in(entry.node, nearest)


def _scalars_in(node: Optional[_toml.Node], key: str) -> Iterator[tuple[str, _toml.Value]]:
    if isinstance(node, _toml.Value):
        if node.items is not None:
            keys = item_keys((item.data if isinstance(item, _toml.Value) else None for item in node.items), key)
            for item, nearest in zip(node.items, keys):
                yield from _scalars_in(item, nearest)
        elif isinstance(node.data, str) or is_secret_number(node.data, key):
            yield key, node
    elif isinstance(node, _toml.Table):
        yield from _scalars_of(node.entries, key)


def join_spans(spans: list[Span]) -> list[Span]:
    """Spans in the order of the text, with one in place of those that overlap."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
