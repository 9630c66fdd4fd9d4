"""Bake: fold LoRA and rotation gates into plain weights, and compare the result end to end.

With row vectors a gated layer computes y = (W + s B A)(R x) for each token, so W' = (W + s B A) · blockdiag(R): the LoRA product is
added first, then each group of 8 columns is multiplied by its rotation. Everything is computed in float64 and rounded once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn

from ..core.errors import BakeError, InputError
from ..core.question import Frozen
from . import compiled
from .families import OUTPUT
from .gates import gates
from .grouped import apply_grouped
from .rotation import apply_blocks, orthogonality_error

MAX_LOGIT_DIFFERENCE = 1e-5
MAX_KL = 1e-6
MAX_ROUNDING = 5e-5
"""Largest difference of a logit that float32 arithmetic may add: on logits near 20 it sums in another order to about 1e-5."""
_PROBES = 16


class Fold(Frozen):
    """What was folded into one weight matrix.

    Attributes:
        lora, gate: whether a LoRA product, a rotation went in.
        error: max |W' x − (W + ΔW)(R x)| over random unit-variance inputs x, in float64 with W' as stored.
        orthogonality: max |R Rᵀ − I| of the gate; 0 without one.
    """

    lora: bool
    gate: bool
    error: float
    orthogonality: float = 0.0


class BakeReport(Frozen):
    """The folds by weight name, and the largest of their errors."""

    folds: dict[str, Fold]
    max_error: float


class Comparison(Frozen):
    """How far the plain model is from the gated one, over real prompts.

    Attributes:
        max_delta_logit: largest absolute difference of a logit after a prompt, where a decision is read.
        max_kl: largest KL(gated ‖ plain) of a next-token distribution at any position, in nats.
        max_delta_anywhere: largest absolute difference of a logit at any position. In float32 this meets the noise of summing in
            another order: on the nano base 1.4e-5 over 4,940 positions, where float64 arithmetic leaves 2e-6.
        mean_kl: mean of the same over all positions.
        positions: next-token distributions compared.
    """

    max_delta_logit: float
    max_kl: float
    max_delta_anywhere: float
    positions: int
    mean_kl: float = 0.0

    def check(self, max_delta_logit: float = MAX_LOGIT_DIFFERENCE, max_kl: float = MAX_KL) -> None:
        """Raise BakeError unless both differences are below their tolerance (a NaN is not)."""
        if not (self.max_delta_logit < max_delta_logit and self.max_kl < max_kl):
            raise BakeError(
                f"The baked model differs: max |Δ logit| {self.max_delta_logit:.3g}, KL {self.max_kl:.3g}.",
                f"Tolerances are {max_delta_logit:g} and {max_kl:g}; do not promote this model.",
            )


def bake(model: nn.Module, dtype: torch.dtype = torch.float32) -> tuple[Any, BakeReport]:
    """Make a plain model of the same class with everything folded in. `model` itself is not changed.

    Args:
        model: a transformers causal LM with gates, inside a PEFT model or not; on any device, in any dtype.
        dtype: of the plain weights.

    Returns:
        The plain model, on the CPU in eval mode, and what was folded.

    Raises:
        BakeError: for adapters that are no plain LoRA (DoRA, LoRA bias, embeddings, merged, several at once), or when a folded
            weight is not finite.
        InputError: when LoRA was wrapped around a gated layer.
    """
    inner = _unwrapped(model)
    rotations = {f"{name}.{OUTPUT}": gate.exact_rotations() for name, gate in gates(inner).items()}
    weights: dict[str, Tensor] = {}
    folds: dict[str, Fold] = {}
    for name, module in inner.named_modules():
        if _is_lora(module) or name in rotations:
            exact, delta = _effective(name, module), _is_lora(module)
            weights[f"{name}.weight"], folds[f"{name}.weight"] = _fold(
                name, exact, rotations.get(name), delta, dtype
            )
    plain = _plain_copy(inner, weights, dtype)
    return plain, BakeReport(folds=folds, max_error=max((f.error for f in folds.values()), default=0.0))


@torch.no_grad()
def fold_rotation(weight: Tensor, blocks: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return W · blockdiag(R) without forming the dense product, reckoned in the wider type of the two and rounded once.

    Args:
        weight: `[out, n * 8]`.
        blocks: `[n, 8, 8]`.
        dtype: of the result; that of `weight` when not given.

    Raises:
        ValueError: when the widths do not match.
    """
    stored = dtype or weight.dtype
    if compiled.usable(weight, blocks) and stored in (torch.float32, torch.float64):
        return compiled.rotate(weight, blocks, stored)
    # A row w of W times R is Rᵀ applied to w as a column.
    return apply_grouped(weight.to(torch.promote_types(weight.dtype, blocks.dtype)), blocks.mT).to(stored)


def compare(
    gated: nn.Module, plain: nn.Module, prompts: Sequence[Sequence[int]], dtype: torch.dtype = torch.float32
) -> Comparison:
    """Run both models over prompts and compare every next-token distribution.

    Args:
        gated: the model that was trained; its weights must be float32 (or float64), or rounding would hide the fold's error.
        plain: the baked model, likewise.
        prompts: token ids, one list a prompt.
        dtype: of the arithmetic. float32 is the claim; float64 runs copies with the same weights widened and shows how much of
            the difference is only float32 summing in another order (transformers keeps norms and softmax in float32 even so).

    Raises:
        InputError: without prompts, or when a model holds half-precision weights.
        BakeError: when a logit is not finite.
    """
    if not any(len(ids) for ids in prompts):
        raise InputError("There is no prompt to compare on.", "Give the token ids of real prompts.")
    _refuse_half(gated, plain)
    if dtype == torch.float64:
        gated, plain = copy.deepcopy(gated).double(), copy.deepcopy(plain).double()
    found = Comparison(max_delta_logit=0.0, max_kl=0.0, max_delta_anywhere=0.0, positions=0)
    with _evaluating(gated), _evaluating(plain):
        for ids in filter(len, prompts):
            found = _wider(found, _logits(gated, ids), _logits(plain, ids))
    return found


