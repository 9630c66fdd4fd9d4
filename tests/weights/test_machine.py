"""What is written is what is computed."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest
from llvmlite import ir

from sekisho.weights.machine import DOUBLE, INDEX, SINGLE, Writer, compiled, eight, packed, transposed


def run(write, *arrays, counts=(), wide=DOUBLE):
    """Write a function of these arrays and counts, compile it, call it."""
    module = ir.Module()
    kinds = [DOUBLE if a.dtype == np.float64 else SINGLE for a in arrays]
    w = Writer(module, "f", kinds, len(counts), wide)
    write(w, *w.arrays, *w.counts)
    w.end()
    compiled(module, "f").run(packed(*(a.ctypes.data for a in arrays), *counts))
    return arrays[-1]


def test_loops_go_from_first_to_last_by_steps():
    def write(w, out, first, last):
        with w.loop(first, last, 3) as i, w.loop(w.index(0), w.index(2)) as j:
            out.put(i + j, out.one(i + j) + w.real(i * 10 + j))

    assert run(write, np.zeros(9), counts=(1, 8)).tolist() == [0, 10, 11, 0, 40, 41, 0, 70, 71]
    assert run(write, np.zeros(3), counts=(2, 2)).tolist() == [0, 0, 0]


def test_rows_of_eight():
    def write(w, a, out):
        x = a.row(w.index(1))
        out.put(w.index(0), (-x + 2.0) * a.spread(w.index(0)) / eight(w.number(4.0)) - w.zeros())
        out.put(w.index(8), w.largest(w.size(x - 5.0)))

    a = np.arange(9.0) + 1
    found = run(write, a, np.zeros(9))
    assert np.allclose(found[:8], (2 - a[1:]) * a[0] / 4)
    assert found[8] == 4


@pytest.mark.parametrize("x", [1.0, 1.5, 2.0, 0.3, 1e-300, 7e200])
def test_powers_of_two(x):
    def write(w, a, out):
        e = w.exponent(a.one(w.index(0)))
        out.put(w.index(0), w.real(e))
        out.put(w.index(1), w.power(e))
        out.put(w.index(2), w.real(w.least(e, w.index(3))))

    e = math.frexp(x)[1] - 1
    assert run(write, np.array([x]), np.zeros(3)).tolist() == [e, 2.0**e, min(e, 3)]


def test_infinity_and_no_number_have_the_largest_exponent():
    for bad in (math.inf, math.nan):
        found = run(
            lambda w, a, o: o.put(w.index(0), w.real(w.exponent(a.one(w.index(0))))),
            np.array([bad]),
            np.zeros(1),
        )
        assert found[0] == 1024


def test_columns_become_rows():
    def write(w, a, out):
        for i, row in enumerate(transposed([a.row(w.index(8 * i)) for i in range(8)])):
            out.put(w.index(8 * i), row)

    a = np.arange(64.0)
    assert run(write, a, np.zeros(64)).reshape(8, 8).T.ravel().tolist() == a.tolist()


def test_other_code_is_called_and_c_is_asked():
    """The called function writes what C said, widened with its sign, into a place of its own."""
    module, room = ir.Module(), np.zeros(1)
    inner = Writer(module, "inner", [DOUBLE], 1, DOUBLE)
    inner.arrays[0].put(inner.index(0), inner.real(inner.counts[0]))
    inner.end()
    code = compiled(module, "inner")
    module, given = ir.Module(), packed(room.ctypes.data, -7)
    outer = Writer(module, "outer", [], 2, INDEX)
    with outer.loop(outer.ask(outer.counts[0]), outer.index(0), outer.index(1)):
        outer.call(outer.counts[1], outer.given.one(outer.index(2)))
    outer.end()
    ask = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: -1)
    compiled(module, "outer").run(
        packed(ctypes.cast(ask, ctypes.c_void_p).value, code.address, ctypes.addressof(given))
    )
    assert room[0] == -7


def test_float32_is_widened_when_read_and_rounded_once_when_written():
    def write(w, a, b, out):
        out.put(w.index(0), a.row(w.index(0)) * b.row(w.index(0)) + 1.0)

    a, b = np.full(8, np.float32(0.1)), np.full(8, 0.1)
    found = run(write, a, b, np.zeros(8, dtype=np.float32))
    assert found.tolist() == [float(np.float32(float(a[0]) * 0.1 + 1.0))] * 8
