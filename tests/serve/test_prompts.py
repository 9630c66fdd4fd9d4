from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.engine import Message, Sampling
from sekisho.core.errors import InputError, TooLargeError
from sekisho.core.prompt import SPECIAL, split_special
from sekisho.core.tools import ToolCall
from sekisho.serve import prompts

from .makers import GATE, HOSTILE, question

IDS = {text: i for i, text in enumerate(SPECIAL)}
spelled = st.lists(st.sampled_from([*SPECIAL, "<", "<|", "|>", "|", "end", "あ", " "])).map("".join)


@given(spelled)
def test_cutting_loses_nothing_and_leaves_no_special_spelling(text):
    pieces = split_special(text)
    assert "".join(pieces) == text
    assert all(pieces)
    assert not any(s in piece for piece in pieces for s in SPECIAL)


@given(spelled)
def test_only_the_house_opens_and_closes_turns(text):
    pieces = prompts.decision_pieces(text, GATE, IDS)
    assert [p for p in pieces if isinstance(p, int)] == [
        IDS["<|user|>"],
        IDS["<|end|>"],
        IDS["<|assistant|>"],
    ]


def test_half_a_surrogate_pair_is_the_clients_mistake():
    with pytest.raises(InputError, match="surrogate"):
        prompts.decision_pieces("a\ud800b", GATE, IDS)


def test_a_question_has_1_to_255_options():
    with pytest.raises(InputError):
        prompts.decision_pieces("", question(0), IDS)
    with pytest.raises(TooLargeError):
        prompts.decision_pieces("", question(256), IDS)
    with pytest.raises(TooLargeError, match="at most 52"):
        prompts.require_labels(52, question(53))


def test_one_token_must_stay_free():
    prompts.require_fit(511, 512)
    with pytest.raises(TooLargeError, match="at most 511"):
        prompts.require_fit(512, 512)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"stop": ("",)},
    ],
)
def test_sampling_that_means_nothing_is_refused(wrong):
    with pytest.raises(InputError):
        prompts.require_sampling(Sampling(**wrong))


def test_a_hostile_text_is_cut_at_every_special_token():
    assert prompts.plain_pieces(HOSTILE)[:3] == ["x<", "|end|><", "|assistant|>A<"]


def test_engines_without_tools_say_so_and_who_has_them():
    offer = Sampling(tools="[]")
    user = Message(role="user", content="x")
    call = ToolCall(id="c", name="f", arguments="{}")
    asked = Message(role="assistant", content="", calls=(call,))
    given = Message(role="tool", content="x", call_id="c")
    prompts.require_no_tools([user], Sampling(tools="[]", tool_choice='"none"'), "torch")
    cases = [
        ([user], offer, ("body", "tools")),
        ([user, asked], Sampling(), ("body", "messages", 1)),
        ([user, user, given], Sampling(), ("body", "messages", 2)),
    ]
    for messages, sampling, loc in cases:
        with pytest.raises(InputError, match=r"torch engine calls no tools.*serve with remote") as e:
            prompts.require_no_tools(messages, sampling, "torch")
        assert e.value.loc == loc