def _wider(found: Comparison, a: Tensor, b: Tensor) -> Comparison:
    """`found` with one more prompt's logits `[seq, vocab]` taken in."""
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise BakeError("A model gives logits that are not finite.", "Train again from an older checkpoint.")
    difference, kl = (a - b).abs(), _kl(a, b)
    positions = found.positions + len(a)
    return Comparison(
        max_delta_logit=max(found.max_delta_logit, float(difference[-1].max())),
        max_kl=max(found.max_kl, float(kl.max())),
        max_delta_anywhere=max(found.max_delta_anywhere, float(difference.max())),
        positions=positions,
        mean_kl=(found.mean_kl * found.positions + float(kl.sum())) / positions,
    )


def _refuse_half(*models: nn.Module) -> None:
    half = {p.dtype for model in models for p in model.parameters()} - {torch.float32, torch.float64}
    if half:
        raise InputError(
            f"A model to compare holds {', '.join(map(str, half))}.", "Load it with dtype float32."
        )


def _unwrapped(model: nn.Module) -> Any:
    """The transformers model inside a PEFT model, or the model itself."""
    if not isinstance(model, PeftModel):
        return model
    if len(model.peft_config) != 1:
        raise BakeError(
            f"The model holds {len(model.peft_config)} adapters.", "Load the one to be baked alone."
        )
    return model.get_base_model()


def _is_lora(module: nn.Module) -> bool:
    return hasattr(module, "base_layer")


def _effective(name: str, module: nn.Module) -> Tensor:
    """W + Σ s B A of a linear layer, `[out, in]`, on the CPU: float64, or W as it is stored when that is float32 and nothing is added to it."""
    base: Any = getattr(module, "base_layer", module)
    if not isinstance(base, nn.Linear):
        raise BakeError(f"{name} wraps a {type(base).__name__}.", "Only LoRA on linear layers can be baked.")
    stored = base.weight.detach().cpu()
    if not _is_lora(module):
        return stored if stored.dtype == torch.float32 else stored.double()
    exact, lora = stored.double(), cast(Any, module)
    _refuse_unfoldable(name, lora)
    for adapter in lora.active_adapters:
        if adapter in lora.lora_A:
            up, down = (m[adapter].weight.detach().double().cpu() for m in (lora.lora_B, lora.lora_A))
            exact = exact + lora.scaling[adapter] * (up @ down)
    return exact


def _refuse_unfoldable(name: str, lora: Any) -> None:
    if not hasattr(lora, "lora_A") or getattr(lora, "lora_variant", None) or any(lora.use_dora.values()):
        raise BakeError(f"{name} carries an adapter that is not plain LoRA.", "Train with plain LoRA.")
    if lora.merged or lora.disable_adapters:
        raise BakeError(f"The LoRA of {name} is merged or switched off.", "Load the adapter freshly.")
    if any(up.bias is not None for up in lora.lora_B.values()):
        raise BakeError(f"The LoRA of {name} has a bias.", "Train with lora_bias=False.")


def _fold(
    name: str, exact: Tensor, blocks: Tensor | None, lora: bool, dtype: torch.dtype
) -> tuple[Tensor, Fold]:
    """Fold one matrix, store it in `dtype`, and measure it on random inputs by the other path."""
    stored = exact.to(dtype) if blocks is None else fold_rotation(exact, blocks, dtype)
    if not torch.isfinite(stored).all():
        raise BakeError(f"The folded {name} is not finite in {dtype}.", "Bake to float32.")
    x = torch.randn(_PROBES, exact.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = (x if blocks is None else apply_blocks(x, blocks)) @ exact.double().T
    error = float((x @ stored.double().T - wanted).abs().max())
    orthogonality = 0.0 if blocks is None else orthogonality_error(blocks)
    return stored, Fold(lora=lora, gate=blocks is not None, error=error, orthogonality=orthogonality)


def _plain_copy(inner: Any, weights: dict[str, Tensor], dtype: torch.dtype) -> Any:
    """A fresh model of the same class and configuration holding `weights` and, unchanged, all other parameters."""
    with torch.random.fork_rng(devices=[]):
        plain = type(inner)(inner.config).eval()
    sources = {name.replace(".base_layer.", "."): p for name, p in inner.named_parameters()}
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            source = weights.get(name, sources.get(name))
            if source is None or source.shape != parameter.shape:
                raise BakeError(
                    f"The plain model's {name} has no counterpart.", "Bake from the base it was made for."
                )
            parameter.data = source.detach().to(device="cpu", dtype=dtype, copy=True)
    plain.tie_weights()
    return plain


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while."""
    was = {m: m.training for m in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in was.items():
            module.training = training


def _logits(model: nn.Module, ids: Sequence[int]) -> Tensor:
    """Logits `[seq, vocab]` as float64 on the CPU, computed without autocast."""
    device = next(model.parameters()).device
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        logits: Tensor = model(input_ids=torch.tensor([list(ids)], device=device), use_cache=False).logits[0]
    return logits.double().cpu()


def _kl(a: Tensor, b: Tensor) -> Tensor:
    """KL(softmax a ‖ softmax b) of each row, in nats."""
    log_a, log_b = a.log_softmax(-1), b.log_softmax(-1)
    return (log_a.exp() * (log_a - log_b)).sum(-1)
