from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sekisho.core.canonical import folder_digest
from sekisho.core.errors import RecipeError, TrainingError
from sekisho.train import fit as room
from sekisho.train.checkpoints import newest_checkpoint, require_processes
from sekisho.train.plan import MIB
from sekisho.train.together import any_of, processes, weight_of
from sekisho.weights.adapter import GATES, LORA
from sekisho.weights.bake import bake, compare

from .conftest import requests, tiny_finetune

ROOT = Path(__file__).parents[2]
RECIPE = {
    "steps": 20,
    "accumulation": 2,
    "batch": 8,
    "language_weight": 0.5,
    "pet": {"weights": [0.1, 0.2, 0.3]},
}


EVERYTHING = RECIPE | {
    "checkpointing": True,
    "gradient_noise": 0.01,
    "swa_start": 0.5,
    "watch": {"every": 5, "share": 0.2},
    "checkpoint_seconds": 0.01,
}
DROPPING = EVERYTHING | {"shard_base": True, "lora": {"r": 4, "alpha": 8, "dropout": 0.2}}


def start(base: Path, out: Path, count: int, recipe: dict, die_at: int = 0) -> subprocess.CompletedProcess:
    out.mkdir(exist_ok=True)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    worker = ["-m", "tests.train.worker", str(base), str(out), json.dumps(recipe), str(die_at)]
    return subprocess.run(
        [sys.executable, *(torchrun if count > 1 else []), *worker],
        cwd=ROOT, capture_output=True, text=True, timeout=800, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def run(base: Path, out: Path, count: int, recipe: dict) -> dict:
    ended = start(base, out, count, recipe)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads((out / "losses.json").read_bytes())


LONG = pytest.mark.skipif("SOAK_SHARDS" not in os.environ, reason="minutes; `make soak` runs it")


def require_same(one: dict, two: dict) -> None:
    assert len(one["losses"]) == len(two["losses"]) == 20
    assert max(abs(a - b) for a, b in zip(one["losses"], two["losses"], strict=True)) < 1e-5
    assert one["losses"][0] - one["losses"][-1] > 0.05, "nothing was learnt, so nothing was compared"
    for name, total in one["weights"].items():
        assert two["weights"][name] == pytest.approx(total, abs=1e-3), name


def tensors(out: Path) -> dict[str, torch.Tensor]:
    """All of the adapter."""
    return load_file(out / "adapter" / LORA) | load_file(out / "adapter" / GATES)


@pytest.mark.slow
def test_two_processes_are_one_on_the_same_global_batch(base: Path, tmp_path: Path) -> None:
    """Losses of 20 steps to 1e-5, over rows of unlike length, with every loss and in parts; and the last batch of an epoch."""
    require_same(run(base, tmp_path / "one", 1, RECIPE), run(base, tmp_path / "two", 2, RECIPE))


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, pytest.param(False, marks=LONG)], ids=["tied", "untied"])
def test_two_processes_with_half_the_base_each_are_one(tied: bool, base: Path, tmp_path: Path) -> None:
    """With everything that steers, whether the head's weights are the embeddings' or its own; the adapter is the same, and bakes."""
    folder = base if tied else untied(base, tmp_path / "base")
    one = run(folder, tmp_path / "one", 1, EVERYTHING)
    require_same(one, run(folder, tmp_path / "two", 2, EVERYTHING | {"shard_base": True}))
    trained, shared = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert trained.keys() == shared.keys()
    for name, tensor in trained.items():
        assert torch.allclose(shared[name], tensor, rtol=1e-4, atol=1e-5), name
    gated, _ = room.load_adapted(folder, tmp_path / "two" / "adapter")
    plain, report = bake(gated)
    assert report.max_error < 1e-5
    compare(gated, plain, [[5, 9, 300, 41, 77], [400, 17, 250]]).check(1e-5, 1e-6)


def untied(base: Path, folder: Path) -> Path:
    """The same base with a head of its own."""
    model, _ = room.load_base(base)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.flip(0).clone())
    model.save_pretrained(folder)
    for file in base.glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder


@LONG
@pytest.mark.slow
def test_each_process_holds_half_and_a_killed_run_goes_on_bit_for_bit(base: Path, tmp_path: Path) -> None:
    """With dropout, which draws otherwise in each process. Of all the base each process holds half when it has ended; no weight is whole."""
    without_watch = {k: v for k, v in DROPPING.items() if k != "watch"}
    run(base, tmp_path / "straight", 2, without_watch)
    for rank in (0, 1):
        held = json.loads((tmp_path / "straight" / f"held-{rank}.json").read_bytes())
        assert len(held) > 10
        assert all(own == pytest.approx(whole / 2, abs=1) for own, whole in held.values())
    killed = tmp_path / "killed"
    assert start(base, killed, 2, without_watch, die_at=7).returncode != 0
    newest = newest_checkpoint(killed / "checkpoints")
    assert newest is not None
    assert newest.endswith("-6")
    assert not (killed / "adapter").exists()
    with pytest.raises(TrainingError, match="was written by 2 processes, and here are 1") as e:
        room.fit(tiny_finetune(**without_watch), base, requests(75), killed, lambda _: None)
    assert "Go on with 2" in e.value.do
    losses = run(base, killed, 2, without_watch)["losses"]
    assert len(losses) == 14, "it went on, and did not begin again"
    assert folder_digest(killed / "adapter") == folder_digest(tmp_path / "straight" / "adapter")


@LONG
@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is given back by glibc")
def test_shards_save_the_memory_that_they_should(base: Path, tmp_path: Path) -> None:
    """With a base of 270 MiB the process that writes takes at most what it did with a whole one, less a third of that; and no more than was planned."""
    folder = large(base, tmp_path / "base")
    short = {"steps": 3, "batch": 4, "lora": {"r": 4, "alpha": 8}}
    found = []
    for name, shares in (("whole", False), ("shared", True)):
        run(folder, tmp_path / name, 2, short | {"shard_base": shares})
        found.append(json.loads((tmp_path / name / "memory.json").read_bytes()))
    whole, shared = found
    saved = whole["planned"]["base"] / 3
    assert saved > 80 * MIB
    assert shared["peak"] < whole["peak"] - saved
    assert shared["peak"] < shared["planned"]["total"]


def large(base: Path, folder: Path) -> Path:
    """Random weights of the same architecture, with the same tokens, ten layers of 27 MiB."""
    model, _ = room.load_base(base)
    shape = {
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 10,
        "num_attention_heads": 12,
    }
    for name, value in {**shape, "num_key_value_heads": 12}.items():
        setattr(model.config, name, value)
    type(model)(model.config).save_pretrained(folder)
    for file in base.glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder


@pytest.mark.parametrize("held", ["int8", "nf4"])
def test_a_rounded_base_cannot_be_in_shards(held: str, base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=f"held as {held} cannot be shared out") as e:
        room.fit(tiny_finetune(shard_base=True, base_type=held), base, requests(6), tmp_path, print)
    assert "bfloat16" in e.value.do


def test_a_checkpoint_of_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    require_processes(None, 2)
    (tmp_path / "rng_state.pth").touch()
    require_processes(str(tmp_path), 1)
    with pytest.raises(TrainingError, match="was written by 1 processes, and here are 2"):
        require_processes(str(tmp_path), 2)


def test_alone_nothing_is_asked_of_anyone() -> None:
    assert processes() == 1
    assert any_of(True, False) == [True, False]
    assert weight_of(torch.tensor(3)) == 1.0


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be shared out among 1 processes in 3 parts"):
        room.arguments(tiny_finetune(batch=8, accumulation=3), tmp_path)
