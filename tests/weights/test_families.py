from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from sekisho.core.errors import BakeError, InputError, ShelfError
from sekisho.weights import bake as room
from sekisho.weights.adapter import load_adapter, save_adapter
from sekisho.weights.bake import bake, compare
from sekisho.weights.families import attentions, load_model, lora_targets
from sekisho.weights.gates import gates, install_gates
from sekisho.weights.rotation import apply_blocks

from .makers import PHI3_LORA, gated
from .zoo import FUSED, ZOO, base_of, lora_of

PROMPTS = [[5, 9, 300, 41, 77, 8, 120, 33, 2], [400, 17, 250]]


def test_the_zoo_holds_every_family_that_the_error_promises():
    assert len(ZOO) == 8
    with pytest.raises(InputError) as e:
        install_gates(nn.Sequential(nn.Linear(8, 8)))
    promised = e.value.do.lower().replace("phi-", "phi").replace("qwen2.5-vl", "qwen2.5-vl")
    assert [n for n in ZOO if n not in promised] == []


@pytest.mark.parametrize("name", ZOO)
def test_gates_and_lora_fold_into_every_architecture(name, tmp_path):
    model = gated(base_of(name), lora_of(name))
    plain, report = bake(model)
    found = compare(model, plain, PROMPTS)
    found.check(1e-5, 1e-6)
    assert found.positions == 12
    assert report.max_error < 1e-5
    assert sum(f.gate for f in report.folds.values()) == 2
    assert sum(f.lora for f in report.folds.values()) == 2 * len(lora_of(name))
    assert type(plain) is type(model.get_base_model())
    assert compare(base_of(name), plain, PROMPTS).max_delta_logit > 0.1, "otherwise nothing was folded"
    plain.save_pretrained(tmp_path)
    compare(plain, load_model(tmp_path), PROMPTS).check()


@pytest.mark.parametrize("name", ZOO)
def test_an_adapter_of_every_architecture_comes_back_from_disk(name, tmp_path):
    model = gated(base_of(name), lora_of(name))
    save_adapter(model, tmp_path / "a", base="sha256:b", recipe="sha256:r")
    again = load_adapter(base_of(name), tmp_path / "a", "sha256:b").eval()
    assert compare(model, again, PROMPTS).max_delta_anywhere == 0


def transposed(weight, blocks, dtype):
    return apply_blocks(weight, blocks).to(dtype)


def wrong_side(weight, blocks, dtype):
    """Rotates what comes out of the projection instead of what goes in."""
    return apply_blocks(weight.mT, blocks[: weight.shape[0] // 8]).mT.to(dtype)


def wrong_order(weight, blocks, dtype):
    """The right rotations on the wrong heads."""
    return apply_blocks(weight, blocks.flip(0).mT).to(dtype)


@pytest.mark.parametrize("wrong", [transposed, wrong_side, wrong_order])
@pytest.mark.parametrize("name", ZOO)
def test_a_wrong_fold_is_caught_in_every_architecture(name, wrong, monkeypatch):
    model = gated(base_of(name), None, gate_size=0.02)
    monkeypatch.setattr(room, "fold_rotation", wrong)
    plain, report = bake(model)
    with pytest.raises(BakeError, match="do not promote"):
        compare(model, plain, PROMPTS).check()
    assert report.max_error > 1e-3


@pytest.mark.parametrize("name", ZOO)
def test_a_training_step_reaches_gates_and_lora_alone(name):
    model = gated(base_of(name), lora_of(name)).train()
    ids = torch.tensor([PROMPTS[0]])
    model(input_ids=ids, labels=ids).loss.backward()
    for parameter_name, p in model.named_parameters():
        trained = "lora_" in parameter_name or "rotation_gate" in parameter_name
        assert (p.grad is not None and bool(p.grad.abs().sum() > 0)) is trained, parameter_name


@pytest.mark.parametrize("name", ZOO)
def test_attention_is_described_and_the_eyes_are_left_alone(name):
    model = base_of(name)
    found = list(attentions(model))
    assert [(a.fused, a.heads) for a in found] == [(name in FUSED, 4)] * 2
    assert found[0].head_dim == (32 if name == "qwen3" else 16)
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=lora_targets(model, PHI3_LORA)))
    install_gates(wrapped)
    touched = [n for n, p in wrapped.named_parameters() if p.requires_grad]
    assert not [n for n in touched if "visual" in n]
    assert list(gates(wrapped)) == [a.name for a in found]


def test_a_recipe_of_one_family_names_the_layers_of_the_other():
    both = [lora_targets(base_of(n), PHI3_LORA) for n in ("phi3", "llama")]
    assert both[0] == list(PHI3_LORA)
    assert both[1] == ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert lora_targets(base_of("phi3"), both[1]) == list(PHI3_LORA)
    assert "language_model" in lora_targets(base_of("qwen2.5-vl"), PHI3_LORA)


def test_lora_on_layers_that_are_not_there_is_refused():
    with pytest.raises(InputError, match=r"no linear layers c_attn.*o_proj"):
        lora_targets(base_of("llama"), ["o_proj", "c_attn"])
    with pytest.raises(InputError, match="none were named"):
        lora_targets(base_of("llama"), [])


def test_an_unknown_architecture_is_told_what_was_looked_for_and_what_there_is():
    stranger = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=64))
    with pytest.raises(InputError) as e:
        install_gates(stranger)
    for word in ("gpt2", "o_proj", "head_dim", "qkv_proj", "q_proj", "lm_head"):
        assert word in e.value.what
    assert "Qwen2.5-VL" in e.value.do


def test_a_folder_without_a_model_is_clear(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ShelfError, match="no model that can be loaded"):
        load_model(tmp_path)
