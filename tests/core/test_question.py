from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sekisho.core.question import GATE_KEYS, Example, Option, OptionScores, Question, gate_question
from sekisho.core.records import DECISIONS

KEYS = st.lists(st.text(min_size=1), min_size=1, max_size=20, unique=True)


@given(KEYS)
def test_keys_are_kept_byte_for_byte_and_in_order(keys):
    question = Question(type="choice", options=tuple(Option(key=k) for k in keys))
    assert question.keys == tuple(keys)
    assert Question.model_validate(question.model_dump()) == question


def test_the_gate_asks_its_decisions_in_canonical_order():
    assert gate_question().keys == GATE_KEYS == tuple(sorted(DECISIONS))
    assert all(o.description is None for o in gate_question().options)


@pytest.mark.parametrize("wrong", [{"type": "rank"}, {"extra": 1}, {"options": None}])
def test_what_is_no_question_is_refused(wrong):
    with pytest.raises(ValidationError):
        Question.model_validate({"type": "noul", "options": [], **wrong})


def test_values_cannot_be_changed():
    example = Example(id="1", state="s", question=gate_question(), label="DENY", group="g")
    with pytest.raises(ValidationError):
        example.label = "ALLOW"
    with pytest.raises(ValidationError):
        OptionScores(logprobs=(0.0,), input_tokens=1).input_tokens = 2
