"""Hierarchical summary: how a long text is cut, what is asked of each part, and where a line of the result came from. Pure; nobody is asked here.

Every character belongs to exactly one sentence and every sentence to a chunk; chunks overlap by whole sentences, so that what stands across a cut is seen
whole once. Summaries are grouped by tokens and summarised again until one is left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

from ..core.question import Frozen

Span = tuple[int, int]
"""From and to, in characters of the text."""
_END = re.compile(r"[。！？!?][」』）)\"'”’]*\s*|[.][)\"'”’]*(?=\s)\s*|\n+\s*")
INSTRUCTIONS: Mapping[Literal["part", "whole"], str] = {
    "part": "Summarise this part of a longer text in a few sentences, in its own language. Say nothing that is not in it.",
    "whole": "These are summaries of successive parts of one text. Summarise them in a few sentences, in their own language. Say nothing that is not in them.",
}


class Chunk(Frozen):
    """A part of the text: `own` is what no other chunk begins with, `span` is that and the overlap before it."""

    own: Span
    span: Span


class Node(Frozen):
    """A summary in the tree.

    Attributes:
        id: level and place, `0-7`; level 0 read the text itself.
        span: what it covers; at level 0 with its overlap.
        children: ids of the nodes it was made from.
        text: empty when nothing was written.
        decision: what the gate said of its prompt.
        judgement: id of that judgement in the ledger.
        tokens: of its prompt.
        finish: why the text ended; None when nothing was written.
    """

    id: str
    span: Span
    children: tuple[str, ...] = ()
    text: str = ""
    decision: str
    judgement: str
    tokens: int
    finish: str | None = None


def sentences(text: str) -> list[Span]:
    """Sentences that follow each other without a gap and cover the whole text."""
    ends = [m.end() for m in _END.finditer(text)]
    cuts = [0, *(e for e in ends if e < len(text)), len(text)] if text else []
    return [(a, b) for a, b in pairwise(cuts) if a < b]


def halves(span: Span) -> tuple[Span, Span]:
    """A sentence that is too long by itself, cut in the middle."""
    middle = (span[0] + span[1]) // 2
    return (span[0], middle), (middle, span[1])


def chunks(parts: Sequence[Span], sizes: Sequence[int], budget: int, overlap: int) -> list[Chunk]:
    """Pack sentences into chunks of at most `budget` tokens, each after the first beginning with up to `overlap` tokens of the one before.

    Args:
        parts: sentences, in order.
        sizes: their tokens; none is over `budget`.
    """
    found: list[Chunk] = []
    first = 0
    while first < len(parts):
        begin, used = first, 0
        while found and begin and used + sizes[begin - 1] <= min(overlap, budget - sizes[first]):
            begin -= 1
            used += sizes[begin]
        end = first
        while end < len(parts) and used + sizes[end] <= budget:
            used += sizes[end]
            end += 1
        end = max(end, first + 1)
        found.append(
            Chunk(own=(parts[first][0], parts[end - 1][1]), span=(parts[begin][0], parts[end - 1][1]))
        )
        first = end
    return found


def groups(sizes: Sequence[int], budget: int) -> list[range]:
    """Group neighbours to at most `budget` tokens, two at least, so that every round leaves fewer."""
    found: list[range] = []
    first = 0
    while first < len(sizes):
        end, used = first, 0
        while end < len(sizes) and (end - first < 2 or used + sizes[end] <= budget):
            used += sizes[end]
            end += 1
        found.append(range(first, end))
        first = end
    return found


def prompt(kind: Literal["part", "whole"], text: str) -> str:
    """What the model is asked."""
    return f"{INSTRUCTIONS[kind]}\n\n{text}"


def sources(line: str, node: Node, nodes: Mapping[str, Node]) -> list[Span]:
    """The parts of the text a line came from, merged: down the tree along the summaries it shares the most wording with.

    Wording is character 3-grams, which need no words and so suit any language. A node stays in when it shares half as many as the
    best one beside it; when none shares any, all stay in: too wide rather than wrong.
    """
    if not node.children:
        return [node.span]
    shared = {c: len(_grams(line) & _grams(nodes[c].text)) for c in node.children}
    best = max(shared.values())
    kept = [c for c, n in shared.items() if 2 * n >= best]
    return _merged([span for c in kept for span in sources(line, nodes[c], nodes)])


def _grams(text: str) -> set[str]:
    plain = "".join(text.lower().split())
    return {plain[i : i + 3] for i in range(len(plain) - 2)}


def _merged(spans: Sequence[Span]) -> list[Span]:
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found
