# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Edit the runner's template in a Helm values file, and nothing else in that file.

PyYAML tells where each scalar stands. Of the one that holds the template, only the lines that change are replaced,
so that comments, order, indentation and line ends of the file stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, NoReturn, Optional

from ansible_collections.rootless.gitlab_runner.plugins.module_utils import _redact, _template_toml

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment]

Path = tuple[str, ...]

# Where charts have the template, whatever they are a part of.
CONFIG: Path = ("runners", "config")

# Aliases of YAML can nest a mapping in itself.
_MAX_DEPTH = 20


class ValuesYamlError(Exception):
    """The file cannot be edited; the text says why. C(line) counts from 1, None: not one line."""

    def __init__(self, message: str, line: Optional[int] = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


@dataclass
class EditedValues:
    """The edited text, where in it the template is, and what may make the edit mean something else."""

    text: str
    path: Path
    warnings: list[str] = field(default_factory=list)


def parse_path(text: str) -> Path:
    r"""The keys of a path as Helm writes it for C(--set): dots between keys, C(\.) for a dot in a key."""
    return tuple(key.replace("\\.", ".") for key in re.split(r"(?<!\\)\.", text))


def format_path(path: Path) -> str:
    """A path as Helm writes it."""
    return ".".join(key.replace(".", "\\.") for key in path)


def find_configs(values: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """All templates in plain values: the path and text of each C(runners.config) that has one."""
    if not isinstance(values, dict):
        return
    for key, value in values.items():
        here = (*path, str(key))
        if here[-2:] == CONFIG and isinstance(value, str) and value.strip():
            yield here, value
        yield from find_configs(value, here)


def choose_config(found: list[tuple[Path, Any]], wanted: Optional[Path]) -> tuple[Path, Any]:
    """The only template, or that at the wanted path. Raises ValuesYamlError."""
    if wanted is not None:
        found = [candidate for candidate in found if candidate[0] == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        paths = sorted({format_path(path) for path, _config in found})
        if len(paths) == 1:
            raise ValuesYamlError(
                f"{len(found)} documents of the file have a template for the runner at {paths[0]}; split the file"
                " or edit it by hand"
            )
        raise ValuesYamlError(
            f"there are {len(found)} templates for the runner ({', '.join(paths)}); say which by values_path"
        )
    raise ValuesYamlError(
        f"there is no text at {format_path(wanted or CONFIG)}"
        + ("" if wanted else ", neither at the top level nor in a subchart's values")
    )


def set_values(text: str, wanted: dict[str, Any], values_path: Optional[str] = None) -> EditedValues:
    """Set keys in the template of a values file, as _template_toml.set_values does.

    Takes the text of the file, the wanted tables and keys, and where the template is (default: the only
    C(runners.config), at any depth, in any of the documents).
    Raises ValuesYamlError.
    """
    documents = _compose(text)
    if any(isinstance(document, yaml.MappingNode) and _is_encrypted(document) for document in documents):
        raise ValuesYamlError(
            "the file is encrypted with SOPS; edit it with sops, or keep the template in another file"
        )
    path = None if values_path is None else parse_path(values_path)
    splicer = _Splicer(text, documents)
    found = [config for document in documents for config in splicer.configs(document, path)]
    path, node = choose_config(found, path)
    splicer.check(node)
    try:
        edited = _template_toml.set_values(node.value, wanted)
    except _template_toml.TemplateTomlError as error:
        where = None if error.line is None else node.start_mark.line + 1
        raise ValuesYamlError(f"in the template at {format_path(path)}, {error}", where) from None
    return EditedValues(splicer.splice(node, edited.text), path, edited.warnings)


def redact(text: str, digest_key: bytes) -> str:
    """The text of a YAML file without secrets, for a diff, as _redact.redact_text does it. Raises ValuesYamlError."""
    parts = []
    place = 0
    for key, node in sorted(_scalars(_compose(text)), key=lambda pair: pair[1].start_mark.index):
        start, end = node.start_mark.index, node.end_mark.index
        parts.append(_redact.redact_comments(text[place:start], digest_key))
        parts.append(_redacted(node, key, text[start:end], digest_key))
        place = end
    return "".join([*parts, _redact.redact_comments(text[place:], digest_key)])


def secrets(text: str) -> list[str]:
    """The secrets of a YAML file, but not the names of Secrets, which C(secret: ...) usually are.

    Raises ValuesYamlError.
    """
    return [
        node.value[start:end]
        for key, node in _scalars(_compose(text))
        if not key.lower().endswith("secret")
        for start, end in _secret_spans(node, key)
    ]


def _scalars(documents: list[Any]) -> list[tuple[str, Any]]:
    """The scalars that are values, each with the nearest key above it; of several keys, that of a secret."""
    found: dict[int, tuple[str, Any]] = {}
    seen = set()
    nodes = [("", document) for document in reversed(documents)]
    while nodes:
        key, node = nodes.pop()
        if (key, id(node)) in seen:
            continue
        seen.add((key, id(node)))
        if isinstance(node, yaml.ScalarNode):
            if id(node) not in found or _redact.is_secret_key(key):
                found[id(node)] = key, node
        elif isinstance(node, yaml.SequenceNode):
            items = [item.value if isinstance(item, yaml.ScalarNode) else None for item in node.value]
            nodes += [*zip(_redact.item_keys(items, key), node.value)][::-1]
        elif isinstance(node, yaml.MappingNode):
            names = {str(name.value): value.value for name, value in node.value}
            for name, value in node.value[::-1]:
                nodes.append((_redact.nearest_key(str(name.value), key, names.get("name")), value))
                # {secret} is a table in YAML.
                if value.tag == "tag:yaml.org,2002:null" and _redact.hides_tables(key):
                    nodes.append((key, name))
    return list(found.values())


def _secret_spans(node: yaml.ScalarNode, key: str) -> list[_redact.Span]:
    """The parts of a scalar's value that are secret."""
    if node.tag in ("tag:yaml.org,2002:null", "tag:yaml.org,2002:bool"):
        return []
    return _redact.secret_spans(node.value, key)


def _redacted(node: yaml.ScalarNode, key: str, source: str, digest_key: bytes) -> str:
    """The source of a scalar without secrets. What has escapes or was folded is shown in one line of JSON."""
    blank = source[len(source.rstrip()) :] if node.style in ("|", ">") else ""
    spans = _secret_spans(node, key)
    redacted = _redact.redact_string(node.value, key, digest_key) if spans else node.value
    if spans == [(0, len(node.value))]:
        return redacted + blank
    if node.style == "|":
        header, newline, lines = source.partition("\n")
        return _redact.redact_comments(header, digest_key) + newline + _redact.redact_text(lines, digest_key)
    if "\n" in node.value:
        redacted = _redact.redact_text(node.value, digest_key)
    if redacted == node.value and node.style == ">":
        header, newline, lines = source.partition("\n")
        return _redact.redact_comments(header, digest_key) + newline + lines
    if redacted == node.value:
        return source
    if node.style is None and "\n" not in source:
        return redacted
    return json.dumps(redacted, ensure_ascii=False) + blank


def _compose(text: str) -> list[Any]:
    """The documents of a YAML text, of which each node tells where it stands. Raises ValuesYamlError."""
    try:
        return list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise ValuesYamlError(f"not YAML: {error.problem or error.context}", line) from None
    except yaml.YAMLError as error:
        raise ValuesYamlError(f"not YAML: {error}") from None
    except RecursionError:
        raise ValuesYamlError("the YAML is nested too deeply") from None


def _is_encrypted(document: yaml.MappingNode) -> bool:
    return any(
        key.value == "sops"
        and isinstance(value, yaml.MappingNode)
        and any(name.value == "mac" for name, _value in value.value)
        for key, value in document.value
    )


class _Splicer:
    """Finds scalars in composed YAML and replaces one in the text."""

    def __init__(self, text: str, documents: list[Any]) -> None:
        self.text = text
        self.documents = documents
        # What each node is the value of, for messages and to find out about aliases.
        self._keys: dict[int, list[Any]] = {}

    def configs(self, node: Any, wanted: Optional[Path], path: Path = ()) -> Iterator[tuple[Path, Any]]:
        """The scalars at the wanted path, or all that C(runners.config) names."""
        if not isinstance(node, yaml.MappingNode):
            return
        seen = set()
        for key, value in node.value:
            here = (*path, str(key.value))
            on_path = here[-2:] == CONFIG if wanted is None else wanted[: len(here)] == here
            if on_path or wanted is None:
                if on_path and here in seen:
                    self.fail(key, f"{format_path(here)} is there twice")
                seen.add(here)
                if key.tag == "tag:yaml.org,2002:merge":
                    continue
                self._keys.setdefault(id(value), []).append((key, node))
            if wanted is not None and on_path and here != wanted and self._merges(value):
                self.fail(value, f"{format_path(here)} has a merge key (<<); what it merges cannot be told apart")
            if isinstance(value, yaml.ScalarNode):
                text = value.tag == "tag:yaml.org,2002:str" and value.value.strip()
                if text and (on_path if wanted is None else here == wanted):
                    yield here, value
            elif (on_path or wanted is None) and len(path) < _MAX_DEPTH:
                yield from self.configs(value, wanted, here)

    def check(self, node: yaml.ScalarNode) -> None:
        """Refuse a scalar that is used in more than one place, or that is not plain text."""
        if node.value.startswith("ENC["):
            self.fail(node, "the text is encrypted with SOPS; edit it with sops")
        value: Any = node
        while id(value) in self._keys:
            uses = self._keys[id(value)]
            key, parent = uses[0]
            if self.text[value.start_mark.index] in "&*!" or len(uses) > 1:
                self.fail(
                    key,
                    f"an anchor, alias or tag of YAML is on the way to the template, at {key.value}; edit it by hand",
                )
            if self._merges(parent):
                self.fail(key, "a merge key (<<) is on the way to the template; edit it by hand")
            value = parent

    def splice(self, node: yaml.ScalarNode, new: str) -> str:
        """The text of the file with another value for the scalar. Raises ValuesYamlError."""
        if new == node.value:
            return self.text
        start, end = node.start_mark.index, node.end_mark.index
        if node.style == "|":
            replacement = self._edit_block(self.text[start:end], node.value, new)
        elif node.style == ">":
            replacement = self._as_block(self.text[start:end], node, new)
        else:
            replacement = yaml.safe_dump(new, default_style='"', width=float("inf"), allow_unicode=True).rstrip("\n")
        after = self.text[:start] + replacement + self.text[end:]
        self._verify(node, new, after)
        return after

    def fail(self, node: Any, message: str) -> NoReturn:
        raise ValuesYamlError(message, node.start_mark.line + 1)

    def _edit_block(self, source: str, old: str, new: str) -> str:
        """The source of a literal block scalar in which only the lines that differ are replaced."""
        header, *lines = source.splitlines(keepends=True)
        old_lines, new_lines = old.split("\n"), new.split("\n")
        # What is below the last line belongs to the file rather than to the value.
        known = min(len(lines), len(old_lines))
        lines, rest = lines[:known], lines[known:]
        indent = next((line[: len(line) - len(line.lstrip(" "))] for line in lines if line.strip()), "")
        first = next((line for line in old_lines if line.strip()), "")
        indent = indent[: len(indent) - (len(first) - len(first.lstrip(" ")))]
        newline = "\r\n" if header.endswith("\r\n") else "\n"
        result = [header]
        for tag, old_start, old_end, new_start, new_end in SequenceMatcher(
            None, old_lines, new_lines, autojunk=False
        ).get_opcodes():
            if tag == "equal":
                result += lines[old_start:old_end]
                continue
            if result[-1][-1:] != "\n":
                result[-1] += newline
            result += [(indent + line if line else "") + newline for line in new_lines[new_start:new_end]]
        if not source.endswith("\n") and not rest:
            # The file ends with the value, and without a newline.
            result[-1] = result[-1].rstrip("\r\n")
        return "".join(result + rest)

    def _as_block(self, source: str, node: yaml.ScalarNode, new: str) -> str:
        """A folded scalar as a literal one: folding could not hold the lines of the template."""
        lines = source.splitlines()
        indent = next(line[: len(line) - len(line.lstrip(" "))] for line in lines[1:] if line.strip())
        newline = "\r\n" if "\r\n" in source else "\n"
        body = new.rstrip("\n")
        ends = len(new) - len(body)
        content = [indent + line if line else "" for line in body.split("\n")]
        blank = re.search(r"(?:\r?\n[ \t]*)*\Z", source)
        tail = newline * ends if ends > 1 or blank is None else blank[0]
        # Behind the indicators can only be a comment.
        header = "|" + {0: "-", 1: ""}.get(ends, "+") + lines[0].lstrip(">+-0123456789")
        return header + newline + newline.join(content) + tail

    def _verify(self, node: yaml.ScalarNode, new: str, after: str) -> None:
        """Read the result again: all else has to be as before."""
        try:
            wanted = [_plain(document, node, new) for document in self.documents]
            result = [_plain(document) for document in yaml.compose_all(after, Loader=yaml.SafeLoader)]
        except yaml.YAMLError:
            self.fail(node, "with the edit the file would not be YAML any more; edit it by hand")
        except RecursionError:
            raise ValuesYamlError("an alias of YAML is a part of what it stands for; resolve that first") from None
        if wanted != result:
            self.fail(node, "the edit would change more than the template; edit it by hand")

    @staticmethod
    def _merges(node: Any) -> bool:
        return isinstance(node, yaml.MappingNode) and any(
            key.tag == "tag:yaml.org,2002:merge" for key, _value in node.value
        )


def _plain(node: Any, replaced: Any = None, new: str = "") -> Any:
    """A composed node as nested tuples and lists, in which even repeated keys remain, with one scalar replaced."""
    if isinstance(node, yaml.MappingNode):
        return [(_plain(key), _plain(value, replaced, new)) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, replaced, new) for item in node.value]
    return None if node is None else (node.tag, new if node is replaced else node.value)
