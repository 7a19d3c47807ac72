# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Find the actions of a Go template, and work out what text remains in each combination of its branches.

Source: https://pkg.go.dev/text/template, the parts "Text and spaces" and "Actions".
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Optional, Union

# How many combinations of branches are worked out completely; of more, each block is varied by itself.
MAX_COMBINATIONS = 128

_SPACE = " \t\r\n"
_LEFT_TRIM = re.compile(rf"-(?=[{_SPACE}])")
_COMMENT = re.compile(rf"/\*.*?\*/(?P<trim>[{_SPACE}]-)?\}}\}}", re.DOTALL)
_TOKEN = re.compile(
    rf'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|`[^`]*`|(?P<end>(?P<trim>[{_SPACE}]-)?\}}\}})|.', re.DOTALL
)
_KEYWORD = re.compile(r"\s*(if|with|range|define|block|else|end|break|continue)\b")
_ASSIGNMENT = re.compile(r"\s*\$\w*(?:\s*,\s*\$\w*)?\s*:?=(?!=)")

# What a position is nested in: (number of the block, number of its branch), outermost first.
Context = tuple[tuple[int, int], ...]


class TemplateError(Exception):
    """The text is not a Go template. C(line) counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line


@dataclass
class Action:
    """One C({{ action }}). C(kind): comment, open, else, end, silent (writes nothing) or output."""

    start: int
    end: int
    kind: str
    keyword: str
    trim_left: bool
    trim_right: bool
    # Of open, else and end: the number of their block.
    block: int = -1


@dataclass
class Block:
    """What stands between C(if), C(with), C(range), C(block) or C(define) and its C(end)."""

    keyword: str
    opener: int
    complete: bool = False
    branches: list[list[Node]] = field(default_factory=lambda: [[]])

    @property
    def options(self) -> list[int]:
        """What can happen: the number of the branch that is taken (one past the last: none), or how often a
        range is repeated."""
        if self.keyword == "define":
            return [1]
        if self.keyword == "range":
            return [1, 0, 2]
        return list(range(len(self.branches) + (not self.complete and self.keyword != "block")))

    def taken(self, option: int) -> list[list[Node]]:
        """The branches that are executed with an option, in order."""
        if self.keyword == "range":
            return self.branches[:1] * option if option else self.branches[1:2]
        return self.branches[option : option + 1]


# The text from one place to another; the number of an action that may write; a block.
Node = Union[tuple[int, int], int, Block]


class Template:
    """A text with its actions and blocks, both in the order of the text."""

    def __init__(self, text: str) -> None:
        """Raises TemplateError."""
        self.text = text
        self.actions: list[Action] = []
        self.blocks: list[Block] = []
        self.nodes: list[Node] = []
        # For each action, what the text after it is nested in.
        self._contexts: list[Context] = []
        self._scan()
        self._starts = [action.start for action in self.actions]
        self._nest()

    def line(self, place: int) -> int:
        """The number of the line, from 1, at a place."""
        return self.text.count("\n", 0, place) + 1

    def context(self, place: int) -> Context:
        """What a place is nested in."""
        number = bisect_left(self._starts, place)
        return self._contexts[number - 1] if number else ()

    def combinations(self) -> Iterator[list[int]]:
        """One option for each block: all combinations, or a selection where there are very many."""
        options = [block.options for block in self.blocks]
        if prod(map(len, options)) <= MAX_COMBINATIONS:
            combinations: list[list[int]] = [[]]
            for choices in options:
                combinations = [[*head, choice] for head in combinations for choice in choices]
            yield from combinations
            return
        for others in (0, -1):
            base = [choices[others] for choices in options]
            yield base
            for number, choices in enumerate(options):
                for choice in choices:
                    if choice != base[number]:
                        yield [*base[:number], choice, *base[number + 1 :]]

    def render(self, combination: Sequence[int], outputs: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
        """The text that remains when each block takes its option and each action writes its output.

        Returns the text, and pairs of a place in it and the place in the template that this comes from.
        """
        pieces: list[str] = []
        origins: list[tuple[int, int]] = []
        chosen = {id(block): option for block, option in zip(self.blocks, combination)}

        def write(nodes: Sequence[Node], length: int) -> int:
            for node in nodes:
                if isinstance(node, Block):
                    for branch in node.taken(chosen[id(node)]):
                        length = write(branch, length)
                    continue
                if isinstance(node, int):
                    piece, origin = outputs[node], self.actions[node].start
                else:
                    piece, origin = self.text[node[0] : node[1]], node[0]
                pieces.append(piece)
                origins.append((length, origin))
                length += len(piece)
            return length

        write(self.nodes, 0)
        return "".join(pieces), origins

    def _scan(self) -> None:
        text, place = self.text, 0
        while True:
            start = text.find("{{", place)
            if start < 0:
                return
            place = start + 2
            trim_left = _LEFT_TRIM.match(text, place)
            inner = place + (2 if trim_left else 0)
            match = _COMMENT.match(text, inner)
            kind = "comment"
            if match is None:
                if text.startswith("/*", inner):
                    raise TemplateError("this comment of a template has no end, */}}", self.line(start))
                match = self._action_end(start, inner)
                kind = ""
            place = match.end()
            action = Action(start, place, kind, "", trim_left is not None, match["trim"] is not None)
            if not kind:
                self._classify(action, text[inner : match.start()])
            self.actions.append(action)

    def _action_end(self, start: int, place: int) -> re.Match[str]:
        while True:
            match = _TOKEN.match(self.text, place)
            if match is None:
                raise TemplateError("the template action {{ has no end, }}", line=self.line(start))
            if match["end"]:
                return match
            if match[0] in ('"', "'", "`"):
                raise TemplateError(f"a {match[0]} in a template action is not closed", self.line(place))
            place = match.end()

    def _classify(self, action: Action, inner: str) -> None:
        keyword = _KEYWORD.match(inner)
        if keyword is None:
            action.kind = "silent" if _ASSIGNMENT.match(inner) else "output"
            return
        # "else if" is a branch of the same block, which has one end.
        action.keyword = inner.strip() if keyword[1] == "else" else keyword[1]
        action.kind = {"else": "else", "end": "end", "break": "silent", "continue": "silent"}.get(keyword[1], "open")

    def _nest(self) -> None:
        """Fill in blocks, nodes and contexts."""
        stack: list[int] = []
        nodes = self.nodes
        context: Context = ()
        place, trimmed = 0, False
        for number, action in enumerate(self.actions):
            self._add_text(nodes, place, action.start, trimmed, action.trim_left)
            place, trimmed = action.end, action.trim_right
            if action.kind == "open":
                action.block = len(self.blocks)
                block = Block(action.keyword, number)
                self.blocks.append(block)
                nodes.append(block)
                stack.append(action.block)
                nodes, context = block.branches[0], (*context, (action.block, 0))
            elif action.kind in ("else", "end"):
                if not stack:
                    raise TemplateError(f"{{{{ {action.kind} }}}} without a beginning", self.line(action.start))
                action.block = stack[-1]
                block = self.blocks[action.block]
                if action.kind == "else":
                    block.complete = block.complete or action.keyword == "else"
                    block.branches.append([])
                    nodes = block.branches[-1]
                    context = (*context[:-1], (action.block, len(block.branches) - 1))
                else:
                    stack.pop()
                    context = context[:-1]
                    nodes = self.blocks[stack[-1]].branches[-1] if stack else self.nodes
            elif action.kind == "output":
                nodes.append(number)
            self._contexts.append(context)
        if stack:
            opener = self.actions[self.blocks[stack[-1]].opener]
            raise TemplateError(f"{{{{ {opener.keyword} }}}} without {{{{ end }}}}", self.line(opener.start))
        self._add_text(nodes, place, len(self.text), trimmed, False)

    def _add_text(self, nodes: list[Node], start: int, end: int, trim_start: bool, trim_end: bool) -> None:
        if trim_start:
            start = end - len(self.text[start:end].lstrip(_SPACE))
        if trim_end:
            end = start + len(self.text[start:end].rstrip(_SPACE))
        if start < end:
            nodes.append((start, end))


def first_line(text: str, action: Action) -> str:
    """The source of an action, shortened to its first line, for a message."""
    source = text[action.start : action.end]
    line, newline, _rest = source.partition("\n")
    return line + "..." if newline else source


def closes(action: Optional[Action], context: Context) -> bool:
    """Whether an action ends a branch that a context is in."""
    return (
        action is not None
        and action.kind in ("else", "end")
        and action.block in [number for number, _branch in context]
    )
