from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.errors import InputError, ShelfError
from sekisho.train.recipe import Finetune, recipe_digest
from sekisho.weights.adapter import load_adapter, read_adapter, save_adapter
from sekisho.weights.bake import bake, compare
from sekisho.weights.gates import (
    GateForm,
    RotationGate,
    gate_form,
    gate_parameters,
    gate_state,
    install_gates,
    load_gate_state,
)
from sekisho.weights.rotation import apply_blocks, generator, orthogonality_error, rotation
from sekisho.weights.triality import octonion_units, three_views, views

from .makers import gated
from .zoo import base_of, lora_of

ALL = [GateForm(triality=t, shared=s) for t in (False, True) for s in (False, True)]
PROMPTS = [[5, 9, 300, 41, 77, 8], [400, 17, 250]]
seeds = st.integers(0, 2**31)


def draw(seed, rows, scale=1.0):
    return torch.randn(rows, 28, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def bracket(a, b):
    return a @ b - b @ a


def test_octonion_units_satisfy_the_clifford_relations():
    left = octonion_units()
    for i in range(8):
        for j in range(8):
            twice = left[i].mT @ left[j] + left[j].mT @ left[i]
            assert torch.equal(twice, 2.0 * (i == j) * torch.eye(8, dtype=torch.float64))


def test_tau_has_order_three_trace_seven_and_is_orthogonal():
    one, tau, twice = views()
    eye = torch.eye(28, dtype=torch.float64)
    assert torch.equal(one, eye)
    assert torch.equal(tau @ tau, twice)
    assert torch.allclose(tau @ twice, eye, atol=1e-12)
    assert torch.allclose(tau @ tau.mT, eye, atol=1e-12)
    assert float(tau.trace()) == pytest.approx(7, abs=1e-12)
    assert not torch.allclose(tau, eye)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_each_view_keeps_the_lie_bracket(seed):
    """Views of a bracket are the brackets of views: what makes them views of one rotation, and not three mixtures of numbers."""
    a, b = draw(seed, 1), draw(seed + 1, 1)
    rows, columns = torch.triu_indices(8, 8, offset=1)
    inside = bracket(generator(a), generator(b))[:, rows, columns]
    together = generator(three_views(inside, 3))
    apart = bracket(generator(three_views(a, 3)), generator(three_views(b, 3)))
    assert torch.allclose(together, apart, atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(0.0, 1.0), st.integers(1, 9))
def test_three_views_are_rotations(seed, scale, blocks):
    seen = rotation(three_views(draw(seed, -(-blocks // 3), scale), blocks))
    assert seen.shape == (blocks, 8, 8)
    assert orthogonality_error(seen) <= 1e-12
    assert torch.allclose(torch.linalg.det(seen), torch.ones(blocks, dtype=torch.float64), atol=1e-12)


def test_a_triality_gate_has_a_third_of_the_parameters_and_right_gradients():
    gate = RotationGate(64, 16, triality=True)
    assert gate.params.shape == (3, 28)
    assert gate.rotations().dtype == torch.float32
    x = draw(3, 1)[:, :16].repeat(2, 1)
    params = draw(4, 1, 0.4).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: apply_blocks(x, rotation(three_views(p, 2))), params)


@pytest.mark.parametrize("form", ALL, ids=str)
@pytest.mark.parametrize("name", ["phi3", "qwen3"])
def test_every_form_folds_and_comes_back_from_disk(name, form, tmp_path):
    model = gated(base_of(name), lora_of(name), form=form)
    assert gate_form(model) == form
    assert len(gate_parameters(model)) == (1 if form.shared else 2)
    plain, _ = bake(model)
    compare(model, plain, PROMPTS).check()
    save_adapter(model, tmp_path / "a", base="sha256:b", recipe="sha256:r")
    assert read_adapter(tmp_path / "a").form == form
    assert ('"form"' in (tmp_path / "a" / "adapter.json").read_text()) is (form != GateForm())
    again = load_adapter(base_of(name), tmp_path / "a", "sha256:b").eval()
    assert gate_form(again) == form
    assert compare(model, again, PROMPTS).max_delta_anywhere == 0


def test_shared_gates_learn_as_one():
    model = gated(base_of("llama"), None, form=GateForm(triality=True, shared=True)).train()
    (parameter,) = gate_parameters(model)
    ids = torch.tensor([PROMPTS[0]])
    model(input_ids=ids, labels=ids).loss.backward()
    assert float(parameter.grad.abs().sum()) > 0
    first, second = gate_state(model).values()
    assert torch.equal(first, second)
    apart = dict(zip(gate_state(model), (first, second + 1), strict=True))
    with pytest.raises(InputError, match="do not match"):
        load_gate_state(model, apart)


def test_gates_of_one_form_do_not_load_as_another(tmp_path):
    model = gated(base_of("llama"), None, form=GateForm(triality=True))
    save_adapter(model, tmp_path / "a", base="sha256:b", recipe="sha256:r")
    meta = tmp_path / "a" / "adapter.json"
    meta.write_text(meta.read_text().replace("true", "false"))
    with pytest.raises(ShelfError, match="do not match"):
        load_adapter(base_of("llama"), tmp_path / "a", "sha256:b")


def test_layers_of_different_width_cannot_share():
    model = base_of("llama")
    attention = model.model.layers[1].self_attn
    attention.o_proj = torch.nn.Linear(32, 64)
    with pytest.raises(InputError, match="4, 8 blocks cannot share"):
        install_gates(model, GateForm(shared=True))


def test_a_recipe_from_before_triality_keeps_its_digest():
    old = Finetune(name="gate")
    assert recipe_digest(old) == "sha256:de1abf123cef1505bdeacefd51812dc4c77c2d7808e6be3f55c00902d2d8466c"
    assert recipe_digest(old.model_copy(update={"triality": True})) != recipe_digest(old)
