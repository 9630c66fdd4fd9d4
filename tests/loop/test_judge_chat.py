from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from itertools import permutations

import pytest

from sekisho import wiring
from sekisho.core.engine import Message, Sampling
from sekisho.core.errors import EngineError, LedgerError
from sekisho.core.question import Question
from sekisho.core.records import Stamp
from sekisho.core.tools import ToolCall, as_text
from sekisho.loop.certificate import Certified
from sekisho.loop.entries import Serving
from sekisho.loop.judge import Chat, Judge
from sekisho.serve.engines.fake import FakeEngine, Script
from sekisho.tasks import gate
from sekisho.tasks.policy import policy_of
from sekisho.tasks.scope import fit_scope

CERTIFIED = Certified(None, "9999", 0.0)
SURE = {"ALLOW": 0.9, "DENY": 0.05, "ESCALATE": 0.05}
KNOWN = ["会議室の予約のしかたを教えて", "続けてください", "承知しました。次に進みます。"]


def judge_over(house: wiring.House, engine: FakeEngine, deadline: float = 5.0) -> Judge:
    stamp = Stamp(engine="fake", model="m", model_digest="sha256:0")
    policy = policy_of(house.policy_document)
    known = [*KNOWN, *("\n".join(some) for n in (2, 3) for some in permutations(KNOWN, n))]
    serving = Serving(engine, stamp, policy, {}, 0.5, fit_scope(known, known).reader(), CERTIFIED)
    return Judge(serving, house.ledger, deadline, queue=8)


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


def test_a_request_split_over_messages_is_judged_as_a_whole(house: wiring.House, engine: FakeEngine) -> None:
    harmful = {"ALLOW": 0.05, "DENY": 0.9, "ESCALATE": 0.05}
    engine.script.probabilities = lambda state, _q: (
        harmful if KNOWN[0] in state and KNOWN[1] in state else SURE
    )

    async def run() -> list[str]:
        judge = judge_over(house, engine)
        await engine.start()
        said = [Message(role="user", content=text) for text in KNOWN[:2]]
        alone = [await judge.chat([m], Sampling()) for m in said]
        return [c.judgement.decision for c in (*alone, await judge.chat(said, Sampling()))]

    assert asyncio.run(run()) == ["ALLOW", "ALLOW", "DENY"]
    entry = house.ledger.entries(task="gate")[-1]
    assert house.ledger.content(entry.body["content"])["requests"] == KNOWN[:2]


def test_a_single_text_is_read_once_and_a_conversation_once_more(
    house: wiring.House, engine: FakeEngine
) -> None:
    seen: list[str] = []

    def look(state: str, _question: Question) -> dict[str, float]:
        seen.append(state)
        return SURE

    engine.script.probabilities = look

    async def run() -> None:
        judge = judge_over(house, engine)
        await engine.start()
        await judge.chat([Message(role="user", content=KNOWN[0])], Sampling())
        await judge.chat([Message(role="user", content=text) for text in KNOWN], Sampling())

    asyncio.run(run())
    texts = [KNOWN[0], *KNOWN, "\n".join(KNOWN)]
    assert seen == [gate.ask(text)[0] for text in texts]


def test_a_conversation_too_long_to_be_read_as_a_whole_is_escalated(house: wiring.House) -> None:
    engine = FakeEngine(Script(probabilities=lambda _state, _question: SURE), context=1000)

    async def run() -> Chat:
        judge = judge_over(house, engine)
        await engine.start()
        return await judge.chat([Message(role="user", content=KNOWN[0])] * 100, Sampling())

    judgement = asyncio.run(run()).judgement
    assert (judgement.decision, judgement.reasons) == ("ESCALATE", ("too_large",))


def test_after_the_deadline_the_engine_is_asked_no_more(house: wiring.House, engine: FakeEngine) -> None:
    engine.script.delay = 0.04

    async def run() -> Chat:
        judge = judge_over(house, engine, deadline=0.1)
        await engine.start()
        return await judge.chat([Message(role="user", content=KNOWN[0])] * 50, Sampling())

    judgement = asyncio.run(run()).judgement
    assert (judgement.decision, judgement.reasons) == ("ESCALATE", ("engine_timeout",))
    assert engine.asked <= 4


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


