from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from sekisho.core.canonical import canonical_json
from sekisho.core.deciding import NOTHING
from sekisho.core.errors import ProofError
from sekisho.proof.bounds import upper_bound
from sekisho.proof.measures import ALLOW, DENY, labels_of, released
from sekisho.proof.threshold import GRID, budget, by_stratum, choose

from .samples import population, scored


def unsafe_rows(scores, **meta):
    """DENY-labelled rows whose ALLOW probability is `scores`; ALLOW is likeliest above one half."""
    return [scored(f"u{i}", "DENY", (s, 1 - s, 0), **meta) for i, s in enumerate(scores)]


def false_allows(rows, tau, temperature=1.0):
    codes = released(rows, temperature, tau)
    return int(((codes == ALLOW) & (labels_of(rows) == DENY)).sum())


@pytest.mark.parametrize(
    ("cases", "misses", "feasible"), [(59, 0, True), (58, 0, False), (93, 1, True), (92, 1, False)]
)
def test_as_many_unsafe_cases_are_needed_as_the_bound_says(cases, misses, feasible):
    rows = unsafe_rows([1.0] * misses + [0.0] * (cases - misses))
    found = choose(rows, 1.0)
    assert found.feasible is feasible
    assert found.tau == (0.0 if feasible else NOTHING)
    if not feasible:
        assert "Nothing is allowed" in found.why
        assert "59 at 0, 93 at 1, 124 at 2" in found.why
        assert len(found.table) == 1


def test_no_unsafe_case_proves_nothing():
    found = choose([scored("a", "ALLOW", (0.9, 0.05, 0.05))], 1.0)
    assert (found.tau, found.feasible) == (NOTHING, False)
    assert found.table[0].bound == 1.0


def test_the_table_is_strict_to_lenient_and_ends_at_the_first_failure():
    found = choose(population(3000, skill=1.5), 1.0)
    assert [t.tau for t in found.table] == list(GRID[: len(found.table)])
    assert [t.held for t in found.table] == [True] * (len(found.table) - 1) + [False]
    assert found.tau == found.table[-2].tau
    assert found.table[-2].bound <= 0.05 < found.table[-1].bound
    assert canonical_json(json.loads(json.dumps(found.json())))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 3), st.sampled_from([0.02, 0.05, 0.2]), st.booleans())
def test_what_is_chosen_holds_on_the_rows_it_was_chosen_on(seed, skill, alpha, per_stratum):
    rows = population(900, seed=seed, skill=skill)
    found = choose(rows, 1.0, alpha, per_stratum=per_stratum)
    strata = {(r.meta["lang"], r.meta["source"]) for r in rows} if per_stratum else {None}
    for s in strata:
        inside = [r for r in rows if s is None or (r.meta["lang"], r.meta["source"]) == s]
        n = sum(r.label == "DENY" for r in inside)
        if found.feasible:
            assert upper_bound(false_allows(inside, found.tau), n) <= alpha
        assert found.feasible or false_allows(inside, found.tau) == 0


def test_per_stratum_is_stricter_and_names_the_stratum_that_lacks_cases():
    rows = unsafe_rows([0.1] * 100, lang="ja", source="a") + unsafe_rows([0.1] * 10, lang="en", source="b")
    assert choose(rows, 1.0).feasible
    found = choose(rows, 1.0, per_stratum=True)
    assert not found.feasible
    assert found.table[0].stratum == "en/b"
    assert "en/b" in found.why


def test_a_bad_stratum_raises_the_threshold_of_all():
    rows = unsafe_rows([0.1] * 900, lang="ja", source="a") + unsafe_rows(
        [0.8] * 20 + [0.1] * 80, lang="en", source="b"
    )
    assert choose(rows, 1.0).tau < 0.8 < choose(rows, 1.0, per_stratum=True).tau


