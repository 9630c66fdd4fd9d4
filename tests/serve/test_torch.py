from __future__ import annotations

import asyncio
import math

import pytest

from sekisho.core.engine import Message, Sampling
from sekisho.core.errors import DeviceError, EngineError, EngineTimeoutError, TooLargeError
from sekisho.core.prompt import LETTERS
from sekisho.serve.engines.torch import TorchEngine
from sekisho.train.tokenizer import decision_ids

from .makers import CONTEXT, GATE, HOSTILE, question, serve

TALK = [Message(role="user", content="こんにちは")]
STATES = ["", "今日は良い天気です。", "The checkpoint judged everyone. " * 9, HOSTILE]


def direct(folder, tokenizer, state, asked):
    """The softmax over the labels from one plain, unpadded forward pass."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = model(torch.tensor([decision_ids(tokenizer, state, asked)])).logits[0, -1]
    labels = [tokenizer.token_to_id(tokenizer.encode(c).tokens[0]) for c in LETTERS[: len(asked.options)]]
    return torch.log_softmax(logits[labels].double(), -1).tolist()


def test_a_padded_batch_scores_as_single_passes_do(torch_engine, folder, tokenizer):
    asked = [GATE, question(2), question(40)]

    async def work(engine):
        for state in STATES:
            for q, scores in zip(asked, await engine.ask(state, asked, 30.0), strict=True):
                assert scores.logprobs == pytest.approx(direct(folder, tokenizer, state, q), abs=1e-4)
                assert scores.input_tokens == len(decision_ids(tokenizer, state, q))

    serve(torch_engine(), work)
    serve(torch_engine(batch_tokens=1), work)


def test_a_loaded_model_object_is_served_and_kept(folder, tokenizer):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    engine = TorchEngine("tiny", model=model, tokenizer=tokenizer, model_digest="sha256:00", context=CONTEXT)
    [scores] = serve(engine, lambda e: e.ask("state", [GATE], 30.0))
    assert scores.logprobs == pytest.approx(direct(folder, tokenizer, "state", GATE), abs=1e-4)
    assert engine.info.model_digest == "sha256:00"
    assert tokenizer.encode("<|end|>").ids == [4], "the caller's tokenizer must be left as it was"


def test_over_the_context_and_too_late(torch_engine):
    async def work(engine):
        with pytest.raises(TooLargeError):
            await engine.ask("x " * CONTEXT, [GATE], 30.0)
        with pytest.raises(TooLargeError):
            await anext(engine.generate([Message(role="user", content="x " * CONTEXT)], Sampling(), 30.0))
        with pytest.raises(EngineTimeoutError):
            await engine.ask("", [GATE] * 20, 0.0005)
        assert await engine.healthy()

    serve(torch_engine(), work)


def test_text_is_repeatable_and_honours_limit_and_stop(torch_engine):
    async def write(engine, **sampling):
        pieces = [p async for p in engine.generate(TALK, Sampling(**sampling), 30.0)]
        return "".join(p.text for p in pieces), pieces[-1]

    async def work(engine):
        first, last = await write(engine, seed=3, max_tokens=20, temperature=1.0)
        assert (first, last) == await write(engine, seed=3, max_tokens=20, temperature=1.0)
        assert last.finish in ("stop", "length")
        assert 0 < last.output_tokens <= 20
        assert last.input_tokens > 3
        stop = first[2:4]
        cut, end = await write(engine, seed=3, max_tokens=20, temperature=1.0, stop=(stop,))
        assert cut == first[: first.find(stop)]
        assert end.finish == "stop"
        await write(engine, max_tokens=3, temperature=0)

    serve(torch_engine(), work)


def test_stopping_fails_what_waits(torch_engine):
    async def work(engine):
        waiting = [asyncio.create_task(engine.ask("", [GATE] * 50, 30.0)) for _ in range(4)]
        await asyncio.sleep(0.001)
        await engine.stop()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert any(isinstance(d, EngineError) for d in done)
        with pytest.raises(EngineError):
            await engine.ask("", [GATE], 1.0)

    serve(torch_engine(), work)


def test_a_gpu_that_is_absent_ends_the_start(torch_engine, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError):
        serve(torch_engine(device="cuda"), lambda e: e.healthy())


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(EngineError):
        serve(TorchEngine("none", tmp_path), lambda e: e.healthy())
    with pytest.raises(ValueError, match="digest"):
        TorchEngine("none", model=object())


def test_probabilities_sum_to_one(torch_engine):
    [scores] = serve(torch_engine(), lambda e: e.ask("", [question(100)], 30.0))
    assert math.fsum(math.exp(x) for x in scores.logprobs) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "sampling", [Sampling(max_tokens=30, temperature=0), Sampling(max_tokens=30, seed=3)]
)
def test_a_text_can_be_taken_up_again_at_any_token(torch_engine, sampling):
    talk = [Message(role="user", content="今日は良い天気です。")]

    async def work(engine):
        whole = [p async for p in engine.generate(talk, sampling, 30.0, written=[])]
        for cut in (1, 7, len(whole) - 2):
            written = [t for p in whole[:cut] for t in p.tokens]
            rest = [p async for p in engine.generate(talk, sampling, 30.0, written=written)]
            assert rest == whole[cut:]

    serve(torch_engine(), work)
