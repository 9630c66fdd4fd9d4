from __future__ import annotations

import json

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import InputError
from sekisho.core.gate_prompt import LEVELS, ROLES, gate_state, lang_of
from sekisho.core.prompt import (
    CHAT_TEMPLATE,
    DECISION_TEMPLATE,
    LETTERS,
    SPECIAL,
    chat_parts,
    decision_parts,
    split_special,
)
from sekisho.core.question import MAX_OPTIONS, Option, Question, gate_question

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
HOSTILE = st.lists(st.sampled_from([*SPECIAL, "<|", "|>", "<", "user", "関", " "]), max_size=8).map("".join)


def tojson(value, separators=None):
    return json.dumps(value, ensure_ascii=False, separators=separators)


def render(template: str, **given) -> str:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = tojson
    return environment.from_string(template).render(**given)


def questions():
    option = st.builds(Option, key=TEXT.filter(bool), description=st.none() | TEXT)
    return st.builds(
        Question,
        type=st.just("choice"),
        instructions=st.none() | TEXT,
        options=st.lists(option, min_size=1, max_size=60).map(tuple),
    )


@given(TEXT, questions())
def test_the_template_and_its_parts_are_the_same_text(state, question):
    rendered = render(
        DECISION_TEMPLATE,
        state=state,
        instructions=question.instructions,
        options=[o.model_dump() for o in question.options],
        letters=LETTERS,
    )
    assert rendered == "".join(text for text, _ in decision_parts(state, question))


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), max_size=5), st.booleans())
def test_the_chat_template_and_its_parts_are_the_same_text(messages, prompt):
    rendered = render(
        CHAT_TEMPLATE,
        messages=[{"role": r, "content": c} for r, c in messages],
        add_generation_prompt=prompt,
    )
    assert rendered == "".join(text for text, _ in chat_parts(messages, prompt))


def test_objects_become_compact_json_in_the_senders_order():
    rendered = render(
        DECISION_TEMPLATE, state={"b": 1, "a": "関"}, instructions=None, options=[], letters=LETTERS
    )
    assert '{"b":1,"a":"関"}\n' in rendered


@given(HOSTILE)
def test_only_our_own_marks_are_special(text):
    question = Question(type="choice", instructions=text, options=(Option(key=text, description=text),))
    assert [part for part, special in decision_parts(text, question) if special] == [
        "<|user|>",
        "<|end|>",
        "<|assistant|>",
    ]


@given(HOSTILE | TEXT)
def test_no_piece_of_outside_text_spells_a_special_token(text):
    pieces = split_special(text)
    assert "".join(pieces) == text
    assert all(pieces)
    assert not any(mark in piece for piece in pieces for mark in SPECIAL)


def test_every_option_has_a_label_of_its_own():
    assert len(LETTERS) == len(set(LETTERS)) == MAX_OPTIONS
    assert LETTERS[:52] == "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@given(TEXT)
def test_the_gate_shows_the_request_as_it_came(request_text):
    assert gate_state(request_text).partition("\n")[2] == request_text


@pytest.mark.parametrize("contract", ROLES)
@pytest.mark.parametrize("level", LEVELS)
def test_every_desk_and_level_has_a_header_in_both_languages(contract, level):
    assert gate_state("x", "en", contract, level).startswith(f"{ROLES[contract]['en']} [{LEVELS[level]}]\n")
    assert gate_state("x", "ja", contract, level).startswith(f"{ROLES[contract]['ja']} [{level}]\n")


def test_unknown_desks_and_levels_are_refused():
    with pytest.raises(InputError, match="no contract"):
        gate_state("x", contract_name="moon")
    with pytest.raises(InputError, match="no level"):
        gate_state("x", level="low")


@pytest.mark.parametrize(
    ("text", "lang"), [("hello", "en"), ("関所", "ja"), ("ﾃｽﾄ", "ja"), ("", "en"), ("naïve", "en")]
)
def test_the_header_speaks_the_language_of_the_request(text, lang):
    assert lang_of(text) == lang


def test_the_gate_prompt_in_full():
    parts = decision_parts(gate_state("Hello"), gate_question())
    assert "".join(text for text, _ in parts) == (
        "<|user|>front desk [internal]\nHello\nMay this be answered?\n"
        "A ALLOW\nB DENY\nC ESCALATE\n<|end|><|assistant|>"
    )
