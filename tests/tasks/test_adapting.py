from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.adapting import Activation
from sekisho.core.errors import ConflictError
from sekisho.core.records import Proof
from sekisho.tasks.adapting import (
    Limits,
    active,
    before,
    brier_of,
    check_rival,
    check_standing,
    days_between,
    live_drop,
    proof_for,
    trigger,
)

NOW = "2026-11-21T12:00:00.000000Z"


def step(adapter, previous):
    return Activation(
        id="a", at=NOW, task="nli", model="m", adapter=adapter, previous=previous, proof=None, step="load"
    )


def proof(candidate, passed, base="m", id="p"):
    return Proof(
        id=id, at=NOW, task="nli", candidate=candidate, base=base, passed=passed, why=("x",), measures={}
    )


@pytest.mark.parametrize(
    ("corrections", "reviewed", "since", "missing"),
    [
        (100, 2000, "2026-11-14T12:00:00.000000Z", set()),
        (99, 1000, "2026-11-14T12:00:00.000000Z", {"corrections"}),
        (100, 2001, "2026-11-14T12:00:00.000000Z", {"rate"}),
        (100, 100, "2026-11-14T12:00:00.000001Z", {"days"}),
        (0, 0, None, {"corrections", "rate", "days"}),
        (500, 500, "2026-11-22T12:00:00.000000Z", {"days"}),
    ],
)
def test_the_trigger_names_what_is_missing(corrections, reviewed, since, missing):
    found = trigger(corrections, reviewed, since, NOW, Limits())
    assert {k for k, ok in found.holds.items() if not ok} == missing
    assert found.due is not missing or not missing


def test_days():
    assert days_between("2026-11-20T00:00:00.000000Z", NOW) == 1.5


def test_back_is_what_was_there_when_the_present_one_first_came():
    history = [step("a", None), step("b", "a"), step("a", "b"), step("b", "a")]
    assert active(history) == "b"
    assert before(history) == "a"
    assert before(history[:1]) is None
    assert active([]) is None
    for nothing in ([], [step("a", None), step(None, "a")]):
        with pytest.raises(ConflictError):
            before(nothing)


def test_only_the_latest_proof_counts():
    good = [proof("a", False), proof("a", True, id="q"), proof("b", False)]
    assert proof_for("a", good).id == "q"
    for adapter, proofs in (("a", []), ("b", good), ("a", [*good, proof("a", False)])):
        with pytest.raises(ConflictError):
            proof_for(adapter, proofs)
    check_rival(good[1], "m")
    with pytest.raises(ConflictError):
        check_rival(good[1], "other")


@given(st.lists(st.floats(0, 2), max_size=80), st.floats(0, 2), st.integers(1, 60), st.floats(0, 1))
def test_a_drop_is_seen_over_enough_answers_alone(scores, proved, rows, margin):
    found = live_drop(scores, proved, rows, margin)
    if len(scores) < rows:
        assert found is None
    else:
        mean = sum(scores[-rows:]) / rows
        assert (found is not None) == (mean > proved + margin)


def test_brier_of_one_answer():
    assert brier_of({"a": 1.0, "b": 0.0}, "a") == 0
    assert brier_of({"a": 1.0, "b": 0.0}, "b") == 2


def test_what_the_house_took_back_waits_for_another_proof():
    fallen = step(None, "a").model_copy(update={"step": "auto_rollback", "at": "2026-01-02", "why": "Brier"})
    old, new = (proof("a", True).model_copy(update={"at": f"2026-01-0{d}"}) for d in (1, 3))
    with pytest.raises(ConflictError, match="Brier"):
        check_standing("a", old, [fallen])
    check_standing("a", new, [fallen])
    check_standing("b", old, [fallen])
    check_standing("a", old, [fallen.model_copy(update={"step": "rollback"})])
