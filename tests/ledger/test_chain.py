from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.canonical import canonical_json, digest_json
from sekisho.core.errors import LedgerError
from sekisho.core.records import Stamp
from sekisho.ledger.chain import GENESIS, START, Head, draft, entry_digest, fault, link, seal

from .makers import json_values, judgement, proof, records, texts


@given(st.integers(1, 2**62), texts, texts, texts, json_values, texts)
def test_entry_digest_is_the_canonical_json_of_its_six_fields(seq, kind, id, at, body, prev):
    whole = {"seq": seq, "kind": kind, "id": id, "at": at, "body": body, "prev": prev}
    assert entry_digest(seq, kind, id, at, canonical_json(body), prev) == digest_json(whole)


@given(st.lists(records(), min_size=1, max_size=4))
def test_link_makes_a_chain_whose_records_come_back(given_records):
    entries = link([draft(r) for r in given_records], START)
    assert entries[0].prev == GENESIS
    assert [e.seq for e in entries] == list(range(1, len(given_records) + 1))
    assert [e.prev for e in entries[1:]] == [e.digest for e in entries[:-1]]
    assert [e.record for e in entries] == given_records


def test_link_goes_on_from_the_head():
    (entry,) = link([draft(judgement())], Head(41, "sha256:aa"))
    assert (entry.seq, entry.prev) == (42, "sha256:aa")


@given(json_values)
def test_seal_binds_salt_and_content(content):
    sealed = seal(content)
    assert len(sealed.salt) == 16
    assert sealed.digest == "sha256:" + hashlib.sha256(sealed.salt + sealed.body.encode()).hexdigest()
    assert json.loads(sealed.body) == content


def test_the_same_content_sealed_twice_cannot_be_recognised():
    assert seal("はい").digest != seal("はい").digest


@pytest.mark.parametrize("bad", [float("nan"), {"x": float("inf")}, "\ud800", object(), {1: {2}}])
def test_what_is_not_json_cannot_be_sealed(bad):
    with pytest.raises(LedgerError, match="cannot be written as JSON"):
        seal(bad)


def test_what_is_no_record_is_refused():
    with pytest.raises(LedgerError, match="not a kind of record"):
        draft(Stamp(engine="e", model="m", model_digest="d"))


@pytest.mark.parametrize("bad", [float("nan"), object(), "\udc80"])
def test_a_record_that_is_not_json_is_refused(bad):
    with pytest.raises(LedgerError, match="cannot be written as JSON"):
        draft(proof().model_copy(update={"measures": {"f1": bad}}))


def test_a_body_of_another_shape_is_a_ledger_error():
    (entry,) = link([draft(judgement())], START)
    broken = type(entry)(entry.seq, "promotion", entry.id, entry.at, entry.text, entry.prev, entry.digest)
    with pytest.raises(LedgerError, match="no readable promotion"):
        _ = broken.record


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        (0, 7, "missing"),
        (0, None, "missing"),
        (1, None, "empty or not UTF-8"),
        (4, b"\xff", "empty or not UTF-8"),
        (4, b"{", "stored digest"),
        (5, b"x", "prev"),
        (6, b"x", "stored digest"),
    ],
)
def test_fault_finds_each_broken_column(column, value, words):
    made = draft(judgement())
    (e,) = link([made], START)
    row = [1, *(v.encode() for v in (e.kind, e.id, e.at, made.text, e.prev, e.digest))]
    assert fault(tuple(row), START) is None
    row[column] = value
    assert words in fault(tuple(row), START)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "NaN", '{"id": "i"}'])
def test_fault_finds_a_body_that_fits_its_digest_and_is_no_canonical_json(text):
    tag = entry_digest(1, "policy", "i", "t", text.encode(), GENESIS)
    row = (1, b"policy", b"i", b"t", text.encode(), GENESIS.encode(), tag.encode())
    assert "JSON" in fault(row, START)
