"""Rotation gates: a trainable rotation of the attention output, head by head in blocks of 8, just before `o_proj`.

A gate is a pre-hook of `o_proj`, so it works on a plain linear layer and on PEFT's wrapper of one. It must be installed after PEFT
has wrapped the model: then both branches, W x and B A x, see the rotated input, and one fold serves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.question import Frozen
from .families import OUTPUT, Attention, attentions, require_attentions
from .grouped import fast_rotation, turn
from .rotation import BLOCK, PARAMETERS, apply_blocks, rotation
from .triality import VIEWS, three_views

_GATE = "rotation_gate"


class GateForm(Frozen):
    """How the gates of a model are parametrised; the fold is the same for all.

    Attributes:
        triality: three neighbouring blocks are three views of one generator, so a third of the parameters.
        shared: all layers have one set of generators.
    """

    triality: bool = False
    shared: bool = False


class RotationGate(nn.Module):
    """One rotation for each block of 8 features; the identity when new.

    Attributes:
        blocks: how many.
        grouped: whether rotations are made and applied the fast way (`weights.grouped`); the same up to rounding.
        params: `[blocks, 28]`, with triality `[ceil(blocks / 3), 28]`; float32.
    """

    def __init__(
        self, features: int, head_dim: int, device: torch.device | None = None, triality: bool = False
    ) -> None:
        super().__init__()
        if head_dim % BLOCK or features % head_dim:
            raise InputError(
                f"Blocks of {BLOCK} do not fit into heads of {head_dim} in {features} features.",
                f"Use a base whose head size is a multiple of {BLOCK}.",
            )
        self.blocks, self.triality, self.grouped = features // BLOCK, triality, False
        generators = -(-self.blocks // VIEWS) if triality else self.blocks
        self.params = nn.Parameter(torch.zeros(generators, PARAMETERS, device=device))

    def coordinates(self) -> Tensor:
        """The 28 coordinates of each block's own generator, `[blocks, 28]`; float64 with triality."""
        if not self.triality:
            return self.params
        with torch.autocast(self.params.device.type, enabled=False):
            return three_views(self.params, self.blocks)

    def rotations(self) -> Tensor:
        """The rotation of each block, `[blocks, 8, 8]`, float32 unless the parameters are float64."""
        made = (fast_rotation if self.grouped else rotation)(self.coordinates())
        return made if self.params.dtype == torch.float64 else made.float()

    def exact_rotations(self) -> Tensor:
        """The same without gradients in float64 on the CPU, for folding."""
        return rotation(self.coordinates().detach().double().cpu())

    def forward(self, x: Tensor) -> Tensor:
        """Rotate `[..., features]`; the rotation is made in float32 and applied in the dtype of `x`."""
        return turn(x, self.coordinates()) if self.grouped else apply_blocks(x, self.rotations())

    def on_input(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Pre-hook of the projection. A bound method, so that a deep copy of the model gets the copy of the gate."""
        return (self(args[0]), *args[1:])


def install_gates(model: nn.Module, form: GateForm | None = None, grouped: bool = False) -> list[str]:
    """Put a new gate on the input of every attention `o_proj`, trainable, everything else left as it is.

    Args:
        model: a causal LM, or a PEFT model around one.
        form: triality and sharing; a generator for each block of each layer when not given.
        grouped: rotate the fast way.

    Returns:
        Names of the gated attention modules, without PEFT's prefix.

    Raises:
        InputError: when no attention was found (`families.require_attentions` says what was looked for), gates are there already, or blocks do not fit.
    """
    found = require_attentions(model)
    if any(hasattr(a.module, _GATE) for a in found):
        raise InputError("The model has gates already.", "Remove them first.")
    made = [_new_gate(attention, form or GateForm()) for attention in found]
    if form is not None and form.shared:
        _share(made)
    for attention, gate in zip(found, made, strict=True):
        gate.grouped = grouped
        attention.module.add_module(_GATE, gate)
        attention.module.get_submodule(OUTPUT).register_forward_pre_hook(gate.on_input)
    return [attention.name for attention in found]


def _new_gate(attention: Attention, form: GateForm) -> RotationGate:
    device = _device(attention.module.get_submodule(OUTPUT))
    return RotationGate(attention.features, attention.head_dim, device, form.triality)


def _share(made: list[RotationGate]) -> None:
    widths = {gate.blocks for gate in made}
    if len(widths) > 1:
        raise InputError(
            f"Layers of {', '.join(map(str, sorted(widths)))} blocks cannot share one set of gates.",
            "Train with generators for each layer.",
        )
    for gate in made[1:]:
        gate.params = made[0].params


def gate_form(model: nn.Module) -> GateForm:
    """How the installed gates are parametrised. Raises InputError when there are none."""
    found = list(gates(model).values())
    if not found:
        raise InputError("The model has no gates.", "Install gates first.")
    shared = len(found) > 1 and all(gate.params is found[0].params for gate in found)
    return GateForm(triality=found[0].triality, shared=shared)


def remove_gates(model: nn.Module) -> int:
    """Take every gate off without folding it; return how many there were."""
    gated = [a.module for a in attentions(model) if hasattr(a.module, _GATE)]
    for attention in gated:
        for module in attention.modules():
            for key in [k for k, hook in module._forward_pre_hooks.items() if _is_gate_hook(hook)]:
                del module._forward_pre_hooks[key]
        delattr(attention, _GATE)
    return len(gated)


def gates(model: nn.Module) -> dict[str, RotationGate]:
    """Return the gates by the name of their attention module, in model order.

    Raises:
        InputError: when LoRA was wrapped around a gated layer, so that its branch would not see the rotation.
    """
    found: dict[str, RotationGate] = {}
    for attention in attentions(model):
        name, gate = attention.name, getattr(attention.module, _GATE, None)
        if gate is None:
            continue
        projection = attention.module.get_submodule(OUTPUT)
        if not any(_is_gate_hook(hook) for hook in projection._forward_pre_hooks.values()):
            raise InputError(f"The gate of {name} lies inside its LoRA layer.", "Install gates after PEFT.")
        found[name] = gate
    return found


def gate_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of all gates, shared ones once, for an optimiser group of their own."""
    return list({id(gate.params): gate.params for gate in gates(model).values()}.values())


def gate_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all gate parameters on the CPU by the name of their attention module."""
    return {name: gate.params.detach().cpu().clone() for name, gate in gates(model).items()}


def load_gate_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Set the parameters of installed gates.

    Raises:
        InputError: naming every gate that is missing, unknown or of another shape; nothing is changed then.
    """
    installed = gates(model)
    wrong = sorted(installed.keys() ^ state.keys())
    wrong += [n for n in installed.keys() & state.keys() if installed[n].params.shape != state[n].shape]
    if installed and not wrong and gate_form(model).shared:
        first = next(iter(state.values()))
        wrong = sorted(n for n, t in state.items() if not torch.equal(t, first))
    if wrong:
        raise InputError(
            f"These gates do not match the model: {', '.join(wrong)}.", "Use the base they were made for."
        )
    with torch.no_grad():
        for name, gate in installed.items():
            gate.params.copy_(state[name])


def _is_gate_hook(hook: Any) -> bool:
    return isinstance(getattr(hook, "__self__", None), RotationGate)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
