"""The lanes over engines that really write: one that computes in virtual time for many histories, and llama.cpp for the words."""

from __future__ import annotations

import asyncio
import os
import random
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho import metrics
from sekisho.core.engine import Message, Sampling
from sekisho.core.errors import EngineError, EngineTimeoutError, OverloadedError, SekishoError
from sekisho.serve.engines.fake import FakeEngine, Script
from sekisho.serve.lanes import Lanes
from sekisho.serve.rules import Rules

from .makers import GATE, question, serve

HISTORIES = int(os.environ.get("SOAK_HISTORIES", "60"))
TEXT = "関所は江戸時代の街道に置かれた検問所である。" * 4
TALK = [Message(role="user", content="x")]
MANY = Sampling(max_tokens=10_000)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self._shift = 0.0

    def time(self) -> float:
        return super().time() + self._shift

    def _run_once(self) -> None:
        if not self._ready:
            timers = [t.when() for t in self._scheduled if not t.cancelled()]
            assert timers, "everybody waits, and nothing will ever happen"
            self._shift += max(0.0, min(timers) - self.time())
        super()._run_once()


def run(work) -> None:
    """Run a coroutine function in virtual time; whatever it left running is an error."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work())


class Watched(FakeEngine):
    """A fake engine that checks what the lanes do to it: one piece of work a slot, and never more than there are slots."""

    def __init__(self, script: Script, slots: int) -> None:
        super().__init__(script)
        self.slots, self.busy, self.most, self.begun = slots, set(), 0, 0

    def enter(self, slot) -> None:
        assert slot is not None
        assert slot not in self.busy, "two at once on one slot"
        self.busy.add(slot)
        self.begun += 1
        self.most = max(self.most, len(self.busy))
        assert self.most <= self.slots

    async def ask(self, state, questions, timeout, slot=None):
        self.enter(slot)
        try:
            return await super().ask(state, questions, timeout)
        finally:
            self.busy.discard(slot)

    async def generate(self, messages, sampling, timeout, slot=None, written=None):
        self.enter(slot)
        try:
            async for piece in super().generate(messages, sampling, timeout, slot, written):
                yield piece
        finally:
            try:
                await asyncio.sleep(self.script.delay)  # an engine lets go slowly
            finally:
                self.busy.discard(slot)


async def text_of(engine, sampling=MANY, timeout=1e6) -> str:
    pieces = [p async for p in engine.generate(TALK, sampling, timeout)]
    assert pieces[-1].finish == "stop"
    return "".join(p.text for p in pieces)


async def settled(lanes: Lanes, engine: Watched) -> None:
    """Everything is given back: no slot held, nobody waiting, nothing running."""
    await asyncio.sleep(10)
    assert lanes.status()["slots"] == {"held_rt": 0, "held_be": 0, "transfer": 0, "free": engine.slots}
    assert lanes.status()["line"] == []
    assert not engine.busy
    assert engine.writing == 0
    assert not lanes._jobs


@settings(max_examples=HISTORIES, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    slots=st.sampled_from([1, 2, 4]),
    spare=st.sampled_from([0, 2]),
    share=st.sampled_from([0, 0, 1]),
    kept=st.sampled_from([0, 1]),
    count=st.integers(1, 30),
)
def test_any_history_ends_with_every_slot_free_and_every_text_whole(seed, slots, spare, share, kept, count):
    rng = random.Random(seed)

    async def caller(lanes, engine, outcomes) -> None:
        await asyncio.sleep(rng.uniform(0, 60))
        lane = lanes.lane(rng.choice(["rt", "be", "be"]))
        timeout = rng.choice([1e6, 1e6, 5.0])
        if rng.random() < 0.5:
            work = text_of(lane, timeout=timeout)
        else:
            work = lane.ask("s", [GATE, question(3)], timeout)
        task = asyncio.create_task(work)
        if rng.random() < 0.3:
            await asyncio.sleep(rng.choice([0, rng.uniform(0, 40)]))
            task.cancel()
        if rng.random() < 0.1:
            engine.script.error = EngineError("broke")
            await asyncio.sleep(rng.uniform(0, 2))
            engine.script.error = None
        outcomes += await asyncio.gather(task, return_exceptions=True)

    async def main() -> None:
        engine = Watched(Script(text=TEXT, delay=rng.choice([0.01, 0.3, 2.0]), piece=7), slots + kept)
        lanes = Lanes(engine, Rules(slots, spare, share, 100, 100, rng.choice([1.0, 20.0]), 0.5, kept))
        await lanes.start()
        outcomes: list = []
        await asyncio.gather(*(caller(lanes, engine, outcomes) for _ in range(count)))
        assert len(outcomes) == count
        for got in outcomes:
            if isinstance(got, str):
                assert got == TEXT
            elif isinstance(got, list):
                assert len(got) == 2
            else:
                assert isinstance(got, asyncio.CancelledError | EngineError), got
        await settled(lanes, engine)
        assert len(await lanes.ask("s", [GATE], 10.0)) == 1
        await lanes.stop()

    run(main)


def test_rt_starts_at_once_and_the_batch_text_is_whole():
    async def main() -> None:
        engine = Watched(Script(text=TEXT, delay=1.0, piece=4), 1)
        lanes = Lanes(engine, Rules(slots=1))
        await lanes.start()
        loop = asyncio.get_running_loop()
        batch = asyncio.create_task(text_of(lanes.lane("be")))
        await asyncio.sleep(5.5)
        began = loop.time()
        assert len(await lanes.ask("s", [GATE], 60.0)) == 1
        assert loop.time() - began < 2.5, "one second to let go, one to answer"
        assert await batch == TEXT
        assert engine.begun == 3
        await settled(lanes, engine)

    run(main)


@pytest.mark.parametrize("lane", ["rt", "be"])
def test_no_decision_waits_for_texts_and_none_makes_room_for_it(lane):
    async def main() -> None:
        engine = Watched(Script(text=TEXT, delay=1.0, piece=4), 3)
        lanes = Lanes(engine, Rules(slots=2, kept=1))
        await lanes.start()
        loop = asyncio.get_running_loop()
        texts = [asyncio.create_task(text_of(lanes.lane(lane))) for _ in range(4)]
        await asyncio.sleep(5.5)
        assert lanes.status()["slots"] == {f"held_{lane}": 2, "free": 1} | {
            k: 0 for k in ("held_rt", "held_be", "transfer") if k != f"held_{lane}"
        }
        began = loop.time()
        assert len(await lanes.ask("s", [GATE], 60.0)) == 1
        assert loop.time() - began < 1.5, "one second to answer, and none to wait"
        assert await asyncio.gather(*texts) == [TEXT] * 4
        assert engine.begun == 5
        await settled(lanes, engine)

    run(main)


def test_batch_goes_on_under_endless_rt():
    async def main() -> None:
        engine = Watched(Script(text=TEXT, delay=1.0, piece=4), 2)
        lanes = Lanes(engine, Rules(slots=2, ageing=10.0, quantum=2.0))
        await lanes.start()
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        async def chatter() -> None:
            while not done.is_set():
                await lanes.ask("s", [GATE], 1e6)

        busy = [asyncio.create_task(chatter()) for _ in range(6)]
        texts = [asyncio.create_task(text_of(lanes.lane("be"))) for _ in range(3)]
        began, order = loop.time(), []
        for i, t in enumerate(texts):
            t.add_done_callback(lambda _, i=i: order.append(i))
        assert await asyncio.gather(*texts) == [TEXT] * 3
        assert order == [0, 1, 2]
        # 23 pieces a text, at least one a promotion, which comes within 10 s of standing still, the RT in line, and letting go.
        assert loop.time() - began < 3 * 23 * (10 + 2 + 6)
        done.set()
        await asyncio.gather(*busy)
        await settled(lanes, engine)

    run(main)


def test_a_full_queue_refuses_and_says_when_to_come_back():
    async def main() -> None:
        engine = Watched(Script(delay=3.0), 1)
        lanes = Lanes(engine, Rules(slots=1, rt_queue=1, be_queue=1))
        await lanes.start()
        asked = [asyncio.create_task(lanes.lane("be").ask("s", [GATE], 60.0)) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        status = lanes.status()
        assert status["lanes"]["be"]["waiting"] == 1
        assert status["line"][0]["lane"] == "be"
        with pytest.raises(OverloadedError) as refused:
            await lanes.lane("be").ask("s", [GATE], 60.0)
        assert refused.value.retry_after >= 1
        await lanes.ask("s", [GATE], 60.0)  # the other lane is not full
        await asyncio.gather(*asked)
        await settled(lanes, engine)

    run(main)


def test_waiting_counts_against_the_deadline():
    async def main() -> None:
        engine = Watched(Script(delay=10.0), 1)
        lanes = Lanes(engine, Rules(slots=1))
        await lanes.start()
        first = asyncio.create_task(lanes.ask("s", [GATE], 60.0))
        await asyncio.sleep(0)
        with pytest.raises(EngineTimeoutError):
            await lanes.ask("s", [GATE], 2.0)
        assert len(await first) == 1
        await settled(lanes, engine)

    run(main)


def test_batch_survives_an_engine_that_breaks_and_rt_is_told():
    async def main() -> None:
        engine = Watched(Script(text=TEXT, delay=0.1), 2)
        lanes = Lanes(engine, Rules(slots=2))
        await lanes.start()
        batch = asyncio.create_task(text_of(lanes.lane("be")))
        chat = asyncio.create_task(text_of(lanes))
        await asyncio.sleep(0.35)
        engine.script.error = EngineError("killed")
        await asyncio.sleep(0.6)
        engine.script.error = None
        assert await batch == TEXT
        with pytest.raises(EngineError, match="killed"):
            await chat
        await settled(lanes, engine)

    run(main)


def test_a_stop_of_the_engine_answers_everybody():
    async def main() -> None:
        engine = Watched(Script(text=TEXT, delay=0.1), 1)
        lanes = Lanes(engine, Rules(slots=1))
        await lanes.start()
        asked = [asyncio.create_task(text_of(lanes.lane(n))) for n in ("rt", "be", "rt", "be")]
        await asyncio.sleep(0.25)
        await lanes.stop()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(o, SekishoError) for o in outcomes)
        await settled(lanes, engine)

    run(main)


def test_what_ends_after_a_stop_leaves_the_gauges_as_they_were():
    def shown() -> dict[str, float]:
        metrics.settle()
        return {x.labels["state"]: x.value for x in metrics.LANE_SLOTS.collect()[0].samples}

    async def main() -> None:
        before = shown()
        engine = Watched(Script(text=TEXT, delay=5.0), 2)
        lanes = Lanes(engine, Rules(slots=2))
        await lanes.start()
        deciding = asyncio.create_task(lanes.lane("rt").ask("x", [question(2)], 60.0))
        writing = asyncio.create_task(text_of(lanes.lane("be")))
        await asyncio.sleep(1)
        assert lanes.status()["slots"] == {"held_rt": 1, "held_be": 1, "transfer": 0, "free": 0}
        await lanes.stop()
        await asyncio.gather(deciding, writing, return_exceptions=True)
        await settled(lanes, engine)
        assert {k: v for k, v in shown().items() if v} == {k: v for k, v in before.items() if v}

    run(main)


SAMPLINGS = {
    "greedy": Sampling(max_tokens=120, temperature=0),
    "seeded": Sampling(max_tokens=120, temperature=0.3, seed=7),
}
"""Warmer than this, the shipped base spreads its mass over so many near-equal tokens that noise of 1e-6 decides a draw (docs/log.md)."""


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("spare", [0, 2])
def test_real_texts_are_identical_when_they_made_room(nano, sampling, spare):
    """In F32: in F16 and Q8_0 llama.cpp's numbers depend a little on how many tokens it reads at once (docs/log.md)."""
    from sekisho import metrics
    from sekisho.serve.engines.llamacpp import LlamaCppEngine

    lanes = Lanes(
        LlamaCppEngine(nano, "nano", context=1024, slots=2 + spare, threads=1),
        Rules(slots=2, spare=spare, ageing=2.0),  # no kept place, so that the questions below take slots away
    )
    talks = [
        [Message(role="user", content=f"{i} The checkpoint on the old road judged everyone. " * 8)]
        for i in range(3)
    ]

    async def write(talk):
        found = [p async for p in lanes.lane("be").generate(talk, sampling, 120.0)]
        return "".join(p.text for p in found), found[-1].output_tokens, found[-1].finish

    async def work(_):
        alone = [await write(talk) for talk in talks]
        batch = [asyncio.create_task(write(talk)) for talk in talks]
        while not all(t.done() for t in batch):
            await asyncio.sleep(0.15)
            await asyncio.gather(*(lanes.ask(f"{i} hurry", [GATE], 30.0) for i in range(2)))
        assert [await t for t in batch] == alone

    before = metrics.LANE_PREEMPTIONS._value.get()
    serve(lanes, work)
    assert metrics.LANE_PREEMPTIONS._value.get() > before


def test_a_batch_text_survives_kill_9_of_the_engine(nano):
    from sekisho.serve.engines.llamacpp import LlamaCppEngine

    lanes = Lanes(LlamaCppEngine(nano, "nano", context=1024, slots=2, threads=1), Rules(slots=2))

    async def write(kill: bool) -> str:
        text = ""
        async for piece in lanes.lane("be").generate(TALK, SAMPLINGS["seeded"], 120.0):
            text += piece.text
            if kill:
                os.kill(lanes.engine.pid, signal.SIGKILL)
                kill = False
        return text

    async def work(_):
        assert await write(kill=True) == await write(kill=False)

    serve(lanes, work)