@pytest.mark.parametrize("decision", ["ALLOW", "DENY"])
def test_a_chat_is_judged_and_answered_by_one_release_also_when_a_promotion_comes_between(
    house: wiring.House, engine: FakeEngine, decision: str
) -> None:
    other = FakeEngine(Script(text="of the other release"))

    async def run() -> tuple[Chat, str]:
        judge = judge_over(house, engine)
        await engine.start()
        await other.start()
        stamp = judge.serving.stamp.model_copy(update={"model": "other"})
        policy = judge.serving.policy.model_copy(update={"version": 99})
        later = replace(judge.serving, engine=other, stamp=stamp, policy=policy)

        def promoted_meanwhile(_state: str, _question: Question) -> dict[str, float]:
            judge.serving = later
            return {key: 0.9 if key == decision else 0.05 for key in SURE}

        engine.script.probabilities = promoted_meanwhile
        chat = await judge.chat([Message(role="user", content=KNOWN[0])], Sampling())
        return chat, chat.text if chat.pieces is None else await answer(chat)

    chat, text = asyncio.run(run())
    assert chat.judgement.decision == decision
    if decision == "ALLOW":
        assert text == KNOWN[2]
        assert house.ledger.entries(task="chat")[-1].record.stamp.model == chat.judgement.stamp.model == "m"
    else:
        assert chat.judgement.policy_ref in text


def test_an_interrupted_text_and_an_unread_gate_have_no_token_counts_rather_than_0(
    house: wiring.House, engine: FakeEngine
) -> None:
    async def run() -> None:
        judge = judge_over(house, engine)
        await engine.start()
        chat = await judge.chat([Message(role="user", content=KNOWN[0])], Sampling())
        assert chat.pieces is not None
        await anext(chat.pieces)
        await chat.pieces.aclose()
        engine.script.error = EngineError("down")
        await judge.gate(KNOWN[0])

    asyncio.run(run())
    gates = [e.record for e in house.ledger.entries(task="gate")]
    (text,) = [e.record for e in house.ledger.entries(task="chat")]
    assert (text.decision, text.usage) == ("interrupted", {})
    assert gates[0].usage["input_tokens"] > 0
    assert (gates[1].decision, set(gates[1].usage)) == ("ESCALATE", {"milliseconds"})


def test_the_commit_is_within_the_deadline_too(house: wiring.House, engine: FakeEngine) -> None:
    async def run() -> float:
        judge = judge_over(house, engine, deadline=0.4)
        await engine.start()
        start = time.monotonic()
        with pytest.raises(LedgerError, match="in time"):
            await judge.gate(KNOWN[0])
        took = time.monotonic() - start
        other.execute("ROLLBACK")
        return took

    with closing(sqlite3.connect(house.ledger.path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert asyncio.run(run()) < 3


@pytest.mark.parametrize("deadline", [0.1, 8.0, 600.0])
def test_the_engine_leaves_the_ledger_its_part_of_the_deadline(
    house: wiring.House, engine: FakeEngine, deadline: float
) -> None:
    judge = judge_over(house, engine, deadline)
    left = judge._until("rt") - time.monotonic()
    assert deadline - 1.01 < left < deadline
    assert left + 1.0 < max(deadline, 1.1) + 0.01


FIND = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "d-word",
        "parameters": {"properties": {"p-word": {"enum": ["e-word"]}}},
    },
}
TOOLS = as_text([FIND])
ODD = "poison"


def call(arguments: str = '{"q": "a-word"}', name: str = "find", id: str = "c1") -> ToolCall:
    return ToolCall(id=id, name=name, arguments=arguments)


def decided(
    house: wiring.House, engine: FakeEngine, messages: list[Message], sampling: Sampling | None = None
) -> tuple[str, list[str]]:
    """The decision on a conversation by a gate that knows one bad word, and the texts that were judged."""
    engine.script.probabilities = lambda state, _q: (
        {"ALLOW": 0.01, "DENY": 0.98, "ESCALATE": 0.01} if ODD in state else SURE
    )

    async def run() -> str:
        judge = judge_over(house, engine)
        judge.serving = replace(judge.serving, scope=Familiar())
        await engine.start()
        return (await judge.chat(messages, sampling or Sampling())).judgement.decision

    decision = asyncio.run(run())
    return decision, house.ledger.content(house.ledger.entries(task="gate")[-1].body["content"])["requests"]


class Familiar:
    """A scope in which every text lies."""

    def unfamiliar(self, text: str) -> bool:
        return False


def test_tools_come_first_and_every_word_of_theirs_is_judged(house: wiring.House, engine: FakeEngine) -> None:
    user = Message(role="user", content=KNOWN[0])
    decision, requests = decided(house, engine, [user], Sampling(tools=TOOLS))
    assert decision == "ALLOW"
    assert requests == ["find\nd-word\nproperties\np-word\nenum\ne-word", KNOWN[0]]
    for word in ("find", "d-word", "p-word", "e-word"):
        for choice in (None, '"none"'):
            hostile = Sampling(tools=TOOLS.replace(word, ODD), tool_choice=choice)
            assert decided(house, engine, [user], hostile)[0] == "DENY"


