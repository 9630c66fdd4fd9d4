from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sekisho.weights.shards import _units, is_share, sharded_names, sharding

from .zoo import ZOO

ROOT = Path(__file__).parents[2]


def test_alone_a_process_holds_the_whole_base(tmp_path: Path) -> None:
    assert sharding(tmp_path, 1) == {}
    layer = torch.nn.Linear(2, 2)
    assert not is_share(layer.weight)
    assert sharded_names(layer) == []


@pytest.mark.parametrize("name", ZOO)
def test_every_weight_but_the_head_lies_in_exactly_one_unit(name: str) -> None:
    with torch.device("meta"):
        model = ZOO[name]()
    units = [unit.removesuffix("*") for unit in _units(model)]
    for weight, _ in model.named_parameters():
        inside = [u for u in units if weight.startswith(u if u.endswith(".") else f"{u}.")]
        assert len(inside) == (0 if weight.startswith("lm_head.") else 1), (weight, units)


@pytest.mark.slow
def test_every_architecture_trains_in_shards_as_it_does_whole(tmp_path: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run(
        [sys.executable, *torchrun, "-m", "tests.weights.shards_worker", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=800, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    results = json.loads((tmp_path / "found.json").read_bytes())
    assert results.keys() == ZOO.keys()
    for name, found in results.items():
        assert found["loss"] < 1e-5, name
        assert found["gradient"] < 1e-5 * max(1, found["largest"]), name
        assert found["largest"] > 1e-3, name
        assert found["trained"] > 0, name
        assert found["shares"] == found["shares_afterwards"] == 1, name
        assert found["held"] == pytest.approx(0.5, abs=0.02), name
