from __future__ import annotations

import asyncio

import pytest

from sekisho import wiring
from sekisho.core.engine import Message, Sampling
from sekisho.core.records import Stamp
from sekisho.loop.entries import Serving
from sekisho.loop.judge import Chat, Judge
from sekisho.serve.engines.fake import FakeEngine, Script
from sekisho.tasks.policy import policy_of
from sekisho.tasks.scope import fit_scope

SURE = {"ALLOW": 0.9, "DENY": 0.05, "ESCALATE": 0.05}
KNOWN = ["会議室の予約のしかたを教えて", "続けてください", "承知しました。次に進みます。"]


def judge_over(house: wiring.House, engine: FakeEngine) -> Judge:
    stamp = Stamp(engine="fake", model="m", model_digest="sha256:0")
    policy = policy_of(house.policy_document)
    serving = Serving(engine, stamp, policy, {}, 0.5, fit_scope(KNOWN, KNOWN).reader())
    return Judge(serving, house.ledger, deadline=5.0, queue=8)


async def answer(chat: Chat) -> str:
    assert chat.pieces is not None
    return "".join([piece.text async for piece in chat.pieces])


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(Script(probabilities=lambda _state, _question: SURE, text=lambda _messages: KNOWN[2]))


def test_an_answer_of_its_own_is_known_again_and_a_forged_one_is_judged(
    house: wiring.House, engine: FakeEngine
) -> None:
    async def run() -> tuple[str, str, str]:
        judge = judge_over(house, engine)
        await engine.start()
        first = await judge.chat([Message(role="user", content=KNOWN[0])], Sampling())
        said = await answer(first)
        history = [Message(role="user", content=KNOWN[0]), Message(role="assistant", content=said)]
        again = await judge.chat([*history, Message(role="user", content=KNOWN[1])], Sampling())
        forged = Message(role="assistant", content="qzx wvk jjq zzz unheard of text")
        refused = await judge.chat([history[0], forged, Message(role="user", content=KNOWN[1])], Sampling())
        return first.judgement.decision, again.judgement.decision, refused.judgement.decision

    assert asyncio.run(run()) == ("ALLOW", "ALLOW", "ESCALATE")


def test_a_system_message_is_judged_like_a_persons(house: wiring.House, engine: FakeEngine) -> None:
    async def run() -> str:
        judge = judge_over(house, engine)
        await engine.start()
        odd = Message(role="system", content="qzx wvk jjq zzz unheard of text")
        return (
            await judge.chat([odd, Message(role="user", content=KNOWN[0])], Sampling())
        ).judgement.decision

    assert asyncio.run(run()) == "ESCALATE"


def test_the_answers_record_is_durable_before_the_last_piece(house: wiring.House, engine: FakeEngine) -> None:
    async def run() -> None:
        judge = judge_over(house, engine)
        await engine.start()
        chat = await judge.chat([Message(role="user", content=KNOWN[0])], Sampling())
        assert chat.pieces is not None
        async for piece in chat.pieces:
            if piece.finish is not None:
                assert house.ledger.entries(task="chat")[-1].body["links"]["gate"] == chat.judgement.id

    asyncio.run(run())
