"""Cores apart: llama.cpp computes on cores of its own, and the server keeps to the others, so that neither pushes the other out of a core and its caches.

Whole cores are given out: two hardware threads of one core would slow each other down. Linux only, where a process may say which cores it runs on (sched_setaffinity(2)).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ENGINE = "sekisho.serve.engines.child"
"""Module that an engine's process runs, by which those of other servers are known."""
_TOPOLOGY, _PROC = Path("/sys/devices/system/cpu"), Path("/proc")
Cores = frozenset[int]
"""Numbers of hardware threads, as the kernel counts them."""


@dataclass(frozen=True)
class Shares:
    """Who runs where."""

    engine: Cores
    server: Cores


def share_out(threads: int, cores: Sequence[Cores], taken: Collection[int] = ()) -> Shares | None:
    """Give the engine as many whole cores as it has threads, from the last on; None when that leaves the server none.

    Args:
        cores: the hardware threads of each core that this process may use.
        taken: hardware threads that another server's engine keeps to.
    """
    free = [core for core in cores if not core & set(taken)]
    if len(free) < threads or len(cores) <= threads:
        return None
    engine = Cores().union(*free[-threads:])
    rest = Cores().union(*cores) - engine
    return Shares(engine, rest - set(taken) or rest)


@cache
def shares(threads: int) -> Shares | None:
    """What `share_out` says of this machine; the first answer is kept, as this process may be bound after it."""
    if sys.platform != "linux":
        return None
    allowed = Cores(os.sched_getaffinity(0))
    cores = sorted({_siblings(cpu) & allowed for cpu in allowed}, key=min)
    return share_out(threads, cores, _taken(allowed))


def _siblings(cpu: int) -> Cores:
    """The hardware threads of the core that this one belongs to; alone where the system does not say."""
    try:
        told = (_TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text()
        return Cores(parsed(told)) | {cpu}
    except (OSError, ValueError):
        return Cores({cpu})


def parsed(told: str) -> list[int]:
    """Numbers of a list as the kernel writes it: `0-2,8`. Raises ValueError for anything else."""
    found: list[int] = []
    for part in told.strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _taken(allowed: Cores) -> Cores:
    """Where the engines of other servers are bound."""
    found: set[int] = set()
    for process in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is somebody else's
            if _is_others_engine(process):
                bound = Cores(os.sched_getaffinity(int(process.name)))
                found |= bound if bound < allowed else set()
    return Cores(found)


def _is_others_engine(process: Path) -> bool:
    words = (process / "cmdline").read_bytes().split(b"\0")
    return ENGINE.encode() in words and f"PPid:\t{os.getpid()}\n" not in (process / "status").read_text()


def keep_to(cores: Cores) -> None:
    """Bind this process, with all threads it has, to these cores; whatever it starts from now on inherits that. Does nothing where it may not."""
    with suppress(OSError):
        for thread in (_PROC / "self" / "task").iterdir():
            with suppress(OSError):
                os.sched_setaffinity(int(thread.name), cores)
