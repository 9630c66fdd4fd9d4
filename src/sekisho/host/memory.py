"""How much memory a new process may take, as the system says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def available(meminfo: Path = _MEMINFO, group: Path = _GROUP) -> int | None:
    """Bytes that can be had without swapping, within the limit of a container; None where the system does not say.

    Args:
        meminfo: Linux' table of memory.
        group: control group (version 2) of this process, as a container sees it.
    """
    if sys.platform == "win32":
        return _windows()
    found = [n for n in (_of_machine(meminfo), _of_group(group)) if n is not None]
    return min(found, default=None)


def _of_machine(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return _free_pages()
    sizes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(sizes[0]) * 1024 if sizes else None


def _of_group(group: Path) -> int | None:
    """What a container may still take. Memory of files counts as taken there, though it could be had back: never too much, then."""
    try:
        most, now = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return None
    return None if most == "max" else max(0, int(most) - int(now) + _file_memory(group))


def _file_memory(group: Path) -> int:
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))


def _free_pages() -> int | None:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _windows() -> int | None:
    """`GlobalMemoryStatusEx`: the fourth number after length and load is the physical memory that is free."""
    import ctypes

    names = ("total", "free", "page", "page_free", "virtual", "virtual_free", "extended")

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in names),
        )

    status = Status(length=ctypes.sizeof(Status))
    windll = getattr(ctypes, "windll", None)
    if windll is None or not windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.free)
