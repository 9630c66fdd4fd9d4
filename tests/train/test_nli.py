from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from loop import nli_makers as makers
from sekisho.core.errors import RecipeError, TrainingError
from sekisho.train.nli import COLUMNS, RAW, nli_tokenizer, train_nli
from sekisho.train.nli_adapter import adapted, save_adapter, train_adapter
from sekisho.train.nli_recipe import NliAdapt, NliTrain
from sekisho.train.nli_rows import PairCollator, PairRows, balanced, mirrored, replayed
from sekisho.train.recipe import read_recipe

ROOT = Path(__file__).parents[2]
QUICK = NliTrain(
    name="quick", shape=makers.SHAPE, epochs=2, batch=8, checkpoint_seconds=0.001, keep=20, threads=1
)


def silent(step, steps, note):
    """Nobody watches."""


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path):
    pairs = makers.pairs(40)
    whole = train_nli(QUICK, makers.NANO, pairs, tmp_path / "whole", silent)
    kept = sorted(
        (tmp_path / "whole" / "checkpoints").iterdir(), key=lambda p: int(p.name.rpartition("-")[2])
    )
    half = tmp_path / "half" / "checkpoints"
    half.mkdir(parents=True)
    shutil.copytree(kept[len(kept) // 2], half / kept[len(kept) // 2].name)
    resumed = train_nli(QUICK, makers.NANO, pairs, tmp_path / "half", silent)
    assert same(weights(whole), weights(resumed))
    assert weights(whole)["classifier.weight"].dtype == torch.float16
    assert tuple(AutoTokenizer.from_pretrained(whole)("a", "b")["token_type_ids"])[-1] == 1


def test_the_tokenizer_is_the_bases_with_other_marks():
    tokenizer = nli_tokenizer(makers.NANO, 64)
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3, 4]) == ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    row = tokenizer("前提", "仮説")
    assert row["input_ids"][0] == 1
    assert row["input_ids"].count(2) == 2
    assert tokenizer.decode(tokenizer("前提です。")["input_ids"][1:-1]) == "前提です。"


def test_contradictions_are_shown_both_ways():
    pairs = makers.pairs(30)
    shown = mirrored(pairs)
    assert len(shown) == 30 + sum(p.label == "refutes" for p in pairs)
    assert {p.label for p in shown[30:]} == {"refutes"}
    assert shown[30].premise in {p.hypothesis for p in pairs}


def test_weights_balance_labels():
    pairs = makers.pairs(50)
    found = balanced(pairs)
    sums = {label: sum(w for p, w in zip(pairs, found, strict=True) if p.label == label) for label in COLUMNS}
    assert len({round(s, 6) for s in sums.values()}) == 1
    assert sum(found) == pytest.approx(50)


def test_replay_draws_others_and_the_same_ones_again():
    pairs = makers.pairs(60)
    found = replayed(pairs[:10], pairs, 2.0, 3)
    assert len(found) == 20
    assert not {p.id for p in found} & {p.id for p in pairs[:10]}
    assert found == replayed(pairs[:10], pairs, 2.0, 3)
    assert len(replayed(pairs[:10], pairs, 50.0, 3)) == 50
    proving = pairs[20:30]
    texts = {t for p in proving for t in (p.premise, p.hypothesis)}
    assert not texts & {
        t for p in replayed(pairs[:10], pairs, 50.0, 3, proving) for t in (p.premise, p.hypothesis)
    }


def test_rows_and_batches():
    tokenizer = nli_tokenizer(makers.NANO, 64)
    rows = PairRows(makers.pairs(20), tokenizer, COLUMNS, 64)
    batch = PairCollator(0)([rows[i] for i in range(20)])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == batch["token_type_ids"].shape
    assert (batch["attention_mask"].sum(dim=1) == torch.tensor([r["length"] for r in rows.rows])).all()
    assert RAW[COLUMNS["supports"]] == "entailment"
    with pytest.raises(TrainingError, match="no pair"):
        PairRows(makers.pairs(3), tokenizer, COLUMNS, 4)


def test_an_adapter_holds_lora_and_head_and_no_path(tmp_path):
    base = makers.tiny(tmp_path / "tiny")
    recipe = NliAdapt(name="x", epochs=1, threads=1)
    model = train_adapter(
        recipe, base, "sha256:base", list(COLUMNS), makers.pairs(20), tmp_path / "run", silent
    )
    (tmp_path / "a").mkdir()
    save_adapter(model, tmp_path / "a")
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert str(tmp_path) not in (tmp_path / "a" / "adapter_config.json").read_text()
    names = load_file(tmp_path / "a" / "adapter_model.safetensors").keys()
    assert {n.split(".")[-2] for n in names if "lora" in n} == {"lora_A", "lora_B"}
    assert {"query_proj", "value_proj"} == {n.split(".")[-3] for n in names if "lora" in n}
    assert any("classifier" in n for n in names)
    kept = adapted(NliAdapt(name="x", head="keep"), base, "b")
    assert not any("modules_to_save" in n for n, _ in kept.named_parameters())
    with pytest.raises(TrainingError, match="LoRA"):
        adapted(
            recipe.model_copy(update={"lora": recipe.lora.model_copy(update={"targets": ("no_such",)})}),
            base,
            "b",
        )


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    with pytest.raises(TrainingError, match="not a number"):
        train_nli(
            QUICK.model_copy(update={"learning_rate": 1e30}), makers.NANO, makers.pairs(40), tmp_path, silent
        )


def test_the_recipes_that_ship_are_read(tmp_path):
    assert read_recipe(ROOT / "recipes" / "nli.toml", NliTrain).kind == "nli"
    adapter = read_recipe(ROOT / "recipes" / "nli-adapter.toml", NliAdapt)
    assert (
        adapter.lora.r,
        adapter.lora.alpha,
        adapter.lora.dropout,
        adapter.epochs,
        adapter.learning_rate,
    ) == (8, 32, 0.1, 3, 2e-4)
    assert adapter.lora.targets == ("query_proj", "value_proj")
    assert read_recipe(ROOT / "recipes" / "nli-nano-adapter.toml", NliAdapt).lora == adapter.lora
    (tmp_path / "x.toml").write_text('name = "x"\nkind = "nli"\nepoch = 3')
    with pytest.raises(RecipeError, match="epoch"):
        read_recipe(tmp_path / "x.toml", NliTrain)
