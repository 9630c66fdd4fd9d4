from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import InputError
from sekisho.core.question import Option, Question
from sekisho.core.records import STRICTNESS
from sekisho.tasks import gate
from sekisho.tasks.scope import fit_scope


def spread(a: float, b: float, c: float) -> dict[str, float]:
    total = a + b + c
    return {"ALLOW": a / total, "DENY": b / total, "ESCALATE": c / total}


weights = st.floats(min_value=1e-6, max_value=1.0)


@pytest.mark.parametrize("text", ["", "   ", "\n\t　"])
def test_an_empty_request_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        gate.ask(text)


def test_the_gate_asks_its_own_question_over_the_request() -> None:
    state, question = gate.ask("会議室の予約のしかたは？")
    assert state.endswith("会議室の予約のしかたは？")
    assert question.keys == ("ALLOW", "DENY", "ESCALATE")


@given(weights, weights, weights, st.floats(0, 1), st.booleans())
def test_reading_never_loosens(a: float, b: float, c: float, threshold: float, guarded: bool) -> None:
    probabilities = spread(a, b, c)
    reading = gate.read(probabilities, threshold, ("unfamiliar",) if guarded else ())
    assert reading.answer is not None
    assert STRICTNESS[reading.decision] >= STRICTNESS[reading.answer]
    if reading.decision == "ALLOW":
        assert probabilities["ALLOW"] >= threshold
        assert not guarded


def test_a_missing_scope_or_unread_answer_never_allows() -> None:
    sure = {"ALLOW": 1.0, "DENY": 0.0, "ESCALATE": 0.0}
    assert gate.read(sure, 0.0, gate.guards("anything", None)).decision == "ESCALATE"
    unread = gate.unread("engine_timeout")
    assert unread.decision == "ESCALATE"
    assert unread.probabilities == {}
    assert unread.answer is None


def test_the_strictest_of_a_conversation_counts() -> None:
    allow = gate.read(spread(0.98, 0.01, 0.01), 0.5, ())
    deny = gate.read(spread(0.1, 0.8, 0.1), 0.5, ())
    assert gate.strictest([allow, deny, allow]).decision == "DENY"


def test_the_gate_is_known_by_name_and_labels_in_any_order() -> None:
    shuffled = Question(type="choice", options=tuple(Option(key=k) for k in ("DENY", "ALLOW", "ESCALATE")))
    assert gate.is_gate("gate", shuffled)
    assert not gate.is_gate("other", shuffled)
    assert not gate.is_gate(
        "gate", Question(type="choice", options=(Option(key="ALLOW"), Option(key="DENY")))
    )


def test_guards_name_what_is_unfamiliar() -> None:
    reader = fit_scope(["経費の精算"], ["経費の精算"]).reader()
    assert gate.guards("経費の精算", reader) == ()
    assert gate.guards("qzx wvk jjq zzz", reader) == ("unfamiliar",)
