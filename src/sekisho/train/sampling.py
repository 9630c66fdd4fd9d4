"""In which order rows are seen: near ones in length together, drawn from the recipe's seed and the number of the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

_STRIDE = 1_000_003
"""Between the seeds of neighbouring recipes, so that one's second epoch is not another's first."""


class LengthGroups(Sampler[int]):
    """Indices of one epoch, batches of rows that are near in length.

    transformers' own sampler draws from the global generator. A run that is resumed in its second epoch has that generator at its start
    when the order is drawn, and sees the rows of the first epoch's order again: its weights were not those of an undisturbed run.

    The last batch is filled up with the first rows of the epoch, which is what accelerate does when batches are shared out among processes: so one process and two see the same rows.

    Fifty batches at a time are sorted by length, longest first, and so they are seen unless they are mixed. Length goes with source and
    label: sorted, a model sees all long jailbreak prompts in a row and then none for long.

    Args:
        mixed: whether the whole batches are seen in an order drawn anew; padding is the same.

    Attributes:
        epoch: which epoch's order is drawn next.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int, mixed: bool = False) -> None:
        self._lengths, self._batch, self._seed, self._mixed = list(lengths), batch, seed, mixed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self._lengths) // self._batch) * self._batch

    def __iter__(self) -> Iterator[int]:
        drawn = torch.Generator().manual_seed(self._seed * _STRIDE + self.epoch)
        order = get_length_grouped_indices(self._lengths, self._batch, generator=drawn)
        return islice(cycle(self._mix(order, drawn) if self._mixed else order), len(self))

    def _mix(self, order: list[int], drawn: torch.Generator) -> list[int]:
        """The whole batches in another order. What is left over stays last, or every batch after it would begin in the middle of another."""
        whole = len(order) // self._batch
        places = torch.randperm(whole, generator=drawn).tolist()
        mixed = [i for p in places for i in order[p * self._batch : (p + 1) * self._batch]]
        return mixed + order[whole * self._batch :]
