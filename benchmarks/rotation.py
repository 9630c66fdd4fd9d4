"""What a rotation gate costs over the frozen layer it goes on, beside PEFT's orthogonal finetuning (OFT); what its bake costs; what a training step of the nano model costs with it.

    python benchmarks/rotation.py [--rounds N, 15 by default] [--only layer|bake|step] [--processor] [--check]

Layer: forward and backward of a frozen `o_proj` of 2,048 and of 4,096 features over 512 tokens in float32, alone, with a gate (both ways), with OFT of block size 8
(both its paths). All take turns in every round, so that what else the machine does hits them alike; figures are medians over rounds of the extra time in the same round. Bake: folding one layer of 4,096, beside PEFT's merge and
a dense product with the block-diagonal matrix. Step: forward, backward and optimiser of the nano base on 16 rows of 128 tokens. `--processor` counts processor time instead of the clock, for a machine that does other things as well; it means something with OMP_NUM_THREADS=1 alone. `--check` ends with exit code 1 when a target is missed: at most half of OFT's
extra time, orthogonal to 1e-6, bake ten times faster than the merge and five times than the dense product, at most 5 % over LoRA alone, and 2 % for PET.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from peft import LoraConfig, OFTConfig, get_peft_model
from rich.console import Console
from rich.table import Table
from torch import nn

from sekisho.train.losses import pet_loss
from sekisho.weights.bake import fold_rotation
from sekisho.weights.families import load_model
from sekisho.weights.gates import RotationGate, gate_parameters, gates, install_gates
from sekisho.weights.oft import to_oft
from sekisho.weights.rotation import orthogonality_error

NANO = Path(__file__).parents[1] / "models" / "nano"
TOKENS, WIDTHS, BAKE = 512, (2048, 4096), 4096
SIZE = 0.1
"""Standard deviation of the generators' entries."""
LORA = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
Step, Clock = Callable[[], object], Callable[[], float]


class One(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.o_proj = nn.Linear(width, width, bias=False).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.o_proj(x)


class Gated(nn.Module):
    def __init__(self, width: int, params: torch.Tensor, grouped: bool) -> None:
        super().__init__()
        self.inner, self.gate = One(width), RotationGate(width, 64)
        self.gate.params.data.copy_(params)
        self.gate.grouped = grouped

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.gate(x))


def with_oft(width: int, params: torch.Tensor, exact: bool) -> nn.Module:
    config = OFTConfig(target_modules=["o_proj"], oft_block_size=8, use_cayley_neumann=not exact)
    model = get_peft_model(One(width), config)
    model.base_model.model.o_proj.oft_R["default"].weight.data.copy_(to_oft(params))
    return model


