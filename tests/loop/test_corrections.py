from __future__ import annotations

import pytest

from sekisho import wiring
from sekisho.core.canonical import new_id
from sekisho.loop.correct import correct
from sekisho.loop.corrections import filed
from sekisho.loop.finetune import finetune
from sekisho.loop.prove import gather_splits

from .conftest import judged
from .makers import gather_small, rows
from .test_prove import text_of


def say(house: wiring.House, text: str) -> None:
    correct(house.ledger, judged(house, text).id, "ESCALATE", "because")


def conversation(house: wiring.House) -> None:
    """A correction of a judgement over two texts."""
    sealed = house.ledger.seal({"requests": ["explain the form", "explain the seal"]})
    made = judged(house, "x").model_copy(update={"id": new_id("jdg"), "content": sealed.digest})
    house.ledger.append([made], [sealed])
    correct(house.ledger, made.id, "DENY", "because")


@pytest.mark.parametrize(
    ("gathered", "goes"),
    [("train", "train"), ("calibration", "calibration"), ("holdout", "holdout"), ("evaluation", "holdout")],
)
def test_a_correction_on_a_gathered_text_stays_in_its_split(house: wiring.House, gathered, goes) -> None:
    splits = {name: [] for name in ("train", "calibration", "holdout", "evaluation")}
    splits[gathered] = rows(30, 7)
    gather_small(house, splits)
    texts = {str(e.meta["text"]) for e in splits[gathered]}
    for text in texts:
        say(house, text)
    assert {str(e.meta["text"]) for e in filed(house).splits[goes]} == texts
    assert sum(map(len, filed(house).splits.values())) == len(texts)


def test_nothing_that_proves_or_calibrates_is_trained_on(small: wiring.House) -> None:
    for split, examples in gather_splits(small).items():
        assert split == "evaluation" or examples
        for example in examples:
            say(small, str(example.meta["text"]))
    unseen = {str(e.meta["text"]) for rows_ in gather_splits(small).values() for e in rows_}
    trained = {str(e.meta["text"]) for e in filed(small).splits["train"]}
    assert not trained & unseen


def test_finetune_says_what_became_of_every_correction(small: wiring.House) -> None:
    say(small, text_of("train", "explain the seal"))
    say(small, text_of("train", "record " * 300))
    for i in range(2):
        say(small, text_of("calibration", f"explain the stamp {i}"))
    say(small, text_of("holdout", "explain the seal"))
    conversation(small)
    made = finetune(small)
    assert len(made.corrections) == 1
    assert (made.calibration, made.held_out, made.too_long, made.conversations) == (2, 1, 1, 1)
    splits = gather_splits(small)
    assert [len(splits[s]) for s in ("calibration", "holdout")] == [92, 61]
