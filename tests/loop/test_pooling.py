"""The second reader of requests, from the recipe to a judgement: what is proved is what is served."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sekisho import wiring
from sekisho.core.errors import DataError, ShelfError
from sekisho.core.question import Option, Question, gate_question
from sekisho.core.records import Stamp
from sekisho.loop import finetune as module
from sekisho.loop.bake import bake
from sekisho.loop.entries import Asked, Serving
from sekisho.loop.finetune import finetune, read_by_base, reader_of
from sekisho.loop.judge import Judge
from sekisho.loop.prove import gather_splits, load_release, prove, score_rows
from sekisho.loop.serving import start_serving
from sekisho.proof.probabilities import log_softmax
from sekisho.serve.engines.fake import FakeEngine, Script
from sekisho.shelf import write_json
from sekisho.tasks.ngrams_fit import fit_ngrams
from sekisho.tasks.policy import policy_of
from sekisho.tasks.sidecar import NGRAMS, read_sidecar
from sekisho.train.recipe import Ngrams
from train.conftest import base, tiny_finetune, tokenizer  # noqa: F401

from .makers import gather_small, rows, small_house
from .test_prove import passed, promoted

DEEPER = Question(type="choice", options=(Option(key="ALLOW"), Option(key="DENY"), Option(key="ESCALATE")))


@pytest.fixture
def pooling(tmp_path: Path, base: Path) -> Iterator[wiring.House]:  # noqa: F811
    """A small house whose recipe asks for a second reader."""
    built = small_house(tmp_path / "home", base)
    recipe = Path(built.settings.recipe)
    recipe.write_text(recipe.read_text() + "[ngrams]\nshare = 0.4\n")
    yield built
    built.close()


def test_the_reader_goes_from_the_recipe_into_what_serves(pooling: wiring.House) -> None:
    adapter = Path(finetune(pooling).folder)
    release = promoted(pooling)
    folder = pooling.shelf.get("releases", release.release)
    assert (folder / NGRAMS).read_bytes() == (adapter / NGRAMS).read_bytes()
    serving = asyncio.run(start_serving(pooling))
    assert serving.ngrams is not None
    assert (serving.ngrams.share, serving.ngrams.rows) == (0.4, 120)
    assert NGRAMS in pooling.shelf.release(release.release)[1].files


def test_a_recipe_without_one_makes_none(small: wiring.House) -> None:
    assert not (Path(finetune(small).folder) / NGRAMS).exists()


def test_a_judgement_has_the_very_probabilities_that_were_proved(pooling: wiring.House) -> None:
    """The engine gives the model's own opinion; on both ways to the gate the judgement holds the pooled one, which is not the model's."""
    finetune(pooling)
    release = promoted(pooling).release
    model, tokenizer, beside = load_release(pooling, release)  # noqa: F811
    held = gather_splits(pooling)["holdout"][:6]
    context = pooling.settings.context
    proved = score_rows(model, tokenizer, beside, held, context)
    alone = score_rows(model, tokenizer, replace(beside, ngrams=None), held, context)
    opinions = {e.meta["text"]: r.logprobs for e, r in zip(held, alone, strict=True)}

    def said(state: str, question: Question) -> dict[str, float]:
        found = next(v for k, v in opinions.items() if k in state)
        return dict(zip(("ALLOW", "DENY", "ESCALATE"), map(math.exp, found), strict=True))

    engine = FakeEngine(Script(probabilities=said))
    stamp = Stamp(engine="fake", model="m", model_digest="sha256:0")
    temperatures = {"choice": 1.7}
    policy = policy_of(pooling.policy_document)
    serving = Serving(engine, stamp, policy, temperatures, ngrams=beside.ngrams)
    judge = Judge(serving, pooling.ledger, 5.0, queue=8)
    gate = Asked("gate", gate_question(), ("ALLOW", "DENY", "ESCALATE"))
    plain = Asked("deeper", DEEPER, ("ALLOW", "DENY", "ESCALATE"))

    async def run() -> None:
        await engine.start()
        for e, right in zip(held, proved, strict=True):
            text = str(e.meta["text"])
            first = await judge.gate(text)
            second, other = await judge.ask(text, [gate, plain])
            wanted = {k: pytest.approx(math.exp(x)) for k, x in zip(first.raw, right.logprobs, strict=True)}
            assert first.raw == second.raw == wanted
            p = np.exp(log_softmax(np.array([right.logprobs]), 1.7))[0]
            served = {k: pytest.approx(float(x)) for k, x in zip(first.raw, p, strict=True)}
            assert first.probabilities == second.probabilities == served
            assert other.raw == {k: pytest.approx(p) for k, p in said(text, DEEPER).items()}

    asyncio.run(run())
    assert max(abs(a.logprobs[0] - b.logprobs[0]) for a, b in zip(proved, alone, strict=True)) > 0.05


def test_a_reader_that_was_changed_on_the_shelf_is_not_served(pooling: wiring.House) -> None:
    finetune(pooling)
    release = promoted(pooling).release
    path = pooling.shelf.get("releases", release) / NGRAMS
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ShelfError, match="changed"):
        asyncio.run(start_serving(pooling))


def test_a_base_that_was_made_here_has_read_the_bundled_text(pooling: wiring.House, tmp_path: Path) -> None:
    """Texts its base has read are familiar; of any other base nobody knows what it has read."""
    base_folder = Path(pooling.settings.gate_model)
    assert list(read_by_base(pooling)) == []
    write_json(base_folder / "made.json", {"gate_sources": []})
    try:
        texts = list(read_by_base(pooling))
    finally:
        (base_folder / "made.json").unlink()
    assert len(texts) > 10_000
    assert any("日本" in t for t in texts[:1000])


@pytest.mark.parametrize("change", [Path.unlink, lambda p: p.write_bytes(p.read_bytes() + b" ")])
def test_an_adapter_whose_reader_is_not_the_proved_one_is_not_baked(pooling: wiring.House, change) -> None:
    adapter = Path(finetune(pooling).folder)
    passed(pooling)
    change(adapter / NGRAMS)
    with pytest.raises(ShelfError):
        bake(pooling)
    with pytest.raises(ShelfError):
        prove(pooling)


def test_the_scope_knows_what_the_base_has_read(pooling: wiring.House, monkeypatch) -> None:
    read = "宇宙船の航法"
    monkeypatch.setattr(module, "read_by_base", lambda parts: [read])
    beside = read_sidecar(Path(finetune(pooling).folder))
    assert beside.scope.share(read) == 1.0
    assert beside.scope.share("zxqv jjkw ppqz") < 0.5


def test_the_reader_is_made_as_the_recipe_says() -> None:
    seen = [*rows(30, 1), rows(1, 9)[0].model_copy(update={"meta": {"text": "fire", "correction": "cor_1"}})]
    recipe = tiny_finetune(ngrams=Ngrams(share=0.3, decay=0.5), correction_weight=7, seed=3)
    made, right = reader_of(seen, recipe), fit_ngrams(seen, 0.3, 0.5, 7, 3)
    assert made is not None
    assert right is not None
    assert made.share == 0.3
    assert (made.weights == right.weights).all()
    others = [fit_ngrams(seen, 0.3, 0.1, 7, 3), fit_ngrams(seen, 0.3, 0.5, 1, 3)]
    assert all((made.weights != other.weights).any() for other in others)


def test_rows_of_one_decision_are_told_before_anything_is_trained(pooling: wiring.House, monkeypatch) -> None:
    alike = [e for e in rows(120, 1) if e.label == "ALLOW"]
    gather_small(pooling, {"train": alike, "calibration": rows(90, 2), "holdout": rows(60, 3)})
    monkeypatch.setattr(module.room, "fit", lambda *a: pytest.fail("it was trained"))
    with pytest.raises(DataError, match="one decision"):
        finetune(pooling)


def test_baking_again_keeps_the_reader(pooling: wiring.House) -> None:
    finetune(pooling)
    first = promoted(pooling).release
    again = bake(pooling).release
    one, two = (pooling.shelf.get("releases", r) / NGRAMS for r in (first, again))
    assert one.read_bytes() == two.read_bytes()
