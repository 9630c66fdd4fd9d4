"""The gate's four loops as machine code: rotate features, its gradients, the exponential of skew 8 × 8 matrices, its gradient.

Each works on blocks `first` to `last`, so threads share blocks out, never tokens: what is written does not depend on how many threads there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import combinations

from llvmlite import ir

from .machine import DOUBLE, LANES, SINGLE, Array, Code, Number, Writer, compiled, eight, transposed

_TILE = 4
"""Rows taken together: their features stay in the nearest cache while a block's matrix is in registers. In widths that are powers of two all of them share one set of that cache, and four rows of three arrays are twelve lines, which
is what it holds."""
_AREA = LANES * LANES
_PAIRS = list(combinations(range(LANES), 2))
_HALVINGS = 60
"""Most halvings of a generator. Beyond 2⁵⁸ the angles are below what float64 can tell."""
_TERMS = {SINGLE: 10, DOUBLE: 18}
"""Terms of the derivative's series: 1¹⁰ / 11! = 3e-8 of a gradient that is rounded to float32 (6e-8), and 1¹⁸ / 19! = 8e-18."""


@cache
def kernel(name: str, doubles: tuple[bool, ...]) -> Code:
    """One of the functions below, compiled at the first call. All are given one address, where the arrays' and the counts lie (`machine.packed`).

    - `rotate`: (x, m, out, rows, width, first, last): y_k = M_kᵀ x_k, `[rows, width]` and matrices `[width / 8, 8, 8]`; reckoned in the widest type.
    - `gradients`: (g, x, r, grad_x, grad_r, rows, width, first, last): for y_k = R_k x_k and a gradient g of y.
    - `exponential`: (params, r, inverse, first, last): R = exp(A) and Rᵀ, `[n, 28]` to `[n, 8, 8]`; reckoned in float64.
    - `derivative`: (params, g, grad, first, last): the gradient of `params` for a gradient g of R; reckoned in float64.

    Args:
        name: which.
        doubles: for each array whether it is float64, or else float32. Arrays are given as addresses of memory without gaps that does not overlap.
    """
    kinds, module = [DOUBLE if double else SINGLE for double in doubles], ir.Module()
    write, counts, wide = {
        "rotate": (_rotate, 4, DOUBLE if any(doubles) else SINGLE),
        "gradients": (_gradients, 4, kinds[0]),
        "exponential": (_exponential, 2, DOUBLE),
        "derivative": (_derivative, 2, DOUBLE),
    }[name]
    write(Writer(module, name, kinds, counts, wide))
    return compiled(module, name)


def _rotate(w: Writer) -> None:
    (x, m, out), (rows, width, first, last) = w.arrays, w.counts
    with w.loop(w.index(0), rows, _TILE) as top, w.loop(first, last) as k:
        matrix = _rows(m.moved(k * _AREA), w)
        with w.loop(top, w.least(top + _TILE, rows)) as t:
            at = t * width + k * LANES
            out.put(at, _combined(x.moved(at), matrix, w))
    w.end()


def _gradients(w: Writer) -> None:
    (g, x, r, grad_x, grad_r), (rows, width, first, last) = w.arrays, w.counts
    sums = w.scratch(_AREA)  # stays in registers: every index is a constant
    with w.loop(first, last) as k:
        _fill(grad_r.moved(k * _AREA), [w.zeros()] * LANES, w)
    with w.loop(w.index(0), rows, _TILE) as top, w.loop(first, last) as k:
        matrix = _rows(r.moved(k * _AREA), w)
        _fill(sums, _rows(grad_r.moved(k * _AREA), w), w)
        with w.loop(top, w.least(top + _TILE, rows)) as t:
            at = t * width + k * LANES
            grad_x.put(at, _combined(g.moved(at), matrix, w))
            own = x.row(at)
            _fill(sums, [g.spread(at + i) * own + s for i, s in enumerate(_rows(sums, w))], w)
        _fill(grad_r.moved(k * _AREA), _rows(sums, w), w)
    w.end()


