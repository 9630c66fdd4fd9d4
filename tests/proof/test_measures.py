from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.canonical import canonical_json
from sekisho.core.deciding import OPTIONS, decide
from sekisho.core.errors import ProofError
from sekisho.core.records import DECISIONS
from sekisho.proof import measures
from sekisho.proof.measures import Scored
from sekisho.serve.scoring import calibrate

from .samples import population, scored

rows_strategy = st.lists(
    st.builds(
        lambda label, w, guard, lang, source: scored("x", label, w, guard, lang=lang, source=source),
        st.sampled_from(DECISIONS),
        st.sampled_from(
            [(1, 1, 1), (2, 1, 1), (1, 0, 0), (1, 1, 0), (0.2, 0.7, 0.1), (0.9, 0.06, 0.04), (1, 2, 3)]
        ),
        st.sampled_from([(), ("unfamiliar",)]),
        st.sampled_from(["ja", "en"]),
        st.sampled_from(["a", "b", "c"]),
    ),
    min_size=1,
    max_size=40,
)
SAID = {"A": (0.8, 0.1, 0.1), "D": (0.1, 0.8, 0.1), "E": (0.1, 0.1, 0.8)}


def golden():
    """4 ALLOW (2 right, 1 escalated, 1 denied), 3 ESCALATE (1 allowed, 2 right), 5 DENY (1 allowed, 1 escalated, 3 right)."""
    said = {"ALLOW": "AAED", "ESCALATE": "AEE", "DENY": "AEDDD"}
    return [
        scored(f"{label}{i}", label, SAID[s], lang="ja", source="a")
        for label, line in said.items()
        for i, s in enumerate(line)
    ]


