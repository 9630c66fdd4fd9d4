"""What becomes of freed memory during training: kept, or given back at once.

Kept, as on Linux every step else asks the kernel for the same gigabytes again, page by page. On two cores this alone made a pretraining step a third faster (docs/log.md). Only for rows of one length: where shapes change from
step to step, kept memory falls to pieces, and a finetune run grew to 7 GB. Given back, as layers of a base in shards come and go between
what stays. Elsewhere than on glibc nothing is done.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM, _PAD, _MAPPED_FROM, _MMAPS = -1, -2, -3, -4
"""Parameters of mallopt(3): trim threshold, padding of the top, size from which a piece is a mapping, number of mappings."""
_MOST = 2**31 - 1


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep what is freed until the end of the block, then give it back."""
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAPS, 0)
    libc.mallopt(_TRIM, _MOST)
    libc.mallopt(_PAD, 2**28)
    try:
        yield
    finally:
        libc.mallopt(_MMAPS, 65536)
        libc.mallopt(_TRIM, 2**17)
        libc.mallopt(_PAD, 2**17)
        libc.malloc_trim(0)


@contextmanager
def returned_memory(wanted: bool = True) -> Iterator[None]:
    """Give back what is freed, from pieces of a MiB on, until the end of the block.

    glibc raises the size from which it does so with every piece that comes back, up to 32 MiB: gathered layers would stay, and a base in shards take more than a whole one.
    """
    libc = _glibc() if wanted else None
    if libc is None:
        yield
        return
    libc.mallopt(_MAPPED_FROM, 2**20)
    try:
        yield
    finally:
        libc.mallopt(_MAPPED_FROM, 2**17)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
