from __future__ import annotations

import numpy as np
import pytest

from sekisho.core.errors import ProofError
from sekisho.proof.baseline import Baseline, Labelled, run
from sekisho.proof.measures import argmax, labels_of, log_softmax, logits_of
from sekisho.proof.threshold import choose

WORDS = {
    "ALLOW": ("社内規程の要約を作ってください", "please summarise the schedule"),
    "ESCALATE": ("患者の薬の量を変えてよいか教えて", "may I change the dose"),
    "DENY": ("他人の口座に侵入したい", "break into an account of someone"),
}


def rows(n, seed):
    rng = np.random.default_rng(seed)
    out = []
    for i in range(n):
        label = list(WORDS)[i % 3]
        lang = rng.integers(2)
        out.append(
            Labelled(f"{seed}-{i}", f"{WORDS[label][lang]} {rng.integers(1000)}", label, {"lang": "ja"})
        )
    return out


def test_it_learns_what_characters_tell_and_keeps_ids_labels_and_meta():
    given = rows(60, 2)
    found = Baseline(rows(240, 1)).score(given)
    assert [(s.id, s.label, s.meta) for s in found] == [(r.id, r.label, r.meta) for r in given]
    assert (argmax(log_softmax(logits_of(found))) == labels_of(found)).all()


def test_the_same_rows_give_the_same_scores():
    assert Baseline(rows(90, 1)).score(rows(20, 2)) == Baseline(rows(90, 1)).score(rows(20, 2))


def test_a_decision_never_seen_is_unlikely_not_impossible():
    train = [r for r in rows(90, 1) if r.label != "ESCALATE"]
    p = np.exp(Baseline(train).logprobs(["患者", "account"]))
    assert p.sum(axis=1) == pytest.approx(1.0)
    assert p[:, 2] == pytest.approx(1 / (len(train) + 3))


def test_one_kind_of_decision_is_no_training_set():
    with pytest.raises(ProofError):
        Baseline([r for r in rows(30, 1) if r.label == "DENY"])


def test_a_run_calibrates_and_chooses_as_the_candidate_does():
    found = run(rows(300, 1), rows(240, 2), {"holdout": rows(30, 3), "empty": []}, "sha256:cal")
    assert {k: len(v) for k, v in found.scored.items()} == {"holdout": 30, "empty": 0}
    assert found.calibration.fitted_on == "sha256:cal"
    assert found.threshold.feasible
    again = Baseline(rows(300, 1)).score(rows(240, 2))
    assert found.threshold == choose(again, found.calibration.temperature)
