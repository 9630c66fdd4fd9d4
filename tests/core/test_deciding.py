from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.deciding import NOTHING, OPTIONS, decide
from sekisho.core.records import STRICTNESS

weights = st.tuples(*[st.floats(0, 1)] * 3).filter(lambda w: sum(w) > 1e-6)
guards = st.lists(st.sampled_from(["unfamiliar", "policy"]), max_size=2, unique=True)


def probabilities(w):
    return {o: x / sum(w) for o, x in zip(OPTIONS, w, strict=True)}


def p(allow, deny, escalate):
    return dict(zip(OPTIONS, (allow, deny, escalate), strict=True))


def test_options_are_in_canonical_order():
    assert list(OPTIONS) == sorted(OPTIONS)


@pytest.mark.parametrize(
    ("probs", "tau", "guard", "expected"),
    [
        (p(0.8, 0.1, 0.1), 0.7, (), ("ALLOW", ("model",))),
        (p(0.8, 0.1, 0.1), 0.8, (), ("ALLOW", ("model",))),
        (p(0.8, 0.1, 0.1), 0.81, (), ("ESCALATE", ("model", "below_threshold"))),
        (p(0.8, 0.1, 0.1), 0.7, ("unfamiliar",), ("ESCALATE", ("model", "unfamiliar"))),
        (p(0.1, 0.8, 0.1), 0.0, ("unfamiliar",), ("DENY", ("model", "unfamiliar"))),
        (p(0.1, 0.1, 0.8), 0.0, (), ("ESCALATE", ("model",))),
        (p(0.5, 0.5, 0.0), 0.0, (), ("DENY", ("model",))),
        (p(0.5, 0.0, 0.5), 0.0, (), ("ESCALATE", ("model",))),
        (p(0.0, 0.5, 0.5), 0.0, (), ("DENY", ("model",))),
        (p(1.0, 0.0, 0.0), NOTHING, (), ("ESCALATE", ("model", "below_threshold"))),
    ],
)
def test_decisions(probs, tau, guard, expected):
    assert decide(probs, tau, guard) == expected


@given(weights, st.one_of(st.floats(0, 1), st.floats(allow_nan=True)), guards)
def test_never_looser_than_the_model_and_never_moves_a_deny(w, tau, guard):
    probs = probabilities(w)
    decision, reasons = decide(probs, tau, guard)
    top = max(probs.values())
    bare = max((o for o in OPTIONS if probs[o] == top), key=STRICTNESS.__getitem__)
    assert STRICTNESS[decision] >= STRICTNESS[bare]
    assert decision == bare or (bare, decision) == ("ALLOW", "ESCALATE")
    if decision == "ALLOW":
        assert not guard
        assert probs["ALLOW"] >= tau
        assert 0 <= tau < 1
    assert [r for r in reasons if r in guard] == guard


@given(weights, st.floats(0, 1), st.floats(0, 1), guards)
def test_a_higher_threshold_or_a_guard_never_loosens(w, a, b, guard):
    probs = probabilities(w)
    low, high = sorted((a, b))
    assert STRICTNESS[decide(probs, high)[0]] >= STRICTNESS[decide(probs, low)[0]]
    assert STRICTNESS[decide(probs, low, guard)[0]] >= STRICTNESS[decide(probs, low)[0]]


@pytest.mark.parametrize(
    "probs",
    [
        {},
        {"ALLOW": 1.0},
        p(math.nan, 0.5, 0.5),
        p(1.2, -0.1, -0.1),
        p(0.9, 0.9, 0.9),
        p(0.0, 0.0, 0.0),
        {**p(1.0, 0.0, 0.0), "MAYBE": 0.0},
    ],
)
def test_what_cannot_be_read_escalates(probs):
    assert decide(probs, 0.0, ("late",)) == ("ESCALATE", ("unreadable", "late"))
