"""A small run of `benchmarks/certificate.py`: the certificate keeps its word where the empirical rate does not."""

from __future__ import annotations

import pytest

from benchmarking import load_script


@pytest.fixture(scope="module")
def bench():
    return load_script("benchmarks/certificate.py")


def test_the_certificate_keeps_its_word_and_the_empirical_rate_does_not(bench):
    found = {rule.name: rule for rule in bench.bound(40, 3, 100, 0.5)}
    assert found["certificate"].broken <= 5  # 5 % of 40, and what chance adds: more in 3 of 100 runs
    assert found["empirical rate"].broken >= 12
    assert found["empirical rate"].mean > found["certificate"].mean > 0


def test_the_price_on_separable_data(bench):
    ratios = bench.price(1, 5)
    assert 1.0 <= ratios["certificate"] <= 1.25


def test_the_true_rate_is_that_of_many_draws(bench):
    import numpy as np

    rows = bench.draw(np.random.default_rng(1), 40_000, 40_000, 0.0)
    p = np.exp([r.logprobs[0] for r in rows])
    for tau in (0.4, 0.7):
        assert (p >= tau).mean() == pytest.approx(bench.true_rate(tau), abs=0.008)