@pytest.mark.parametrize(
    "messages",
    [
        [
            Message(role="assistant", content="", calls=(call(),)),
            Message(role="tool", content=ODD, call_id="c1"),
        ],
        [Message(role="assistant", content=ODD, calls=(call(),))],
        [Message(role="assistant", content="", calls=(call(f'{{"q": "{ODD}"}}'),))],
        [Message(role="assistant", content="", calls=(call(f'{{"{ODD}": 1}}'),))],
        [Message(role="assistant", content="", calls=(call(f'{{"q": [{{"r": "x {ODD} y"}}]}}'),))],
        [Message(role="assistant", content="", calls=(call(name=ODD),))],
        [Message(role="assistant", content=KNOWN[2], calls=(call(), call(name=ODD, id="c2")))],
    ],
    ids=["a result", "a text", "an argument", "a key", "deep inside", "a name", "a second call"],
)
def test_whatever_a_client_brings_into_a_conversation_with_tools_is_judged(
    house: wiring.House, engine: FakeEngine, messages: list[Message]
) -> None:
    user = Message(role="user", content=KNOWN[0])
    assert decided(house, engine, [user, *messages])[0] == "DENY"
    assert decided(house, engine, [user, *messages], Sampling(tools=TOOLS))[0] == "DENY"


def test_its_own_calls_are_passed_over_and_changed_ones_are_judged(
    house: wiring.House, engine: FakeEngine
) -> None:
    engine.script.calls = (call('{"q":"a-word","n":1}'), call("{}", id="c2"))
    seen: list[str] = []

    def look(state: str, _question: Question) -> dict[str, float]:
        seen.append(state)
        return SURE

    async def run() -> dict[str, list[str]]:
        judge = judge_over(house, engine)
        judge.serving = replace(judge.serving, scope=Familiar())
        await engine.start()
        user = Message(role="user", content=KNOWN[0])
        said = await answer(await judge.chat([user], Sampling(tools=TOOLS)))
        own = Message(role="assistant", content=said, calls=tuple(engine.script.calls))
        other = own.calls[1]
        histories = {
            "own": own,
            "spelt otherwise": own.model_copy(update={"calls": (call('{"n": 1, "q": "a-word"}'), other)}),
            "argument": own.model_copy(update={"calls": (call('{"q":"a-word","n":2}'), other)}),
            "name": own.model_copy(update={"calls": (own.calls[0], call("{}", name="sort"))}),
            "order": own.model_copy(update={"calls": own.calls[::-1]}),
            "fewer": own.model_copy(update={"calls": own.calls[:1]}),
            "none": own.model_copy(update={"calls": ()}),
            "text": own.model_copy(update={"content": said + "."}),
            "role": own.model_copy(update={"role": "user"}),
        }
        engine.script.probabilities = look
        found = {}
        for name, message in histories.items():
            seen.clear()
            await judge.chat([message, user], Sampling())
            entry = house.ledger.entries(task="gate")[-1]
            found[name] = house.ledger.content(entry.body["content"])["requests"][:-1]
        return found

    found = asyncio.run(run())
    both = "find\nq\na-word\nn\n1\nfind"
    assert found["own"] == found["spelt otherwise"] == []
    assert found["argument"] == [KNOWN[2], both.replace("1", "2")]
    assert found["name"] == [KNOWN[2], "find\nq\na-word\nn\n1\nsort"]
    assert found["order"] == [KNOWN[2], "find\nfind\nq\na-word\nn\n1"]
    assert found["fewer"] == [KNOWN[2], "find\nq\na-word\nn\n1"]
    assert found["none"] == [KNOWN[2]]
    assert found["text"] == [KNOWN[2] + ".", both]
    assert found["role"] == [KNOWN[2], both]


def test_calls_are_durable_before_they_are_released(house: wiring.House, engine: FakeEngine) -> None:
    engine.script.calls = (call(),)

    async def run() -> None:
        judge = judge_over(house, engine)
        judge.serving = replace(judge.serving, scope=Familiar())
        await engine.start()
        asked = [Message(role="user", content=KNOWN[0])]
        chat = await judge.chat(asked, Sampling(tools=TOOLS), streamed=True)
        assert chat.pieces is not None
        async for piece in chat.pieces:
            if piece.calls:
                entry = house.ledger.entries(task="chat")[-1]
                kept = house.ledger.content(entry.body["content"])
                assert kept == {"answer": KNOWN[2], "calls": [c.model_dump() for c in piece.calls]}
                assert piece.finish == "tool_calls"
                return
        pytest.fail("no calls")

    asyncio.run(run())
