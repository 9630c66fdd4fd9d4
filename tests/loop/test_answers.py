from __future__ import annotations

import pytest
from jevcompat.validate import choice_confidence, score_confidence

from sekisho.core.question import Option, Question
from sekisho.core.records import Judgement, Stamp
from sekisho.loop.answers import wire_answer

STAMP = Stamp(engine="fake", model="m", model_digest="sha256:0", calibration="cal_1")


def judged(p, task="question", **more):
    answer = max(p, key=p.get)
    fields = {"decision": answer, "answer": answer, **more}
    return Judgement(id="jdg_1", at="t", task=task, probabilities=p, raw=p, stamp=STAMP, **fields)


def test_a_choice_comes_back_in_the_clients_order_and_the_reference_confidence():
    question = Question(type="choice", options=tuple(Option(key=k) for k in "abc"))
    answer = wire_answer(question, ("c", "a", "b"), judged({"a": 0.2, "b": 0.7, "c": 0.1}))
    assert list(answer["probabilities"]) == ["c", "a", "b"]
    assert answer["choice"] == "b"
    assert answer["confidence"] == pytest.approx(choice_confidence([0.2, 0.7, 0.1]))
    assert answer["x_calibration"] == "cal_1"


def test_a_score_is_the_expectation_with_a_legend_of_texts():
    question = Question(
        type="score", options=tuple(Option(key=str(i), description=d) for i, d in enumerate("lmh"))
    )
    p = {"0": 0.0, "1": 0.57, "2": 0.43}
    answer = wire_answer(question, ("0", "1", "2"), judged(p))
    assert answer["score"] == pytest.approx(1.43)
    assert answer["confidence"] == pytest.approx(score_confidence([0, 0.57, 0.43]))
    assert answer["confidence"] == pytest.approx(0.355, abs=5e-4)
    assert answer["legend"] == {"0": "l", "1": "m", "2": "h"}


def test_a_tie_of_the_gate_is_not_an_allow():
    question = Question(type="choice", options=tuple(Option(key=k) for k in ("ALLOW", "DENY", "ESCALATE")))
    p = {"ALLOW": 0.5, "DENY": 0.5, "ESCALATE": 0.0}
    answer = wire_answer(question, question.keys, judged(p, "gate", answer="DENY", decision="DENY"))
    assert answer["choice"] == answer["x_decision"] == "DENY"
