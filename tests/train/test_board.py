from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sekisho.train.board import Board


def test_a_histogram_leaves_out_what_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard raises on them, before the training could say what is wrong."""
    model, state = nn.Linear(2, 2), SimpleNamespace(is_world_process_zero=True, global_step=1)
    model.bias.data.fill_(float("nan"))
    model.weight.data[0, 0] = float("inf")
    board, drawn = Board(tmp_path), {}
    board.on_train_begin(None, state, None, model=model)
    add = board._writer.add_histogram
    monkeypatch.setattr(board._writer, "add_histogram", lambda *a: (drawn.update({a[0]: a[1]}), add(*a)))
    board.on_train_end(None, state, None)
    assert drawn.keys() == {"weight"}
    assert drawn["weight"].numel() == 3
    assert torch.isfinite(drawn["weight"]).all()
