"""The second reader of requests, from the recipe to a judgement: what is proved is what is served."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sekisho import wiring
from sekisho.core.question import Option, Question, gate_question
from sekisho.core.records import Stamp
from sekisho.loop.bake import bake
from sekisho.loop.entries import Asked, Serving
from sekisho.loop.finetune import finetune
from sekisho.loop.judge import Judge
from sekisho.loop.prove import gather_splits, load_release, score_rows
from sekisho.loop.serving import start_serving
from sekisho.serve.engines.fake import FakeEngine, Script
from sekisho.shelf import write_json
from sekisho.tasks.policy import policy_of
from sekisho.tasks.sidecar import NGRAMS
from train.conftest import base, tokenizer  # noqa: F401

from .makers import small_house
from .test_prove import promoted

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
    rows = gather_splits(pooling)["holdout"][:6]
    context = pooling.settings.context
    proved = score_rows(model, tokenizer, beside, rows, context)
    alone = score_rows(model, tokenizer, replace(beside, ngrams=None), rows, context)
    opinions = {e.meta["text"]: r.logprobs for e, r in zip(rows, alone, strict=True)}

    def said(state: str, question: Question) -> dict[str, float]:
        found = next(v for k, v in opinions.items() if k in state)
        return dict(zip(("ALLOW", "DENY", "ESCALATE"), map(math.exp, found), strict=True))

    engine = FakeEngine(Script(probabilities=said))
    stamp = Stamp(engine="fake", model="m", model_digest="sha256:0")
    serving = Serving(engine, stamp, policy_of(pooling.policy_document), {}, ngrams=beside.ngrams)
    judge = Judge(serving, pooling.ledger, 5.0, queue=8)
    gate = Asked("gate", gate_question(), ("ALLOW", "DENY", "ESCALATE"))
    plain = Asked("deeper", DEEPER, ("ALLOW", "DENY", "ESCALATE"))

    async def run() -> None:
        await engine.start()
        for e, right in zip(rows, proved, strict=True):
            text = str(e.meta["text"])
            first = await judge.gate(text)
            second, other = await judge.ask(text, [gate, plain])
            wanted = {k: pytest.approx(math.exp(x)) for k, x in zip(first.raw, right.logprobs, strict=True)}
            assert first.raw == second.raw == wanted
            assert first.probabilities == second.probabilities == wanted
            assert other.raw == {k: pytest.approx(p) for k, p in said(text, DEEPER).items()}

    asyncio.run(run())
    assert max(abs(a.logprobs[0] - b.logprobs[0]) for a, b in zip(proved, alone, strict=True)) > 0.05


def test_a_reader_that_was_changed_on_the_shelf_is_not_served(pooling: wiring.House) -> None:
    finetune(pooling)
    release = promoted(pooling).release
    path = pooling.shelf.get("releases", release) / NGRAMS
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(Exception, match="changed") as caught:
        asyncio.run(start_serving(pooling))
    assert "Traceback" not in str(caught.value)


def test_a_base_that_was_made_here_has_read_the_bundled_text(pooling: wiring.House, tmp_path: Path) -> None:
    """Texts its base has read are familiar; of any other base nobody knows what it has read."""
    from sekisho.loop.finetune import read_by_base

    base_folder = Path(pooling.settings.gate_model)
    assert list(read_by_base(pooling)) == []
    write_json(base_folder / "made.json", {"gate_sources": []})
    try:
        texts = list(read_by_base(pooling))
    finally:
        (base_folder / "made.json").unlink()
    assert len(texts) > 10_000
    assert any("日本" in t for t in texts[:1000])


def test_baking_again_keeps_the_reader(pooling: wiring.House) -> None:
    finetune(pooling)
    first = promoted(pooling).release
    again = bake(pooling).release
    one, two = (pooling.shelf.get("releases", r) / NGRAMS for r in (first, again))
    assert one.read_bytes() == two.read_bytes()
