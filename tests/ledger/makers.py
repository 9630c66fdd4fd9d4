"""Records for tests: plain ones by hand, and any at all by hypothesis."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from hypothesis import strategies as st

from sekisho.core.canonical import new_id
from sekisho.core.records import Contract, Correction, Judgement, Policy, Promotion, Proof, Record, Stamp

AT = "2026-11-21T05:03:00.000000Z"
STAMP = Stamp(engine="fake", model="nano", model_digest="sha256:00")


def judgement(
    id: str | None = None, task: str = "gate", decision: str = "ALLOW", content: str | None = None
) -> Judgement:
    return Judgement(
        id=id or new_id("jdg"),
        at=AT,
        task=task,
        type="choice",
        probabilities={"ALLOW": 0.7, "DENY": 0.1, "ESCALATE": 0.2},
        decision=decision,
        content=content,
        stamp=STAMP,
    )


def correction(of: str, label: str = "DENY", task: str = "gate", id: str | None = None) -> Correction:
    return Correction(
        id=id or new_id("cor"), at=AT, judgement=of, task=task, was="ALLOW", label=label, reason="見落とし"
    )


def proof(id: str | None = None) -> Proof:
    return Proof(
        id=id or new_id("prf"),
        at=AT,
        task="gate",
        candidate="sha256:01",
        base=None,
        passed=True,
        why=("ok",),
        measures={"f1": 0.9},
    )


def promotion(release: str, rests_on: str, rollback: bool = False) -> Promotion:
    return Promotion(
        id=new_id("pro"), at=AT, release=release, previous=None, proof=rests_on, rollback=rollback
    )


def policy(name: str) -> Policy:
    return Policy(
        id=new_id("pol"), at=AT, name=name, digest="sha256:02", document={"rules": [{"ref": "第1条"}]}
    )


def contract(name: str) -> Contract:
    return Contract(id=new_id("con"), at=AT, name=name, digest="sha256:03", document={"role": "clerk"})


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Any record of any kind, with a fresh id."""
    kind = draw(st.sampled_from(["judgement", "correction", "proof", "promotion", "policy", "contract"]))
    id, at = draw(texts) + new_id("any"), draw(texts)
    document = draw(st.dictionaries(texts, json_values, max_size=3))
    if kind == "judgement":
        shares = draw(st.dictionaries(texts, numbers, max_size=3))
        return Judgement(
            id=id, at=at, task=draw(texts), probabilities=shares, decision=draw(texts), stamp=STAMP
        )
    if kind == "correction":
        return Correction(
            id=id,
            at=at,
            judgement=draw(texts),
            task=draw(texts),
            was=draw(st.none() | texts),
            label=draw(texts),
            reason="",
        )
    if kind == "proof":
        return Proof(
            id=id,
            at=at,
            task=draw(texts),
            candidate="",
            base=None,
            passed=draw(st.booleans()),
            why=(),
            measures=document,
        )
    if kind == "promotion":
        return Promotion(
            id=id, at=at, release=draw(texts), previous=draw(st.none() | texts), proof=draw(texts)
        )
    cls = Policy if kind == "policy" else Contract
    return cls(id=id, at=at, name=draw(texts), digest=draw(texts), document=document)


def drop_guards(db: sqlite3.Connection) -> list[str]:
    """Drop every trigger, as a forger would; return the SQL that puts them back."""
    guards = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in guards:
        db.execute(f"DROP TRIGGER {name}")
    return [sql for _, sql in guards]


@contextmanager
def forger(path: Path) -> Iterator[sqlite3.Connection]:
    """A separate connection without the triggers; they are back afterwards, so that only the data betrays the visit."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        guards = drop_guards(db)
        yield db
        for sql in guards:
            db.execute(sql)
