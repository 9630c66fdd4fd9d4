from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from sekisho.core.canonical import digest_text, folder_digest
from sekisho.core.errors import InputError, ShelfError
from sekisho.weights.adapter import AdapterMeta, load_adapter, read_adapter, save_adapter
from sekisho.weights.bake import compare
from sekisho.weights.gates import gate_parameters, install_gates

from .makers import PHI3_LORA, gated, phi3

BASE, RECIPE = digest_text("base"), digest_text("recipe")


@pytest.fixture
def saved(base, tmp_path):
    model = gated(base)
    digest = save_adapter(model, tmp_path / "adapter", BASE, RECIPE)
    return model, tmp_path / "adapter", digest


@pytest.mark.parametrize(
    ("targets", "with_gates", "kind"),
    [(PHI3_LORA, True, "gates+lora"), (None, True, "gates"), (PHI3_LORA, False, "lora")],
)
def test_a_saved_adapter_comes_back_exactly(tokenizer, prompts, tmp_path, targets, with_gates, kind):
    model = gated(phi3(tokenizer), targets)
    if not with_gates:
        from sekisho.weights.gates import remove_gates

        remove_gates(model)
    save_adapter(model, tmp_path / "a", BASE, RECIPE)
    assert read_adapter(tmp_path / "a") == AdapterMeta(base=BASE, recipe=RECIPE, kind=kind)
    again = load_adapter(phi3(tokenizer), tmp_path / "a", BASE)
    assert compare(model, again, prompts).max_delta_anywhere == 0
    assert not any(p.requires_grad for p in again.parameters())


def test_training_can_go_on_from_a_saved_adapter(saved, tokenizer):
    model = load_adapter(phi3(tokenizer), saved[1], BASE, trainable=True)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in n or "rotation_gate" in n for n in trained)
    assert len(trained) == 3 * (1 + 2 * len(PHI3_LORA))
    assert len(gate_parameters(model)) == 3


def test_equal_weights_give_an_equal_digest_and_nothing_of_this_machine(saved, tmp_path, tokenizer):
    model, folder, digest = saved
    assert digest == folder_digest(folder)
    assert save_adapter(model, tmp_path / "twin", BASE, RECIPE) == digest
    assert (
        save_adapter(load_adapter(phi3(tokenizer), folder, BASE), tmp_path / "third", BASE, RECIPE) == digest
    )
    assert save_adapter(model, tmp_path / "other", BASE, digest_text("x")) != digest
    names = {p.name for p in folder.iterdir()}
    assert names == {"adapter.json", "adapter_config.json", "adapter_model.safetensors", "gates.safetensors"}
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == BASE
    assert config["target_modules"] == sorted(PHI3_LORA)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter", "other", "third", "twin"]


def test_an_empty_folder_is_filled_and_a_full_one_refused(saved, tmp_path):
    model, folder, digest = saved
    (tmp_path / "empty").mkdir()
    assert save_adapter(model, tmp_path / "empty", BASE, RECIPE) == digest
    with pytest.raises(ShelfError, match="not empty"):
        save_adapter(model, folder, BASE, RECIPE)


def test_a_plain_model_is_no_adapter(base, tmp_path):
    with pytest.raises(InputError, match="neither"):
        save_adapter(base, tmp_path / "a", BASE, RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_another_base_is_refused(saved, tokenizer):
    with pytest.raises(ShelfError, match="for base"):
        load_adapter(phi3(tokenizer), saved[1], digest_text("another"))


def test_a_base_of_another_shape_is_refused(saved, tokenizer):
    for changes in ({"hidden_size": 128}, {"num_hidden_layers": 2}, {"num_hidden_layers": 4}):
        with pytest.raises(ShelfError):
            load_adapter(phi3(tokenizer, **changes), saved[1], BASE)


@pytest.mark.parametrize(
    "name", ["adapter.json", "adapter_config.json", "adapter_model.safetensors", "gates.safetensors"]
)
def test_missing_and_broken_files_are_named(saved, tokenizer, name):
    file = saved[1] / name
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ShelfError):
        load_adapter(phi3(tokenizer), saved[1], BASE)
    file.unlink()
    with pytest.raises(ShelfError, match=name.replace(".", r"\.")):
        load_adapter(phi3(tokenizer), saved[1], BASE)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "gates.safetensors"])
def test_missing_and_surplus_tensors_are_refused(saved, tokenizer, name):
    file = saved[1] / name
    tensors = load_file(file)
    lost = sorted(tensors)[0]
    save_file({n: t for n, t in tensors.items() if n != lost}, file)
    with pytest.raises(ShelfError):
        load_adapter(phi3(tokenizer), saved[1], BASE)
    save_file({**tensors, "surplus": torch.zeros(2)}, file)
    with pytest.raises(ShelfError):
        load_adapter(phi3(tokenizer), saved[1], BASE)


def test_new_gates_alone_are_an_adapter(base, tmp_path):
    install_gates(base)
    save_adapter(base, tmp_path / "a", BASE, RECIPE)
    assert read_adapter(tmp_path / "a").kind == "gates"


def test_peft_still_registers_only_methods_of_its_own_list():
    """When this fails, gates can be a PEFT method: see docs/decisions/0009-adapters.md."""
    from peft import LoraConfig
    from peft.tuners import LoraModel
    from peft.utils import register_peft_method

    with pytest.raises(ValueError, match="Unknown PEFT type ROTATION_GATE"):
        register_peft_method(name="rotation_gate", config_cls=LoraConfig, model_cls=LoraModel)
