from __future__ import annotations

import asyncio
import json
import math
import os

import pytest

from sekisho.core.engine import Message, Sampling
from sekisho.core.errors import EngineError, TooLargeError
from sekisho.core.question import Option, Question, gate_question
from sekisho.core.tools import ToolCall, as_text
from sekisho.serve.engines.remote import RemoteEngine
from sekisho.serve.lanes import Lanes
from sekisho.serve.rules import Rules

from .caller import MARK, TEMPLATE, caller_model
from .conftest import ROOT
from .far import llama_server, transformers_server
from .makers import CONTEXT

SCORE = Question(
    type="score",
    instructions="How?",
    options=tuple(Option(key=str(i), description=f"Level {i}.") for i in range(4)),
)
NOUL = Question(type="noul", instructions="Is it?", options=(Option(key="true"), Option(key="false")))
QUESTIONS = [gate_question(), SCORE, NOUL]
STATE = "今日は良い天気です。 The checkpoint judged everyone."
TALK = [Message(role="user", content="The checkpoint")]
GREEDY = Sampling(max_tokens=24, temperature=0)


@pytest.fixture(scope="module")
def decider(folder, tmp_path_factory):
    """The tiny model as a decision model with fitted temperatures, behind a stock llama.cpp server."""
    from sekisho.weights.decision import DecisionMeta
    from sekisho.weights.gguf import export_gguf

    file = tmp_path_factory.mktemp("far") / "decider.gguf"
    meta = DecisionMeta(temperature={"choice": 2.0, "score": 3.0, "noul": 0.5})
    with llama_server(export_gguf(folder, file, "f32", meta), CONTEXT) as address:
        yield address


@pytest.fixture(scope="module")
def plain(nano):
    """The model that ships, as an ordinary chat model."""
    with llama_server(nano, CONTEXT) as address:
        yield address


@pytest.fixture(scope="module")
def caller(tmp_path_factory):
    """A model that calls tools, with a template that tells them."""
    folder = tmp_path_factory.mktemp("caller") / "model"
    with llama_server(caller_model(ROOT / "models" / "nano", folder), CONTEXT, TEMPLATE) as address:
        yield address


HOURS = {
    "type": "function",
    "function": {
        "name": "opening_hours",
        "description": "When is a place open?",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "enum": ["図書館", "museum"]},
                "day": {"type": "integer"},
            },
            "required": ["place", "day"],
        },
    },
}
OTHER = {
    "type": "function",
    "function": {"name": "other", "parameters": {"type": "object", "properties": {}}},
}
NAMED = {"type": "function", "function": {"name": "opening_hours"}}


def offering(choice=None, tools=(HOURS, OTHER), **more):
    told = None if choice is None else as_text(choice)
    return Sampling(
        **{"max_tokens": 120, "temperature": 0, "tools": as_text(list(tools)), "tool_choice": told, **more}
    )


def within(engine, work):
    async def live():
        await engine.start()
        try:
            return await work(engine)
        finally:
            await engine.stop()

    return asyncio.run(live())


async def text_of(pieces):
    found = [p async for p in pieces]
    return "".join(p.text for p in found), found[-1]


def test_a_decision_model_is_asked_natively_and_nothing_is_calibrated_twice(decider, llamacpp):
    temperatures = {"choice": 2.0, "score": 3.0, "noul": 0.5}
    far = RemoteEngine(decider, "far", temperatures=temperatures, context=CONTEXT)
    found = within(far, lambda e: e.ask(STATE, QUESTIONS, 20))
    near = within(llamacpp(), lambda e: e.ask(STATE, QUESTIONS, 20))
    assert far.info.engine == "remote/systemone"
    for a, b in zip(found, near, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=5e-3)


def test_an_ordinary_model_is_read_by_its_log_probabilities(plain):
    far = RemoteEngine(plain, "far", context=CONTEXT)
    scores = within(far, lambda e: e.ask(STATE, [NOUL, NOUL], 20))
    assert far.info.engine == "remote/logprobs"
    assert math.fsum(map(math.exp, scores[0].logprobs)) == pytest.approx(1)
    assert scores[0].logprobs == pytest.approx(scores[1].logprobs, abs=1e-3)
    assert scores[0].input_tokens > 10


