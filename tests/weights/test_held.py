"""Bases in 8 and 4 bits: made, written out plain, and baked into."""

from __future__ import annotations

import pytest
import torch

from sekisho.weights.bake import bake, compare
from sekisho.weights.families import load_model
from sekisho.weights.held import dequantise, load_held

from .makers import gated
from .zoo import ZOO, base_of, lora_of

PROMPTS = [[5, 9, 300, 41, 77, 8, 120, 33, 2], [400, 17, 250]]
NEAR = {"int8": 0.02, "nf4": 0.1}
"""Of normally distributed weights: 0.008 and 0.091."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            base_of(name).save_pretrained(made[name])
        return made[name]

    return folder


@pytest.mark.parametrize("held", NEAR)
@pytest.mark.parametrize("name", ZOO)
def test_gates_and_lora_are_baked_into_a_rounded_base_of_every_architecture(name, held, folders):
    """What was trained on rounded weights is folded into those, exactly."""
    base = load_held(folders(name), held, plain=True)
    stored = dict(load_model(folders(name)).named_parameters())
    rounded = [n for n, p in base.named_parameters() if not torch.equal(p, stored[n])]
    kept = 1 if held == "nf4" else 0  # rows of 96 hold no whole blocks of 64
    assert len(rounded) >= 2 * (len(lora_of(name)) - kept)
    for n in rounded:
        off = (dict(base.named_parameters())[n] - stored[n]).norm() / stored[n].norm()
        assert 0 < off < NEAR[held]
    model = gated(base, lora_of(name))
    plain, report = bake(model)
    compare(model, plain, PROMPTS).check(1e-5, 1e-6)
    assert report.max_error < 1e-5
    assert not hasattr(plain.config, "quantization_config")


@pytest.mark.parametrize("held", NEAR)
def test_the_rounded_model_and_its_plain_form_answer_alike(held, folders):
    """int8 rounds activations as well, and nf4 nothing more: so near, and no nearer."""
    rounded, plain = (load_held(folders("llama"), held, plain=p) for p in (False, True))
    ids = torch.tensor(PROMPTS[:1])
    with torch.no_grad():
        a, b, c = (m(input_ids=ids).logits for m in (rounded, plain, load_model(folders("llama"))))
    assert (a - b).abs().max() < (1e-4 if held == "nf4" else 0.5)
    assert (a - b).norm() < (b - c).norm() * (0.01 if held == "nf4" else 3)


def test_a_look_at_an_nf4_model_does_not_cut_its_gradients(folders):
    model = gated(load_held(folders("llama"), "nf4"), lora_of("llama"))
    ids = torch.tensor(PROMPTS[:1])
    with torch.no_grad():
        model.eval()(input_ids=ids)
    model.train()(input_ids=ids, labels=ids).loss.backward()
    for name, p in model.named_parameters():
        assert (p.grad is not None and bool(p.grad.abs().sum() > 0)) is p.requires_grad, name


def test_a_plain_model_has_nothing_to_write_out():
    assert dequantise(base_of("llama")) == 0
