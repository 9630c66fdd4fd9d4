"""What waits for people, remembered: always the same as what the whole ledger says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.canonical import new_id
from sekisho.core.oversight import Escalation
from sekisho.ledger.store import Ledger
from sekisho.ledger.waiting import _ESCALATED, Waiting, unfinished

from .makers import AT, judgement


def step(of: str, how: str) -> Escalation:
    return Escalation(id=new_id("esc"), at=AT, judgement=of, step=how, by="someone")


def ids(page) -> list[str]:
    return [entry.id for entry, _ in page]


acts = st.lists(
    st.tuples(
        st.sampled_from(["gate ESCALATE", "gate ALLOW", "gate DENY", "nli ESCALATE"])
        | st.sampled_from(["take", "decide", "hand_back", "expire", "look"]),
        st.integers(0, 30),
    ),
    max_size=40,
)


@pytest.mark.parametrize("by_another", [False, True])
@given(acts=acts)
@settings(max_examples=25, deadline=None)
def test_what_is_remembered_is_what_the_whole_ledger_says(tmp_path_factory, by_another, acts):
    path = tmp_path_factory.mktemp("waiting") / "ledger.sqlite"
    with Ledger.open(path) as ledger, Ledger.open(path) as other:
        writer, judged = other if by_another else ledger, list[str]()
        for act, n in acts:
            task, _, decision = act.partition(" ")
            if decision:
                judged += [e.id for e in writer.append([judgement(task=task, decision=decision)])]
            elif act == "look":
                unfinished(ledger, after=n, limit=1 + n)
            elif judged:
                writer.append([step(judged[n % len(judged)], act)])
        for after, limit in ((0, 100), (3, 2), (0, 1)):
            seen, fresh = unfinished(ledger, after, limit), Waiting().page(ledger, after, limit)
            assert seen == fresh
        everything = ledger.entries(limit=1000)
        ended = {
            e.body["judgement"]
            for e in everything
            if e.kind == "escalation" and e.body["step"] in ("decide", "expire")
        }
        waiting = [
            e.id
            for e in everything
            if (e.body.get("task"), e.body.get("decision")) == ("gate", "ESCALATE") and e.id not in ended
        ]
        assert ids(unfinished(ledger)) == waiting


def test_pages_and_steps(tmp_path):
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.append([judgement(f"j{i}", decision="ESCALATE") for i in range(5)])
        ledger.append([step("j1", "take"), step("j1", "hand_back"), step("j3", "decide")])
        page = unfinished(ledger, limit=2)
        assert ids(page) == ["j0", "j1"]
        assert [s.step for s in page[1][1]] == ["take", "hand_back"]
        assert ids(unfinished(ledger, after=page[-1][0].seq)) == ["j2", "j4"]


def test_what_was_read_is_not_read_again(tmp_path):
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.append([judgement(decision="ESCALATE") for _ in range(3)])
        waiting, seen = Waiting(), list[str]()
        assert len(waiting.page(ledger, 0, 10)) == 3
        with ledger._reading() as db:
            db.set_trace_callback(seen.append)
        ledger.append([judgement("new", decision="ESCALATE")])
        assert ids(waiting.page(ledger, 3, 10)) == ["new"]
        assert any("seq > 3 AND seq <= 4" in sql for sql in seen)


def test_many_may_ask_while_others_write(tmp_path):
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:

        def work(_: int) -> None:
            for _ in range(20):
                made = judgement(decision="ESCALATE")
                ledger.append([made])
                assert made.id in ids(unfinished(ledger, limit=1000))
                ledger.append([step(made.id, "decide")])
                assert made.id not in ids(unfinished(ledger, limit=1000))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))  # raises what a thread raised
        assert unfinished(ledger) == []


def test_ends_are_sought_by_the_index(tmp_path):
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger, ledger.snapshot() as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {_ESCALATED}", (0, 1))]
    assert any("SEARCH step USING INDEX entries_judgement" in line for line in plan)
