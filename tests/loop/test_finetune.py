from __future__ import annotations

import json
from pathlib import Path

import pytest

from sekisho import wiring
from sekisho.core.progress import Quiet
from sekisho.loop.correct import correct
from sekisho.loop.finetune import _Curve, data_digest, finetune
from sekisho.loop.prove import prove

from .conftest import judged
from .makers import rows
from .test_prove import text_of


def test_an_overruled_correction_is_other_data_in_another_run(small: wiring.House) -> None:
    judgement = judged(small, text_of("train", "explain the seal"))
    correct(small.ledger, judgement.id, "DENY", "first")
    first = finetune(small)
    correct(small.ledger, judgement.id, "ESCALATE", "second")
    second = finetune(small)
    assert (first.data, first.run) != (second.data, second.run)


def test_a_held_out_correction_that_was_overruled_is_other_data(small: wiring.House) -> None:
    finetune(small)
    judgement = judged(small, text_of("holdout", "explain the seal"))
    digests = set()
    for label in ("DENY", "ESCALATE"):
        correct(small.ledger, judgement.id, label, "because")
        digests.add(prove(small).data)
    assert len(digests) == 2


@pytest.mark.parametrize("change", [{"label": "DENY"}, {"state": "x"}, {"id": "x"}])
def test_the_digest_of_data_sees_label_state_and_id(change) -> None:
    row = rows(1, 0)[0]
    assert data_digest([row]) != data_digest([row.model_copy(update=change)])


def test_a_run_that_goes_on_keeps_its_curve(tmp_path: Path) -> None:
    before = _Curve(Quiet(), tmp_path)
    for step in (10, 20, 30):
        before({"step": step, "steps": 50, "loss": 1.0})
    resumed = _Curve(Quiet(), tmp_path)
    for step in (30, 40, 50, 50):
        resumed({"step": step, "steps": 50, "loss": 0.5})
    points = json.loads((tmp_path / "curve.json").read_bytes())
    assert [(p["step"], p["loss"]) for p in points] == [
        (10, 1.0),
        (20, 1.0),
        (30, 0.5),
        (40, 0.5),
        (50, 0.5),
        (50, 0.5),
    ]