def test_a_forced_choice_is_only_taken_when_named_and_says_what_is_lost(plain, caplog):
    far = RemoteEngine(plain, "far", decisions="choice", context=CONTEXT)
    (scores,) = within(far, lambda e: e.ask(STATE, [gate_question()], 20))
    assert far.info.engine == "remote/choice"
    assert sorted(map(math.exp, scores.logprobs)) == pytest.approx([0.25, 0.25, 0.5])
    assert "no probabilities" in caplog.text


def test_a_way_that_was_named_is_the_only_one(plain):
    with pytest.raises(EngineError, match="no probabilities"):
        within(RemoteEngine(plain, "far", decisions="systemone"), lambda e: e.healthy())


def test_a_model_that_is_not_there_is_named_with_those_that_are(plain):
    with pytest.raises(EngineError, match="lists these models"):
        within(RemoteEngine(plain, "far", model="other"), lambda e: e.healthy())


def test_texts_stream_end_and_can_be_taken_up_again(plain):
    async def work(engine):
        whole, last = await text_of(engine.generate(TALK, GREEDY, 20))
        known = tuple(map(ord, whole[: len(whole) // 2]))
        rest, _ = await text_of(engine.generate(TALK, GREEDY, 20, None, known))
        return whole, rest, last, await engine.healthy(), await engine.count("The checkpoint")

    whole, rest, last, well, tokens = within(RemoteEngine(plain, "far", context=CONTEXT), work)
    assert whole[len(whole) // 2 :] == rest
    assert last.finish in ("stop", "length")
    assert last.output_tokens > 0
    assert well
    assert 0 < tokens <= len("The checkpoint")


def test_a_text_that_does_not_come_out_the_same_is_no_text(plain):
    work = RemoteEngine(plain, "far", context=CONTEXT)
    with pytest.raises(EngineError, match="same text"):
        within(
            work, lambda e: text_of(e.generate(TALK, GREEDY, 20, None, tuple(map(ord, "no such beginning"))))
        )


def test_a_prompt_over_the_context_is_too_large(plain):
    far = RemoteEngine(plain, "far", context=CONTEXT)
    with pytest.raises(TooLargeError):
        within(far, lambda e: text_of(e.generate([Message(role="user", content="関所 " * 5000)], GREEDY, 20)))


def test_both_lanes_run_over_it(plain):
    async def work(lanes):
        be = asyncio.create_task(text_of(lanes.lane("be").generate(TALK, GREEDY, 30)))
        await asyncio.sleep(0.01)
        rt = await text_of(lanes.generate(TALK, GREEDY, 30))
        return rt[0], (await be)[0]

    rt, be = within(Lanes(RemoteEngine(plain, "far", context=CONTEXT), Rules(slots=1)), work)
    assert rt == be != ""


def test_a_server_that_dies_is_an_engine_error_and_the_circuit_opens(nano):
    async def work(engine):
        context.__exit__(None, None, None)
        told = []
        for _ in range(3):
            with pytest.raises(EngineError) as e:
                await engine.ask(STATE, [NOUL], 3)
            told.append(str(e.value))
        return told, await engine.healthy()

    context = llama_server(nano, CONTEXT)
    told, well = within(RemoteEngine(context.__enter__(), "far", context=CONTEXT), work)
    assert "broke" in told[0]
    assert "too often" in told[-1]
    assert not well


@pytest.mark.skipif(
    not os.environ.get("FAR_TRANSFORMERS"), reason="takes a minute to start; `make soak` runs it"
)
def test_transformers_serve_is_asked_natively(folder, tmp_path, llamacpp):
    import shutil

    from sekisho.weights.decision import DecisionMeta, write_decision_files

    copied = tmp_path / "far"
    shutil.copytree(folder, copied)
    write_decision_files(copied, DecisionMeta())
    with transformers_server(copied) as address:
        far = RemoteEngine(address, "far", model=str(copied), context=CONTEXT)

        async def work(engine):
            return await engine.ask(STATE, QUESTIONS, 60), await text_of(engine.generate(TALK, GREEDY, 60))

        found, (text, last) = within(far, work)
        near = within(llamacpp(), lambda e: e.ask(STATE, QUESTIONS, 20))
    assert far.info.engine == "remote/systemone"
    for a, b in zip(found, near, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=5e-3)
    assert text
    assert last.finish in ("stop", "length")


@pytest.mark.parametrize("choice", ["required", NAMED, "auto", None])
def test_a_real_server_calls_a_tool_that_was_offered(caller, choice):
    tools = (HOURS, OTHER) if choice == NAMED else (HOURS,)
    far = RemoteEngine(caller, "far", context=CONTEXT)
    text, last = within(far, lambda e: text_of(e.generate(TALK, offering(choice, tools), 30)))
    (call,) = last.calls
    assert (text, last.finish, call.name) == ("", "tool_calls", "opening_hours")
    told = json.loads(call.arguments)
    assert set(told) == {"place", "day"}
    assert told["place"] in ("図書館", "museum")
    assert isinstance(told["day"], int)
    assert call.id
    assert last.output_tokens > 0


def test_a_real_server_reads_calls_and_results_and_answers_in_words(caller):
    calls = (ToolCall(id="of the client", name="other", arguments='{"a":"<|end|>"}'),)
    talk = [
        *TALK,
        Message(role="assistant", content="", calls=calls),
        Message(role="tool", content="Ten to five.", call_id="of the client"),
    ]

    async def work(engine):
        whole = await text_of(engine.generate(talk, offering("none"), 30))
        plain = await text_of(engine.generate(TALK, offering("none"), 30))
        again = await text_of(engine.generate(talk, offering("required"), 30))
        return whole, plain, again

    whole, plain, again = within(RemoteEngine(caller, "far", context=CONTEXT), work)
    assert (whole[0], whole[1].finish, whole[1].calls) == (MARK, "stop", ())
    assert whole[1].input_tokens > plain[1].input_tokens + 10
    assert again[1].finish == "tool_calls"


def test_a_call_that_a_real_server_cuts_off_is_no_call(caller):
    far = RemoteEngine(caller, "far", context=CONTEXT)
    with pytest.raises(EngineError, match="no JSON object"):
        within(far, lambda e: text_of(e.generate(TALK, offering("required", (HOURS,), max_tokens=20), 30)))


def test_a_real_server_that_is_told_of_no_tools_is_found_out(plain):
    """The model that ships has a template without a word of tools, and llama.cpp then drops them."""
    far = RemoteEngine(plain, "far", context=CONTEXT)
    with pytest.raises(EngineError, match="called none"):
        within(far, lambda e: text_of(e.generate(TALK, offering("required"), 30)))


def test_calls_come_through_both_lanes(caller):
    async def work(lanes):
        be = asyncio.create_task(text_of(lanes.lane("be").generate(TALK, offering(), 30)))
        await asyncio.sleep(0.005)
        rt = await text_of(lanes.generate(TALK, offering(), 30))
        return rt[1], (await be)[1]

    rt, be = within(Lanes(RemoteEngine(caller, "far", context=CONTEXT), Rules(slots=1)), work)
    assert [c.name for c in rt.calls] == [c.name for c in be.calls] != []
    assert rt.finish == be.finish == "tool_calls"


class Told:
    """A link to a far server that says what it was told to, and remembers what it was asked."""

    def __init__(self, *events):
        self.told, self.asked = events, None

    async def events(self, path, body, deadline):
        self.asked = body
        for event in self.told:
            yield event


def test_text_and_calls_in_one_answer_and_what_was_sent():
    def event(finish=None, **delta):
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    def call(**function):
        return {"index": 0, "function": function}

    link = Told(
        event(role="assistant", content=None),
        event(content="Let me "),
        event(content="look."),
        event(tool_calls=[{**call(name="other", arguments=""), "id": "c9"}]),
        event(tool_calls=[call(arguments='{"a"')]),
        event(tool_calls=[call(arguments=": 1}")]),
        event("stop"),
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}},
    )
    far = RemoteEngine("http://x", "far", link=link)

    async def work():
        return [p async for p in far.generate(TALK, offering("auto", parallel_calls=True), 5)]

    pieces = asyncio.run(work())
    assert [p.text for p in pieces] == ["Let me ", "look.", ""]
    assert not any(p.calls for p in pieces[:-1])
    assert pieces[-1].calls == (ToolCall(id="c9", name="other", arguments='{"a":1}'),)
    assert (pieces[-1].finish, pieces[-1].input_tokens, pieces[-1].output_tokens) == ("tool_calls", 7, 5)
    assert link.asked["tools"] == [HOURS, OTHER]
    assert (link.asked["tool_choice"], link.asked["parallel_tool_calls"]) == ("auto", True)
