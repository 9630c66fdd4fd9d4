"""The witness: what an earlier ledger looked like, kept on a second path that whoever may change the ledger should not be able to change.

A file of JSON lines. Each holds a signed checkpoint and the digests of the entries since the line before, up to the checkpoint's own
entry, 32 bytes each in base64. With it, a cut tail or a ledger rewritten from the start with fresh digests is found, and the first entry
that is not the old one is named.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydantic import ValidationError

from sekisho.core.canonical import canonical_json
from sekisho.core.errors import LedgerError
from sekisho.core.records import Checkpoint

from .merkle import Frontier
from .signing import is_signed, statement_of

_TAG = "sha256:"
_BLOCK = 1 << 16


class Line(NamedTuple):
    """One line: the checkpoint, and the digests since the line before, its own entry's the last; none when they were left out."""

    checkpoint: Checkpoint
    digests: tuple[str, ...]

    @property
    def last(self) -> int:
        """Position of the checkpoint's own entry, the last one this line knows of."""
        return self.checkpoint.size + 1


def read(path: Path) -> Iterator[Line]:
    """Yield the lines of a witness file, oldest first; nothing when it does not exist.

    Raises:
        LedgerError: a line is no checkpoint, is not signed by the key it names, or covers no more than the one before.
    """
    if not path.exists():
        return
    size = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.endswith(b"\n"):
                return  # the last line was cut by a power failure: it was never acknowledged
            if raw.strip():
                line = _line(path, number, raw)
                if line.checkpoint.size <= size:
                    raise _bad(path, number, "covers no more entries than the line before")
                size = line.checkpoint.size
                yield line


def _line(path: Path, number: int, raw: bytes) -> Line:
    try:
        held = json.loads(raw)
        checkpoint = Checkpoint.model_validate(held["checkpoint"])
        joined = base64.b64decode(held["digests"], validate=True)
    except (ValueError, KeyError, TypeError, ValidationError) as e:
        raise _bad(path, number, "is not a checkpoint") from e
    if not is_signed(checkpoint.note, statement_of(checkpoint), checkpoint.key):
        raise _bad(path, number, "is not signed by the key it names")
    return Line(checkpoint, tuple(_TAG + joined[i : i + 32].hex() for i in range(0, len(joined), 32)))


def append(path: Path, checkpoint: Checkpoint, digests: Callable[[int, int], Sequence[str]]) -> None:
    """Add a line, durable when it returns; nothing when another process has already witnessed as much.

    Args:
        digests: the ledger's digests from one entry to another, both included.

    Raises:
        LedgerError: as `read`, or a digest is none.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file, _locked(file):
        _drop_torn_line(file)
        seen = last(path)
        since, until = seen.size + 1 if seen else 0, checkpoint.size + 1
        if since >= until:
            return
        try:
            joined = b"".join(bytes.fromhex(d.removeprefix(_TAG)) for d in digests(since + 1, until))
        except ValueError as e:
            raise LedgerError("A digest in the ledger is none.", "Run `sekisho audit verify`.") from e
        held = {"checkpoint": checkpoint.model_dump(), "digests": base64.b64encode(joined).decode()}
        file.write(canonical_json(held) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def last(path: Path) -> Checkpoint | None:
    """Return the newest checkpoint of a witness file; None when there is none. Errors as `read`."""
    found = None
    for line in read(path):
        found = line.checkpoint
    return found


def _drop_torn_line(file: BinaryIO) -> None:
    """Cut what a power failure left of a line: it was never acknowledged."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        end = start + found + 1 if found >= 0 else start
        if found >= 0:
            break
    if end != file.seek(0, os.SEEK_END):
        file.truncate(end)


@contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    """Keep other processes of this machine from writing; the lock goes with the process."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        try:
            yield
        finally:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _bad(path: Path, number: int, what: str) -> LedgerError:
    return LedgerError(
        f"Line {number} of the witness {path} {what}.", "Keep the file; find out who changed it."
    )


class Difference(NamedTuple):
    """The first entry that is not the one the witness saw, and how that shows."""

    seq: int
    words: str


class Comparison:
    """Walks beside an audit, entry by entry, and says where the ledger is not what the witness saw. Memory: one line.

    Args:
        lines: the witness, oldest line first.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self._line: Line | None = None
        self._first = 1
        self._next()

    def _next(self) -> None:
        if self._line is not None:
            self._first = self._line.last + 1
        self._line = next(self._lines, None)

    def see(self, seq: int, digest: str, tree: Frontier) -> Difference | None:
        """Compare entry `seq`, already in `tree`; return the difference it shows, or None."""
        if self._line is None:
            return None
        at = seq - self._first
        if at < len(self._line.digests) and self._line.digests[at] != digest:
            return Difference(seq, "the witness saw another entry here")
        if seq == self._line.last:
            self._next()
        # The next line's checkpoint may stand right behind this one's: then this entry is the last it signs.
        if self._line is None or seq != self._line.checkpoint.size:
            return None
        if _TAG + tree.root().hex() == self._line.checkpoint.root:
            return None
        first = min(self._first, seq)
        return Difference(first, f"the witness saw other entries from here to {seq}")

    def agrees(self, first: int, count: int, digests: Callable[[int, int], Sequence[str]]) -> bool:
        """Whether so many entries from `first` on are what the witness saw and none needs `see`, because a checkpoint speaks of it.

        Args:
            digests: the ledger's digests from one entry to another, both included.
        """
        if self._line is None:
            return True
        last = first + count - 1
        if first < self._first or last >= self._line.checkpoint.size:
            return False
        seen = self._line.digests[first - self._first : last - self._first + 1]
        return not seen or tuple(digests(first, last)) == seen

    def missing(self, size: int) -> Difference | None:
        """After the last entry: what the witness saw beyond it, or None."""
        if self._line is None:
            return None
        newest = self._line
        for line in self._lines:
            newest = line
        words = f"it is missing: the witness saw {newest.last} entries at {newest.checkpoint.at}"
        return Difference(size + 1, words)
