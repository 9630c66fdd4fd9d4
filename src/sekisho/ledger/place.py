"""Where the ledger's file lies: that it is still the one that was opened, and that nobody else may read it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sekisho.core.disk import readable_by_others
from sekisho.core.errors import LedgerError

FILES = ("", "-wal")
"""Endings of the files a commit lives in: what is written into one that was removed or renamed is lost, though SQLite reports no error."""
SIDE_FILES = ("", "-wal", "-shm")
PRIVATE = 0o600


class Place:
    """Device and inode of the file and its log when they were opened."""

    def __init__(self, path: Path) -> None:
        """Remember what lies there now. Raises OSError."""
        self._path = path
        self._known: Mapping[str, tuple[int, int]] = {
            name: _identity(name) for name in (f"{path}{ending}" for ending in FILES)
        }

    def check(self) -> None:
        """Look again: one stat a file, about a microsecond each.

        Raises:
            LedgerError: a file is gone, or another one lies in its place.
        """
        for path, known in self._known.items():
            try:
                found = _identity(path)
            except OSError as e:
                raise self._moved(f"{path} cannot be found ({e.strerror})") from e
            if found != known:
                raise self._moved(f"another file lies at {path}")

    def _moved(self, what: str) -> LedgerError:
        return LedgerError(
            f"The ledger {self._path} was moved, removed or replaced while it was open: {what}.",
            "Put the file and its log back where they were, then start again; nothing was written.",
        )


def _identity(name: str) -> tuple[int, int]:
    found = os.stat(name)  # noqa: PTH116  (a path object takes ten times as long, and this is done for every commit)
    return found.st_dev, found.st_ino


def make_folder(folder: Path) -> None:
    """Make a private folder and its parents so that they outlive a power cut; SQLite syncs only the folder its file lies in."""
    if folder.exists():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.name != "nt":
        handle = os.open(folder.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_private(path: Path) -> None:
    """Make an empty file that only its owner may read, if there is none; SQLite gives its log the same rights. Raises OSError."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))


def take_rights_away(path: Path) -> None:
    """Take everybody else's rights to a ledger and its side files, where they are ours to take."""
    for file in readable_by_others(Path(f"{path}{ending}") for ending in SIDE_FILES):
        with suppress(PermissionError):
            file.chmod(PRIVATE)
