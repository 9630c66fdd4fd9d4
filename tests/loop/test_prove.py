from __future__ import annotations

import pytest

from sekisho import wiring
from sekisho.core.canonical import digest_text
from sekisho.data.split import split_of
from sekisho.loop.correct import correct
from sekisho.loop.finetune import finetune
from sekisho.loop.prove import gather_splits, prove, score_adapter

from .conftest import judged


def text_of(split: str, start: str) -> str:
    """A text that was not gathered and whose own digest puts it into a split."""
    return next(t for i in range(1000) if split_of(digest_text(t := f"{start} {i}")) == split)


@pytest.mark.parametrize("label", ["ALLOW", "DENY", "ESCALATE"])
def test_a_correction_that_no_context_holds_is_proved_as_an_escalation(small: wiring.House, label) -> None:
    long = text_of("holdout", "record " * 3000)
    correct(small.ledger, judged(small, long, "ESCALATE").id, label, "because")
    scores = score_adapter(small, finetune(small).adapter, gather_splits(small))
    row = scores.splits["holdout"][-1]
    assert (row.meta["text"], row.decision_guard[0]) == (long, "too_large")
    assert scores.released("holdout")[row.id] == "ESCALATE"
    assert prove(small).measures["n"] == 61


def test_the_context_is_the_one_that_serves(small: wiring.House) -> None:
    values = {**small.settings.values, "context": 10}
    narrow = wiring.House(
        type(small.settings)(values, small.settings.sources), small.ledger, small.shelf, {}, {}
    )
    scores = score_adapter(narrow, finetune(small).adapter, gather_splits(small))
    assert {r.decision_guard[0] for r in scores.splits["holdout"]} == {"too_large"}
    assert set(scores.released("holdout").values()) == {"ESCALATE"}
