from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from sekisho.core.errors import ProofError
from sekisho.proof.bounds import cases_needed, grouped_upper_bound, lower_bound, rate, upper_bound

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


groups = st.lists(
    st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=60
)


@given(groups)
def test_groups_never_prove_more_than_single_cases(found):
    k, n = sum(k for k, _ in found), sum(n for _, n in found)
    assert grouped_upper_bound(found) >= upper_bound(k, n) - 1e-9


@given(st.integers(0, 40), st.integers(41, 400))
def test_groups_of_one_are_single_cases(k, n):
    alone = [(1, 1)] * k + [(0, 1)] * (n - k)
    assert grouped_upper_bound(alone) == pytest.approx(upper_bound(k, n))


@pytest.mark.parametrize("misses", [0, 3])
def test_copies_prove_as_much_as_one_of_them(misses):
    copied = [(4, 4)] * misses + [(0, 4)] * (100 - misses)
    assert grouped_upper_bound(copied) == pytest.approx(upper_bound(misses, 100), rel=0.02)


def test_the_bound_holds_where_members_of_a_group_err_together_and_the_plain_one_does_not():
    rng = np.random.default_rng(5)
    true, grouped, plain = 0.05, 0, 0
    for _ in range(2000):
        # Two thirds of the groups' members copy the group's own draw.
        own = rng.random((250, 4)) < true
        copies = np.where(rng.random((250, 4)) < 2 / 3, (rng.random(250) < true)[:, None], own)
        found = [(int(row.sum()), 4) for row in copies]
        grouped += grouped_upper_bound(found) < true
        plain += upper_bound(int(copies.sum()), 1000) < true
    assert grouped / 2000 < 0.07
    assert plain / 2000 > 0.09
