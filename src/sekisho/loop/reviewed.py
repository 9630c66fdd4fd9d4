"""Answers of the NLI service that people have looked at: the latest word on each, what was asked, and what the machine had said."""

from __future__ import annotations

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
        return str(content.get("source") or content.get("premise"))


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
