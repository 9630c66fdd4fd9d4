"""What Tesseract read, made text: words to lines, and Japanese without the spaces it puts between characters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from ...core.errors import EngineError
from ...core.question import Frozen

_WIDE = r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef々〇ー]"
_BETWEEN = re.compile(rf"(?<={_WIDE})[ \u3000]+(?={_WIDE})")
_PUNCTUATION = re.compile(r"[ \u3000]+(?=[、。，．」』）】！？])|(?<=[「『（【])[ \u3000]+")
_COLUMNS = 12

Box = tuple[int, int, int, int]
"""Left, top, width, height, in pixels."""


class Line(Frozen):
    """One line of text.

    Attributes:
        block: number of the block it stands in, from 1, in reading order.
        box: where it stands.
        confidence: mean of its words', 0 to 1, as Tesseract gives it; weighted by length.
    """

    text: str
    block: int
    box: Box
    confidence: float


def without_gaps(text: str) -> str:
    """Remove spaces between Japanese characters and before closing punctuation; those beside Latin words stay."""
    return _PUNCTUATION.sub("", _BETWEEN.sub("", text)).strip()


def lines_of(tsv: str) -> tuple[Line, ...]:
    """Read Tesseract's table. Raises EngineError when it is not one."""
    rows = [row.split("\t") for row in tsv.splitlines()[1:] if row]
    if not tsv.startswith("level\t") or any(len(row) != _COLUMNS for row in rows):
        raise EngineError("Tesseract gave no readable table.", "Check its version: `tesseract --version`.")
    words = [row for row in rows if row[0] == "5" and row[11].strip()]
    blocks: dict[str, int] = {}
    return tuple(_lines(words, blocks))


def _lines(words: Iterable[Sequence[str]], blocks: dict[str, int]) -> Iterator[Line]:
    for (block, _, _), group in groupby(words, key=lambda w: (w[2], w[3], w[4])):
        found = list(group)
        number = blocks.setdefault(block, len(blocks) + 1)
        weights = [len(w[11]) for w in found]
        sure = sum(float(w[10]) * n for w, n in zip(found, weights, strict=True)) / sum(weights) / 100
        text = without_gaps(" ".join(w[11] for w in found))
        yield Line(text=text, block=number, box=_around(found), confidence=min(1.0, max(0.0, sure)))


def _around(words: Sequence[Sequence[str]]) -> Box:
    boxes = [tuple(map(int, w[6:10])) for w in words]
    left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
    return left, top, max(b[0] + b[2] for b in boxes) - left, max(b[1] + b[3] for b in boxes) - top


def joined(lines: Sequence[Line]) -> str:
    """The whole text: a line break after each line, an empty line between blocks."""
    blocks = [list(group) for _, group in groupby(lines, key=lambda line: line.block)]
    return "\n\n".join("\n".join(line.text for line in block) for block in blocks)


def confidence(lines: Sequence[Line]) -> float:
    """Mean confidence of all lines, weighted by length; 0 for no text."""
    total = sum(len(line.text) for line in lines)
    return sum(line.confidence * len(line.text) for line in lines) / total if total else 0.0
