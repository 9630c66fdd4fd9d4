"""The watch from outside: what a process listens on, whom it is connected to, which children it has, which files it runs. Linux (/proc).

It only looks. Nothing is stopped, and nothing needs more rights than to read the processes of the same user.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
_LISTEN, _ESTABLISHED, _SYN_SENT = "0A", "01", "02"


@dataclass(frozen=True)
class Link:
    """A TCP socket: local and remote address and port, and its state as the kernel writes it."""

    local: tuple[str, int]
    remote: tuple[str, int]
    state: str
    inode: str


@dataclass(frozen=True)
class Seen:
    """What was seen of a process and its descendants.

    Attributes:
        listeners: `address:port`.
        outgoing: remote `address:port` that is not loopback, of connections it did not accept.
        children: program of each descendant, by process id.
        files: digest of each program and library they run.
    """

    listeners: frozenset[str]
    outgoing: frozenset[str]
    children: dict[int, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def links(text: str) -> Iterator[Link]:
    """Read /proc/net/tcp or tcp6."""
    for line in text.splitlines()[1:]:
        parts = line.split()
        yield Link(_address(parts[1]), _address(parts[2]), parts[3], parts[9])


def _address(text: str) -> tuple[str, int]:
    """`0100007F:1F90` is 127.0.0.1, 8080: 32-bit words in the machine's order (little-endian here), the port in hex."""
    host, _, port = text.partition(":")
    words = [struct.pack("<I", int(host[i : i + 8], 16)) for i in range(0, len(host), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address), int(port, 16)


def all_links() -> list[Link]:
    """Every TCP socket of this network namespace."""
    return [
        link
        for name in ("tcp", "tcp6")
        if (p := PROC / "net" / name).exists()
        for link in links(p.read_text())
    ]


def listener_of(port: int) -> int | None:
    """The process that listens on a port; None when there is none, or it is another user's."""
    wanted = {link.inode for link in all_links() if link.state == _LISTEN and link.local[1] == port}
    return next((pid for pid in _processes() if wanted & _inodes(pid)), None) if wanted else None


def look(pid: int, cache: dict[tuple[str, int, int, int], str] | None = None) -> Seen:
    """Look at a process and its descendants.

    Args:
        cache: digests of files by path, size, time and inode; kept by the caller so that a file is read again only when it changed.

    Raises:
        ProcessLookupError: there is no such process.
    """
    if not (PROC / str(pid)).exists():
        raise ProcessLookupError(pid)
    children = _descendants(pid)
    family = [pid, *children]
    inodes = set().union(*(_inodes(p) for p in family))
    own = [link for link in all_links() if link.inode in inodes]
    ports = {link.local[1] for link in own if link.state == _LISTEN}
    listeners = {_text(link.local) for link in own if link.state == _LISTEN}
    outgoing = {
        _text(link.remote)
        for link in own
        if link.state in (_ESTABLISHED, _SYN_SENT)
        and link.local[1] not in ports
        and not _is_local(link.remote[0])
    }
    known = {} if cache is None else cache
    files = {path: digest for p in family for path, digest in _files(p, known)}
    return Seen(frozenset(listeners), frozenset(outgoing), {c: _program(c) for c in children}, files)


def differences(before: Seen, now: Seen, allowed_out: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """What is in `now` that was not expected: sort (listener, connection, child, binary) and words, in that order."""
    found = [("listener", f"a new listener on {x}") for x in sorted(now.listeners - before.listeners)]
    found += [("connection", f"a connection to {x}") for x in sorted(now.outgoing - allowed_out)]
    known = set(before.children.values())
    found += [
        ("child", f"a child process {program} ({pid})")
        for pid, program in sorted(now.children.items())
        if pid not in before.children and program not in known
    ]
    for path, digest in sorted(now.files.items()):
        if before.files.get(path, digest) != digest:
            found.append(("binary", f"{path} was changed"))
        elif path not in before.files:
            found.append(("binary", f"{path} is newly loaded"))
    return found


def _text(address: tuple[str, int]) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _is_local(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def _processes() -> list[int]:
    return [int(p.name) for p in PROC.iterdir() if p.name.isdigit()]


def _descendants(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for child in _processes():
        try:
            # The name in brackets may itself hold spaces and brackets; what follows the last one does not.
            parents[child] = int((PROC / str(child) / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
    found, todo = [], [pid]
    while todo:
        below = [c for c, p in parents.items() if p == todo[0]]
        found += below
        todo = todo[1:] + below
    return found


def _inodes(pid: int) -> set[str]:
    found = set()
    try:
        for entry in os.scandir(PROC / str(pid) / "fd"):
            try:
                target = str(Path(entry.path).readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        return set()
    return found


def _program(pid: int) -> str:
    try:
        return str((PROC / str(pid) / "exe").readlink())
    except OSError:
        return "unknown"


def _files(pid: int, cache: dict[tuple[str, int, int, int], str]) -> Iterator[tuple[str, str]]:
    """The program and every file that is mapped for execution."""
    try:
        lines = (PROC / str(pid) / "maps").read_text().splitlines()
    except OSError:
        return
    parts = (line.split(maxsplit=5) for line in lines)
    for path in sorted({p[5] for p in parts if len(p) == 6 and "x" in p[1] and p[5].startswith("/")}):
        try:
            yield path, _digest(path, cache)
        except OSError:
            yield path, "gone"


def _digest(path: str, cache: dict[tuple[str, int, int, int], str]) -> str:
    stat = Path(path).stat()
    key = (path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in cache:
        with Path(path).open("rb") as file:
            cache[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return cache[key]
