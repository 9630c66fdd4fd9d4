"""A base to go on from is looked at whole before anything is learnt or written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from sekisho.core.errors import RecipeError
from sekisho.loop.start import (
    learnt_sources,
    require_apart,
    require_course,
    require_start,
    start_folder,
)
from sekisho.train.recipe import Pretrain, read_recipe

SHARE = Path(__file__).parents[2]


@pytest.fixture
def parts(tmp_path):
    return SimpleNamespace(settings=SimpleNamespace(share=SHARE, home=tmp_path))


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(SHARE / "models" / "nano", tmp_path / "copy")


def test_the_start_is_a_folder_under_share_or_a_path(parts, copy):
    assert start_folder(parts, Pretrain(name="r")) is None
    assert start_folder(parts, Pretrain(name="r", start="models/nano")) == SHARE / "models" / "nano"
    assert start_folder(parts, Pretrain(name="r", start=str(copy))) == copy


@pytest.mark.parametrize("name", ["models/none", "x" * 5000, "models/na\0no"])
def test_a_start_that_is_no_model_is_refused(parts, name):
    with pytest.raises(RecipeError, match="holds no model"):
        start_folder(parts, Pretrain(name="r", start=name))


def test_the_base_that_ships_can_be_gone_on_from(copy):
    require_start(copy)
    assert "authored" in learnt_sources(copy)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("made.json", None, "names no gate sources"),
        ("made.json", b"{", "cannot be read"),
        ("made.json", b"[]", "is no JSON object"),
        ("made.json", b"{}", "names no gate sources"),
        ("made.json", b'{"gate_sources": [1]}', "names no gate sources"),
        ("README.md", b"\xff", "is not UTF-8"),
        ("config.json", b"[1]", "is no JSON object"),
        ("config.json", b'{"model_type": "qwen2"}', "is no Phi-3 model"),
        ("model.safetensors", None, "holds no model that can be loaded"),
        ("model.safetensors", b"cut", "holds no model that can be loaded"),
        ("tokenizer.json", None, "holds no tokenizer"),
        ("tokenizer.json", b"{", "holds no tokenizer"),
    ],
)
def test_a_start_of_which_something_cannot_be_read_is_named(copy, name, content, words):
    (copy / name).unlink() if content is None else (copy / name).write_bytes(content)
    with pytest.raises(RecipeError, match=words):
        require_start(copy)


@pytest.mark.parametrize("change", [{"hidden_size": 512}, {"num_hidden_layers": 7}])
def test_a_start_whose_weights_do_not_fit_is_refused(copy, change):
    config = json.loads((copy / "config.json").read_bytes())
    (copy / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(RecipeError, match="weights"):
        require_start(copy)


def test_a_run_never_writes_into_its_start(copy):
    shutil.copytree(copy, copy / "model")
    for start in (copy, copy / "model"):
        with pytest.raises(RecipeError, match="where this run would write"):
            require_apart(start, copy)
    require_apart(copy, copy / "elsewhere")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"start": "s"}, "learns nothing"),
        ({"start": "s", "decisions": {"epochs": 1, "sources": {"authored": 0}}}, "learns nothing"),
        ({"start": "s", "decisions": {"epochs": 1, "sources": {}}}, "learns nothing"),
        ({"blend": 0.5}, "no `start` to blend with"),
        ({"decisions": {"epochs": 1, "sources": {"authorred": 1}}}, "does not learn from authorred"),
        ({"decisions": {"epochs": 1, "sources": {"jailbreak": 1, "authored": 1}}}, "learn from jailbreak"),
    ],
)
def test_a_recipe_that_learns_nothing_or_what_it_must_not_is_refused(given, words):
    with pytest.raises(RecipeError, match=words):
        require_course(Pretrain(name="r", **given))


def test_recipes_that_ship_may_run():
    for name in ("nano", "nano_more", "nano_wordings"):
        require_course(read_recipe(SHARE / "recipes" / f"{name}.toml", Pretrain))
