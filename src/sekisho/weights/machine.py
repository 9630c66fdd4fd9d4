"""A small way to write loops over rows of 8 numbers that are compiled for the processor at hand (LLVM, through llvmlite).

Eight numbers of a block are one vector: a compiler that starts from plain loops does not find that, and libraries of linear algebra are made for larger matrices. Nothing is
written to disk; compiling takes a fraction of a second and is done once a process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from llvmlite import binding, ir

LANES = 8
"""Numbers of a vector: the width of a block."""
INDEX, DOUBLE, SINGLE = ir.IntType(64), ir.DoubleType(), ir.FloatType()
_FUNCTION = ir.FunctionType(ir.VoidType(), [INDEX.as_pointer()])

_ENGINES: list[Any] = []
"""What owns the machine code: it must live as long as the functions."""


class Number:
    """A number, or a vector of 8, of the function that is being written; arithmetic on it writes instructions."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Number | float) -> Number:
        return self._make("add", other)

    def __sub__(self, other: Number | float) -> Number:
        return self._make("sub", other)

    def __mul__(self, other: Number | float) -> Number:
        return self._make("mul", other)

    def __truediv__(self, other: Number | float) -> Number:
        return self._make("div", other)

    def __neg__(self) -> Number:
        return Number(self.builder, self.builder.fneg(self.value))

    def _make(self, name: str, other: Number | float) -> Number:
        right = other.value if isinstance(other, Number) else _constant(self.value.type, other)
        if self.value.type == INDEX:
            return Number(self.builder, getattr(self.builder, name)(self.value, right))
        # "contract": a product and a sum may be one instruction, rounded once.
        return Number(self.builder, getattr(self.builder, f"f{name}")(self.value, right, flags=("contract",)))


class Array:
    """Numbers in memory, by their index; `kind` is float or double, and arithmetic is in `wide`."""

    def __init__(self, builder: Any, place: Any, kind: Any, wide: Any) -> None:
        self.builder, self.place, self.kind, self.wide = builder, place, kind, wide

    def one(self, at: Number) -> Number:
        """The number at an index."""
        return self._widened(self.builder.load(self._pointer(at)), self.wide)

    def row(self, at: Number) -> Number:
        """The 8 numbers from an index on, a vector."""
        vector = ir.VectorType(self.kind, LANES)
        found = self.builder.load(self._pointer(at, vector), align=_size(self.kind))
        return self._widened(found, ir.VectorType(self.wide, LANES))

    def spread(self, at: Number) -> Number:
        """One number, eight times."""
        return eight(self.one(at))

    def put(self, at: Number, value: Number) -> None:
        """Write a number, or 8 from an index on."""
        vector = isinstance(value.value.type, ir.VectorType)
        kind = ir.VectorType(self.kind, LANES) if vector else self.kind
        kept = value.value if value.value.type == kind else self.builder.fptrunc(value.value, kind)
        self.builder.store(kept, self._pointer(at, kind), align=_size(self.kind))

    def moved(self, by: Number) -> Array:
        """The same from another index on."""
        return Array(self.builder, self._pointer(by), self.kind, self.wide)

    def _pointer(self, at: Number, kind: Any = None) -> Any:
        found = self.builder.gep(self.place, [at.value])
        return found if kind is None else self.builder.bitcast(found, kind.as_pointer())

    def _widened(self, value: Any, kind: Any) -> Number:
        return Number(self.builder, value if value.type == kind else self.builder.fpext(value, kind))


class Code(NamedTuple):
    """A compiled function: to be called from here, or by its address from other machine code."""

    run: Callable[[Any], None]
    address: int


