from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from sekisho.core.errors import InputError
from sekisho.weights.gates import (
    RotationGate,
    gate_parameters,
    gate_state,
    gates,
    install_gates,
    load_gate_state,
    remove_gates,
)

from .makers import PHI3_LORA, gated, phi3


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


def test_new_gates_change_nothing_and_are_named_by_their_attention(either, prompts):
    model, _ = either
    before = logits(model, prompts[0])
    names = install_gates(model)
    assert names == [f"model.layers.{i}.self_attn" for i in range(model.config.num_hidden_layers)]
    assert torch.allclose(logits(model, prompts[0]), before, atol=1e-6)
    assert [tuple(p.shape) for p in gate_parameters(model)] == [(8, 28)] * len(names)


def test_names_are_the_same_with_and_without_peft(base):
    wrapped = get_peft_model(base, LoraConfig(r=2, target_modules=["o_proj"]))
    assert install_gates(wrapped) == [f"model.layers.{i}.self_attn" for i in range(3)]
    assert list(gates(base)) == list(gates(wrapped))


def test_the_lora_branch_sees_the_rotated_input(base):
    model = gated(base, ["o_proj"])
    attention = model.get_base_model().model.layers[0].self_attn
    x = torch.randn(2, 64)
    rotated = attention.rotation_gate(x)
    o = attention.o_proj
    wanted = o.base_layer(rotated) + o.scaling["default"] * o.lora_B["default"](o.lora_A["default"](rotated))
    assert not torch.allclose(rotated, x)
    assert torch.allclose(o(x), wanted, atol=1e-6)


def test_lora_wrapped_around_a_gate_is_refused(base):
    install_gates(base)
    wrapped = get_peft_model(base, LoraConfig(r=2, target_modules=["o_proj"]))
    with pytest.raises(InputError, match="inside its LoRA layer"):
        gate_parameters(wrapped)


@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_reach_gates_and_lora_and_nothing_else(base, prompts, autocast):
    model = gated(base).train()
    ids = torch.tensor([prompts[0]])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        model(input_ids=ids, labels=ids).loss.backward()
    for name, p in model.named_parameters():
        trained = "lora_" in name or "rotation_gate" in name
        assert p.requires_grad is trained
        assert (p.grad is not None and bool(p.grad.abs().sum() > 0)) is trained, name


def test_the_gate_gives_back_the_dtype_it_got():
    gate = RotationGate(64, 16)
    gate.params.data.normal_()
    assert gate(torch.randn(3, 64).bfloat16()).dtype == torch.bfloat16
    x = torch.randn(3, 64)
    assert torch.allclose(gate(x).norm(dim=-1), x.norm(dim=-1), rtol=1e-5)


def test_a_deep_copy_has_its_own_gates(base, prompts):
    model = gated(base, None)
    twin = copy.deepcopy(model)
    before = logits(model, prompts[0])
    for p in gate_parameters(twin):
        p.data.zero_()
    assert torch.equal(logits(model, prompts[0]), before)
    assert not torch.allclose(logits(twin, prompts[0]), before, atol=1e-3)


def test_removing_gates_brings_the_base_back(base, prompts):
    before = logits(base, prompts[0])
    model = gated(base, None)
    assert not torch.allclose(logits(model, prompts[0]), before, atol=1e-3)
    assert remove_gates(model) == 3
    assert torch.equal(logits(model, prompts[0]), before)
    assert gate_parameters(model) == []
    assert remove_gates(model) == 0


def test_state_round_trip_and_mismatch(tokenizer, prompts):
    one, other = gated(phi3(tokenizer), None), gated(phi3(tokenizer), None, seed=9)
    load_gate_state(other, gate_state(one))
    assert torch.equal(logits(one, prompts[0]), logits(other, prompts[0]))
    state = gate_state(one)
    del state["model.layers.1.self_attn"]
    state["model.layers.9.self_attn"] = torch.zeros(8, 28)
    state["model.layers.0.self_attn"] = torch.zeros(4, 28)
    with pytest.raises(InputError) as e:
        load_gate_state(other, state)
    assert all(f"layers.{i}" in e.value.what for i in (0, 1, 9))
    assert torch.equal(logits(one, prompts[0]), logits(other, prompts[0]))


def test_gates_are_not_installed_twice(base):
    install_gates(base)
    with pytest.raises(InputError, match="already"):
        install_gates(base)


def test_an_unknown_architecture_is_told_what_was_looked_for():
    with pytest.raises(InputError, match=r"o_proj.*head_dim"):
        install_gates(nn.Sequential(nn.Linear(8, 8)))


def test_heads_that_blocks_do_not_fit_are_refused(tokenizer):
    with pytest.raises(InputError, match="heads of 12"):
        install_gates(phi3(tokenizer, hidden_size=48))


def test_a_training_step_moves_gates_and_keeps_the_base(base, prompts):
    model = gated(base, PHI3_LORA, gate_size=0.0).train()
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    before = gate_state(model)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    ids = torch.tensor([prompts[1]])
    losses = []
    for _ in range(5):
        loss = model(input_ids=ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(not torch.equal(t, before[n]) for n, t in gate_state(model).items())
    assert all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen)
