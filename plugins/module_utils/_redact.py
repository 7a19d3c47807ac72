# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Find secrets in configuration data and in TOML text, and replace them.

A string is a secret because of its key (C(token), C(SecretKey)), or a part of it is because of what it looks
like: an assignment to a secret's name (C(DB_PASSWORD=...)), a known form of token, a password in a URL.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from typing import Any, Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _toml

REDACTED = "VALUE_REDACTED"

_SECRET_KEY = re.compile(
    r"(?:token|password|passwd|passphrase|secret|secretkey|accesskey|accountkey|privatekey|apikey|credentials?|dsn)$",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile(
    r"token|passw|passphrase|secret|credential|private|auth(?!or)|api.?key|access.?key|(?:^|[-_])(?:key|pass|pat|dsn)$",
    re.IGNORECASE,
)
# A word of a shell, of which parts can be in quotes.
_WORD = r"(?:\"[^\"]*\"|'[^']*'|[^\s\"';&|])+"
_ASSIGNMENT = re.compile(r"(?<![\w-])([A-Za-z_][\w-]*)=")
_ASSIGNED = re.compile(_WORD)
# What follows an assignment that begins behind a quotation mark, up to the next one.
_QUOTED = {'"': re.compile(r"(?:[^\"\\\n]|\\.)+(?=\")"), "'": re.compile(r"[^'\n]+(?=')")}
_WHOLE_ASSIGNMENT = re.compile(r"([A-Za-z_][\w-]*)=(.+)", re.DOTALL)
_LOOKS_SECRET = re.compile(
    r"gl[a-z]{2,6}-[\w.-]{8,}|GR1348941[\w-]{8,}|AKIA[0-9A-Z]{16}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
    rf"|(?<=--password[ =]){_WORD}|(?<=--token[ =]){_WORD}",
    re.DOTALL,
)
# A reference to an environment variable, or to a value by a template, tells nothing. Without braces, only capital
# letters are one: other text that begins so may well be a password.
_REFERENCE = re.compile(r"[\"']?(?:\$(?:[A-Z_][A-Z0-9_]*|\{\w+\}|\{\{.*\}\})|\{\{[^\"'`{}]*\}\})[\"']?\Z", re.DOTALL)
# What looks like "key = value" in a comment: a string, an array, one word (a=b), or the rest of the line.
_COMMENTED = re.compile(r"(?<![\w-])([\w-]+)[\"']?[ \t]*[=:][ \t]*")
_COMMENTED_VALUE = re.compile(
    r"\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|\[[^\]\n]*\]"
    r"|(?<=[=:])[^\s,#]*[^\s,#\"'\])}]|(?<=[ \t])[^\s#]\S*(?:[ \t]+[^\s#]\S*)*"
)
# Lines of a comment that follow each other: a private key has several.
_COMMENTS = re.compile(r"#[^\n]*(?:\n[ \t]*#[^\n]*)*")

Span = tuple[int, int]


def is_secret_key(key: str) -> bool:
    """Whether strings under a key of this name are secrets."""
    return _SECRET_KEY.search(key.replace("_", "").replace("-", "")) is not None


def secret_spans(text: str, key: str = "") -> list[Span]:
    """The parts of a string value, as (start, end), that are secret. C(key) is the nearest key above it."""
    if not text or _REFERENCE.match(text):
        return []
    if is_secret_key(key):
        return [(0, len(text))]
    whole = _WHOLE_ASSIGNMENT.fullmatch(text)
    if whole and ("\n" not in text or key.lower() == "environment") and _SECRET_NAME.search(whole.group(1)):
        return [] if _REFERENCE.match(whole.group(2)) else [whole.span(2)]
    return join_spans([*_assigned(text), *(match.span() for match in _LOOKS_SECRET.finditer(text))])


def value_key(name: Any) -> str:
    """The key that a C(value) counts as beside this C(name): {name: DB_PASSWORD, value: ...} is an assignment."""
    return "password" if isinstance(name, str) and _SECRET_NAME.search(name) else "value"


def nearest_keys(table: dict[Any, Any]) -> Iterator[tuple[Any, Any, str]]:
    """The keys and values of a table, each with the key that tells whether the value is secret."""
    for key, value in table.items():
        yield key, value, value_key(table.get("name")) if key == "value" else str(key)


def is_secret_number(value: Any, key: str) -> bool:
    """Whether a value is a number under the key of a secret: digits do not have to be quoted."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and is_secret_key(key)


def secrets_in(data: Any, key: str = "") -> Iterator[str]:
    """All secret strings, parts of strings, and numbers (as strings) in nested data."""
    if isinstance(data, dict):
        for _name, value, nearest in nearest_keys(data):
            yield from secrets_in(value, nearest)
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from secrets_in(value, key)
    elif isinstance(data, str):
        for start, end in secret_spans(data, key):
            yield data[start:end]
    elif is_secret_number(data, key):
        yield str(data)


def redact_data(data: Any, key: str = "") -> Any:
    """Nested data with VALUE_REDACTED in place of each secret."""
    if isinstance(data, dict):
        return {name: redact_data(value, nearest) for name, value, nearest in nearest_keys(data)}
    if isinstance(data, (list, tuple)):
        return [redact_data(value, key) for value in data]
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


# A value is looked at only if its key is that of a secret; so the next key is found even if it is in a value.


def _assigned(text: str) -> Iterator[Span]:
    for name in _ASSIGNMENT.finditer(text):
        if _SECRET_NAME.search(name[1]):
            quoted = _QUOTED.get(text[name.start() - 1 : name.start()])
            value = (quoted and quoted.match(text, name.end())) or _ASSIGNED.match(text, name.end())
            if value and not _REFERENCE.match(value[0]):
                yield value.span()


def _commented(text: str) -> Iterator[Span]:
    for key in _COMMENTED.finditer(text):
        if is_secret_key(key[1]) or _SECRET_NAME.search(key[1]):
            value = _COMMENTED_VALUE.match(text, key.end())
            if value and not _REFERENCE.match(value[0]):
                yield value.span()


def _scalars(document: _toml.Document) -> Iterator[tuple[str, _toml.Value]]:
    """All strings and secret numbers in the order of the text, each with the nearest key above it."""
    for section in document.sections:
        yield from _scalars_of(section.entries)


def _scalars_of(entries: list[_toml.Entry]) -> Iterator[tuple[str, _toml.Value]]:
    name = next((entry.node for entry in entries if entry.keys == ("name",)), None)
    beside = value_key(name.data if isinstance(name, _toml.Value) else None)
    for entry in entries:
        yield from _scalars_in(entry.node, beside if entry.keys == ("value",) else entry.keys[-1])


def _scalars_in(node: Optional[_toml.Node], key: str) -> Iterator[tuple[str, _toml.Value]]:
    if isinstance(node, _toml.Value):
        if node.items is not None:
            for item in node.items:
                yield from _scalars_in(item, key)
        elif isinstance(node.data, str) or is_secret_number(node.data, key):
            yield key, node
    elif isinstance(node, _toml.Table):
        yield from _scalars_of(node.entries)


def join_spans(spans: list[Span]) -> list[Span]:
    """Spans in the order of the text, with one in place of those that overlap."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