class Writer:
    """Writes one function: `arrays` of float or double, then `counts` of whole numbers. When called it is given one address, where all of them lie as 64-bit numbers (`packed`).

    Args:
        module: where it goes.
        name: its name.
        arrays: the kind of each array; they must not overlap when it is called.
        counts: how many whole numbers.
        wide: what it reckons in.
    """

    def __init__(self, module: Any, name: str, arrays: list[Any], counts: int, wide: Any) -> None:
        self._function = ir.Function(module, _FUNCTION, name)
        self._builder = ir.IRBuilder(self._function.append_basic_block())
        self._wide = wide
        self.given = Array(self._builder, self._function.args[0], INDEX, INDEX)
        numbers = [self.given.one(self.index(i)) for i in range(len(arrays) + counts)]
        self.arrays = [
            self._array(self._place(n, kind), kind) for n, kind in zip(numbers, arrays, strict=False)
        ]
        self.counts = numbers[len(arrays) :]

    def index(self, value: int) -> Number:
        """A whole number."""
        return Number(self._builder, INDEX(value))

    def least(self, a: Number, b: Number) -> Number:
        """The smaller one."""
        return self.choose(self.less(a, b), a, b)

    def less(self, a: Number, b: Number) -> Any:
        """Whether a < b, for `choose`: of whole numbers, or of finite numbers."""
        build = self._builder
        whole = a.value.type == INDEX
        return (build.icmp_signed if whole else build.fcmp_ordered)("<", a.value, b.value)

    def choose(self, condition: Any, yes: Number, no: Number) -> Number:
        """One of two values."""
        return Number(self._builder, self._builder.select(condition, yes.value, no.value))

    def size(self, x: Number) -> Number:
        """|x|."""
        zero = Number(self._builder, _constant(x.value.type, 0.0))
        return self.choose(self.less(x, zero), -x, x)

    def largest(self, x: Number) -> Number:
        """The largest number of a vector."""
        build, found = self._builder, None
        for i in range(LANES):
            own = Number(build, build.extract_element(x.value, ir.IntType(32)(i)))
            found = own if found is None else self.choose(self.less(found, own), own, found)
        assert found is not None
        return found

    def exponent(self, x: Number) -> Number:
        """The whole number e with 2ᵉ ≤ x < 2ᵉ⁺¹, from the bits of a double that is not negative; 1024 for infinity and what is no number."""
        bits = Number(self._builder, self._builder.bitcast(x.value, INDEX))
        return Number(self._builder, self._builder.lshr(bits.value, INDEX(52))) - 1023

    def power(self, e: Number) -> Number:
        """2ᵉ as a double, for −1023 < e < 1024."""
        bits = self._builder.shl((e + 1023).value, INDEX(52))
        return Number(self._builder, self._builder.bitcast(bits, DOUBLE))

    def number(self, value: float) -> Number:
        """A constant of the type the function reckons in."""
        return Number(self._builder, _constant(self._wide, value))

    def zeros(self) -> Number:
        """A vector of zeros."""
        return eight(self.number(0.0))

    def real(self, n: Number) -> Number:
        """A whole number as one that is not."""
        return Number(self._builder, self._builder.sitofp(n.value, self._wide))

    def scratch(self, numbers: int) -> Array:
        """Memory of the function's own; asked for before any loop."""
        return self._array(self._builder.alloca(self._wide, numbers), self._wide)

    @contextmanager
    def loop(self, first: Number, last: Number, step: Number | int = 1) -> Iterator[Number]:
        """Repeat what is written inside for every index from `first` up to, without, `last`."""
        build, before = self._builder, self._builder.block
        head, body, after = (self._function.append_basic_block() for _ in range(3))
        build.branch(head)
        build.position_at_end(head)
        i = build.phi(INDEX)
        i.add_incoming(first.value, before)
        build.cbranch(build.icmp_signed("<", i, last.value), body, after)
        build.position_at_end(body)
        yield Number(build, i)
        i.add_incoming((Number(build, i) + step).value, build.block)
        build.branch(head)
        build.position_at_end(after)

    def call(self, code: Number, given: Number) -> None:
        """Run a function that was written by this class."""
        self._builder.call(self._place(code, _FUNCTION), [self._place(given, INDEX)])

    def ask(self, code: Number) -> Number:
        """What a function of C says that takes nothing and returns an `int`."""
        answer = self._builder.call(self._place(code, ir.FunctionType(ir.IntType(32), [])), [])
        return Number(self._builder, self._builder.sext(answer, INDEX))

    def end(self) -> None:
        """Nothing follows."""
        self._builder.ret_void()

    def _place(self, address: Number, kind: Any) -> Any:
        return self._builder.inttoptr(address.value, kind.as_pointer())

    def _array(self, place: Any, kind: Any) -> Array:
        return Array(self._builder, place, kind, self._wide)


def eight(x: Number) -> Number:
    """A number as a vector of 8 that are all the same."""
    vector = ir.VectorType(x.value.type, LANES)
    nothing, every = (
        ir.Constant(vector, ir.Undefined),
        ir.Constant(ir.VectorType(ir.IntType(32), LANES), None),
    )
    first = x.builder.insert_element(nothing, x.value, ir.IntType(32)(0))
    return Number(x.builder, x.builder.shuffle_vector(first, nothing, every))


def transposed(rows: Sequence[Number]) -> list[Number]:
    """Eight vectors, the rows of a matrix, as its columns. Two parts at a time change places, ever larger ones, so nothing goes through memory."""
    found = list(rows)
    for far in (1, 2, 4):
        found = [_exchanged(found, i, far) for i in range(LANES)]
    return found


def _exchanged(rows: list[Number], i: int, far: int) -> Number:
    first, second = rows[i & ~far], rows[i | far]
    taken = [(j & ~far) + LANES * bool(j & far) + (i & far) for j in range(LANES)]
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), taken)
    return Number(first.builder, first.builder.shuffle_vector(first.value, second.value, mask))


def packed(*numbers: int) -> Any:
    """Addresses and whole numbers as a function takes them; to be kept until it has returned."""
    return (ctypes.c_int64 * len(numbers))(*numbers)


def compiled(module: Any, name: str) -> Code:
    """A function of a module as machine code. It lets other threads run meanwhile."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(), opt=2
    )
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    passes = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=2))
    passes.getModulePassManager().run(parsed, passes)
    engine = binding.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _ENGINES.append(engine)
    address = engine.get_function_address(name)
    return Code(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address), address)


def _constant(kind: Any, value: float) -> Any:
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [ir.Constant(kind.element, value)] * LANES)
    return ir.Constant(kind, value)


def _size(kind: Any) -> int:
    return 4 if kind == SINGLE else 8
