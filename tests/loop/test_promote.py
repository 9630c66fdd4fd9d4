from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sekisho import wiring
from sekisho.core import settings
from sekisho.core.canonical import digest_file, new_id, utc_now
from sekisho.core.errors import ConflictError, ShelfError
from sekisho.core.records import Proof
from sekisho.ledger import views
from sekisho.loop.promote import promote, rollback
from sekisho.shelf import Release, write_json


def shelved(
    house: wiring.House, passed: bool, mark: str, base: str | None = None, adapter: str = "sha256:a"
) -> tuple[str, Path]:
    """A release on the shelf with a proof in the ledger, which compared with `base`."""
    proof = Proof(
        id=new_id("prf"),
        at=utc_now(),
        task="gate",
        candidate=adapter,
        base=base,
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
            adapter=adapter,
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
    second, _ = shelved(house, True, "two", first)
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


def serve_in_turn(house: wiring.House, count: int) -> list[str]:
    """Releases, each proved against the one before and promoted."""
    found: list[str] = []
    for i in range(count):
        digest, _ = shelved(house, True, str(i), found[-1] if found else None, f"sha256:{i}")
        promote(house, digest)
        found.append(digest)
    return found


def test_a_proof_against_what_no_longer_serves_is_outdated(house: wiring.House) -> None:
    first, _ = shelved(house, True, "one")
    rival, _ = shelved(house, True, "two", first)
    late, _ = shelved(house, True, "three", first)
    early, _ = shelved(house, True, "four", None)
    promote(house, first)
    promote(house, rival)
    for outdated in (late, early):
        with pytest.raises(ConflictError, match="outdated"):
            promote(house, outdated)
    assert promote(house, first).previous == rival, "what served before may come back"


def test_a_later_proof_that_falls_short_counts(house: wiring.House) -> None:
    digest, _ = shelved(house, True, "one")
    shelved(house, False, "worse now")
    with pytest.raises(ConflictError, match="worse now"):
        promote(house, digest)
    again, _ = shelved(house, True, "mended")
    assert promote(house, again).release == again


def test_every_rollback_goes_one_further_back_and_never_to_what_was_withdrawn(house: wiring.House) -> None:
    first, second, third = serve_in_turn(house, 3)
    assert [rollback(house).release, rollback(house).release] == [second, first]
    with pytest.raises(ConflictError, match="no earlier"):
        rollback(house)
    assert promote(house, third).previous == first
    assert rollback(house).release == second


@hypothesis_settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["new", "back"]), max_size=12))
def test_a_rollback_serves_what_was_there_before_the_present_release(tmp_path_factory, steps) -> None:
    house = wiring.build(settings.load({"home": str(tmp_path_factory.mktemp("home")), "engine": "fake"}))
    stack: list[str] = []
    for i, step in enumerate(steps):
        if step == "new":
            digest, _ = shelved(house, True, str(i), stack[-1] if stack else None, f"sha256:{i}")
            promote(house, digest)
            stack.append(digest)
        elif len(stack) > 1:
            stack.pop()
            assert rollback(house).release == stack[-1]
        else:
            with pytest.raises(ConflictError):
                rollback(house)
    house.close()
