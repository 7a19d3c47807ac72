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
_ASSIGNMENT = re.compile(r"(?<![\w-])([A-Za-z_][\w-]*)=(\"[^\"]*\"|'[^']*'|[^\s\"';&|]+)")
_WHOLE_ASSIGNMENT = re.compile(r"([A-Za-z_][\w-]*)=(.+)", re.DOTALL)
_LOOKS_SECRET = re.compile(
    r"gl[a-z]{2,6}-[\w.-]{8,}|GR1348941[\w-]{8,}|AKIA[0-9A-Z]{16}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
    r"|(?<=--password[ =])[^\s\"';&|]+|(?<=--token[ =])[^\s\"';&|]+",
    re.DOTALL,
)
# A reference to an environment variable tells nothing.
_REFERENCE = re.compile(r"[\"']?\$(?:\w+|\{\w+\}|\{\{.*\}\})[\"']?\Z", re.DOTALL)
# What looks like "key = value" in a comment.
_COMMENTED = re.compile(r"([A-Za-z0-9_-]+)[\"']?[ \t]*[=:][ \t]*(\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^\s,#]+)")

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
    if whole and "\n" not in text and _SECRET_NAME.search(whole.group(1)):
        return [] if _REFERENCE.match(whole.group(2)) else [whole.span(2)]
    spans = [
        match.span(2)
        for match in _ASSIGNMENT.finditer(text)
        if _SECRET_NAME.search(match.group(1)) and not _REFERENCE.match(match.group(2))
    ]
    spans += [match.span() for match in _LOOKS_SECRET.finditer(text)]
    return _joined(spans)


def secrets_in(data: Any, key: str = "") -> Iterator[str]:
    """All secret strings and parts of strings in nested data."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield from secrets_in(value, str(name))
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from secrets_in(value, key)
    elif isinstance(data, str):
        for start, end in secret_spans(data, key):
            yield data[start:end]


def redact_data(data: Any, key: str = "") -> Any:
    """Nested data with VALUE_REDACTED in place of each secret."""
    if isinstance(data, dict):
        return {name: redact_data(value, str(name)) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [redact_data(value, key) for value in data]
    if isinstance(data, str):
        return redact_string(data, key)
    return data


def redact_string(text: str, key: str = "", digest_key: Optional[bytes] = None) -> str:
    """A string with VALUE_REDACTED, and with C(digest_key) a short keyed digest, for each secret part."""
    return _replace(text, secret_spans(text, key), digest_key)


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
    for key, value in _strings(document):
        spans = secret_spans(value.data, key)
        parts.append(_redact_comments(text[place : value.start], digest_key))
        if spans:
            parts.append(_toml.format_string(_replace(value.data, spans, digest_key), value.quotes))
        else:
            parts.append(text[value.start : value.end])
        place = value.end
    parts.append(_redact_comments(text[place:], digest_key))
    return "".join(parts)


def digest(secret: str, key: bytes) -> str:
    """A short keyed digest of a secret: 8 hexadecimal digits."""
    return hmac.new(key, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:8]


def _replace(text: str, spans: list[Span], digest_key: Optional[bytes]) -> str:
    parts = []
    place = 0
    for start, end in spans:
        parts.append(text[place:start] + REDACTED)
        if digest_key is not None:
            parts.append(" " + digest(text[start:end], digest_key))
        place = end
    return "".join(parts) + text[place:]


def _redact_comments(text: str, digest_key: bytes) -> str:
    """Text between two string values: keys, other values and comments. Only comments can hold a secret."""
    if "#" not in text:
        return text
    start = text.index("#")
    return text[:start] + _redact_comment(text[start:], digest_key)


def _redact_comment(text: str, digest_key: bytes) -> str:
    spans = [
        match.span(2)
        for match in _COMMENTED.finditer(text)
        if is_secret_key(match.group(1)) or _SECRET_NAME.search(match.group(1))
    ]
    spans += [match.span() for match in _LOOKS_SECRET.finditer(text)]
    return _replace(text, _joined(spans), digest_key)


def _strings(document: _toml.Document) -> Iterator[tuple[str, _toml.Value]]:
    """All string values in the order of the text, each with the nearest key above it."""
    for section in document.sections:
        for entry in section.entries:
            yield from _strings_of(entry.keys[-1], entry.node)


def _strings_of(key: str, node: Optional[_toml.Node]) -> Iterator[tuple[str, _toml.Value]]:
    if isinstance(node, _toml.Value):
        if node.items is not None:
            for item in node.items:
                yield from _strings_of(key, item)
        elif isinstance(node.data, str):
            yield key, node
    elif isinstance(node, _toml.Table):
        for entry in node.entries:
            yield from _strings_of(entry.keys[-1], entry.node)


def _joined(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
