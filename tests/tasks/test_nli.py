from __future__ import annotations

import json

import pytest

from sekisho.core.question import Option, Question
from sekisho.tasks.nli import KEYS, claim_of, is_nli, nli_question


def test_the_question_is_recognised_by_name_and_options():
    assert is_nli("nli", nli_question())
    assert not is_nli("other", nli_question())
    assert not is_nli("nli", Question(type="choice", options=tuple(Option(key=k) for k in KEYS[:2])))


def test_a_pair_in_a_state():
    assert claim_of(json.dumps({"premise": "a", "hypothesis": "b"})).source is None
    assert claim_of(json.dumps({"premise": "a", "hypothesis": "b", "source": "s"})).source == "s"


@pytest.mark.parametrize(
    "state",
    [
        "",
        "text",
        "[]",
        "null",
        '{"premise": "a"}',
        '{"premise": 1, "hypothesis": "b"}',
        '{"premise": "a", "hypothesis": "b", "x": "c"}',
    ],
)
def test_what_is_no_pair(state):
    assert claim_of(state) is None
