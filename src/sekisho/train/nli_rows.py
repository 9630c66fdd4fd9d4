"""Pairs to tensors: tokens of premise and hypothesis, special tokens in them staying letters; padded batches."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..core.errors import TrainingError
from ..data.nli import Pair


class PairRows(Dataset[dict[str, Any]]):
    """Encoded pairs. A row is what the tokenizer gives, `labels` (column of the right class), `weight` and `length`.

    Args:
        columns: the model's column of each of the house's labels.
        max_tokens: longer pairs are left out and counted in `dropped`.
        weights: a weight a pair; 1 by default.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        tokenizer: Any,
        columns: Mapping[str, int],
        max_tokens: int,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        for pair, weight in zip(pairs, weights or [1.0] * len(pairs), strict=True):
            row = dict(tokenizer(pair.premise, pair.hypothesis))
            length = len(row["input_ids"])
            if length <= max_tokens:
                self.rows.append(row | {"labels": columns[pair.label], "weight": weight, "length": length})
        self.dropped = len(pairs) - len(self.rows)
        if not self.rows:
            raise TrainingError("There is no pair to train on.", "Raise max_tokens, or collect more.")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.rows[i]


class PairCollator:
    """Pads a batch of rows at the right to [batch, longest]; padding is masked."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Rows to tensors: what the model reads [batch, longest], `labels` and `weight` [batch]."""
        names = [n for n in ("input_ids", "attention_mask", "token_type_ids") if n in rows[0]]
        longest = max(len(r["input_ids"]) for r in rows)
        batch = {n: torch.tensor([self._padded(r[n], n, longest) for r in rows]) for n in names}
        batch["labels"] = torch.tensor([r["labels"] for r in rows])
        batch["weight"] = torch.tensor([float(r["weight"]) for r in rows])
        return batch

    def _padded(self, values: Sequence[int], name: str, longest: int) -> list[int]:
        fill = self._pad if name == "input_ids" else 0
        return [*values, *[fill] * (longest - len(values))]


def mirrored(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs, and every contradiction the other way round as well: what refutes is refuted."""
    turned = [
        p.model_copy(update={"premise": p.hypothesis, "hypothesis": p.premise, "id": f"{p.id}-turned"})
        for p in pairs
        if p.label == "refutes"
    ]
    return [*pairs, *turned]


def balanced(pairs: Sequence[Pair]) -> list[float]:
    """A weight a pair, so that every label that occurs has the same sum; their mean is 1."""
    counts = {label: sum(p.label == label for p in pairs) for label in {p.label for p in pairs}}
    return [len(pairs) / (len(counts) * counts[p.label]) for p in pairs]


def replayed(
    own: Sequence[Pair], pool: Sequence[Pair], share: float, seed: int, held: Sequence[Pair] = ()
) -> list[Pair]:
    """`share` pairs of the pool for each own pair, drawn with a seed; none that is among them already, and none that shares a text with a pair that is held out."""
    known = {(p.premise, p.hypothesis) for p in own}
    proving = {t for p in held for t in (p.premise, p.hypothesis)}
    free = [
        p for p in pool if (p.premise, p.hypothesis) not in known and not {p.premise, p.hypothesis} & proving
    ]
    count = min(len(free), round(share * len(own)))
    return random.Random(seed).sample(free, count)
