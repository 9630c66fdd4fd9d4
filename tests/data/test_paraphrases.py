"""The written paraphrases are of held-out rows, and of no row that anything was trained on."""

from __future__ import annotations

import json

import pytest

from benchmarking import load_script


@pytest.fixture(scope="module")
def bench():
    return load_script("benchmarks/consistency.py")


def test_every_paraphrase_is_of_a_real_held_out_request_and_unlike_any_other(assembled, bench, share):
    _, splits = assembled
    rows = [e for e in splits["holdout"] if e.meta["source"] != "authored"]
    others = bench.written(rows)  # a KeyError names one that is not of the hold-out
    lines = (share / "data" / "paraphrases" / "real.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(others) == 2 * len(lines) >= 150
    assert len({json.loads(line)["of"] for line in lines}) == len(lines)
    known = {e.meta["text"] for split in splits.values() for e in split}
    assert not known & {e.meta["text"] for e in others}
    assert len({e.meta["text"] for e in others}) == len(others)
    assert {e.meta["source"] for e in others} == {e.meta["source"] for e in rows} - {"jailbreak"}
    assert {e.label for e in others} >= {"ALLOW", "DENY"}
    assert all(e.state.endswith(f"\n{e.meta['text']}") for e in others)


def test_each_dress_keeps_the_request_and_its_desk(assembled, bench):
    _, splits = assembled
    rows = [e for e in splits["holdout"] if e.meta["source"] == "rakuda"]
    made = bench.worded(rows)
    assert len(made) == 5 * len(rows)
    by_id = {e.id: e for e in rows}
    for e in made:
        original = by_id[e.meta["of"]]
        assert original.meta["text"] in e.meta["text"]
        assert e.state.partition("\n")[0] == original.state.partition("\n")[0]
        assert e.label == original.label


def test_agreement_is_of_a_request_with_its_own_paraphrases(assembled, bench):
    _, splits = assembled
    rows = [e for e in splits["holdout"] if e.meta["source"] == "rakuda"][:2]
    made = bench.worded(rows)
    decided = {e.id: "ALLOW" for e in [*rows, *made]}
    assert bench.consistency(decided, rows, made)["score"] == 1.0
    decided[rows[0].id] = "DENY"
    found = bench.consistency(decided, rows, made)
    assert (found["groups"], found["score"]) == (2, pytest.approx((1 + 10 / 15) / 2))
