"""Many questions after one prefix, packed into one row: every question sees the prefix and itself, none sees another (a tree of depth two)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Packed:
    """Branches laid end to end.

    Attributes:
        ids: tokens of all branches, one after the other.
        steps: place of each token within its own branch; its position is the end of the prefix plus this.
        owners: the branch each token belongs to.
        ends: index in `ids` of the last token of each branch, where its answer is read.
    """

    ids: tuple[int, ...]
    steps: tuple[int, ...]
    owners: tuple[int, ...]
    ends: tuple[int, ...]


def pack(branches: Sequence[Sequence[int]]) -> Packed:
    """Lay branches end to end. Raises ValueError for a branch without tokens: it would have no place for an answer."""
    ids: list[int] = []
    steps: list[int] = []
    owners: list[int] = []
    ends: list[int] = []
    for place, branch in enumerate(branches):
        if not branch:
            raise ValueError("a branch has no tokens")
        ids += branch
        steps += range(len(branch))
        owners += [place] * len(branch)
        ends.append(len(ids) - 1)
    return Packed(tuple(ids), tuple(steps), tuple(owners), tuple(ends))


def visible(prefix: int, packed: Packed) -> list[list[bool]]:
    """Which token may look at which, rows looking at columns, the prefix in front: `[prefix + tokens, prefix + tokens]`."""
    rows = [[column <= row for column in range(prefix + len(packed.ids))] for row in range(prefix)]
    for row, owner in enumerate(packed.owners):
        own = [o == owner and column <= row for column, o in enumerate(packed.owners)]
        rows.append([True] * prefix + own)
    return rows
