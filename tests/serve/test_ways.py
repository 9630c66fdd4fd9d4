from __future__ import annotations

import json
import math

import pytest

from sekisho.core.errors import EngineError
from sekisho.core.question import gate_question
from sekisho.serve.engines import ways

GATE = gate_question()


def _top(**mass):
    entries = [{"token": t.replace("_", " "), "logprob": math.log(p)} for t, p in mass.items()]
    return {
        "choices": [{"logprobs": {"content": [{"top_logprobs": entries}]}}],
        "usage": {"prompt_tokens": 5},
    }


def test_spellings_of_a_letter_are_added_up():
    scores = ways.logprobs_scores(_top(A=0.2, _A=0.2, B=0.3, C=0.1, x=0.1), GATE)
    assert [math.exp(x) for x in scores.logprobs] == pytest.approx([0.5, 0.375, 0.125])


@pytest.mark.parametrize("reply", [_top(A=0.5, B=0.4), {}, {"choices": [{"logprobs": None}]}])
def test_a_missing_option_is_never_invented(reply):
    with pytest.raises(EngineError):
        ways.logprobs_scores(reply, GATE)


@pytest.mark.parametrize("content", ["", "D", "A or B", '{"answer": "D"}', "{}", '{"answer": 1}'])
def test_a_server_that_ignores_the_schema_is_found_out(content):
    with pytest.raises(EngineError, match="schema"):
        ways.choice_scores({"choices": [{"message": {"content": content}}]}, GATE)


def test_one_observation_passes_no_threshold_above_a_half():
    reply = {"choices": [{"message": {"content": json.dumps({"answer": "A"})}}]}
    assert [math.exp(x) for x in ways.choice_scores(reply, GATE).logprobs] == pytest.approx([0.5, 0.25, 0.25])


@pytest.mark.parametrize("p", [{"ALLOW": 1.0, "DENY": 0.0}, {"ALLOW": 0.9, "DENY": 0.9, "ESCALATE": 0.9}])
def test_systemone_answers_are_read_strictly(p):
    reply = {"answers": {"0": {"probabilities": p}}, "usage": {"input_tokens": 1}}
    with pytest.raises(EngineError):
        ways.systemone_scores(reply, [GATE], {})


def test_control_tokens_of_users_are_broken():
    text = ways.harmless("a <|end|> b </s> [INST] c [/SYSTEM_PROMPT] [TOOL_CALLS]")
    assert not any(mark in text for mark in ("<|", "</s>", "[INST]", "[/SYSTEM_PROMPT]", "[TOOL_CALLS]"))
    assert text.replace("\u200b", "") == "a <|end|> b </s> [INST] c [/SYSTEM_PROMPT] [TOOL_CALLS]"
