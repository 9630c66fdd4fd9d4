from __future__ import annotations

import copy

import pytest
import torch

from sekisho.core.errors import InputError
from sekisho.weights import gauge as room
from sekisho.weights.bake import bake, compare
from sekisho.weights.gauge import apply_gauge, gauge_trial, hadamard
from sekisho.weights.rotation import rotation

from .makers import gated
from .zoo import ZOO, base_of

PROMPTS = [[5, 9, 300, 41, 77, 8], [400, 17, 250]]
TURN = rotation(torch.randn(28, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))


def test_the_hadamard_matrix_is_orthogonal_and_flat():
    h = hadamard()
    assert torch.allclose(h @ h.mT, torch.eye(8, dtype=torch.float64), atol=1e-15)
    assert torch.allclose(h.abs(), torch.full((8, 8), 8**-0.5, dtype=torch.float64))


@pytest.mark.parametrize("turn", [None, TURN], ids=["hadamard", "rotation"])
@pytest.mark.parametrize("name", ZOO)
def test_the_gauge_changes_weights_and_not_the_model(name, turn):
    plain = base_of(name)
    for module in plain.modules():  # biases that are zero would hide a wrong turn
        if isinstance(module, torch.nn.Linear) and module.bias is not None:
            module.bias.data.normal_(0, 0.3)
    turned = copy.deepcopy(plain)
    assert apply_gauge(turned, turn) == 2
    same = compare(plain, turned, PROMPTS, torch.float64)
    same.check(1e-5, 1e-9)
    before, after = plain.state_dict(), turned.state_dict()
    changed = {n.split("self_attn.")[1] for n in before if not torch.allclose(before[n], after[n], atol=1e-4)}
    values = {"qkv_proj.weight"} if "phi" in name else {"v_proj.weight", "v_proj.bias"}
    assert changed - {"o_proj.bias"} == ({"o_proj.weight"} | values) & {
        n.split("self_attn.")[-1] for n in before
    }


def test_a_gauge_on_one_side_only_would_be_seen(monkeypatch):
    plain = base_of("llama")
    turned = copy.deepcopy(plain)
    apply_gauge(turned)
    turned.model.layers[0].self_attn.o_proj.weight.data.copy_(plain.model.layers[0].self_attn.o_proj.weight)
    assert compare(plain, turned, PROMPTS).max_delta_logit > 0.1


def test_heavy_tails_gain_and_normal_weights_do_not():
    normal, heavy = base_of("llama"), base_of("llama")
    generator = torch.Generator().manual_seed(1)
    for layer in heavy.model.layers:
        for p in (layer.self_attn.v_proj.weight, layer.self_attn.o_proj.weight):
            far = torch.rand(p.shape, generator=generator) < 0.02
            p.data[far] *= 12
    found = gauge_trial(heavy)
    assert all(found[kind]["on"] < 0.85 * found[kind]["off"] for kind in ("Q8_0", "Q4_K"))
    for both in gauge_trial(normal).values():
        assert both["on"] == pytest.approx(both["off"], rel=0.1)


def test_a_trial_changes_nothing():
    model = base_of("phi3")
    before = copy.deepcopy(model.state_dict())
    gauge_trial(model)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


def test_what_is_not_orthogonal_or_not_plain_is_refused():
    with pytest.raises(InputError, match="not orthogonal"):
        apply_gauge(base_of("llama"), 2 * torch.eye(8))
    model = gated(base_of("llama"), None)
    with pytest.raises(InputError, match="plain model"):
        apply_gauge(model)
    assert apply_gauge(bake(model)[0]) == 2


def test_rows_no_k_type_can_hold_are_tried_in_its_stead():
    assert set(room._SHORT) == set(room._TRIED) == set(gauge_trial(base_of("qwen3")))
