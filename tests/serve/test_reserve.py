"""A second far server behind the first: only when it is named, only when it is needed, and every answer says whose it is."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from sekisho.core.engine import Message, Sampling
from sekisho.core.errors import EngineError, InputError
from sekisho.serve.engines.fake import FakeEngine, Script
from sekisho.serve.engines.remote import RemoteEngine
from sekisho.serve.engines.reserve import Reserve

from .far import llama_server
from .makers import CONTEXT, GATE, serve

TALK = [Message(role="user", content="x")]
GREEDY = Sampling(max_tokens=16, temperature=0)


async def text_of(pieces):
    found = [p async for p in pieces]
    return "".join(p.text for p in found), found[-1]


class Absent(FakeEngine):
    """A server that is not there until it is told to be."""

    there = False

    async def start(self):
        if not self.there:
            raise EngineError("nobody listens")
        await super().start()


def test_the_first_is_asked_while_it_answers():
    both = Reserve(FakeEngine(name="one"), FakeEngine(name="two"))

    async def work(engine):
        (scores,) = await engine.ask("x", [GATE], 5)
        _, last = await text_of(engine.generate(TALK, GREEDY, 5))
        return scores, last

    scores, last = serve(both, work)
    assert scores.by == last.by == ("fake", both._first.info.model_digest)


def test_what_the_first_does_not_answer_the_second_does_and_says_so():
    both = Reserve(FakeEngine(Script(error=EngineError("down")), name="one"), FakeEngine(name="two"))

    async def work(engine):
        (scores,) = await engine.ask("x", [GATE], 5)
        text, last = await text_of(engine.generate(TALK, GREEDY, 5))
        return scores, text, last, await engine.healthy()

    scores, text, last, well = serve(both, work)
    assert scores.by == last.by == ("fake+fallback", both._second.info.model_digest)
    assert text
    assert well


def test_a_first_that_hangs_leaves_the_second_its_half_of_the_time():
    both = Reserve(FakeEngine(Script(delay=60), name="one"), FakeEngine(name="two"))
    (scores,) = serve(both, lambda e: e.ask("x", [GATE], 0.4))
    assert scores.by[0] == "fake+fallback"


def test_what_is_wrong_with_the_request_is_not_asked_twice():
    both = Reserve(FakeEngine(Script(error=InputError("no")), name="one"), FakeEngine(name="two"))
    with pytest.raises(InputError):
        serve(both, lambda e: e.ask("x", [GATE], 5))
    assert both._second.asked == 0


def test_a_text_that_has_begun_is_not_begun_elsewhere():
    class Breaking(FakeEngine):
        async def generate(self, *args, **more):
            async for piece in super().generate(*args, **more):
                yield piece
                raise EngineError("broke")

    both = Reserve(Breaking(name="one"), FakeEngine(name="two"))
    with pytest.raises(EngineError, match="broke"):
        serve(both, lambda e: text_of(e.generate(TALK, GREEDY, 5)))


def test_a_first_that_comes_later_is_taken_up_and_a_missing_second_ends_the_start():
    first = Absent(name="one")

    async def work(engine):
        (before,) = await engine.ask("x", [GATE], 5)
        first.there = True
        await asyncio.sleep(0.1)
        (after,) = await engine.ask("x", [GATE], 5)
        return before.by[0], after.by[0]

    assert serve(Reserve(first, FakeEngine(name="two"), again=0.01), work) == ("fake+fallback", "fake")
    with pytest.raises(EngineError, match="nobody"):
        serve(Reserve(FakeEngine(name="one"), Absent(name="two")), work)


def test_two_real_servers_of_which_one_is_killed(nano):
    with llama_server(nano, CONTEXT) as kept, contextlib.ExitStack() as other:
        lost = other.enter_context(llama_server(nano, CONTEXT))
        far = [RemoteEngine(a, "far", context=CONTEXT, decisions="logprobs") for a in (lost, kept)]

        async def work(engine):
            (before,) = await engine.ask("x", [GATE], 20)
            other.close()
            (after,) = await engine.ask("x", [GATE], 20)
            return before, after

        before, after = serve(Reserve(*far), work)
        assert before.by == ("remote/logprobs", far[0].info.model_digest)
        assert after.by == ("remote/logprobs+fallback", far[1].info.model_digest)
        assert after.logprobs == pytest.approx(before.logprobs, abs=1e-3)
