from __future__ import annotations

import asyncio
import math
import subprocess
import sys

import pytest

from sekisho.core.engine import Message, Sampling
from sekisho.core.errors import EngineError, EngineTimeoutError, TooLargeError
from sekisho.core.question import Option, Question
from sekisho.core.tools import ToolCall
from sekisho.serve.engines.fake import FakeEngine, Script

from .makers import GATE, serve

TALK = [Message(role="user", content="こんにちは")]


def test_torch_stays_away():
    code = "import sys, sekisho.serve.engines.fake as f; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'xllamacpp')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_same_question_gets_the_same_probabilities_in_any_order_of_options():
    turned = Question(type="choice", instructions=GATE.instructions, options=GATE.options[::-1])

    async def work(engine):
        first, again = await engine.ask("state", [GATE, GATE], 1.0)
        [other], [back] = await engine.ask("other", [GATE], 1.0), await engine.ask("state", [turned], 1.0)
        assert first == again != other
        assert math.fsum(math.exp(x) for x in first.logprobs) == pytest.approx(1, abs=1e-12)
        assert back.logprobs == pytest.approx(first.logprobs[::-1], abs=1e-12)

    serve(FakeEngine(), work)


def test_chosen_probabilities():
    script = Script(probabilities=lambda state, q: {"ALLOW": 0.9, "DENY": 0.1} if "hello" in state else None)

    async def work(engine):
        [scores] = await engine.ask("hello", [GATE], 1.0)
        assert [math.exp(x) for x in scores.logprobs] == pytest.approx([0.9, 0.1, 0.0])
        assert all(math.isfinite(x) for x in scores.logprobs)

    serve(FakeEngine(script), work)


def test_slow_failing_and_too_large():
    async def work(engine):
        engine.script.delay = 5.0
        with pytest.raises(EngineTimeoutError):
            await engine.ask("state", [GATE], 0.02)
        engine.script.error = EngineError("down")
        assert not await engine.healthy()
        with pytest.raises(EngineError, match="down"):
            await engine.ask("state", [GATE], 0.02)
        engine.script = Script()
        with pytest.raises(TooLargeError):
            await engine.ask("x" * 3000, [GATE], 1.0)

    serve(FakeEngine(), work)
    with pytest.raises(EngineError, match="not running"):
        asyncio.run(FakeEngine().ask("state", [GATE], 1.0))


def test_text_streams_stops_and_ends_at_the_limit():
    async def work(engine):
        pieces = [p async for p in engine.generate(TALK, Sampling(), 1.0)]
        assert "".join(p.text for p in pieces) == "fake: こんにちは"
        assert pieces[-1].finish == "stop"
        assert pieces[-1].output_tokens == 11
        assert all(p.finish is None for p in pieces[:-1])
        cut = [p async for p in engine.generate(TALK, Sampling(max_tokens=7), 1.0)]
        assert ("".join(p.text for p in cut), cut[-1].finish) == ("fake: こ", "length")
        stopped = [p async for p in engine.generate(TALK, Sampling(stop=("こん",)), 1.0)]
        assert ("".join(p.text for p in stopped), stopped[-1].finish) == ("fake: ", "stop")
        text = engine.generate(TALK, Sampling(), 1.0)
        await anext(text)
        assert engine.writing == 1
        await text.aclose()
        assert engine.writing == 0

    serve(FakeEngine(), work)


def test_a_binary_question():
    noul = Question(type="noul", options=(Option(key="true"), Option(key="false")))
    [scores] = serve(FakeEngine(), lambda e: e.ask("state", [noul], 1.0))
    assert len(scores.logprobs) == 2


def test_tools_are_called_when_some_are_offered():
    calls = (ToolCall(id="c", name="f", arguments="{}"),)
    tools = '[{"type":"function","function":{"name":"f"}}]'
    script = Script(calls=lambda messages: calls if messages[-1].role == "user" else ())
    given = [
        *TALK,
        Message(role="assistant", content="", calls=calls),
        Message(role="tool", content="x", call_id="c"),
    ]

    async def work(engine):
        for messages, sampling, finish, found in (
            (TALK, Sampling(tools=tools), "tool_calls", calls),
            (TALK, Sampling(tools=tools, tool_choice='"none"'), "stop", ()),
            (TALK, Sampling(), "stop", ()),
            (given, Sampling(tools=tools), "stop", ()),
        ):
            pieces = [p async for p in engine.generate(messages, sampling, 1.0)]
            assert (pieces[-1].finish, pieces[-1].calls) == (finish, found)
            assert not any(p.calls for p in pieces[:-1])

    serve(FakeEngine(script), work)
