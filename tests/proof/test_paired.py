from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from sekisho.core.errors import ProofError
from sekisho.proof.paired import (
    Judged,
    Terms,
    least_difference,
    mcnemar,
    p_values,
    scores_of,
    tail,
    verdict,
    versus,
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_exact(gained, lost):
    better, worse, differ = mcnemar(gained, lost)
    n = gained + lost
    if not n:
        assert (better, worse, differ) == (1, 1, 1)
        return
    assert better == pytest.approx(binomtest(gained, n, alternative="greater").pvalue)
    assert worse == pytest.approx(binomtest(lost, n, alternative="greater").pvalue)
    assert differ == pytest.approx(binomtest(gained, n).pvalue)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 3000), st.floats(0.5, 0.999))
def test_an_unfair_coin_too(k, n, chance):
    assert tail(k, n, chance) == pytest.approx(binom.sf(k - 1, n, chance), rel=1e-6, abs=1e-12)


def test_rows_chosen_by_what_the_rival_had_wrong_prove_nothing_by_that():
    """Both are right in 90 % of the traffic, independently; people file every error of the rival and look at 30 % of what it had right."""
    rng, fair, weighed, trials = np.random.default_rng(3), 0, 0, 1000
    for _ in range(trials):
        rival, candidate = rng.random((2, 600)) < 0.9
        seen = ~rival | (rng.random(600) < 0.3)
        found = versus((~rival[seen]).astype(int), (~candidate[seen]).astype(int), np.zeros(seen.sum(), int))
        fair += max(p_values(found, Terms())) <= 0.05
        weighed += max(p_values(found, Terms(looked_at=0.3))) <= 0.05
    assert fair / trials > 0.5
    assert weighed / trials <= 0.05


def test_rows_of_one_document_are_no_more_than_one():
    """Ten documents of twelve rows, in each of which one of the two has all right: a coin for each."""
    rng, rows_alone, both, trials = np.random.default_rng(4), 0, 0, 1000
    alone = [i % 12 == 0 for i in range(120)]
    for _ in range(trials):
        better = np.repeat(rng.random(10) < 0.5, 12)
        found = versus(better.astype(int), (~better).astype(int), np.zeros(120, int), alone=alone)
        p, by_document = p_values(found, Terms())
        rows_alone += p <= 0.03
        both += max(p, by_document) <= 0.03
    assert rows_alone / trials > 0.1
    assert both / trials <= 0.03


def test_documents_in_which_one_loses_much_and_the_other_little():
    """In nine documents of ten the candidate gains one of ten rows, in the tenth it loses nine: no better."""
    rng, passed, trials = np.random.default_rng(6), 0, 1000
    for _ in range(trials):
        bad = rng.random(60) < 0.1
        gain, loss = np.zeros((60, 10), bool), np.zeros((60, 10), bool)
        gain[~bad, 0] = True
        loss[bad, 1:] = True
        alone = (np.arange(10) == rng.integers(0, 10, 60)[:, None]).ravel()
        found = versus(
            gain.ravel().astype(int),
            loss.ravel().astype(int),
            np.zeros(600, int),
            draws=10,
            alone=list(alone),
        )
        passed += max(p_values(found, Terms())) <= 0.03
    assert passed / trials <= 0.03


def test_without_right_answers_looked_at_nothing_is_shown():
    labels, rival = np.zeros(200, int), np.ones(200, int)
    found = versus(rival, labels, labels)
    for rule in ("better", "not_worse"):
        assert verdict(found, 1.0, versus(labels, labels, labels), Terms(rule=rule))[0]
    one_lost = versus(np.r_[0, rival[1:]], np.r_[1, labels[1:]], labels)
    for rows_ in (found, one_lost):
        for rule in ("better", "not_worse"):
            terms = Terms(rule=rule, looked_at=0.0)
            passed, why = verdict(rows_, 1.0, versus(labels, labels, labels), terms)
            assert not passed
            assert any("0% of the right answers" in w for w in why)
    assert not verdict(found, 1.0, versus(labels, labels, labels), Terms(rule="not_worse", looked_at=0.9))[0]


def test_a_candidate_that_is_no_better_is_seldom_promoted():
    rng, wrong, naive, trials = np.random.default_rng(7), 0, 0, 2000
    terms = Terms(accuracy=0.0)
    for _ in range(trials):
        gained, lost = rng.multinomial(200, [0.15, 0.15, 0.7])[:2]
        p = mcnemar(int(gained), int(lost))[0]
        wrong += p <= terms.alpha
        naive += gained > lost
    assert wrong / trials <= 0.05
    assert naive / trials > 0.4