def in_turns(steps: Mapping[str, Step], rounds: int, clock: Clock) -> dict[str, list[float]]:
    """Seconds of every step in every round; every other round goes backwards, and the first two warm up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(rounds + 2):
        for name, step in list(steps.items())[:: -1 if i % 2 else 1]:
            start = clock()
            step()
            if i >= 2:
                times[name].append(clock() - start)
    return times


def extra(times: Mapping[str, list[float]], name: str, base: str) -> float:
    return statistics.median(a - b for a, b in zip(times[name], times[base], strict=True))


def train(model: nn.Module, x: torch.Tensor, g: torch.Tensor) -> Step:
    def step() -> None:
        x.grad = None
        model.zero_grad()
        model(x).backward(g)

    return step


def layer(width: int, rounds: int, console: Console, clock: Clock) -> list[str]:
    params = torch.randn(width // 8, 28) * SIZE
    models = {
        "frozen layer": One(width),
        "gate": Gated(width, params, grouped=False),
        "gate, grouped": Gated(width, params, grouped=True),
        "OFT, series": with_oft(width, params, exact=False),
        "OFT, exact": with_oft(width, params, exact=True),
    }
    x, g = torch.randn(TOKENS, width, requires_grad=True), torch.randn(TOKENS, width)
    times = in_turns({name: train(m, x, g) for name, m in models.items()}, rounds, clock)
    table = Table(title=f"d = {width}, {TOKENS} tokens, forward and backward", title_justify="left")
    for column in ("", "ms", "extra ms", "of OFT, series", "of OFT, exact", "|RRᵀ − I|"):
        table.add_column(column, justify="right" if column else "left")
    series, exact = (extra(times, f"OFT, {how}", "frozen layer") for how in ("series", "exact"))
    for name, model in models.items():
        more = extra(times, name, "frozen layer")
        shares = (
            ["", "", ""]
            if name == "frozen layer"
            else [f"{1e3 * more:.1f}", f"{more / series:.2f}", f"{more / exact:.2f}"]
        )
        table.add_row(name, f"{1e3 * statistics.median(times[name]):.1f}", *shares, orthogonality(model))
    console.print(table)
    more = extra(times, "gate, grouped", "frozen layer")
    off = orthogonality_error(models["gate, grouped"].gate.rotations())
    missed = [
        f"d = {width}: {more / oft:.2f} of OFT's extra time" for oft in (series, exact) if more > oft / 2
    ]
    return missed + [f"d = {width}: off by {off:.1e}"] * (off > 1e-6)


def orthogonality(model: nn.Module) -> str:
    if isinstance(model, Gated):
        return f"{orthogonality_error(model.gate.rotations()):.1e}"
    if isinstance(model, One):
        return ""
    oft = model.base_model.model.o_proj.oft_R["default"]
    blocks = oft._cayley_batch(oft.weight, 8, oft.use_cayley_neumann, oft.num_cayley_neumann_terms)
    return f"{orthogonality_error(blocks):.1e}"


def bake(rounds: int, console: Console, clock: Clock) -> list[str]:
    params = torch.randn(BAKE // 8, 28) * SIZE
    gate, oft = Gated(BAKE, params, grouped=False), with_oft(BAKE, params, exact=True)
    weight = gate.inner.o_proj.weight.detach()

    def merge() -> None:
        oft.merge_adapter()
        oft.base_model.model.o_proj.merged_adapters.clear()  # merging goes on; unmerging is not what is timed

    def fold() -> torch.Tensor:
        return fold_rotation(weight, gate.gate.exact_rotations())

    def dense() -> torch.Tensor:
        return weight @ torch.block_diag(*gate.gate.exact_rotations().float())

    error = float((fold() - dense()).abs().max())
    times = in_turns(
        {"fold": fold, "dense product": dense, "PEFT's merge": merge}, max(3, rounds // 3), clock
    )
    fastest = {name: statistics.median(t) for name, t in times.items()}
    table = Table(title=f"bake of one layer, d = {BAKE}", title_justify="left")
    for column in ("", "ms", "times the fold"):
        table.add_column(column, justify="right" if column else "left")
    for name, seconds in fastest.items():
        table.add_row(name, f"{1e3 * seconds:.0f}", f"{seconds / fastest['fold']:.1f}")
    console.print(table, f"fold in float64 and dense product in float32 differ by {error:.1e}")
    wanted = {"PEFT's merge": 10, "dense product": 5}
    return [
        f"bake: only {fastest[n] / fastest['fold']:.1f} × {n}"
        for n, k in wanted.items()
        if fastest[n] < k * fastest["fold"]
    ]


def nano(grouped: bool | None, pet: bool) -> Step:
    model = get_peft_model(load_model(NANO).requires_grad_(False), LoraConfig(r=32, target_modules=LORA))
    if grouped is not None:
        install_gates(model, grouped=grouped)
        for p in gate_parameters(model):
            p.data.normal_(0, SIZE)
        assert len(gates(model)) == 6
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    ids = torch.randint(5, 8000, (16, 128))
    base = model.get_base_model()

    def step() -> None:
        hidden = base.model(input_ids=ids, use_cache=False).last_hidden_state
        loss = base.lm_head(hidden[:, -1]).logsumexp(-1).mean()
        if pet:
            loss = loss + 0.05 * pet_loss(hidden, torch.ones_like(ids), 0.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def step(rounds: int, console: Console, clock: Clock) -> list[str]:
    steps = {
        "LoRA": nano(None, pet=False),
        "LoRA + PET": nano(None, pet=True),
        "LoRA + gates": nano(grouped=False, pet=False),
        "LoRA + gates, grouped": nano(grouped=True, pet=False),
    }
    times = in_turns(steps, rounds, clock)
    table = Table(title="training step of the nano base, 16 rows of 128 tokens", title_justify="left")
    for column in ("", "ms", "over LoRA"):
        table.add_column(column, justify="right" if column else "left")
    ordinary = statistics.median(times["LoRA"])
    share = {name: extra(times, name, "LoRA") / ordinary for name in steps}
    for name in steps:
        table.add_row(name, f"{1e3 * statistics.median(times[name]):.0f}", f"{share[name]:+.1%}")
    console.print(table)
    wanted = {"LoRA + gates, grouped": 0.05, "LoRA + PET": 0.02}
    return [f"step: {n} {share[n]:+.1%}" for n, most in wanted.items() if share[n] > most]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=("layer", "bake", "step"))
    parser.add_argument("--processor", action="store_true")
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    clock = time.process_time if chosen.processor else time.perf_counter
    console, missed = Console(), []
    if chosen.only in (None, "layer"):
        for width in WIDTHS:
            missed += layer(width, chosen.rounds, console, clock)
    if chosen.only in (None, "bake"):
        missed += bake(chosen.rounds, console, clock)
    if chosen.only in (None, "step"):
        missed += step(chosen.rounds, console, clock)
    for line in missed:
        console.print(f"target missed: {line}")
    return 1 if missed and chosen.check else 0


if __name__ == "__main__":
    sys.exit(main())
