from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import InputError, TooLargeError
from sekisho.web.decisions_form import decision_answer, read_decisions

from . import makers

PREDICATE = {"type": "predicate", "instructions": "Is it open?"}
CHOICE = {
    "type": "choice",
    "instructions": "Which?",
    "choices": [{"value": "b"}, {"value": "a", "description": "A."}],
}
SCORE = {
    "type": "score",
    "instructions": "How?",
    "levels": [{"label": "bad"}, {"label": "good", "description": "G."}],
}


def read(questions, input="x", most=64):
    return read_decisions({"model": "m", "input": input, "questions": questions}, most)


def test_questions_become_canonical_and_keep_their_names():
    form = read([{**PREDICATE, "name": "open"}, CHOICE, SCORE])
    assert [a.question.type for a in form.asked] == ["noul", "choice", "score"]
    assert form.names == ("open", None, None)
    assert [a.name for a in form.asked] == ["open", "1", "2"]
    assert form.asked[1].question.keys == ("a", "b")
    assert form.asked[1].shown == ("b", "a")
    assert form.asked[2].question.options[1].description == "good: G."


def test_a_boolean_is_not_the_text_of_the_same_letters():
    values = [{"value": True}, {"value": "true"}, {"value": False}]
    form = read([{**CHOICE, "choices": values}])
    assert form.values == ({"true (boolean)": True, "true": "true", "false": False},)


@pytest.mark.parametrize(
    ("input", "state"),
    [
        ([{"role": "user", "content": "Hi."}], "Hi."),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_text", "text": "."}],
                }
            ],
            "Hi.",
        ),
    ],
)
def test_one_message_is_its_text(input, state):
    assert read([PREDICATE], input).state == state


def test_turns_calls_and_outputs_are_all_in_the_state():
    turns = [
        {"role": "developer", "content": "RULE"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "SAID"}]},
        {"type": "function_call", "call_id": "1", "name": "LOOK", "arguments": "WHERE"},
        {"type": "function_call_output", "call_id": "1", "output": "FOUND"},
        {"role": "user", "content": [{"type": "input_json", "data": {"k": "DATA"}}]},
    ]
    state = read([PREDICATE], turns).state
    assert all(word in state for word in ("RULE", "SAID", "LOOK", "WHERE", "FOUND", "DATA"))


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({"type": "noul", "instructions": "x"}, "type"),
        ({"type": [], "instructions": "x"}, "type"),
        ({**PREDICATE, "choices": []}, "choices"),
        ({**PREDICATE, "name": 3}, "name"),
        ({"type": "predicate"}, "instructions"),
        ({**CHOICE, "choices": [{"value": 1}, {"value": "a"}]}, "value"),
        ({**CHOICE, "choices": [{"value": "a"}, {"value": "a"}]}, "value"),
        ({**CHOICE, "choices": {"a": None}}, "choices"),
        ({**SCORE, "levels": [{"label": ""}, {"label": "a"}]}, "label"),
    ],
)
def test_what_is_wrong_is_refused_by_place(question, field):
    with pytest.raises(InputError) as e:
        read([question])
    assert e.value.loc[-1] == field


@pytest.mark.parametrize(
    "input", [None, [], [{}], 3, [{"role": "user", "content": [{"type": "input_image"}]}]]
)
def test_an_input_that_cannot_be_read_is_refused(input):
    with pytest.raises(InputError):
        read([PREDICATE], input)


def test_too_many_questions():
    with pytest.raises(TooLargeError):
        read([PREDICATE] * 3, most=2)


VALUES = st.lists(
    st.one_of(st.booleans(), st.text(min_size=1, max_size=6)), min_size=2, max_size=8, unique_by=repr
)


@given(VALUES)
def test_every_value_comes_back_as_it_was(values):
    form = read([{**CHOICE, "choices": [{"value": v} for v in values]}])
    keys = form.asked[0].shown
    wire = {"type": "choice", "choice": keys[0], "confidence": 1.0, "probabilities": dict.fromkeys(keys, 0.5)}
    answer = decision_answer(wire, form.values[0], None)
    assert [repr(p["value"]) for p in answer["probabilities"]] == [repr(v) for v in values]


def test_over_the_wire(client, house):
    body = {"model": makers.MODEL, "input": makers.FAMILIAR, "questions": [PREDICATE, CHOICE, SCORE]}
    answer = client.post("/v1/decisions", json=body).json()
    predicate, choice, score = answer["answers"]
    assert 0 <= predicate["probability"] <= 1
    assert choice["choice"] in ("a", "b")
    assert [p["value"] for p in choice["probabilities"]] == ["b", "a"]
    assert sum(p["probability"] for p in score["probabilities"]) == pytest.approx(1)
    assert (
        client.get(f"/v1/judgements/{choice['x_judgement']}").json()["links"]["request"]
        == answer["x_request"]
    )
    gone = client.post("/v1/decisions", json={**body, "model": "gpt-6-luna"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")
