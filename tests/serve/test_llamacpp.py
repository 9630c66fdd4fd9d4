from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import time
from dataclasses import replace

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.engine import Message, Sampling
from sekisho.core.errors import DeviceError, EngineError, EngineTimeoutError, InputError, TooLargeError
from sekisho.core.prompt import SPECIAL
from sekisho.serve import prompts
from sekisho.serve.engines import wire
from sekisho.serve.engines.llamacpp import LlamaCppEngine
from sekisho.serve.vocabulary import Vocabulary
from sekisho.train.tokenizer import encode_plain

from .makers import CONTEXT, GATE, HOSTILE, Live, question, serve

TALK = [Message(role="system", content="短く。"), Message(role="user", content="今日は良い天気です。")]
STATES = ["", "今日は良い天気です。", "The checkpoint judged everyone. " * 9, HOSTILE, "a\x00b\r\n\t 👩‍👩‍👧 "]


@pytest.fixture(scope="module")
def live(gguf_file):
    served = Live(LlamaCppEngine(gguf_file, "tiny", context=CONTEXT, slots=2, threads=1))
    yield served
    served.close()


def worst(ours, theirs) -> float:
    """Largest difference of a probability."""
    pairs = [
        (a, b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x.logprobs, y.logprobs, strict=True)
    ]
    return max(abs(math.exp(a) - math.exp(b)) for a, b in pairs)


def test_probabilities_equal_transformers(live, torch_engine):
    asked = [GATE, question(2), question(26), question(70)]

    async def work(engine):
        return [await engine.ask(s, asked, 30.0) for s in STATES]

    ours, theirs = live.wait(work(live.engine)), serve(torch_engine(), work)
    for mine, reference in zip(ours, theirs, strict=True):
        assert worst(mine, reference) < 1e-4
        assert [s.input_tokens for s in mine] == [s.input_tokens for s in reference]
    spread = [math.exp(x) for x in ours[0][0].logprobs]
    assert max(spread) - min(spread) > 0.05, "near-uniform answers would make this comparison empty"


def test_half_precision_file_stays_within_a_thousandth(folder, tmp_path, torch_engine):
    from sekisho.weights.gguf import export_gguf

    engine = LlamaCppEngine(
        export_gguf(folder, tmp_path / "half.gguf", "f16"), "half", context=CONTEXT, threads=1
    )

    async def work(engine):
        return [await engine.ask(s, [GATE, question(9)], 30.0) for s in STATES]

    for ours, theirs in zip(serve(engine, work), serve(torch_engine(), work), strict=True):
        assert worst(ours, theirs) < 1e-3


@pytest.mark.skipif(sys.platform != "linux", reason="a process is bound to cores on Linux alone")
@pytest.mark.parametrize("core", [min, max])
def test_the_child_keeps_to_the_cores_it_is_given_with_every_thread(llamacpp, core):
    one = core(os.sched_getaffinity(0))

    async def bound(engine):
        await engine.ask("今日は", [question(2)], 60.0)
        return [os.sched_getaffinity(t.id) for t in psutil.Process(engine.pid).threads()]

    found = serve(llamacpp(cores=(one,)), bound)
    assert len(found) > 3
    assert all(threads == {one} for threads in found)
    assert one in os.sched_getaffinity(0)


def test_255_options(llamacpp, torch_engine):
    async def work(engine):
        return await engine.ask("今日は", [question(255)], 60.0)

    ours, theirs = serve(llamacpp(context=2048), work), serve(torch_engine(context=2048), work)
    assert len(ours[0].logprobs) == 255
    assert math.fsum(math.exp(x) for x in ours[0].logprobs) == pytest.approx(1, abs=1e-12)
    assert worst(ours, theirs) < 1e-4
    assert max(abs(a - b) for a, b in zip(ours[0].logprobs, theirs[0].logprobs, strict=True)) < 1e-3


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from([*SPECIAL, "<", "|", ">", "end", "日本", "a", " ", "\n", "é", "1"])
        | st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=5)
    ).map("".join)
)
def test_tokens_equal_the_tokenizers_and_are_never_special(live, tokenizer, text):
    ids = live.wait(live.engine._tongue.cut(prompts.plain_pieces(text)))
    assert not any(i < len(SPECIAL) for i in ids)
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert ids == encode_plain(tokenizer, text)
    assert live.wait(live.engine.count(text)) == len(ids)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from([*SPECIAL, "<", "|>", "日本", " ", "\n"])
        | st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=5)
    ).map("".join)
)
def test_a_question_goes_over_as_text_or_as_tokens_with_the_same_answer(live, text):
    async def work(engine):
        as_text = (await engine.ask(text, [GATE], 30.0))[0]
        whole, engine._tongue.vocabulary = engine._tongue.vocabulary, None
        try:
            return as_text, (await engine.ask(text, [GATE], 30.0))[0]
        finally:
            engine._tongue.vocabulary = whole

    as_text, as_tokens = live.wait(work(live.engine))
    assert as_text.input_tokens == as_tokens.input_tokens
    assert as_text.logprobs == pytest.approx(as_tokens.logprobs, abs=1e-4)