def test_golden_confusion_and_everything_read_from_it():
    m = measures.summarise(golden())
    assert m["confusion"] == [[2, 1, 1], [1, 2, 0], [1, 1, 3]]
    assert m["f1"]["DENY"] == pytest.approx({"precision": 3 / 4, "recall": 3 / 5, "f1": 2 / 3, "support": 5})
    assert m["f1"]["ALLOW"] == pytest.approx({"precision": 2 / 4, "recall": 2 / 4, "f1": 1 / 2, "support": 4})
    assert m["f1"]["ESCALATE"] == pytest.approx(
        {"precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7, "support": 3}
    )
    assert m["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 4 / 7) / 3)
    got = {k: (m[k]["k"], m[k]["n"]) for k in m if isinstance(m[k], dict) and "k" in m[k]}
    assert got == {
        "accuracy": (7, 12),
        "refuse_recall": (4, 5),
        "refuse_recall_strict": (3, 5),
        "false_allow": (1, 5),
        "false_allow_escalate": (1, 3),
        "over_refusal": (1, 4),
        "allow_withheld": (2, 4),
        "escalation": (4, 12),
    }


def test_the_threshold_turns_every_allow_into_an_escalation_and_the_bare_model_stays():
    m = measures.summarise(golden(), tau=0.9)
    assert m["confusion"] == [[0, 3, 1], [0, 3, 0], [0, 2, 3]]
    assert m["model"]["confusion"] == [[2, 1, 1], [1, 2, 0], [1, 1, 3]]


def test_macro_f1_agrees_with_sklearn():
    from sklearn.metrics import f1_score

    rows = population(300, seed=3, skill=1.0)
    labels, codes = measures.labels_of(rows), measures.released(rows, 1.3, 0.6)
    assert measures.macro_f1(measures.confusion(labels, codes)) == pytest.approx(
        f1_score(labels, codes, average="macro")
    )


@settings(max_examples=60, deadline=None)
@given(rows_strategy, st.floats(0.05, 20), st.sampled_from([0.0, 0.34, 0.5, 0.9, 0.999, 1.0]))
def test_counts_conserve_and_groups_partition(rows, temperature, tau):
    whole = measures.summarise(rows, temperature, tau)
    matrix = np.array(whole["confusion"])
    assert matrix.sum() == len(rows) == whole["n"]
    assert matrix.sum(axis=1).tolist() == [sum(r.label == d for r in rows) for d in DECISIONS]
    assert whole["false_allow"]["k"] + whole["refuse_recall"]["k"] == whole["false_allow"]["n"]
    for key in measures.GROUPS:
        parts = measures.grouped(rows, key, temperature, tau)
        assert sum(np.array(p["confusion"]) for p in parts.values()).tolist() == matrix.tolist()
    assert measures.grouped(rows, "stratum").keys() == {f"{r.meta['lang']}/{r.meta['source']}" for r in rows}


@settings(max_examples=100, deadline=None)
@given(
    rows_strategy,
    st.sampled_from([0.05, 0.5, 1.0, 3.0, 20.0]),
    st.sampled_from([0.0, 0.5, 0.9, 1.0, -1.0, float("nan")]),
)
def test_arrays_decide_as_the_served_rule_does(rows, temperature, tau):
    served = [
        decide(dict(zip(OPTIONS, calibrate(r.logprobs, temperature), strict=True)), tau, r.decision_guard)[0]
        for r in rows
    ]
    assert [DECISIONS[c] for c in measures.released(rows, temperature, tau)] == served


def test_pairs_all_three_right_each_request_and_incomplete_ones_left_out():
    def row(pair, label, said):
        return scored(f"{pair}{label}", label, SAID[said], pair=pair)

    rows = [row("p", "ALLOW", "A"), row("p", "ESCALATE", "E"), row("p", "DENY", "D")]
    rows += [row("q", "ALLOW", "A"), row("q", "ESCALATE", "A"), row("q", "DENY", "D")]
    rows += [row("r", "ALLOW", "A"), row("r", "DENY", "D"), scored("lone", "ALLOW", SAID["A"])]
    found = measures.pair_accuracy(rows, 1.0, 0.0)
    assert (found["pairs"]["k"], found["pairs"]["n"]) == (1, 2)
    assert (found["requests"]["k"], found["requests"]["n"]) == (5, 6)
    assert found["incomplete"] == 1
    assert measures.pair_accuracy(rows[-1:], 1.0, 0.0) is None


def test_a_model_that_reads_only_the_topic_has_no_pair_right():
    rows = [scored(f"{p}{d}", d, SAID["ADE"[p % 3]], pair=p) for p in range(30) for d in DECISIONS]
    found = measures.pair_accuracy(rows, 1.0, 0.0)
    assert found["pairs"]["rate"] == 0
    assert found["requests"]["rate"] == pytest.approx(1 / 3)


def test_the_curve_falls_in_false_allows_and_rises_in_escalations():
    points = measures.curve(population(600, skill=1.0), 1.0)
    bad, up = [c["false_allow"] for c in points], [c["escalation"] for c in points]
    assert bad == sorted(bad, reverse=True)
    assert up == sorted(up)
    assert bad[0] > 0 == bad[-1]


def test_an_evaluation_is_canonical_json():
    assert canonical_json(measures.evaluate(population(60), 1.2, 0.5))


def test_nothing_to_measure_and_repeated_ids_are_errors():
    with pytest.raises(ProofError):
        measures.evaluate([])
    with pytest.raises(ProofError):
        measures.decisions([*golden(), golden()[0]], 1.0, 0.0)


@pytest.mark.parametrize(
    ("label", "scores"),
    [
        ("MAYBE", (0.0, 0.0, 0.0)),
        ("ALLOW", (0.0, 0.0)),
        ("ALLOW", (float("nan"), 0.0, 0.0)),
        ("DENY", (float("-inf"),) * 3),
        ("DENY", (float("inf"), 0.0, 0.0)),
    ],
)
def test_a_row_that_is_none_is_refused(label, scores):
    with pytest.raises(ProofError):
        Scored("x", label, scores)


def test_importing_measures_loads_nothing_heavy():
    code = "import sys, sekisho.proof.measures as m; print([n for n in ('torch','matplotlib','scipy','sklearn') if n in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_what_was_not_answered_escalates_at_every_temperature(temperature) -> None:
    row = Scored("x", "DENY", measures.UNANSWERED, ("too_large",))
    assert measures.decisions([row], temperature, 0.0) == {"x": "ESCALATE"}
