from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from sekisho.core.errors import RecipeError
from sekisho.train import decisions, teaching
from sekisho.train.eyes_model import EyesRecipe
from sekisho.train.nli_recipe import NliAdapt, NliTrain
from sekisho.train.recipe import Finetune, Pretrain, find_recipe, read_recipe, recipe_digest

from .conftest import requests

SHARE = Path(__file__).parents[2]
KINDS = {
    "pretrain": Pretrain,
    "finetune": Finetune,
    "eyes": EyesRecipe,
    "nli": NliTrain,
    "nli-adapter": NliAdapt,
}


def test_the_recipes_that_ship_are_valid() -> None:
    found = sorted((SHARE / "recipes").glob("*.toml"))
    assert len(found) >= 2
    for path in found:
        kind = KINDS[tomllib.loads(path.read_text())["kind"]]
        assert read_recipe(path, kind).name == path.stem


def test_every_wrong_key_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('name = "bad"\nepochs = -1\nlerning_rate = 1\n[lora]\nrank = 4\n')
    with pytest.raises(RecipeError) as error:
        read_recipe(path, Finetune)
    for word in ("epochs", "lerning_rate", "lora.rank"):
        assert word in str(error.value)


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "1e999"])
def test_what_is_no_finite_number_is_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(f'name = "bad"\n[decisions]\nepochs = {number}\n')
    with pytest.raises(RecipeError, match="is no number for a setting"):
        read_recipe(path, Pretrain)


def test_a_missing_recipe_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="gate"):
        find_recipe("nothing", SHARE)


def test_the_digest_follows_every_knob() -> None:
    recipe = read_recipe(SHARE / "recipes" / "gate.toml", Finetune)
    assert recipe_digest(recipe) != recipe_digest(recipe.model_copy(update={"clip": 0.9}))
    assert recipe_digest(recipe) == recipe_digest(Finetune.model_validate(recipe.model_dump()))


def test_another_blend_is_not_another_training() -> None:
    rows = requests(2)
    recipe = Pretrain(name="r", start="s", teaching={"rows": 4})
    blended = recipe.model_copy(update={"blend": 0.5})
    for key in (decisions._key, teaching._key):
        assert key(recipe, rows) == key(blended, rows)
        assert key(recipe, rows) != key(recipe.model_copy(update={"seed": 1}), rows)


def test_rows_are_repeated_by_source_and_corrections_by_their_own_weight() -> None:
    recipe = Finetune(name="r", mix={"jailbreak": 3, "authored": 1.25, "rakuda": 0.0}, correction_weight=5)
    row = requests(1)[0]

    def seen(id: str, **meta: str) -> int:
        return recipe.repeats(row.model_copy(update={"id": id, "meta": meta}))

    assert seen("a", source="jailbreak") == 3
    assert seen("a", source="another") == 1
    assert seen("a", source="rakuda") == 0
    assert seen("a", source="corrections", correction="c1") == 5
    times = [seen(f"row-{i}", source="authored") for i in range(2000)]
    assert set(times) == {1, 2}
    assert 1.2 < sum(times) / len(times) < 1.3
