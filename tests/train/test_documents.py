"""The JSON files of the requirement documents, word for word, and what recipe they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sekisho.core.errors import RecipeError
from sekisho.train.documents import as_toml, from_documents, read_any
from sekisho.train.losses import pet_weight
from sekisho.train.recipe import Finetune, find_recipe, read_recipe

MODEL = {
    "model_name": "Qwen2-VL-2B-Instruct",
    "hidden_size": 1536,
    "num_attention_heads": 12,
    "rotation_gate_enabled": True,
    "pet_loss_enabled": True,
}
TRAIN = {
    "learning_rate": 2e-4,
    "batch_size": 1,
    "gradient_accumulation_steps": 8,
    "lora_rank": 64,
    "lora_alpha": 128,
    "pet_lambda_schedule": {"max_lambda": 0.1, "warmup_steps": 100, "main_steps": 1000, "anneal_steps": 200},
}
PLAN = {
    "lora_config": {"r": 64, "lora_alpha": 128, "lora_dropout": 0.1, "bias": "none", "task_type": "CAUSAL_LM",
                    "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]},
    "quantization_config": {"load_in_8bit": True, "llm_int8_threshold": 6.0},
    "optimizer": {"type": "paged_adamw_8bit", "learning_rate": 2e-4, "betas": [0.9, 0.999], "weight_decay": 0.05},
    "batch_config": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 8},
    "gradient_config": {"max_grad_norm": 1.0, "gradient_noise_std": 0.01, "gradient_checkpointing": True},
    "swa_config": {"swa_start": 0.75},
    "pet_config": {"phase1_ratio": 0.2, "phase2_ratio": 0.4, "lambda_phase1": 0.01, "lambda_phase2": 0.05, "lambda_phase3": 0.1},
    "checkpoint_config": {"save_strategy": "time", "save_interval": 180, "save_total_limit": 5},
    "label_smoothing": 0.1,
}  # fmt: skip


def write(folder: Path, **files: dict) -> Path:
    for name, content in files.items():
        (folder / f"{name.replace('_', '.')}.json").write_text(json.dumps(content))
    return folder / "train.qlora.json"


def test_the_two_files_of_the_vision_plan_are_one_recipe_that_reads_back(tmp_path: Path) -> None:
    recipe = read_any(write(tmp_path, train_qlora=TRAIN, model_qwen2vl=MODEL))
    assert (recipe.learning_rate, recipe.batch, recipe.accumulation) == (2e-4, 8, 8)
    assert (recipe.lora.r, recipe.lora.alpha, recipe.gates, recipe.base_type) == (64, 128, True, "int8")
    assert [round(pet_weight(recipe.pet, s, 1300), 4) for s in (0, 50, 600, 1200, 1300)] == [
        0,
        0.05,
        0.1,
        0.05,
        0,
    ]
    (tmp_path / "echo.toml").write_text(as_toml(recipe))
    assert read_any(tmp_path / "echo.toml") == recipe


def test_the_long_plan_with_its_groups_is_understood() -> None:
    recipe = from_documents([PLAN], "plan")
    assert (recipe.batch, recipe.accumulation, recipe.optimizer) == (16, 8, "paged_adamw_8bit")
    assert (recipe.gradient_noise, recipe.swa_start, recipe.checkpointing) == (0.01, 0.75, True)
    assert recipe.pet.weights == (0.01, 0.05, 0.1)
    assert recipe.pet.starts == pytest.approx((0, 0.2, 0.6))
    assert (recipe.checkpoint_seconds, recipe.keep, recipe.weight_decay) == (180, 5, 0.05)
    assert len(recipe.lora.targets) == 7


def test_switches_and_bits() -> None:
    off = from_documents([MODEL | {"rotation_gate_enabled": False, "pet_loss_enabled": False}], "m")
    assert not off.gates
    assert pet_weight(off.pet, 5, 10) == 0
    assert from_documents([{"load_in_4bit": True}], "m").base_type == "nf4"
    assert from_documents([{"load_in_8bit": False}], "m").base_type == "bfloat16"


def test_unknown_and_impossible_keys_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="learnig_rate, lora_rnk"):
        from_documents([{"lora_rnk": 1, "learnig_rate": 1}], "m")
    with pytest.raises(RecipeError, match=r"learning_rate.*lora\.r"):
        from_documents([{"lora_rank": 0, "learning_rate": -1}], "m")
    with pytest.raises(RecipeError, match="pet_lambda_schedule"):
        from_documents([{"pet_lambda_schedule": {"max": 1}}], "m")
    (tmp_path / "train.qlora.json").write_text("{")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_any(tmp_path / "train.qlora.json")


def test_a_document_for_another_model_is_refused(base: Path) -> None:
    with pytest.raises(RecipeError, match=r"hidden_size 1536, and .* has 32"):
        from_documents([MODEL], "m", base)


def test_shipped_recipes_survive_being_written_out(tmp_path: Path) -> None:
    shipped = read_recipe(find_recipe("gate", Path(__file__).parents[2]), Finetune)
    (tmp_path / "again.toml").write_text(as_toml(shipped))
    assert read_any(tmp_path / "again.toml") == shipped
