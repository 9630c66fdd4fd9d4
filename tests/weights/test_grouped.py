"""The fast way must be the plain way: values, gradients, dtypes, shapes. Every test runs on machine code and on torch's products."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from sekisho.weights import compiled
from sekisho.weights.bake import bake, compare
from sekisho.weights.gates import GateForm, RotationGate, gate_parameters, gates
from sekisho.weights.grouped import apply_grouped, fast_rotation, turn
from sekisho.weights.rotation import apply_blocks, orthogonality_error, rotation

from .makers import gated
from .zoo import base_of, lora_of

seeds, scales, blocks = st.integers(0, 2**31), st.floats(0.0, 2.0), st.integers(1, 7)


@pytest.fixture(params=[True, False], ids=["machine code", "products"], autouse=True, scope="module")
def way(request):
    with pytest.MonkeyPatch.context() as patch:
        if not request.param:
            patch.setattr(compiled, "usable", lambda *_: False)
        yield request.param


def draw(seed, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(max_examples=60, deadline=None)
@given(seeds, scales, blocks)
def test_rotations_are_the_same_orthogonal_and_of_determinant_one(seed, scale, n):
    double = fast_rotation(draw(seed, n, 28) * scale)
    single = fast_rotation(draw(seed, n, 28, dtype=torch.float32) * scale)
    assert torch.allclose(double, rotation(draw(seed, n, 28) * scale), atol=1e-12)
    assert orthogonality_error(double) <= 1e-12
    assert torch.allclose(torch.linalg.det(double), torch.ones(n, dtype=torch.float64), atol=1e-12)
    assert single.dtype == torch.float32
    assert orthogonality_error(single) <= 1e-6


@settings(max_examples=40, deadline=None)
@given(seeds, scales, blocks)
def test_gradients_are_those_of_the_plain_way(seed, scale, n):
    params, weight = draw(seed, n, 28) * scale, draw(seed + 1, n, 8, 8)
    for dtype, atol in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        found = []
        for make in (rotation, fast_rotation):
            p = params.to(dtype, copy=True).requires_grad_()
            (make(p) * weight.to(dtype)).sum().backward()
            found.append(p.grad)
        assert torch.allclose(found[0], found[1], rtol=1e-5, atol=atol)


@settings(max_examples=40, deadline=None)
@given(seeds, blocks, st.lists(st.integers(1, 3), max_size=2))
def test_application_is_that_of_the_plain_way(seed, n, lead):
    x, r = draw(seed, *lead, n * 8), rotation(draw(seed, n, 28))
    g = draw(seed + 1, *lead, n * 8)
    found = []
    for way in (apply_blocks, apply_grouped):
        a, b = x.clone().requires_grad_(), r.clone().requires_grad_()
        y = way(a, b)
        y.backward(g)
        found.append((y.detach(), a.grad, b.grad))
    for plain, fast in zip(*found, strict=True):
        assert plain.shape == fast.shape
        assert torch.allclose(plain, fast, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(
    seeds,
    scales,
    blocks,
    st.lists(st.integers(1, 3), max_size=2),
    st.sampled_from(["ff", "fd", "df", "dd", "bf"]),
)
def test_both_steps_at_once_are_the_plain_ones(seed, scale, n, lead, kinds):
    names = {"f": torch.float32, "d": torch.float64, "b": torch.bfloat16}
    of_x, of_params = (names[kind] for kind in kinds)
    x, g = (draw(s, *lead, n * 8).to(of_x) for s in (seed, seed + 1))
    params, found = (draw(seed + 2, n, 28) * scale).to(of_params), []
    for way in (lambda a, b: apply_blocks(a, rotation(b)), turn):
        a, b = x.clone().requires_grad_(), params.clone().requires_grad_()
        y = way(a, b)
        y.backward(g)
        found.append((y.detach(), a.grad, b.grad))
    near = {"dd": 1e-9, "bf": 0.3}.get(kinds, 1e-4)
    for plain, fast in zip(*found, strict=True):
        assert (plain.shape, plain.dtype) == (fast.shape, fast.dtype)
        assert torch.allclose(plain, fast, atol=near, rtol=near)


def test_both_steps_at_once_give_only_the_gradients_asked_for():
    x, params, g = draw(7, 5, 24), draw(8, 3, 28), draw(9, 5, 24)
    whole = x.clone().requires_grad_(), params.clone().requires_grad_()
    turn(*whole).backward(g)
    for train_x, train_params in ((True, False), (False, True), (False, False)):
        a, b = x.clone().requires_grad_(train_x), params.clone().requires_grad_(train_params)
        y = turn(a, b)
        assert y.requires_grad is (train_x or train_params)
        if y.requires_grad:
            y.backward(g)
        for own, all_of_it, asked in ((a, whole[0], train_x), (b, whole[1], train_params)):
            assert torch.allclose(own.grad, all_of_it.grad, atol=1e-12) if asked else own.grad is None


def test_features_and_gradients_that_lie_apart_are_turned_rightly():
    params, g = draw(4, 4, 28), draw(5, 32, 6).T.view(3, 2, 32)
    x = draw(3, 2, 3, 32).transpose(0, 1).requires_grad_()
    y = turn(x, params.requires_grad_())
    y.backward(g)
    assert torch.allclose(y, apply_blocks(x, rotation(params)), atol=1e-12)
    assert torch.allclose(x.grad, apply_blocks(g, rotation(params).mT), atol=1e-12)


def test_the_way_is_the_one_that_was_asked_for(way):
    assert compiled.usable(torch.zeros(2, 28)) is way


def test_gradcheck(way):
    x = draw(1, 3, 24)
    for scale in (0.0, 0.4, 1.5):
        params = (draw(2, 3, 28) * scale).requires_grad_()
        x.requires_grad_()
        assert torch.autograd.gradcheck(lambda p, y: apply_grouped(y, fast_rotation(p)), (params, x))
        if way:  # without machine code it is the same
            assert torch.autograd.gradcheck(lambda p, y: turn(y, p), (params, x))


def test_identity_empty_width_and_nan():
    assert torch.equal(fast_rotation(torch.zeros(3, 28)), torch.eye(8).expand(3, 8, 8))
    with pytest.raises(ValueError, match="need 16 features"):
        apply_grouped(torch.zeros(24), torch.zeros(2, 8, 8))
    with pytest.raises(ValueError, match="need 16 features"):
        apply_grouped(torch.zeros(16), torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="28 parameters, got 27"):
        fast_rotation(torch.zeros(2, 27))
    with pytest.raises(ValueError, match="need 16 features"):
        turn(torch.zeros(24), torch.zeros(2, 28))
    with pytest.raises(ValueError, match="28 parameters, got 27"):
        turn(torch.zeros(16), torch.zeros(2, 27))
    assert turn(torch.zeros(0, 16), torch.zeros(2, 28)).shape == (0, 16)
    assert apply_grouped(torch.zeros(0, 16), torch.zeros(2, 8, 8)).shape == (0, 16)
    assert fast_rotation(torch.full((1, 28), float("nan"))).isnan().all()


def test_only_what_is_asked_for_gets_a_gradient():
    x, r, g = draw(7, 5, 24), rotation(draw(8, 3, 28)), draw(9, 5, 24)
    for train_x, train_r in ((True, False), (False, True), (False, False)):
        a, b = x.clone().requires_grad_(train_x), r.clone().requires_grad_(train_r)
        y = apply_grouped(a, b)
        if not (train_x or train_r):
            assert not y.requires_grad
            continue
        y.backward(g)
        wanted = (
            apply_blocks(g, r.mT)
            if train_x
            else torch.einsum("tni,tnj->nij", g.view(5, 3, 8), x.view(5, 3, 8))
        )
        assert torch.allclose((a if train_x else b).grad, wanted, atol=1e-12)
        assert (b if train_x else a).grad is None


def test_inside_torch_func_the_plain_way_is_gone():
    x, p = draw(10, 3, 16), draw(11, 2, 28)
    found = [
        torch.func.vmap(torch.func.grad(lambda q, y, way=way: way(y, q).sin().sum()), (None, 0))(p, x)
        for way in (
            lambda y, q: apply_blocks(y, rotation(q)),
            lambda y, q: apply_grouped(y, fast_rotation(q)),
            turn,
        )
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_gradient_checkpointing_changes_nothing():
    found = []
    for again in (False, True):
        gate = RotationGate(32, 16)
        gate.params.data.copy_(draw(5, 4, 28) * 0.3)
        gate.grouped = True
        x = draw(6, 3, 32, dtype=torch.float32).requires_grad_()
        y = checkpoint(gate, x, use_reentrant=False) if again else gate(x)
        y.square().sin().sum().backward()
        found.append((x.grad, gate.params.grad))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_gradient_that_lies_apart_and_one_that_is_the_input_are_read_rightly():
    x, r = draw(3, 4, 32).requires_grad_(), rotation(draw(4, 4, 28))
    for g in (draw(5, 32, 4).T, torch.ones(1, 1, dtype=torch.float64).expand(4, 32), x.detach()):
        x.grad = None
        apply_grouped(x, r).backward(g)
        assert torch.allclose(x.grad, apply_blocks(g, r.mT), atol=1e-12)


def test_input_that_lies_apart_in_memory_is_read_rightly():
    x, r = draw(3, 4, 2, 32).transpose(0, 1), rotation(draw(4, 4, 28))
    assert torch.allclose(apply_grouped(x, r), apply_blocks(x, r), atol=1e-12)


def test_autocast_does_not_touch_the_rotation_and_half_precision_stays_half():
    gate = RotationGate(32, 16)
    gate.params.data.copy_(draw(5, 4, 28) * 0.3)
    gate.grouped = True
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert orthogonality_error(gate.rotations()) <= 1e-6
        y = gate(draw(6, 3, 32).bfloat16())
        assert y.dtype == torch.bfloat16
        y.float().sum().backward()
    assert gate.params.grad.dtype == torch.float32


@pytest.mark.parametrize("form", [GateForm(), GateForm(triality=True, shared=True)], ids=str)
def test_a_model_with_grouped_gates_answers_trains_and_bakes_as_a_plain_one(form):
    plain_way = gated(base_of("llama"), lora_of("llama"), form=form)
    fast = gated(base_of("llama"), lora_of("llama"), form=form)
    for gate in gates(fast).values():
        gate.grouped = True
    prompts = [[5, 9, 300, 41, 77, 8], [400, 17, 250]]
    assert compare(plain_way, fast, prompts).max_delta_anywhere < 1e-4
    compare(fast, bake(fast)[0], prompts).check()
    ids = torch.tensor(prompts[:1])
    for model in (plain_way, fast):
        model(input_ids=ids, labels=ids).loss.backward()
    for a, b in zip(gate_parameters(plain_way), gate_parameters(fast), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-5)
