"""What a power cut must not spoil: files appear whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from .canonical import new_id


def write_whole(path: Path, data: bytes) -> None:
    """Write beside, sync, rename: a reader sees the old file or the whole new one. Makes the folder; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{new_id('w')}")
    try:
        with beside.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def sync(paths: Iterable[Path]) -> None:
    """Flush files and folders to the disk; Windows can sync no folder, and a file only when it is open for writing."""
    windows = os.name == "nt"
    for path in paths:
        if windows and path.is_dir():
            continue
        handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def readable_by_others(paths: Iterable[Path]) -> list[Path]:
    """Those that exist and that others than their owner have any right to; none on systems without POSIX rights."""
    others = stat.S_IRWXG | stat.S_IRWXO
    return [p for p in paths if os.name != "nt" and p.exists() and p.stat().st_mode & others]
