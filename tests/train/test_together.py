from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sekisho.core.errors import RecipeError
from sekisho.train import fit as room
from sekisho.train.together import any_of, processes, weight_of

from .conftest import tiny_finetune

ROOT = Path(__file__).parents[2]
RECIPE = {
    "steps": 20,
    "accumulation": 2,
    "batch": 8,
    "language_weight": 0.5,
    "pet": {"weights": [0.1, 0.2, 0.3]},
}


def run(base: Path, out: Path, count: int) -> dict:
    out.mkdir()
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    ended = subprocess.run(
        [sys.executable, *(torchrun if count > 1 else []), "-m", "tests.train.worker", str(base), str(out), json.dumps(RECIPE)],
        cwd=ROOT, capture_output=True, text=True, timeout=800, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads((out / "losses.json").read_bytes())


@pytest.mark.slow
def test_two_processes_are_one_on_the_same_global_batch(base: Path, tmp_path: Path) -> None:
    """Losses of 20 steps to 1e-5, over rows of unlike length, with every loss and in parts; and the last batch of an epoch."""
    one, two = run(base, tmp_path / "one", 1), run(base, tmp_path / "two", 2)
    assert len(one["losses"]) == len(two["losses"]) == 20
    assert max(abs(a - b) for a, b in zip(one["losses"], two["losses"], strict=True)) < 1e-5
    assert one["losses"][0] - one["losses"][-1] > 0.05, "nothing was learnt, so nothing was compared"
    for name, total in one["weights"].items():
        assert two["weights"][name] == pytest.approx(total, abs=1e-3), name


def test_alone_nothing_is_asked_of_anyone() -> None:
    assert processes() == 1
    assert any_of(True, False) == [True, False]
    assert weight_of(torch.tensor(3)) == 1.0


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be shared out among 1 processes in 3 parts"):
        room.arguments(tiny_finetune(batch=8, accumulation=3), tmp_path)
