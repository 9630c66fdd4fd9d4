"""Answers of the NLI service that people have looked at: the latest word on each, what was asked, and what the machine had said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..core.canonical import digest_json, digest_text, pair_key, plain
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
        return group_of(self.content or {})


def group_of(content: Mapping[str, Any]) -> str:
    """The document of a pair, as `Reviewed.group`."""
    return plain(str(content.get("source") or content.get("premise")))


def reviewed(ledger: Ledger, model: str) -> list[Reviewed]:
    """Every reviewed answer of a base, under whatever adapter, in the order of the latest word on each."""
    return [r for r in _all(ledger) if r.judgement.stamp.model_digest == model]


def _all(ledger: Ledger) -> Iterator[Reviewed]:
    for word in views.corrections_for(ledger, TASK):
        entry = ledger.get(word.judgement)
        if entry is not None:
            content = ledger.content(word.content) if word.content else None
            yield Reviewed(cast(Judgement, entry.record), word, content)


def learnable(ledger: Ledger, model: str, share: float = 1.0) -> list[Reviewed]:
    """Those whose content is still there and whose source and claim nobody has rejected; of two words on one pair, the later.

    Args:
        share: only answers drawn for review. They are chosen before words are compared, or how the model did would have a part in which answer of a pair counts.
    """
    out = adapting.rejected(ledger)
    latest: dict[tuple[str, str], Reviewed] = {}
    for one in reviewed(ledger, model):
        if one.content is None or out & subjects(one.content) or not drawn(one.judgement.id, share):
            continue
        latest[_pair(one.judgement.id, one.content)] = one
    return list(latest.values())


def subjects(content: Mapping[str, Any]) -> set[tuple[str, str]]:
    """What can be rejected about an answer: its claim, and its source if it has one."""
    found = {("claim", digest_text(str(content["hypothesis"])))}
    source = content.get("source")
    return found | ({("source", digest_text(str(source)))} if source else set())


def drawn(id: str, share: float) -> bool:
    """Whether an answer is among those the house draws for review. Its id alone decides, so neither its text nor how the model did has a part in it."""
    return int(digest_text("nli-sample-1:" + id)[-8:], 16) < share * 2**32


def attention(ledger: Ledger, model: str, share: float) -> float:
    """Which share of the right answers somebody looked at, of those drawn for review, from the first answer with a word to the last.

    Whatever has no word counts as right and passed over (also what was erased or belongs to a rejected source), so that the share is rather too small. A pair
    asked several times counts once.

    Returns:
        0 to 1; 0 when nothing was confirmed.
    """
    words = learnable(ledger, model, share)
    right = {_pair(r.judgement.id, r.content) for r in words if not r.wrong}
    wrong = {_pair(r.judgement.id, r.content) for r in words if r.wrong}
    if not right:
        return 0.0
    first, last = min(r.judgement.at for r in words), max(r.judgement.at for r in words)
    shown = {
        _pair(j.id, ledger.content(j.content) if j.content else None)
        for j in answers(ledger, model)
        if first <= j.at <= last and drawn(j.id, share)
    }
    return len(right) / len((shown | right) - wrong)


def _pair(id: str, content: Mapping[str, Any] | None) -> tuple[str, str]:
    """A pair; an answer whose content was erased is like no other."""
    return pair_key(content) if content else (id, "")


def answers(ledger: Ledger, model: str) -> Iterator[Judgement]:
    """Every answer of a base, under whatever adapter, oldest first."""
    after = 0
    while page := ledger.entries(kind="judgement", task=TASK, after=after, limit=1000):
        yield from (j for e in page if (j := cast(Judgement, e.record)).stamp.model_digest == model)
        after = page[-1].seq


def lots(ledger: Ledger, model: str, share: float) -> set[str]:
    """The lot of each document: of all its answers drawn for review, passed over or not, one, by a digest of its pair.

    Drawn among those that got a word, a lot would fall on what was wrong more often than a row of the whole does.
    """
    found: dict[str, str] = {}
    for judgement in answers(ledger, model):
        content = ledger.content(judgement.content) if judgement.content else None
        if content is not None and drawn(judgement.id, share):
            group, lot = group_of(content), lot_of(content)
            found[group] = min(lot, found.get(group, lot))
    return set(found.values())


def lot_of(content: Mapping[str, Any]) -> str:
    """What a pair is drawn by."""
    return digest_json(["lot", *pair_key(content)])


def unseen(ledger: Ledger, model: str, share: float) -> Iterator[tuple[Judgement, Mapping[str, Any]]]:
    """Answers drawn for review on which nobody has spoken, with what was asked, oldest first."""
    out = adapting.rejected(ledger)
    spoken = {_pair(r.judgement.id, r.content) for r in learnable(ledger, model, share)}
    for judgement in answers(ledger, model):
        content = ledger.content(judgement.content) if judgement.content else None
        if content is None or out & subjects(content) or not drawn(judgement.id, share):
            continue
        if (pair := _pair(judgement.id, content)) not in spoken:
            spoken.add(pair)
            yield judgement, content
