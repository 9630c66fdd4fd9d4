from __future__ import annotations

from pathlib import Path

import pytest

from sekisho import wiring
from sekisho.core.canonical import digest_file, new_id, utc_now
from sekisho.core.errors import ConflictError, ShelfError
from sekisho.core.records import Proof
from sekisho.ledger import views
from sekisho.loop.promote import promote, rollback
from sekisho.shelf import Release, write_json


def shelved(house: wiring.House, passed: bool, mark: str) -> tuple[str, Path]:
    """A release on the shelf with a proof in the ledger."""
    proof = Proof(
        id=new_id("prf"),
        at=utc_now(),
        task="gate",
        candidate="sha256:a",
        base=None,
        passed=passed,
        why=(mark,),
        measures={},
    )
    house.ledger.append([proof])
    with house.shelf.building("releases") as folder:
        (folder / "model.gguf").write_text(mark)
        release = Release(
            name="m",
            base="sha256:b",
            adapter="sha256:a",
            recipe="sha256:r",
            data="sha256:d",
            files={"model.gguf": digest_file(folder / "model.gguf")},
            gguf={"f16": "model.gguf"},
            temperatures={"choice": 1.0},
            calibration="sha256:c",
            threshold=0.9,
            proof=proof.id,
            certificate={},
        )
        write_json(folder / "release.json", release.model_dump(mode="json"))
        digest = house.shelf.keep("releases", folder)
    return digest, house.shelf.path("releases", digest)


def test_promotion_and_the_way_back_are_in_the_ledger(house: wiring.House) -> None:
    first, _ = shelved(house, True, "one")
    second, _ = shelved(house, True, "two")
    assert promote(house, first).previous is None
    assert promote(house, second, "chief").previous == first
    back = rollback(house, "chief")
    assert (back.release, back.previous, back.rollback) == (first, second, True)
    assert views.serving(house.ledger) == back
    assert house.ledger.count("promotion") == 3


def test_without_a_passing_proof_nothing_is_promoted(house: wiring.House) -> None:
    digest, _ = shelved(house, False, "falls short")
    with pytest.raises(ConflictError, match="falls short"):
        promote(house, digest)
    assert views.serving(house.ledger) is None


def test_a_release_that_was_changed_is_refused(house: wiring.House) -> None:
    digest, folder = shelved(house, True, "one")
    (folder / "model.gguf").write_text("changed")
    with pytest.raises(ShelfError, match="changed"):
        promote(house, digest)


def test_a_release_with_a_changed_threshold_is_refused(house: wiring.House) -> None:
    digest, folder = shelved(house, True, "one")
    text = (folder / "release.json").read_text()
    (folder / "release.json").write_text(text.replace("0.9", "0.0"))
    with pytest.raises(ShelfError, match="changed"):
        promote(house, digest)


def test_rollback_without_a_past_and_promoting_twice_are_conflicts(house: wiring.House) -> None:
    with pytest.raises(ConflictError):
        rollback(house)
    digest, _ = shelved(house, True, "one")
    promote(house, digest)
    with pytest.raises(ConflictError):
        promote(house, digest)
    with pytest.raises(ConflictError):
        rollback(house)


def test_an_unknown_or_ambiguous_name_is_refused(house: wiring.House) -> None:
    with pytest.raises(ConflictError):
        promote(house)
    with pytest.raises(ShelfError):
        promote(house, "ffff")
