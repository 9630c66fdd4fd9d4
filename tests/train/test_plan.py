from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.core.errors import BudgetError
from sekisho.train.fit import attach, fit, load_base
from sekisho.train.plan import MIB, peak, plan, require, shape_of

from .conftest import requests, tiny_finetune


@pytest.mark.parametrize(
    "changes", [{}, {"triality": True}, {"shared_gates": True}, {"gates": False}], ids=str
)
def test_the_shape_counts_what_is_really_trained_and_stored(base: Path, changes: dict) -> None:
    recipe = tiny_finetune(**changes)
    shape = shape_of(base, recipe)
    model, _ = load_base(base)
    assert shape.linear + shape.other == sum(p.numel() for p in model.parameters())
    adapted = attach(model, recipe)
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    # Of triality, a layer's last generator may be used in part only.
    assert shape.lora + shape.gates == pytest.approx(
        trained, abs=2 * 28 if changes == {"triality": True} else 0
    )


def test_every_way_to_save_memory_saves_some(base: Path) -> None:
    recipe = tiny_finetune(batch=64, lora={"r": 4, "alpha": 8})
    shape = shape_of(base, recipe).model_copy(
        update={"linear": 3_000_000_000, "hidden": 3072, "layers": 32, "inner": 8192}
    )
    whole = plan(shape, recipe, 512).total
    for change in (
        {"accumulation": 8},
        {"checkpointing": True},
        {"base_type": "int8"},
        {"base_type": "nf4"},
        {"base_type": "bfloat16"},
    ):
        assert plan(shape, recipe.model_copy(update=change), 512).total < whole, change
    assert plan(shape, recipe, 512, processes=2).total < whole


def test_shards_save_what_the_other_processes_hold(base: Path) -> None:
    recipe = tiny_finetune(batch=64, shard_base=True)
    shape = shape_of(base, recipe).model_copy(
        update={"linear": 3_200_000_000, "hidden": 3072, "layers": 32, "vocabulary": 200_000}
    )
    alone, two, four = (plan(shape, recipe, 512, processes=n) for n in (1, 2, 4))
    whole = plan(shape, recipe.model_copy(update={"shard_base": False}), 512, processes=2)
    assert alone == plan(shape, recipe.model_copy(update={"shard_base": False}), 512)
    assert two.base == pytest.approx(whole.base / 2, abs=1)
    assert four.base == pytest.approx(whole.base / 4, abs=1)
    # The head twice while it comes, and a layer of a hundred million weights.
    assert two.working - whole.working == 4 * (2 * 200_000 * 3072 + 10**8)
    assert two.total < whole.total


def test_sharding_is_among_what_would_fit(base: Path) -> None:
    recipe = tiny_finetune(batch=64)
    shape = shape_of(base, recipe).model_copy(update={"linear": 3_000_000_000, "layers": 30})
    made = plan(shape, recipe, 192, 2)
    with pytest.raises(BudgetError) as e:
        require(made, shape, recipe, 192, made.total - MIB, 2)
    assert "shard_base = True" in e.value.do
    with pytest.raises(BudgetError) as e:
        require(made, shape, recipe, 192, made.total - MIB)
    assert "shard_base" not in e.value.do
    shared = recipe.model_copy(update={"shard_base": True})
    with pytest.raises(BudgetError) as e:
        require(plan(shape, shared, 192, 2), shape, shared, 192, MIB * 2000, 2)
    assert "int8" not in e.value.do


def test_a_plan_that_does_not_fit_is_refused_with_what_does(base: Path, tmp_path: Path) -> None:
    recipe = tiny_finetune(batch=64)
    shape = shape_of(base, recipe)
    made = plan(shape, recipe, 192)
    require(made, shape, recipe, 192, made.total)
    require(made, shape, recipe, 192, None)
    with pytest.raises(BudgetError) as e:
        require(made, shape, recipe, 192, made.total - MIB)
    assert "accumulation = 2" in e.value.do
    assert "checkpointing = True" in e.value.do
    with pytest.raises(BudgetError, match="No single change"):
        fit(recipe, base, requests(6), tmp_path, lambda _: None, free=MIB)
    assert not (tmp_path / "checkpoints").exists()


def test_the_peak_is_a_number_of_bytes() -> None:
    most = peak()
    assert most is None or most > 50 * MIB