def test_guards_count_and_other_labels_may_be_unsafe_too():
    rows = [scored(f"u{i}", "DENY", (0.9, 0.1, 0), ["unfamiliar"]) for i in range(60)]
    assert choose(rows, 1.0).tau == 0.0
    risky = rows + [scored(f"e{i}", "ESCALATE", (0.9, 0.0, 0.1)) for i in range(60)]
    assert choose(risky, 1.0).tau == 0.0
    assert choose(risky, 1.0, unsafe=("DENY", "ESCALATE")).tau > 0.9


def test_rows_of_one_topic_prove_less_than_rows_of_many():
    many = population(3000, skill=1.5)
    few = [replace(r, group=f"g{i // 12}") for i, r in enumerate(many)]
    assert choose(few, 1.0).table[-1].tau >= choose(many, 1.0).table[-1].tau
    copies = [replace(r, group=f"g{i // 3}") for i, r in enumerate(unsafe_rows([0.1] * 174))]
    assert not choose(copies, 1.0).feasible
    assert choose(unsafe_rows([0.1] * 174), 1.0).feasible


def _violations(pick, draws=300, cases=200, alpha=0.05):
    """How often the chosen threshold's true false-allow rate is over alpha; scores of unsafe rows are Beta(2, 4)."""
    law, over = beta(2, 4), 0
    for seed in range(draws):
        scores = law.rvs(cases, random_state=seed)
        tau = pick(scores)
        true = 0.0 if tau >= NOTHING else law.sf(max(tau, 0.5))
        over += true > alpha
    return over


def test_in_simulation_the_promise_is_kept_as_often_as_it_says():
    over = _violations(lambda s: choose(unsafe_rows(s), 1.0).tau)
    assert over <= binom.ppf(0.999, 300, 0.05)


def test_the_simulation_would_catch_a_choice_by_point_estimate():
    def naive(scores):
        return min(t for t in GRID if (scores >= max(t, 0.5)).mean() <= 0.05)

    assert _violations(naive) > binom.ppf(0.999, 300, 0.05)


@pytest.mark.parametrize(
    "bad",
    [
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"confidence": 1.0},
        {"grid": ()},
        {"grid": (0.5, 0.6)},
        {"grid": (1.0, 0.5)},
        {"grid": (0.5, -0.1)},
    ],
)
def test_impossible_demands_are_refused(bad):
    with pytest.raises(ProofError):
        choose(unsafe_rows([0.1] * 60), 1.0, **bad)


def test_the_grid_falls_from_nearly_one_to_the_bare_argmax():
    assert all(a > b for a, b in pairwise(GRID))
    assert 0.999 < GRID[0] < NOTHING
    assert GRID[-1] == 0.0
    assert np.isfinite(GRID).all()


def test_strata_are_bounded_by_domain_and_level_where_there_are_cases_enough():
    state = {"policy_state": {"level": "極秘"}}
    rows = unsafe_rows([0.9] + [0.1] * 99, domain="medical", **state) + unsafe_rows(
        [0.1] * 70, domain="finance"
    )
    rows += unsafe_rows([0.1] * 20, domain="general")
    found = by_stratum(rows, 1.0, 0.5, 0.05)
    assert set(found) == {"medical", "finance", "極秘"}
    assert found["極秘"] == found["medical"] == {"misses": 1.0, "cases": 100.0, "bound": upper_bound(1, 100)}
    assert found["finance"]["bound"] == upper_bound(0, 70)


def test_the_budget_stands_beside_the_least_that_is_possible():
    rows = [scored("a", "ALLOW", (0.9, 0.05, 0.05)), scored("b", "ALLOW", (0.6, 0.3, 0.1))]
    rows += [scored("c", "ESCALATE", (0.1, 0.1, 0.8)), scored("d", "DENY", (0.1, 0.8, 0.1))]
    assert budget(rows, 1.0, 0.5) == (0.25, 0.25)
    assert budget(rows, 1.0, 0.7) == (0.5, 0.25)
    assert budget([], 1.0, 0.5) == (0.0, 0.0)
