"""A small run of `benchmarks/tamper.py`: every case found and located, and a plain hash chain's misses beside it."""

from __future__ import annotations

import pytest

from benchmarking import load_script

CASES = 4
UNSEEN_BY_A_CHAIN = {
    "truncate tail",
    "full rewrite, fresh hashes",
    "schema or trigger change",
    "free-page edit",
    "checkpoint replay",
}


@pytest.fixture(scope="module")
def tallies(tmp_path_factory):
    return load_script("benchmarks/tamper.py").run(CASES, 11, tmp_path_factory.mktemp("tamper"))


def test_every_case_is_found_and_located(tallies):
    assert len(tallies) == 10
    for name, tally in tallies.items():
        assert (tally.cases, tally.found, tally.located) == (CASES, CASES, CASES), (name, tally.missed)


def test_a_plain_chain_misses_half_the_classes(tallies):
    assert {name for name, t in tallies.items() if t.plain == 0} >= UNSEEN_BY_A_CHAIN
    assert tallies["edit chain field"].plain == CASES
