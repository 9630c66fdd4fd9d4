"""Whose digest a judgement carries: the release's where its weights answer, and never where nobody has seen them."""

from __future__ import annotations

import asyncio

import pytest

from sekisho.core.engine import EngineInfo, Message, Sampling
from sekisho.loop.serving import stamp_of
from sekisho.serve.engines.fake import FakeEngine
from sekisho.serve.engines.reserve import Reserve
from sekisho.shelf import Release
from web import makers

RELEASE = Release(
    name="gate",
    base="sha256:0",
    adapter="sha256:1",
    recipe="sha256:2",
    data="sha256:3",
    files={},
    gguf={},
    temperatures={},
    calibration="cal_1",
    threshold=0.9,
    proof="prf_1",
    certificate={},
)


@pytest.mark.parametrize("device", ["cpu", "cuda", "remote"])
def test_a_far_models_stamp_names_its_address_and_no_adapter(tmp_path, device):
    info = EngineInfo(engine="x", model="gate", model_digest="sha256:far", context=9, device=device)
    with makers.house(tmp_path) as house:
        stamp = stamp_of(house, "sha256:release", RELEASE, info)
    far = device == "remote"
    assert stamp.model_digest == ("sha256:far" if far else "sha256:release")
    assert stamp.adapter_digest == (None if far else "sha256:1")
    assert stamp.calibration == "cal_1"


def test_what_the_fallback_answers_is_stamped_so_in_every_record(tmp_path):
    first, second = FakeEngine(name="one", context=4096), FakeEngine(name="two", context=4096)
    first.script.probabilities = second.script.probabilities = makers.sure_of("ALLOW")
    with makers.house(tmp_path) as house:
        judge = makers.judge_over(house, Reserve(first, second))

        async def ask():
            chat = await judge.chat([Message(role="user", content=makers.FAMILIAR)], Sampling(max_tokens=20))
            text = "".join([p.text async for p in chat.pieces])
            return chat.judgement, text

        here, _ = asyncio.run(ask())
        asyncio.run(first.stop())
        there, text = asyncio.run(ask())
        records = [e.record for e in house.ledger.entries(kind="judgement")]
    assert text
    assert here.stamp.engine == "fake"
    assert there.stamp.engine == "fake+fallback"
    assert there.stamp.model_digest == second.info.model_digest != first.info.model_digest
    assert [r.stamp.engine for r in records] == ["fake", "fake", "fake+fallback", "fake+fallback"]
