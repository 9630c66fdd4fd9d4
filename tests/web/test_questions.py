from __future__ import annotations

import contextlib
import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import InputError, TooLargeError
from sekisho.web.questions import as_text, read_request

NOUL = {"type": "noul", "instructions": "Is it?"}


def one(question, state="s", **more):
    return read_request({"state": state, "questions": {"q": question}, **more}, 64).asked[0]


def test_options_are_canonical_inside_and_the_clients_outside():
    asked = one({"type": "choice", "criteria": {"b": "two", "ä": None, "a": {"x": [1]}}})
    assert asked.question.keys == ("a", "b", "ä")
    assert asked.shown == ("b", "ä", "a")
    assert [o.description for o in asked.question.options] == ['{"x":[1]}', "two", None]


def test_nfc_and_nfd_labels_are_two_and_stay_what_they_are():
    labels = [unicodedata.normalize(form, "が") for form in ("NFC", "NFD")]
    asked = one({"type": "choice", "criteria": dict.fromkeys(labels)})
    assert asked.shown == tuple(labels)
    assert set(asked.question.keys) == set(labels)


@given(st.lists(st.text(min_size=1), min_size=2, max_size=20, unique=True), st.randoms())
def test_the_order_of_options_and_the_id_of_a_question_never_reach_the_model(labels, chance: random.Random):
    labels = [s for s in labels if s.isprintable()] + ["x", "y"]
    shuffled = chance.sample(labels, len(labels))
    body = [
        {"state": "s", "questions": {i: {"type": "choice", "criteria": dict.fromkeys(ls)}}}
        for i, ls in (("a", labels), ("zz", shuffled))
    ]
    first, second = (read_request(b, 64).asked[0] for b in body)
    assert first.question == second.question


def test_a_noul_lists_true_first_and_may_be_one_sided():
    asked = one({"type": "noul", "criteria": {"false": "no way"}})
    assert asked.question.keys == ("true", "false")
    assert [o.description for o in asked.question.options] == [None, "no way"]
    assert one({**NOUL, "criteria": None}).question.options[0].description is None


def test_a_score_keeps_its_levels_in_order():
    asked = one({"type": "score", "criteria": ["z", "a", {"k": 1}]})
    assert [(o.key, o.description) for o in asked.question.options] == [
        ("0", "z"),
        ("1", "a"),
        ("2", '{"k":1}'),
    ]


def test_state_becomes_text_with_the_senders_key_order():
    assert as_text({"b": "が", "a": [1.0, None, True]}, ()) == '{"b":"が","a":[1.0,null,true]}'
    assert as_text("  as it is\n", ()) == "  as it is\n"


@pytest.mark.parametrize("n", [2, 255])
def test_two_to_255_options(n):
    assert len(one({"type": "choice", "criteria": {f"o{i}": None for i in range(n)}}).question.options) == n


@pytest.mark.parametrize("n", [2, 10])
def test_two_to_ten_levels(n):
    assert len(one({"type": "score", "criteria": [f"l{i}" for i in range(n)]}).question.options) == n


BAD = [
    {},
    {"type": "boolean", "instructions": "x"},
    {"type": "box", "instructions": "x"},
    {"type": ["noul"], "instructions": "x"},
    {"type": "noul"},
    {"type": "noul", "instructions": ""},
    {"type": "noul", "instructions": "x", "criteria": {"yes": "x"}},
    {"type": "noul", "instructions": 3},
    {"type": "noul", "instructions": True},
    {"type": "noul", "instructions": "x", "criteria": ["a", "b"]},
    {"type": "noul", "instructions": "x", "box": [0, 0, 1, 1]},
    {"type": "noul", "instructions": "x", "critera": {}},
    {"type": "choice", "instructions": "x"},
    {"type": "choice", "criteria": {}},
    {"type": "choice", "criteria": {"a": None}},
    {"type": "choice", "criteria": {"a": None, "": None}},
    {"type": "choice", "criteria": {"a": None, "b": 3}},
    {"type": "choice", "criteria": ["a", "b"]},
    {"type": "choice", "criteria": {f"o{i}": None for i in range(256)}},
    {"type": "score", "criteria": {"0": "a", "1": "b"}},
    {"type": "score", "criteria": ["a"]},
    {"type": "score", "criteria": ["a", None]},
    {"type": "score", "criteria": ["a"] * 11},
    "noul",
    None,
]


@pytest.mark.parametrize("question", BAD, ids=str)
def test_a_question_that_is_wrong_is_refused_with_its_place(question):
    with pytest.raises(InputError) as e:
        one(question)
    assert e.value.loc[:3] == ("body", "questions", "q")


@pytest.mark.parametrize(
    "body",
    [
        {"questions": {"q": NOUL}},
        {"state": None, "questions": {"q": NOUL}},
        {"state": 3, "questions": {"q": NOUL}},
        {"state": "s"},
        {"state": "s", "questions": {}},
        {"state": "s", "questions": [NOUL]},
        {"state": "s", "questions": {"": NOUL}},
        {"state": "s", "questions": {"q": NOUL}, "images": ["data:"]},
        {"state": "s", "questions": {"q": NOUL}, "assets": {}},
        {"state": "s", "questions": {"q": NOUL}, "box": 1},
    ],
    ids=str,
)
def test_a_request_that_is_wrong_is_refused(body):
    with pytest.raises(InputError):
        read_request(body, 64)


def test_too_many_questions_are_too_large_and_unknown_top_level_fields_are_ignored():
    with pytest.raises(TooLargeError):
        read_request({"state": "s", "questions": {str(i): NOUL for i in range(65)}}, 64)
    assert one(NOUL, seed=7, x_trace="t", images=None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda v: (
        st.lists(v, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["type", "criteria"]), v, max_size=3)
    ),
    max_leaves=8,
)
QUESTION = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["noul", "choice", "score"]) | JSON,
        "instructions": JSON,
        "criteria": JSON,
    },
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "state": JSON,
            "questions": st.dictionaries(st.text(max_size=3), QUESTION | JSON, max_size=3),
            "model": JSON,
        },
    )
)
def test_any_json_is_a_request_or_an_error_of_ours(body):
    with contextlib.suppress(InputError, TooLargeError):
        request = read_request(body, 64)
        assert all(
            2 <= len(a.question.options) <= 255 and sorted(a.shown) == sorted(a.question.keys)
            for a in request.asked
        )
