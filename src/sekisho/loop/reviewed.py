"""Answers of the NLI service that people have looked at: the latest word on each, what was asked, and what the machine had said."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..core.canonical import digest_text
from ..core.records import Correction, Judgement
from ..ledger import adapting, views
from ..ledger.store import Ledger

TASK = "nli"


@dataclass(frozen=True)
class Reviewed:
    """An answer and the latest word on it.

    Attributes:
        content: premise, hypothesis and source as they were asked; None once they were erased.
    """

    judgement: Judgement
    word: Correction
    content: Mapping[str, Any] | None

    @property
    def wrong(self) -> bool:
        """Whether the machine was corrected; else it was found right."""
        return self.word.label != self.judgement.answer

    @property
    def group(self) -> str:
        """The document the premise is from; the premise itself when nobody named one."""
        content = self.content or {}
        return plain(str(content.get("source") or content.get("premise")))


def plain(text: str) -> str:
    """A text without what nobody sees a difference in: widths of letters (NFKC) and blanks. Two spellings of one text must not lie on both sides of a split."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def reviewed(ledger: Ledger, model: str) -> list[Reviewed]:
    """Every reviewed answer of a base, under whatever adapter, in the order of the latest word on each."""
    return [r for r in _all(ledger) if r.judgement.stamp.model_digest == model]


def _all(ledger: Ledger) -> Iterator[Reviewed]:
    for word in views.corrections_for(ledger, TASK):
        entry = ledger.get(word.judgement)
        if entry is not None:
            content = ledger.content(word.content) if word.content else None
            yield Reviewed(cast(Judgement, entry.record), word, content)


def learnable(ledger: Ledger, model: str) -> list[Reviewed]:
    """Those whose content is still there and whose source and claim nobody has rejected; of two words on one pair, the later."""
    out = adapting.rejected(ledger)
    latest: dict[tuple[str, str], Reviewed] = {}
    for one in reviewed(ledger, model):
        if one.content is not None and not out & subjects(one.content):
            latest[one.content["premise"], one.content["hypothesis"]] = one
    return list(latest.values())


def subjects(content: Mapping[str, Any]) -> set[tuple[str, str]]:
    """What can be rejected about an answer: its claim, and its source if it has one."""
    found = {("claim", digest_text(str(content["hypothesis"])))}
    source = content.get("source")
    return found | ({("source", digest_text(str(source)))} if source else set())


def attention(ledger: Ledger, model: str) -> float:
    """Which share of the right answers somebody looked at, where anybody looked: in documents (without a source: in requests) with a word on any answer.

    Every wrong answer there counts as found and every answer without a word as right, so that the share is rather too small. A pair asked several times counts once.

    Returns:
        0 to 1; 1 when no answer there was right.
    """
    words = {r.judgement.id: r.wrong for r in _all(ledger)}
    said: dict[str, dict[str, bool | None]] = {}
    for judgement in _answers(ledger, model):
        content = (ledger.content(judgement.content) if judgement.content else None) or {}
        place = plain(str(content.get("source") or judgement.links.get("request")))
        pair = f"{content.get('premise', judgement.id)}\n{content.get('hypothesis')}"
        known = said.setdefault(place, {})
        known[pair] = words.get(judgement.id, known.get(pair))
    looked = [
        w for pairs in said.values() if any(w is not None for w in pairs.values()) for w in pairs.values()
    ]
    right = sum(w is not True for w in looked)
    return sum(w is False for w in looked) / right if right else 1.0


def _answers(ledger: Ledger, model: str) -> Iterator[Judgement]:
    after = 0
    while page := ledger.entries(kind="judgement", task=TASK, after=after, limit=1000):
        yield from (j for e in page if (j := cast(Judgement, e.record)).stamp.model_digest == model)
        after = page[-1].seq