def rows(n, right, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    said = np.where(rng.random(n) < right, labels, (labels + 1) % 3)
    return labels, said


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.2, 0.9), st.floats(0.2, 0.9))
def test_the_interval_holds_the_difference(seed, one, two):
    labels, rival = rows(400, one, seed)
    _, said = rows(400, two, seed + 1)
    candidate = np.where(said == (labels + 1) % 3, said, labels)
    found = versus(rival, candidate, labels)
    assert found.low <= found.difference <= found.high
    assert found.least <= found.difference + 1e-9
    assert found.difference == pytest.approx((candidate == labels).mean() - (rival == labels).mean())


def told(gained, lost, n):
    labels = np.zeros(n, dtype=int)
    rival, candidate = np.zeros(n, dtype=int), np.zeros(n, dtype=int)
    rival[:gained] = 1
    candidate[gained : gained + lost] = 1
    return versus(rival, candidate, labels)


@pytest.mark.parametrize(
    ("target", "guard", "accuracy", "why"),
    [
        ((40, 5, 200), (10, 10, 500), 0.9, None),
        ((20, 18, 200), (10, 10, 500), 0.9, "no improvement is shown"),
        ((5, 40, 200), (10, 10, 500), 0.9, "no improvement is shown"),
        ((40, 5, 200), (10, 60, 500), 0.9, "beyond the margin"),
        ((40, 5, 200), (10, 10, 500), 0.5, "below 0.85"),
        ((20, 0, 25), (10, 10, 500), 0.9, "fewer than 30"),
        ((40, 5, 200), None, 0.9, "no guard set"),
    ],
)
def test_the_verdict_says_why(target, guard, accuracy, why):
    passed, words = verdict(told(*target), accuracy, guard and told(*guard), Terms())
    assert passed is (why is None)
    assert why is None or any(why in w for w in words)
    assert len(words) == 4


def test_no_worse_is_enough_where_the_terms_say_so():
    terms = Terms(rule="not_worse", margin=0.05)
    assert verdict(told(20, 18, 400), 0.9, told(5, 5, 500), terms)[0]
    assert not verdict(told(5, 40, 400), 0.9, told(5, 5, 500), terms)[0]


def test_scores_a_label_at_a_time():
    p = np.eye(3)[[0, 0, 1, 2]]
    found = scores_of(p, np.asarray([0, 1, 1, 2]), ("a", "b", "c"))
    assert found["accuracy"] == 0.75
    assert found["f1"] == {"a": pytest.approx(2 / 3), "b": pytest.approx(2 / 3), "c": 1.0}
    assert Judged(p, p, np.asarray([0, 1, 1, 2])).versus(0.05).p_better == 1.0


def test_other_rows_are_refused():
    for labels, one, two in (([], [], []), ([0], [0], [0, 1])):
        with pytest.raises(ProofError):
            versus(np.asarray(one), np.asarray(two), np.asarray(labels))


def test_all_looks_together_cost_no_more_than_alpha():
    levels = [Terms(alpha=0.05, look=k).level for k in range(1, 10_001)]
    assert levels == sorted(levels, reverse=True)
    assert 0.0499 < sum(levels) < 0.05


def test_the_least_difference_is_not_kind_on_few_rows():
    """Without a single loss in 30 rows, a loss of 5 points is still possible; by the bootstrap it would not be."""
    assert least_difference(0, 0, 30, 0.05) == pytest.approx(-0.0827, abs=1e-4)
    assert least_difference(0, 30, 30, 0.05) == -1.0
    assert least_difference(97, 117, 1000, 0.05) == pytest.approx(
        -0.02 - 1.645 * (214 / 1e6) ** 0.5, abs=1e-3
    )


@pytest.mark.parametrize(
    ("n", "gain", "loss"), [(30, 0.0, 0.06), (30, 0.05, 0.1), (60, 0.05, 0.1), (200, 0.05, 0.1)]
)
def test_what_loses_the_margin_passes_it_in_one_of_twenty(n, gain, loss):
    draws = np.random.default_rng(3).multinomial(n, (gain, loss, 1 - gain - loss), size=2000)
    passed = [least_difference(int(g), int(x), n, 0.05) >= -0.05 for g, x, _ in draws]
    assert np.mean(passed) <= 0.06