def test_a_control_token_of_another_family_in_a_text_is_no_control_token(live):
    """The tiny vocabulary has none but the house's, which are cut apart; here one of them is spelt as another family's."""

    async def work(engine):
        vocabulary, tokenizer = engine._tongue.vocabulary, engine._tongue.tokenizer
        engine._tongue.vocabulary, engine._tongue.tokenizer = Vocabulary([], ["[INST]"]), None
        try:
            marked = await engine._decision_prompt("a [INST] b", GATE)
            plain = await engine._decision_prompt("a INST b", GATE)
        finally:
            engine._tongue.vocabulary, engine._tongue.tokenizer = vocabulary, tokenizer
        return marked, plain

    marked, plain = live.wait(work(live.engine))
    assert all(isinstance(p, int) for p in marked)
    assert not all(isinstance(p, int) for p in plain)


def test_a_prompt_fits_to_the_last_token_and_is_never_cut(live):
    async def work(engine):
        base = (await engine.ask("", [GATE], 30.0))[0].input_tokens
        fits = "a" * (CONTEXT - 1 - base)
        fits = fits + "a" * (CONTEXT - 1 - (await engine.ask(fits, [GATE], 30.0))[0].input_tokens)
        assert (await engine.ask(fits, [GATE], 30.0))[0].input_tokens == CONTEXT - 1
        with pytest.raises(TooLargeError):
            await engine.ask(fits + "a", [GATE], 30.0)
        with pytest.raises(TooLargeError):
            await anext(engine.generate([Message(role="user", content="a" * CONTEXT)], Sampling(), 30.0))

    live.wait(work(live.engine))


def test_bad_input_is_named(live):
    with pytest.raises(InputError):
        live.wait(live.engine.ask("\ud800", [GATE], 5.0))
    with pytest.raises(TooLargeError):
        live.wait(live.engine.ask("", [question(256)], 5.0))
    assert live.wait(live.engine.ask("", [], 5.0)) == []


def test_many_callers_get_their_own_answers_and_in_order(live):
    states = [f"request {i}" for i in range(24)]
    finished: list[str] = []

    async def one(engine, state):
        scores = await engine.ask(state, [GATE, question(3)], 30.0)
        finished.append(state)
        return scores

    async def work(engine):
        alone = [await engine.ask(s, [GATE, question(3)], 30.0) for s in states]
        together = await asyncio.gather(*(one(engine, s) for s in states))
        assert all(worst(a, b) < 1e-5 for a, b in zip(alone, together, strict=True))
        assert all(abs(finished.index(s) - i) <= 3 for i, s in enumerate(states))

    live.wait(work(live.engine))


def test_too_late_is_an_error_and_leaves_no_slot_behind(llamacpp):
    async def work(engine):
        answers = await asyncio.gather(
            *(engine.ask("x " * 90, [question(20)] * 8, 0.0001 * i) for i in range(30)),
            return_exceptions=True,
        )
        assert any(isinstance(a, EngineTimeoutError) for a in answers)
        assert all(isinstance(a, list | EngineTimeoutError) for a in answers)
        assert len(await engine.ask("", [GATE], 5.0)) == 1

    serve(llamacpp(slots=1), work)


def test_a_child_that_hangs_is_late_and_unwell(llamacpp):
    async def work(engine):
        child = psutil.Process(engine.pid)
        child.suspend()
        with pytest.raises(EngineTimeoutError):
            await engine.ask("", [GATE], 0.3)
        assert not await engine.healthy()
        child.resume()
        assert len(await engine.ask("", [GATE], 5.0)) == 1
        assert await engine.healthy()

    serve(llamacpp(slots=1), work)


async def write(engine, **sampling):
    pieces = [p async for p in engine.generate(TALK, Sampling(**sampling), 30.0)]
    assert all(p.finish is None for p in pieces[:-1])
    assert pieces[-1].finish is not None
    return "".join(p.text for p in pieces), pieces[-1]


