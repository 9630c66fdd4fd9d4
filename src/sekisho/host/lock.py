"""One process at a time: a lock on a file that the system lets go of when its holder ends, however it ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..core.errors import ConflictError

_held: set[Path] = set()
"""Files this process holds: a step of the loop may take others with it."""


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold `path` for the block; give whether it was taken now and not held by this process before.

    Raises:
        ConflictError: when another process holds it.
    """
    place = path.resolve()
    if place in _held:
        yield False
        return
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with place.open("a+b") as file:
        _take(file, place)
        _held.add(place)
        try:
            yield True
        finally:
            _held.discard(place)


def _take(file: IO[bytes], place: Path) -> None:
    try:
        _lock(file)
    except OSError as e:
        raise ConflictError(
            f"Another command is at work in {place.parent}.",
            "Wait until it has ended, or choose another `home`.",
        ) from e


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
