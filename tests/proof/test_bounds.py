from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from sekisho.core.errors import ProofError
from sekisho.proof.bounds import cases_needed, lower_bound, rate, upper_bound

counts = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(("misses", "cases"), [(0, 59), (1, 93), (2, 124), (5, 208), (10, 336)])
def test_known_sample_sizes_for_five_percent_at_95(misses, cases):
    assert cases_needed(misses, 0.05, 0.95) == cases
    assert upper_bound(misses, cases) <= 0.05 < upper_bound(misses, cases - 1)


@given(counts)
def test_bounds_contain_the_estimate_and_are_ordered(kn):
    k, n = kn
    r = rate(k, n)
    assert 0 <= r.low <= r.upper <= r.high <= 1
    if n:
        assert r.rate == k / n
        assert r.low <= r.rate <= r.upper
    else:
        assert (r.rate, r.low, r.high, r.upper) == (None, 0, 1, 1)


@given(counts.filter(lambda kn: kn[0] < kn[1]), st.floats(0.5, 0.999))
def test_at_the_upper_bound_so_few_misses_are_just_unlikely_enough(kn, confidence):
    k, n = kn
    assert binom.cdf(k, n, upper_bound(k, n, confidence)) == pytest.approx(1 - confidence, abs=1e-6)


@given(counts, st.floats(0.5, 0.999))
def test_lower_mirrors_upper(kn, confidence):
    k, n = kn
    assert (
        lower_bound(k, n, confidence) == pytest.approx(1 - upper_bound(n - k, n, confidence), abs=1e-9)
        or n == 0
    )


@pytest.mark.parametrize(("k", "n", "c"), [(2, 1, 0.95), (-1, 5, 0.95), (1, 2, 1.0), (1, 2, 0.0)])
def test_impossible_counts_are_refused(k, n, c):
    with pytest.raises(ProofError):
        upper_bound(k, n, c)


def test_no_rate_of_nothing_can_be_proved():
    with pytest.raises(ProofError):
        cases_needed(0, 0.0)
