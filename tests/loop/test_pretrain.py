"""What a recipe that goes on from another base begins with, and what its card tells."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from sekisho.core.errors import RecipeError
from sekisho.loop.model_card import render
from sekisho.loop.pretrain import _run_folder, _sources, base_decisions
from sekisho.train.recipe import Pretrain, read_recipe


@pytest.fixture
def share():
    return Path(__file__).parents[2]


@pytest.fixture
def parts(tmp_path, share):
    return SimpleNamespace(settings=SimpleNamespace(share=share, home=tmp_path))


def test_a_run_of_another_start_is_not_gone_on_with(parts, share, tmp_path):
    recipe = Pretrain(name="r", start="models/nano")
    folder = _run_folder(parts, recipe, "sha256:0", tmp_path / "run", share / "models" / "nano")
    other = shutil.copytree(share / "models" / "nano", tmp_path / "other")
    config = json.loads((other / "config.json").read_bytes())
    (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-4}))
    with pytest.raises(RecipeError, match="text or start"):
        _run_folder(parts, recipe, "sha256:0", folder, other)
    (folder / "run.json").write_text("{")
    with pytest.raises(RecipeError, match="text or start"):
        _run_folder(parts, recipe, "sha256:0", folder, other)


def test_a_run_goes_on_whatever_its_later_stages_and_newer_knobs_are(parts, tmp_path):
    bare = Pretrain(name="r")
    folder = _run_folder(parts, bare, "sha256:0", tmp_path / "run", None)
    assert "start" not in json.loads((folder / "run.json").read_bytes())["recipe"]
    taught = Pretrain(name="r", blend=0.5, teaching={"rows": 9}, decisions={"epochs": 2})
    assert _run_folder(parts, taught, "sha256:0", folder, None) == folder


def test_the_shipped_recipe_names_rows_of_our_own_alone(parts, share):
    recipe = read_recipe(share / "recipes" / "nano_more.toml", Pretrain)
    rows = base_decisions(parts, recipe)
    few = recipe.model_copy(update={"decisions": recipe.decisions.model_copy(update={"own_cap": 7})})
    assert sum(e.meta["source"] == "wordings" for e in base_decisions(parts, few)) < sum(
        e.meta["source"] == "wordings" for e in rows
    )
    assert _sources(rows, None) == ["authored", "wordings"]
    assert not [e for e in rows if e.meta["source"] == "authored" and e.meta["variant"]]


def test_the_card_tells_what_the_model_began_from(share, tmp_path):
    nano = share / "models" / "nano"
    start = shutil.copytree(nano, tmp_path / "start")
    (start / "README.md").write_text(
        "# s\n\n## How it was made\n\nFrom nothing, once.\n\n## Files\n", "utf-8"
    )
    bits = {"ja": {"characters": 9.0, "model": 1.0, "ngram": 2.0, "xz": 3.0}}
    result = {"corpus": {"digest": "sha256:0", "sources": {}}, "recipe": "sha256:1", "bits": bits}
    recipe = Pretrain(name="r", start="s", decisions={"epochs": 2, "rounds": 2, "sources": {"wordings": 3}})
    told = render(recipe, result, nano, bits, start)
    assert "`wordings` 3 time(s) a pass). 2 time(s) 2 passes" in told
    assert "teachers" not in told
    assert "is stored" not in told
    taught = Pretrain(name="r", start="s", blend=0.67, teaching={"rows": 84000, "pieces": 0.4})
    told = render(taught, result, nano, bits, start)
    assert "84,000 rows, 40% of them pieces" in told
    assert "67% of that is stored" in told
    assert "passes. " not in told.partition("From nothing")[0]
    assert "From nothing, once." in told
    assert "what it began from" in told
    assert "began" not in render(Pretrain(name="r"), result, nano, bits)
