from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from itertools import pairwise

import pytest

from sekisho.core.errors import EngineError, InputError, TooLargeError
from sekisho.loop import audit, retain, summarise
from sekisho.loop.summarise import Summary
from sekisho.serve.engines.fake import FakeEngine, Script
from sekisho.serve.lanes import Lanes
from sekisho.serve.rules import Rules
from web import makers

TEXT = "".join(f"Sentence number {i} tells of the town. " for i in range(120))


@pytest.fixture
def house(tmp_path):
    with makers.house(tmp_path) as opened:
        yield opened


def short(messages):
    return "Part " + messages[-1].content[-40:]


@pytest.fixture
def engine():
    """A small context, in characters: every part is many."""
    return FakeEngine(Script(probabilities=makers.sure_of("ALLOW"), text=short), name="s", context=1400)


def made(house, engine, text=TEXT):
    judge = makers.judge_over(house, Lanes(engine, Rules(slots=2)))
    judge.serving = replace(judge.serving, scope=makers.Familiar())
    return Summary(judge, house.settings.home, text)


def run(work):
    told = []

    async def tell(*step):
        told.append(step)

    async def live():
        await work._engine.start()
        return await work.run(tell)

    return asyncio.run(live()), told


def test_everything_is_read_judged_recorded_and_traced(house, engine):
    found, told = run(made(house, engine))
    leaves = [n for n in found["nodes"] if n["id"].startswith("0-")]
    assert len(leaves) >= 5
    spans = sorted(n["span"] for n in leaves)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(TEXT)
    assert all(b[0] <= a[1] for a, b in pairwise(spans)), "nothing between"
    assert all(n["tokens"] + 96 <= 1400 for n in found["nodes"])
    assert found["lines"][0]["sources"]
    assert not found["left_out"]
    assert told[-1][1:] == (1, 1)
    kept = {j["id"] for j in audit.show(house.ledger, after=0, limit=500, newest_first=False)}
    assert {n["judgement"] for n in found["nodes"]} <= kept


def test_what_the_gate_stops_is_left_out_and_said(house, engine):
    def some(state, question):
        return makers.sure_of("DENY" if "number 50 " in state else "ALLOW")(state, question)

    engine.script.probabilities = some
    found, _ = run(made(house, engine))
    assert found["left_out"]
    for part in found["left_out"]:
        assert part["decision"] == "DENY"
        assert "number 50 " in TEXT[slice(*part["span"])]
    assert found["lines"]


def test_a_run_that_broke_goes_on_from_what_was_done(house, engine, monkeypatch):
    monkeypatch.setattr(summarise, "_PAUSE", 0.001)
    monkeypatch.setattr("sekisho.serve.lanes._PAUSE", 0.001)
    written = 0

    def breaks(messages):
        nonlocal written
        written += 1
        if written > 3:
            raise EngineError("The engine broke.")
        return short(messages)

    engine.script.text = breaks
    with pytest.raises(EngineError):
        run(made(house, engine))
    done = len(list((house.settings.home / "summaries").rglob("*.json")))
    assert done >= 2
    engine.script.text = short
    again = made(house, engine)
    found, _ = run(again)
    assert found["resumed"] == done
    whole, _ = run(made(house, engine))
    assert whole["resumed"] == len(whole["nodes"])
    assert whole["lines"] == found["lines"]
    again.forget()
    assert not again.folder.exists()


def test_a_damaged_node_is_made_anew(house, engine):
    work = made(house, engine)
    run(work)
    next(work.folder.glob("*.json")).write_bytes(b"{")
    found, _ = run(made(house, engine))
    assert found["resumed"] == len(found["nodes"]) - 1


def test_a_sentence_longer_than_the_context_is_cut(house, engine):
    found, _ = run(made(house, engine, "関" * 6000))
    leaves = [n for n in found["nodes"] if n["id"].startswith("0-")]
    assert leaves[-1]["span"][1] == 6000


def test_nothing_and_no_room_are_refused(house, engine):
    with pytest.raises(InputError):
        made(house, engine, " \n")
    with pytest.raises(TooLargeError):
        run(made(house, FakeEngine(Script(), name="s", context=300)))


def test_events_end_with_the_summary_and_closing_them_stops_the_work(house, engine):
    async def live(most):
        work = made_in_loop
        await work._engine.start()
        found = summarise.events(work)
        seen = []
        async for event in found:
            seen.append(event)
            if len(seen) == most:
                break
        await found.aclose()
        return seen

    made_in_loop = made(house, engine)
    first = asyncio.run(live(2))
    assert [e["type"] for e in first] == ["progress"] * 2
    made_in_loop = made(house, engine)
    rest = asyncio.run(live(1000))
    assert rest[-1]["type"] == "summary"
    assert json.loads(json.dumps(rest[-1]))["resumed"] >= 2


def test_a_node_goes_with_the_content_of_its_judgement(house, engine):
    work = made(house, engine)
    found, _ = run(work)
    files = set(work.folder.iterdir())
    node = found["nodes"][0]
    told = retain.erase(house.ledger, node["judgement"], "asked for", "a test")
    left = set(work.folder.iterdir())
    assert told["summaries"] == len(files) - len(left) == 1
    assert all(json.loads(f.read_bytes())["judgement"] != node["judgement"] for f in left)