def test_greedy_text_equals_transformers(live, torch_engine):
    ours = live.wait(write(live.engine, temperature=0, max_tokens=40))
    theirs = serve(torch_engine(), lambda e: write(e, temperature=0, max_tokens=40))
    assert ours[0].rstrip("\ufffd") == theirs[0].rstrip("\ufffd")
    assert ours[1].model_dump(exclude={"text"}) == theirs[1].model_dump(exclude={"text"})
    assert len(ours[0]) > 10


def test_seed_stop_limit_and_end(live):
    async def work(engine):
        first, last = await write(engine, seed=5, max_tokens=30)
        assert (first, last) == await write(engine, seed=5, max_tokens=30)
        assert first != (await write(engine, seed=6, max_tokens=30))[0]
        stop = max(first.split("\ufffd"), key=len)[1:3]
        assert len(stop) == 2
        cut, end = await write(engine, seed=5, max_tokens=30, stop=(stop,))
        assert (cut, end.finish) == (first[: first.find(stop)], "stop")
        assert (await write(engine, max_tokens=1, temperature=0))[1].output_tokens == 1
        texts = [await write(engine, seed=s, max_tokens=60, temperature=3.0) for s in range(40)]
        assert {end.finish for _, end in texts} == {"stop", "length"}
        assert not any(s in text for text, _ in texts for s in SPECIAL)

    live.wait(work(live.engine))


def test_closing_a_text_frees_the_slot(llamacpp):
    async def work(engine):
        text = engine.generate(TALK, Sampling(max_tokens=100_000, temperature=0), 30.0)
        await anext(text)
        waiting = asyncio.create_task(write(engine, max_tokens=2))
        await asyncio.sleep(0.01)
        await text.aclose()
        assert (await waiting)[1].output_tokens <= 2
        slots = (await engine._supervisor.client.get("/slots")).json()
        assert [s["is_processing"] for s in slots] == [False, False]

    serve(llamacpp(slots=1, context=2048), work)


def test_texts_never_keep_a_decision_waiting(llamacpp):
    async def work(engine):
        texts = [
            engine.generate(TALK, Sampling(max_tokens=100_000, temperature=0, seed=i), 60.0) for i in (1, 2)
        ]
        first = [asyncio.create_task(anext(t)) for t in texts]
        await first[0]
        assert len(await engine.ask("", [GATE], 5.0)) == 1
        done, _ = await asyncio.wait([first[1]], timeout=0.05)
        assert not done, "the second text waits for the first"
        await texts[0].aclose()
        assert (await first[1]).text
        await texts[1].aclose()

    serve(llamacpp(slots=1, context=2048), work)


def test_a_text_that_takes_too_long(llamacpp):
    async def work(engine):
        text = engine.generate(TALK, Sampling(max_tokens=200, temperature=0), 0.3)
        await anext(text)
        child = psutil.Process(engine.pid)
        child.suspend()
        with pytest.raises(EngineTimeoutError):
            async for _ in text:
                pass
        child.resume()
        assert len(await engine.ask("", [GATE], 5.0)) == 1

    serve(llamacpp(slots=1, context=2048), work)


async def until_well(engine) -> None:
    async with asyncio.timeout(20):
        while not await engine.healthy():
            await asyncio.sleep(0.02)


def test_a_killed_child_fails_its_requests_and_is_replaced(llamacpp):
    async def work(engine):
        before, old = await engine.ask("state", [GATE], 5.0), engine.pid
        asked = [asyncio.create_task(engine.ask("x " * 99, [question(20)] * 10, 20.0)) for _ in range(12)]
        text = asyncio.create_task(write(engine, max_tokens=2000, temperature=0))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        os.kill(old, signal.SIGKILL)
        done = await asyncio.gather(*asked, text, return_exceptions=True)
        assert time.monotonic() - began < 3
        assert any(isinstance(d, EngineError) for d in done)
        assert all(isinstance(d, list | tuple | EngineError) for d in done)
        assert not any(isinstance(d, EngineTimeoutError) for d in done)
        await until_well(engine)
        assert engine.pid != old
        assert worst(await engine.ask("state", [GATE], 5.0), before) < 1e-6

    serve(llamacpp(context=2048), work)


def test_a_child_killed_while_loading_is_started_again(llamacpp):
    async def main():
        engine = llamacpp(model_digest="sha256:00")
        seen = {c.pid for c in psutil.Process().children()}
        starting = asyncio.create_task(engine.start())
        while not (fresh := [c for c in psutil.Process().children() if c.pid not in seen]):
            await asyncio.sleep(0.001)
        fresh[0].kill()
        await starting
        assert engine.pid != fresh[0].pid
        assert await engine.healthy()
        await engine.stop()
        assert not psutil.pid_exists(fresh[0].pid)

    asyncio.run(main())


