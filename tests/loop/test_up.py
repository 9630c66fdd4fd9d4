from __future__ import annotations

from pathlib import Path

from sekisho import wiring
from sekisho.host.lock import alone
from sekisho.ledger import views
from sekisho.loop.bake import bake, kept_release
from sekisho.loop.finetune import finetune
from sekisho.loop.prove import kept_proof
from sekisho.loop.up import up

from .test_prove import passed


def test_up_takes_up_whatever_is_there(small: wiring.House) -> None:
    made = finetune(small)
    assert finetune(small) == made
    assert len(small.shelf.all("adapters")) == 1
    assert kept_proof(small, made.adapter) is None
    proof = passed(small)
    assert kept_proof(small, made.adapter) == proof
    assert kept_release(small, proof) is None
    baked = bake(small)
    done = up(small)
    assert (done.done, done.release) == (("promote",), baked.release)
    promotion = views.serving(small.ledger)
    assert promotion is not None
    assert (promotion.proof, promotion.release) == (proof.id, done.release)
    assert kept_proof(small, made.adapter) is None, "something else serves now than what it was compared with"
    assert up(small).done == ()


def test_a_trained_adapter_is_not_trained_again_unless_it_was_lost(small: wiring.House) -> None:
    folder = Path(finetune(small).folder)
    written = (folder / "adapter.json").stat().st_mtime_ns
    again = finetune(small)
    assert (Path(again.folder) / "adapter.json").stat().st_mtime_ns == written
    (folder / "scope.json").write_text("{}")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert finetune(small).adapter == again.adapter


def test_verbs_go_on_inside_a_lock_of_their_own_process(small: wiring.House) -> None:
    with alone(small.settings.home / "making.lock"):
        assert finetune(small).adapter
