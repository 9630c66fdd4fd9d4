from __future__ import annotations

import asyncio
import math
import os

import pytest

from sekisho.core.engine import Message, Sampling
from sekisho.core.errors import EngineError, TooLargeError
from sekisho.core.question import Option, Question, gate_question
from sekisho.serve.engines.remote import RemoteEngine
from sekisho.serve.lanes import Lanes
from sekisho.serve.rules import Rules

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