def _exponential(w: Writer) -> None:
    (params, out, inverse), (first, last) = w.arrays, w.counts
    memory = _Memory(w)
    with w.loop(first, last) as k:
        halvings = _powers(w, memory, params.moved(k * len(_PAIRS)))
        made = memory.roots.moved(halvings * _AREA)
        _copy(made, out.moved(k * _AREA), w)
        _transpose(made, inverse.moved(k * _AREA), w)
    w.end()


def _derivative(w: Writer) -> None:
    """With K = G Rᵀ − (G Rᵀ)ᵀ for a gradient G, the gradient of the 28 numbers is φ(−ad A) K, φ(z) = (eᶻ − 1)/z, above the diagonal."""
    (params, g, grad), (first, last) = w.arrays, w.counts
    memory, terms = _Memory(w), _TERMS[g.kind]
    term, total, back = memory.two, memory.four, memory.six
    with w.loop(first, last) as k:
        halvings = _powers(w, memory, params.moved(k * len(_PAIRS)))
        _transpose(memory.roots.moved(halvings * _AREA), memory.even, w)
        _product(g.moved(k * _AREA), memory.even, back, w)
        _transpose(back, memory.even, w)
        _each(w, lambda at: term.put(at, back.row(at) - memory.even.row(at)))
        _copy(term, total, w)
        with w.loop(w.index(2), w.index(terms + 1)) as nth:
            _series(w, memory, eight(w.number(1.0) / w.real(nth)))
        with w.loop(w.index(0), halvings) as q:
            _doubled(w, memory, memory.roots.moved(q * _AREA))
        for n, (i, j) in enumerate(_PAIRS):
            grad.put(k * len(_PAIRS) + n, total.one(w.index(i * LANES + j)))
    w.end()


class _Memory:
    """Room for the matrices of one block; `roots` are exp(A / 2ˢ), exp(A / 2ˢ⁻¹), …, exp(A)."""

    def __init__(self, w: Writer) -> None:
        self.a, self.two, self.four, self.six = (w.scratch(_AREA) for _ in range(4))
        self.even, self.odd, self.high = (w.scratch(_AREA) for _ in range(3))
        self.roots = w.scratch(_AREA * (_HALVINGS + 1))


def _powers(w: Writer, memory: _Memory, params: Array) -> Number:
    """Fill `memory.a` with A / 2ˢ of a norm below 1/2 and `memory.roots`; return s."""
    _generator(w, params, memory.a, w.number(1.0))
    beyond = w.exponent(_norm(w, memory.a)) + 2
    halvings = w.choose(w.less(beyond, w.index(0)), w.index(0), w.least(beyond, w.index(_HALVINGS)))
    scale = w.choose(w.less(w.index(_HALVINGS), beyond), w.number(math.nan), w.power(w.index(0) - halvings))
    _generator(w, params, memory.a, scale)
    _taylor(w, memory)
    with w.loop(w.index(0), halvings) as q:
        root = memory.roots.moved(q * _AREA)
        _product(root, root, memory.roots.moved((q + 1) * _AREA), w)
    return halvings


def _generator(w: Writer, params: Array, out: Array, scale: Number) -> None:
    """A, times a number: what `rotation.generator` lays out."""
    for i in range(LANES):
        out.put(w.index(i * (LANES + 1)), w.number(0.0))
    for n, (i, j) in enumerate(_PAIRS):
        entry = params.one(w.index(n)) * scale
        out.put(w.index(i * LANES + j), entry)
        out.put(w.index(j * LANES + i), -entry)


def _norm(w: Writer, a: Array) -> Number:
    """The largest column sum of |A|."""
    total = w.zeros()
    for i in range(LANES):
        total = total + w.size(a.row(w.index(i * LANES)))
    return w.largest(total)


