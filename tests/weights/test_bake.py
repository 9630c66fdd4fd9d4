from __future__ import annotations

import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from sekisho.core.errors import BakeError, InputError
from sekisho.weights import bake as room
from sekisho.weights.bake import Comparison, bake, compare, fold_rotation
from sekisho.weights.gates import gates, install_gates
from sekisho.weights.rotation import apply_blocks, rotation

from .makers import PHI3_LORA, gated, phi3


def test_fold_is_the_block_diagonal_product_on_the_right():
    blocks = rotation(torch.randn(3, 28, dtype=torch.float64))
    weight = torch.randn(5, 24, dtype=torch.float64)
    assert torch.allclose(fold_rotation(weight, blocks), weight @ torch.block_diag(*blocks), atol=1e-12)


@pytest.mark.parametrize("with_lora", [True, False])
def test_the_plain_model_answers_as_the_gated_one(either, prompts, with_lora):
    model, targets = either
    gated_model = gated(model, targets if with_lora else None)
    plain, report = bake(gated_model)
    found = compare(gated_model, plain, prompts)
    found.check(1e-5, 1e-6)
    exact = compare(gated_model, plain, prompts, torch.float64)
    exact.check(1e-5, 1e-12)
    assert exact.max_delta_anywhere < 1e-5
    assert found.max_delta_anywhere < 5e-5
    assert found.positions == sum(map(len, prompts))
    assert report.max_error < 1e-5
    gated_names = {n for n, f in report.folds.items() if f.gate}
    assert gated_names == {f"{n}.o_proj.weight" for n in gates(gated_model)}
    assert len(report.folds) == model.config.num_hidden_layers * (len(targets) if with_lora else 1)
    assert all(f.orthogonality < 1e-12 for f in report.folds.values())


def test_gates_and_lora_matter_at_this_size(tokenizer, prompts):
    """The agreement above would mean nothing if the base answered the same."""
    base = phi3(tokenizer)
    found = compare(gated(phi3(tokenizer)), base, prompts)
    assert found.max_delta_logit > 1
    assert compare(gated(phi3(tokenizer), None), base, prompts).max_delta_logit > 0.1


def transposed(weight, blocks, dtype):
    return apply_blocks(weight, blocks).to(dtype)


def wrong_side(weight, blocks, dtype):
    return apply_blocks(weight.mT, blocks).mT.to(dtype)


@pytest.mark.parametrize("wrong", [transposed, wrong_side])
def test_a_wrong_fold_is_caught(base, prompts, monkeypatch, wrong):
    model = gated(base, gate_size=0.02)
    monkeypatch.setattr(room, "fold_rotation", wrong)
    plain, report = bake(model)
    with pytest.raises(BakeError, match="do not promote"):
        compare(model, plain, prompts).check()
    assert report.max_error > 1e-3


def test_lora_added_after_the_fold_is_caught(base, prompts, monkeypatch):
    model = gated(base)
    layers = {n: m for n, m in model.get_base_model().named_modules() if n.endswith("o_proj")}
    base_only = {n: m.base_layer.weight.detach().double() for n, m in layers.items()}

    def late(name, exact, blocks, lora, dtype):
        if blocks is not None:
            exact = fold_rotation(base_only[name], blocks) + (exact - base_only[name])
        return original(name, exact, None, lora, dtype)

    original = room._fold
    monkeypatch.setattr(room, "_fold", late)
    plain, _ = bake(model)
    with pytest.raises(BakeError):
        compare(model, plain, prompts).check()


def test_the_plain_model_is_plain_and_the_gated_one_untouched(base, prompts, tmp_path):
    model = gated(base)
    before = {n: p.clone() for n, p in model.named_parameters()}
    rng = torch.get_rng_state()
    plain, _ = bake(model)
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert not any("lora" in n or "gate.params" in n or "base_layer" in n for n in plain.state_dict())
    assert plain.lm_head.weight is plain.model.embed_tokens.weight
    plain.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    stored = again.state_dict()
    assert all(torch.equal(stored[n], p) for n, p in plain.state_dict().items())
    compare(plain, again, prompts).check()


def test_a_bf16_base_is_folded_exactly_and_can_be_stored_in_bf16(base, prompts):
    base.to(torch.bfloat16)
    model = gated(base)
    single, report = bake(model)
    assert report.max_error < 1e-5
    half, coarse = bake(model, torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert coarse.max_error > 1e-4
    with pytest.raises(InputError, match="bfloat16"):
        compare(model, single, prompts)


def test_a_base_without_anything_to_fold_comes_back_as_it_was(base, prompts):
    plain, report = bake(base)
    assert report.folds == {}
    assert compare(base, plain, prompts).max_delta_anywhere == 0


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"use_dora": True}, "not plain LoRA"),
        ({"lora_bias": True}, "bias"),
        ({"target_modules": ["embed_tokens"]}, "linear"),
        ({"modules_to_save": ["norm"]}, "no counterpart"),
    ],
)
def test_adapters_that_cannot_be_folded_are_refused(base, config, match):
    model = get_peft_model(base, LoraConfig(**({"r": 2, "target_modules": ["o_proj"]} | config)))
    install_gates(model)
    with pytest.raises(BakeError, match=match):
        bake(model)


def test_merged_or_switched_off_lora_is_refused(base):
    model = gated(base, ["o_proj"])
    with model.disable_adapter(), pytest.raises(BakeError, match="switched off"):
        bake(model)
    model.merge_adapter()
    with pytest.raises(BakeError, match="merged"):
        bake(model)


def test_two_adapters_are_refused(base):
    model = gated(base, PHI3_LORA)
    model.add_adapter("second", LoraConfig(r=2, target_modules=["o_proj"]))
    with pytest.raises(BakeError, match="2 adapters"):
        bake(model)


def test_weights_that_overflow_are_refused(base):
    base.model.layers[0].self_attn.o_proj.weight.data[0, 0] = 1e6
    with pytest.raises(BakeError, match="not finite"):
        bake(gated(base, None), torch.float16)


def test_nan_never_passes(base, prompts):
    with pytest.raises(BakeError):
        Comparison(max_delta_logit=math.nan, max_kl=0, max_delta_anywhere=0, positions=1).check()
    plain, _ = bake(base)
    plain.model.norm.weight.data[0] = math.nan
    with pytest.raises(BakeError, match="not finite"):
        compare(base, plain, prompts)


def test_comparing_on_nothing_is_refused(base):
    with pytest.raises(InputError):
        compare(base, base, [])
    with pytest.raises(InputError):
        compare(base, base, [[]])


def test_comparing_leaves_the_mode_as_it_was(base, prompts):
    plain, _ = bake(base)
    base.train()
    compare(base, plain, prompts)
    assert base.training
    assert not plain.training
