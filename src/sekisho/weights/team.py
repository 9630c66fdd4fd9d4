"""Work on blocks shared out to threads: to torch's own where it has them from OpenMP, and else to a pool of Python's.

After a product torch's threads keep their cores for a while, waiting for the next one. Threads of another pool come too late beside them: sharing out cost the gate as much as its arithmetic (`benchmarks/rotation.py`).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .machine import Code, Number, Writer

_WORTH, _WORTH_POOL = 2**17, 2**19
"""Numbers to read below which a second thread costs more than it saves, of torch's and of the pool's: some 0.05 and 0.2 ms of work."""
_PAIR = 2
"""Two blocks are a cache line of float32: threads do not share one."""
_HOME = os.getpid()
_HEAD = 4
"""What a member is given before its tasks, see `_member`."""


class Task(NamedTuple):
    """A function of `kernels`, and what it is given before the first and last block."""

    code: Code
    tensors: tuple[Tensor, ...]
    counts: tuple[int, ...] = ()

    def part(self, first: int, last: int) -> Any:
        """What its code is given for the blocks from `first` up to, without, `last`."""
        from .machine import packed

        return packed(*(t.data_ptr() for t in self.tensors), *self.counts, first, last)


def work_on(blocks: int, tasks: Iterable[Task], work: int) -> None:
    """Do the tasks one after another on all blocks. A thread does all of them on its own blocks, so the result does not depend on how many there are.

    Args:
        blocks: how many.
        tasks: each may use what one before it has written for the same block.
        work: roughly how many numbers are read; it decides whether threads are worth it.
    """
    tasks, parallel = list(tasks), _openmp()
    threads = torch.get_num_threads() if work >= (_WORTH if parallel else _WORTH_POOL) else 1
    parts = [[task.part(*share) for task in tasks] for share in _shares(blocks, threads)]

    def do(own: list[Any]) -> None:
        # Holds the tensors, by `tasks`: an interrupted caller must not free what is written to.
        for task, part in zip(tasks, own, strict=True):
            task.code.run(part)

    if parallel and len(parts) > 1:
        parallel([task.code.address for task in tasks], parts)
        return
    waiting = [_pool().submit(do, own) for own in parts[1:]]
    do(parts[0])
    for one in waiting:
        one.result()


def _shares(blocks: int, threads: int) -> list[tuple[int, int]]:
    """First and last block of each thread's share."""
    each = max(_PAIR, -(-blocks // threads))
    each += -each % _PAIR
    return [(i, min(i + each, blocks)) for i in range(0, blocks, each)] or [(0, 0)]


def _openmp() -> Callable[[list[int], list[list[Any]]], None] | None:
    """Does parts of work by torch's threads. None where they cannot be reached, and in a forked process: it has none of them, which their library does not know, and would wait for them for ever."""
    return _reached() if os.getpid() == _HOME else None


@cache
def _reached() -> Callable[[list[int], list[list[Any]]], None] | None:
    if sys.platform != "linux" or not torch._C.has_openmp:
        return None
    try:
        torchs = ctypes.CDLL(torch._C.__file__)  # finds what torch itself is linked to, among several
        begin = torchs.GOMP_parallel
        asked = [_address(torchs.omp_get_thread_num), _address(torchs.omp_get_num_threads)]
    except (OSError, AttributeError):
        return None
    begin.argtypes, begin.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    member = _member().address

    def parallel(codes: list[int], parts: list[list[Any]]) -> None:
        from .machine import packed

        calls = [n for own in parts for c, part in zip(codes, own, strict=True) for n in (c, _start(part))]
        job = packed(*asked, len(parts), len(codes), *calls)
        begin(member, _start(job), len(parts), 0)

    return parallel


def _member() -> Code:
    """What each thread runs: its own part of all tasks, and a further one when there are fewer threads than were asked for.

    It is given the functions that tell its number and how many there are, numbers of parts and of tasks, then for each part and task code and what that is given.
    """
    from llvmlite import ir

    from .machine import INDEX, Writer, compiled

    module = ir.Module()
    w = Writer(module, "member", [], _HEAD, INDEX)
    number, threads, parts, tasks = w.counts
    with w.loop(w.ask(number), parts, w.ask(threads)) as part, w.loop(w.index(0), tasks) as task:
        _do(w, (part * tasks + task) * 2 + _HEAD)
    w.end()
    return compiled(module, "member")


def _do(w: Writer, at: Number) -> None:
    w.call(w.given.one(at), w.given.one(at + 1))


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _start(array: Any) -> int:
    return ctypes.addressof(array)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="gate")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
