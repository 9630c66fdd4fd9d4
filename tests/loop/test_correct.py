from __future__ import annotations

import pytest

from sekisho import wiring
from sekisho.core.canonical import digest_text
from sekisho.core.errors import InputError, NotFoundError
from sekisho.data.split import split_of
from sekisho.loop.correct import correct
from sekisho.loop.corrections import filed

from .conftest import judged


def test_the_machines_own_answer_stays_when_corrected_twice(house: wiring.House) -> None:
    judgement = judged(house, "消去の記録を見せて")
    first = correct(house.ledger, judgement.id, "DENY", "証拠の隠滅にあたる", "監査")
    second = correct(house.ledger, judgement.id, "ESCALATE", "担当者が決める", "監査長")
    assert (first.was, second.was) == ("ALLOW", "ALLOW")
    assert house.ledger.verify().ok


@pytest.mark.parametrize(
    ("label", "reason", "by"),
    [("MAYBE", "because", "me"), ("DENY", " ", "me"), ("DENY", "x" * 4001, "me"), ("DENY", "because", " ")],
)
def test_a_wrong_correction_is_refused_and_nothing_is_written(house, label, reason, by) -> None:
    judgement = judged(house, "text")
    before = house.ledger.count()
    with pytest.raises(InputError):
        correct(house.ledger, judgement.id, label, reason, by)
    assert house.ledger.count() == before


def test_an_unknown_judgement_is_named(house: wiring.House) -> None:
    with pytest.raises(NotFoundError, match="jdg_nothing"):
        correct(house.ledger, "jdg_nothing", "DENY", "because")


def test_corrections_become_examples_by_the_last_word_and_never_cross_a_split(house: wiring.House) -> None:
    texts = [f"依頼 {i} を処理してよいか" for i in range(60)]
    for text in texts:
        judgement = judged(house, text, contract="medical")
        correct(house.ledger, judgement.id, "DENY", "first")
        correct(house.ledger, judgement.id, "ESCALATE", "second")
    found = filed(house).splits
    assert sum(map(len, found.values())) == 60
    assert all(found.values())
    for split, examples in found.items():
        for example in examples:
            assert example.label == "ESCALATE"
            assert split_of(digest_text(example.meta["text"])) == split
            assert example.state.startswith("医療事務係")


def test_the_same_text_corrected_in_two_judgements_counts_once(house: wiring.House) -> None:
    for label in ("DENY", "ALLOW"):
        correct(house.ledger, judged(house, "同じ依頼").id, label, "because")
    rows = [e for examples in filed(house).splits.values() for e in examples]
    assert [e.label for e in rows] == ["ALLOW"]