def test_restarts_are_bounded(llamacpp):
    async def work(engine):
        first = engine.pid
        for _ in range(2):
            old = engine.pid
            os.kill(old, signal.SIGKILL)
            while engine.pid == old:
                await asyncio.sleep(0.005)
            with pytest.raises(EngineError, match="not running"):
                await engine.ask("", [GATE], 5.0)
            if old == first:
                await until_well(engine)
        await asyncio.sleep(1.0)
        assert engine.pid is None
        with pytest.raises(EngineError, match="not be started again"):
            await engine.ask("", [GATE], 5.0)
        assert not await engine.healthy()

    serve(llamacpp(restarts=1), work)


def test_a_child_that_cannot_be_started_for_a_while_is_tried_again(llamacpp, monkeypatch):
    async def work(engine):
        old = engine.pid
        monkeypatch.setattr("sys.executable", "/nowhere/python")
        os.kill(old, signal.SIGKILL)
        while engine.pid == old:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.5)
        assert engine.pid is None
        monkeypatch.undo()
        await until_well(engine)
        assert len(await engine.ask("", [GATE], 5.0)) == 1

    serve(llamacpp(), work)


def test_a_child_that_can_never_be_started_says_why(llamacpp, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(EngineError, match="could not be started"):
        serve(llamacpp(restarts=0), lambda e: e.healthy())


def test_a_gpu_that_goes_away_is_said_and_the_stop_is_clean(llamacpp):
    import xllamacpp

    if any(int(d["type"]) in (1, 2) for d in xllamacpp.get_device_info()):
        pytest.skip("there is a GPU here")

    async def work(engine):
        engine._supervisor._launch = replace(engine._launch, device="cuda")
        os.kill(engine.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while not engine._supervisor._guard.done():
                await asyncio.sleep(0.02)
        with pytest.raises(EngineError, match=r"no GPU.*not be started again"):
            await engine.ask("", [GATE], 5.0)

    serve(llamacpp(), work)


def test_after_stop_there_is_nothing(llamacpp):
    async def main():
        engine = llamacpp()
        with pytest.raises(EngineError):
            await engine.ask("", [GATE], 1.0)
        await engine.start()
        pid = engine.pid
        assert engine.info.model_digest.startswith("sha256:")
        await engine.stop()
        await engine.stop()
        assert not psutil.pid_exists(pid)
        with pytest.raises(EngineError, match="stopped"):
            await engine.ask("", [GATE], 1.0)
        with pytest.raises(EngineError):
            await anext(engine.generate(TALK, Sampling(), 1.0))

    asyncio.run(main())


def test_what_cannot_be_served_says_why(llamacpp, tmp_path):
    (tmp_path / "bad.gguf").write_text("garbage")
    cases = [
        (LlamaCppEngine(tmp_path / "bad.gguf", "bad"), EngineError, "invalid magic"),
        (LlamaCppEngine(tmp_path / "none.gguf", "none"), EngineError, "cannot be read"),
        (llamacpp(context=4096), EngineError, "carries 2048"),
    ]
    for engine, error, words in cases:
        with pytest.raises(error, match=words):
            serve(engine, lambda e: e.healthy())
        assert engine.pid is None


def test_a_gpu_that_is_absent_ends_the_start(llamacpp):
    import xllamacpp

    if any(int(d["type"]) in (1, 2) for d in xllamacpp.get_device_info()):
        pytest.skip("there is a GPU here")
    with pytest.raises(DeviceError, match="no GPU"):
        serve(llamacpp(device="cuda"), lambda e: e.healthy())


def reply(*entries):
    return {"completion_probabilities": [{"top_probs": [{"id": i, "prob": p} for i, p in entries]}]}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"completion_probabilities": []},
        reply((5, 1.0)),
        reply((5, 0.5), (7, 0.5)),
        reply((5, 0.5), (6, 0.2)),
        reply((5, float("nan")), (6, 0.5)),
        reply((5, 1.5), (6, -0.5)),
        reply((5, None), (6, 0.5)),
    ],
)
def test_an_answer_without_every_label_is_no_answer(answer):
    with pytest.raises(EngineError):
        wire.label_logprobs(answer, [5, 6])


def test_a_label_that_underflowed_stays_finite():
    values = wire.label_logprobs(reply((6, 0.0), (5, 1.0)), [5, 6])
    assert values[0] == pytest.approx(0)
    assert values[1] == pytest.approx(-103, abs=1)
