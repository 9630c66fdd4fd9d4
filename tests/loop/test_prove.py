from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from sekisho import wiring
from sekisho.core.canonical import digest_text, new_id
from sekisho.core.records import Promotion, Proof
from sekisho.data.split import split_of
from sekisho.loop.bake import bake
from sekisho.loop.correct import correct
from sekisho.loop.finetune import finetune
from sekisho.loop.promote import promote
from sekisho.loop.prove import gather_splits, prove, score_adapter, score_release
from sekisho.loop.report import report

from .conftest import judged
from .makers import small_house


def text_of(split: str, start: str) -> str:
    """A text that was not gathered and whose own digest puts it into a split."""
    return next(t for i in range(1000) if split_of(digest_text(t := f"{start} {i}")) == split)


@pytest.mark.parametrize("label", ["ALLOW", "DENY", "ESCALATE"])
def test_a_correction_that_no_context_holds_is_proved_as_an_escalation(small: wiring.House, label) -> None:
    long = text_of("holdout", "record " * 3000)
    correct(small.ledger, judged(small, long, "ESCALATE").id, label, "because")
    scores = score_adapter(small, finetune(small).adapter, gather_splits(small))
    row = scores.splits["holdout"][-1]
    assert (row.meta["text"], row.decision_guard[0]) == (long, "too_large")
    assert scores.released("holdout")[row.id] == "ESCALATE"
    assert prove(small).measures["n"] == 61


def test_the_context_is_the_one_that_serves(small: wiring.House) -> None:
    values = {**small.settings.values, "context": 10}
    narrow = wiring.House(
        type(small.settings)(values, small.settings.sources), small.ledger, small.shelf, {}, {}
    )
    scores = score_adapter(narrow, finetune(small).adapter, gather_splits(small))
    assert {r.decision_guard[0] for r in scores.splits["holdout"]} == {"too_large"}
    assert set(scores.released("holdout").values()) == {"ESCALATE"}


def passed(parts: wiring.House) -> Proof:
    """Prove the newest adapter. What it is worth is not the question here, so the verdict is a made one."""
    proof = prove(parts)
    made = proof.model_copy(update={"id": new_id("prf"), "passed": True})
    stored = parts.settings.home / "proofs"
    (stored / f"{made.id}.json").write_bytes((stored / f"{proof.id}.json").read_bytes())
    parts.ledger.append([made])
    return made


def promoted(parts: wiring.House) -> Promotion:
    passed(parts)
    return promote(parts, bake(parts).release)


def test_what_serves_is_scored_from_its_release_when_the_base_is_another(
    small: wiring.House, tmp_path: Path
) -> None:
    finetune(small)
    base = Path(small.settings.gate_model)
    release = promoted(small).release
    before = score_release(small, release, gather_splits(small))
    other = tmp_path / "other"
    shutil.copytree(base, other)
    retrained(other)
    moved = small_house(small.settings.home, other)
    finetune(moved)
    assert prove(moved).base == release
    assert score_release(moved, release, gather_splits(moved)).released("holdout") == before.released(
        "holdout"
    )
    assert report(moved, leave_one_out=False).short
    moved.close()


def test_a_readme_beside_the_base_changes_nothing(small: wiring.House, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(Path(small.settings.gate_model), other)
    house = small_house(small.settings.home, other)
    made = finetune(house)
    (other / "README.md").write_text("A model.")
    assert score_adapter(house, made.adapter, gather_splits(house)).splits["holdout"]
    house.close()


def retrained(folder: Path) -> None:
    """Other weights under the same name."""
    weights = load_file(folder / "model.safetensors")
    save_file({k: v * 1.01 for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})
