"""Small runs of `benchmarks/corrections.py`: a rule that keeps its word, histories that never serve what is not proved."""

from __future__ import annotations

import pytest

from benchmarking import load_script


@pytest.fixture(scope="module")
def bench():
    return load_script("benchmarks/corrections.py")


def test_candidates_that_are_no_better_are_seldom_promoted(bench):
    found = bench.promotions(400)
    rates = [
        float(found[k].rstrip("%"))
        for k in ("wrongly promoted", "wrongly promoted if accuracy merely went up")
    ]
    assert rates[0] <= 6
    assert rates[1] > 35


def test_a_few_histories(bench, tmp_path):
    found = bench.histories(3, tmp_path)
    assert found["broken"] == "none"
    assert found["steps that took effect"] > 10
