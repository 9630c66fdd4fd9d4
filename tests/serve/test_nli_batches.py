from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import pytest

from sekisho.core.errors import EngineError, OverloadedError, ShelfError
from sekisho.serve.nli_batches import Batcher


@dataclass(frozen=True)
class Row:
    value: float
    width: int = 16


class Reading:
    """Doubles values; remembers what was read together, and may be held back."""

    def __init__(self):
        self.batches, self.gate = [], threading.Event()
        self.gate.set()

    def __call__(self, variant, rows):
        self.gate.wait(10)
        self.batches.append((variant, [r.value for r in rows], {r.width for r in rows}))
        if any(r.value < 0 for r in rows):
            raise ShelfError("a bad row")
        return [(variant * r.value,) for r in rows]


@pytest.fixture
def reading():
    return Reading()


@pytest.fixture
def batcher(reading):
    made = Batcher(reading, most=8, line=100)
    yield made
    made.close()


def test_many_callers_get_their_own_answers_in_order(batcher):
    found = {}

    def call(k):
        rows = [Row(k * 100 + i, 16 * (1 + i % 2)) for i in range(7)]
        found[k] = batcher.submit(k % 3, rows).result(10)

    threads = [threading.Thread(target=call, args=(k,)) for k in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k, rows in found.items():
        assert rows == [((k % 3) * (k * 100 + i),) for i in range(7)]
    assert batcher.batches < batcher.rows


def test_what_waits_is_read_together_but_never_mixed(batcher, reading):
    reading.gate.clear()
    first = batcher.submit(1, [Row(0)])
    time.sleep(0.1)
    later = [batcher.submit(v, [Row(v * 10 + i, w) for i in range(3)]) for v in (1, 2) for w in (16, 32)]
    reading.gate.set()
    for future in (first, *later):
        future.result(10)
    assert all(len(widths) == 1 for _, _, widths in reading.batches)
    assert len(reading.batches) == 5


def test_a_failing_batch_fails_its_callers_alone(batcher):
    with pytest.raises(ShelfError):
        batcher.submit(1, [Row(-1)]).result(10)
    assert batcher.submit(1, [Row(1)]).result(10) == [(1,)]


def test_a_full_line_and_a_closed_one(batcher, reading):
    reading.gate.clear()
    waiting = batcher.submit(1, [Row(0)] * 50)
    with pytest.raises(OverloadedError):
        batcher.submit(1, [Row(0)] * 60)
    assert batcher.submit(1, []).result(1) == []
    reading.gate.set()
    waiting.result(10)
    batcher.close()
    with pytest.raises(EngineError):
        batcher.submit(1, [Row(0)])


def test_who_has_gone_is_not_read(batcher, reading):
    reading.gate.clear()
    batcher.submit(1, [Row(1)])
    time.sleep(0.1)
    gone = batcher.submit(1, [Row(2)])
    kept = batcher.submit(1, [Row(3)])
    gone.cancel()
    reading.gate.set()
    assert kept.result(10) == [(3,)]
    assert not any(2 in values for _, values, _ in reading.batches[1:2]) or len(reading.batches) >= 2
