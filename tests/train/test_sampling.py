from __future__ import annotations

import random
from itertools import pairwise

from sekisho.train.sampling import LengthGroups

BATCH = 8
LENGTHS = random.Random(1).choices(range(5, 200), k=BATCH * 120 + 3)


def batches(order: list[int]) -> list[tuple[int, ...]]:
    return [tuple(order[i : i + BATCH]) for i in range(0, len(order), BATCH)]


def test_mixed_batches_are_the_same_batches_in_another_order() -> None:
    plain, mixed = list(LengthGroups(LENGTHS, BATCH, 3)), list(LengthGroups(LENGTHS, BATCH, 3, mixed=True))
    whole = len(LENGTHS) // BATCH
    assert sorted(batches(plain)[:whole]) == sorted(batches(mixed)[:whole])
    assert batches(plain)[:whole] != batches(mixed)[:whole]
    assert set(mixed) == set(range(len(LENGTHS)))
    assert len(mixed) == len(plain) == (whole + 1) * BATCH


def test_what_is_left_over_stays_last_and_is_filled_up_from_the_first_batch() -> None:
    mixed = list(LengthGroups(LENGTHS, BATCH, 3, mixed=True))
    plain = list(LengthGroups(LENGTHS, BATCH, 3))
    assert mixed[-BATCH:-5] == plain[-BATCH:-5]
    assert mixed[-5:] == mixed[:5]


def test_mixed_batches_do_not_fall_in_length() -> None:
    def falls(order: list[int]) -> int:
        means = [sum(LENGTHS[i] for i in b) / BATCH for b in batches(order)[: len(LENGTHS) // BATCH]]
        return sum(a > b for a, b in pairwise(means))

    whole = len(LENGTHS) // BATCH
    assert falls(list(LengthGroups(LENGTHS, BATCH, 3))) > 0.9 * whole
    assert 0.3 * whole < falls(list(LengthGroups(LENGTHS, BATCH, 3, mixed=True))) < 0.7 * whole


def test_seed_and_epoch_decide_the_order() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        groups = LengthGroups(LENGTHS, BATCH, seed, mixed=True)
        groups.epoch = epoch
        return list(groups)

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_fewer_rows_than_a_batch_are_one_batch() -> None:
    assert sorted(LengthGroups([3, 1, 2], BATCH, 0, mixed=True))[0] == 0
    assert len(list(LengthGroups([3, 1, 2], BATCH, 0, mixed=True))) == BATCH