def _taylor(w: Writer, memory: _Memory) -> None:
    """exp to degree 13, its even and its odd part apart: six products (0.5¹⁴ / 14! = 7e-16)."""
    m = memory
    _product(m.a, m.a, m.two, w)
    _product(m.two, m.two, m.four, w)
    _product(m.four, m.two, m.six, w)
    _polynomial(w, m, [1 / math.factorial(2 * k) for k in range(7)], m.even)
    _polynomial(w, m, [1 / math.factorial(2 * k + 1) for k in range(7)], m.odd)
    _product(m.a, m.odd, m.roots, w, start=m.even)


def _polynomial(w: Writer, m: _Memory, c: list[float], out: Array) -> None:
    """c0 + c1 X + … + c6 X⁶ of X = A², from X, X² and X³."""

    def lower(at: Number) -> None:
        x = [p.row(at) for p in (m.two, m.four, m.six)]
        m.high.put(at, x[0] * c[4] + x[1] * c[5] + x[2] * c[6])
        out.put(at, x[0] * c[1] + x[1] * c[2] + x[2] * c[3])

    _each(w, lower)
    for i in range(LANES):
        at = w.index(i * (LANES + 1))
        out.put(at, out.one(at) + c[0])
    _product(m.six, m.high, out, w, start=out)


def _series(w: Writer, m: _Memory, scale: Number) -> None:
    """The next term: (T A − A T) / n, added to the total; `scale` is 1 / n. Of skew A and T, T A is (A T)ᵀ: one product. Its names are those of `_derivative`."""
    term, total = m.two, m.four
    rows = _rows(term, w)
    product = [_combined(m.a.moved(w.index(i * LANES)), rows, w) for i in range(LANES)]
    new = [(t - p) * scale for p, t in zip(product, transposed(product), strict=True)]
    _fill(term, new, w)
    _fill(total, [a + b for a, b in zip(_rows(total, w), new, strict=True)], w)


def _doubled(w: Writer, m: _Memory, root: Array) -> None:
    """φ(2z) = φ(z)(eᶻ + 1)/2: the total becomes the mean of itself and rootᵀ total root."""
    total = m.four
    _product(total, root, m.even, w)
    _transpose(root, m.odd, w)
    _product(m.odd, m.even, m.high, w, start=total)
    _each(w, lambda at: total.put(at, m.high.row(at) * 0.5))


def _product(a: Array, b: Array, out: Array, w: Writer, start: Array | None = None) -> None:
    """out = A B, plus `start` where given; `out` may be `start`, neither A nor B."""
    matrix = _rows(b, w)
    with w.loop(w.index(0), w.index(_AREA), LANES) as at:
        product = _combined(a.moved(at), matrix, w)
        out.put(at, product if start is None else product + start.row(at))


def _combined(numbers: Array, matrix: list[Number], w: Writer) -> Number:
    """Σ numbers_j · matrix_j, the odd ones apart so that sums do not wait for each other."""
    halves = []
    for parity in (0, 1):
        total = numbers.spread(w.index(parity)) * matrix[parity]
        for j in range(parity + 2, LANES, 2):
            total = numbers.spread(w.index(j)) * matrix[j] + total
        halves.append(total)
    return halves[0] + halves[1]


def _transpose(a: Array, out: Array, w: Writer) -> None:
    _fill(out, transposed(_rows(a, w)), w)


def _copy(a: Array, out: Array, w: Writer) -> None:
    _each(w, lambda at: out.put(at, a.row(at)))


def _each(w: Writer, do: Callable[[Number], None]) -> None:
    for i in range(LANES):
        do(w.index(i * LANES))


def _rows(a: Array, w: Writer) -> list[Number]:
    return [a.row(w.index(i * LANES)) for i in range(LANES)]


def _fill(a: Array, rows: list[Number], w: Writer) -> None:
    for i, row in enumerate(rows):
        a.put(w.index(i * LANES), row)
