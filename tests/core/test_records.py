from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sekisho.core.canonical import canonical_json
from sekisho.core.question import Option
from sekisho.core.records import DECISIONS, KINDS, STRICTNESS, Judgement, Stamp, kind_of

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
JSON = st.dictionaries(TEXT, TEXT | st.integers() | st.booleans(), max_size=3)
STAMP = Stamp(engine="fake", model="m", model_digest="sha256:0")
FIELDS = {
    "judgement": st.fixed_dictionaries(
        {
            "id": TEXT,
            "at": TEXT,
            "task": TEXT,
            "decision": TEXT,
            "stamp": st.just(STAMP),
            "probabilities": st.dictionaries(TEXT, st.floats(0, 1), max_size=3),
            "reasons": st.lists(TEXT, max_size=3).map(tuple),
        }
    ),
    "stretch": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "judgement", "content"], TEXT)
        | {"place": st.integers(0, 9), "stamp": st.just(STAMP)}
    ),
    "correction": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "judgement", "task", "label", "reason"], TEXT) | {"was": st.none() | TEXT}
    ),
    "proof": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "task", "candidate"], TEXT)
        | {
            "base": st.none() | TEXT,
            "passed": st.booleans(),
            "why": st.lists(TEXT, max_size=2).map(tuple),
            "measures": JSON,
        }
    ),
    "promotion": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "release", "proof"], TEXT) | {"previous": st.none() | TEXT}
    ),
    "policy": st.fixed_dictionaries(dict.fromkeys(["id", "at", "name", "digest"], TEXT) | {"document": JSON}),
    "contract": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "name", "digest"], TEXT) | {"document": JSON}
    ),
    "checkpoint": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "root", "head", "key", "note"], TEXT) | {"size": st.integers(0, 9)}
    ),
    "hold": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "subject", "reason"], TEXT) | {"active": st.booleans()}
    ),
    "erasure": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "rule"], TEXT)
        | {
            "digests": st.lists(TEXT, max_size=3).map(tuple),
            "days": st.dictionaries(TEXT, st.floats(0, 9), max_size=2),
        }
    ),
    "escalation": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "judgement", "by", "reason"], TEXT)
        | {"step": st.sampled_from(["take", "decide", "hand_back", "expire"])}
    ),
    "certificate": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "adapter", "proof", "policy", "contracts", "data", "expires"], TEXT)
        | dict.fromkeys(["alpha", "confidence", "threshold", "temperature", "bound"], st.floats(0, 1))
        | {"feasible": st.booleans(), "misses": st.integers(0, 9), "cases": st.integers(0, 9)}
    ),
    "incident": st.fixed_dictionaries(dict.fromkeys(["id", "at", "sort", "what"], TEXT)),
    "activation": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "task", "model"], TEXT)
        | dict.fromkeys(["adapter", "previous", "proof"], st.none() | TEXT)
        | {"step": st.sampled_from(["promote", "load", "unload", "rollback", "auto_rollback"])}
    ),
    "feedback": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "judgement", "subject", "reason"], TEXT)
        | {"level": st.sampled_from(["source", "claim"]), "action": st.sampled_from(["reject", "restore"])}
    ),
    "calibrated": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "task", "version", "model"], TEXT)
        | {"adapter": st.none() | TEXT, "method": st.sampled_from(["none", "temperature", "platt"])}
        | {"measures": st.dictionaries(TEXT, st.floats(0, 9), max_size=2)}
    ),
    "key": st.fixed_dictionaries(
        dict.fromkeys(["id", "at", "key", "name", "digest"], TEXT)
        | {"scopes": st.lists(TEXT, max_size=3).map(tuple), "per_minute": st.integers(1, 9)}
    ),
}


def records():
    return st.one_of(*(_of(kind) for kind in KINDS))


def _of(kind: str):
    return FIELDS[kind].map(lambda fields: KINDS[kind](**fields))


def test_every_kind_is_tried():
    assert set(FIELDS) == set(KINDS)


@given(records())
def test_a_record_survives_its_canonical_json(record):
    kind = kind_of(record)
    stored = canonical_json(record.model_dump(mode="json"))
    assert KINDS[kind].model_validate(json.loads(stored)) == record


@given(records())
def test_records_cannot_be_changed(record):
    with pytest.raises(ValidationError):
        record.id = "other"


def test_unknown_fields_are_refused():
    with pytest.raises(ValidationError):
        Judgement(id="a", at="b", task="gate", decision="DENY", stamp=STAMP, verdict="ALLOW")


def test_what_is_no_record_has_no_kind():
    with pytest.raises(KeyError, match="Option"):
        kind_of(Option(key="x"))


def test_strictness_orders_the_decisions():
    assert sorted(DECISIONS, key=STRICTNESS.__getitem__) == ["ALLOW", "ESCALATE", "DENY"]
