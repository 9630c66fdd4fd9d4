"""The crew of an audit: a process for each core, so that a large ledger is read by all of them at once.

The hands only say that something is right. Each has a snapshot of its own, no older than the audit's, and is asked about entries the audit
sees too; these are only ever added to. Whatever a hand does not confirm, and everything when a hand cannot be had or ends, the audit
looks at itself, on its own snapshot; so every finding, and its words, are those of an audit without a crew.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from sekisho.core.spec import ENV_PREFIX

from .certify import Certificate, certificates
from .tree import WIDTH

LARGE = 50_000
"""Entries from which a crew is worth its start, a tenth of a second of each core."""
MOST = 4
"""Most hands; beyond, SQLite's own check of the pages takes longest."""
_JOB = 64 * WIDTH
"""Entries of one job: a tenth of a second."""
_AHEAD = 4 * MOST
"""Jobs handed out before the first is answered."""


class Crew:
    """The hands, each started with its first job, and ended with the audit.

    Args:
        db: the audit's connection, in its transaction.
        genesis: what stands for the digest before entry 1.
    """

    def __init__(self, db: sqlite3.Connection, genesis: str) -> None:
        self._db, self._genesis = db, genesis
        self._path, size, has_contents = _about(db)
        self._until = size // WIDTH * WIDTH
        count = min(MOST, _cores()) if size >= LARGE and self._path and sys.executable else 1
        self._threads = ThreadPoolExecutor(count) if count > 1 else None
        self._own, self._hands, self._closed = threading.local(), list[_Hand](), False
        # First, as they take long and cannot be split.
        self._pages = self._submit({"pages": True})
        self._contents = self._submit({"contents": True}) if has_contents else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """End the hands, whatever they are at."""
        self._closed = True
        for hand in list(self._hands):
            hand.end()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for hand in self._hands:
            hand.close()

    def certificates(self) -> Iterator[Certificate | None]:
        """Yield a certificate, or None, for every whole block of the ledger, in order."""
        waiting = deque[tuple[int, int, Future[Any] | None]]()
        for after in range(0, self._until, _JOB):
            until = min(after + _JOB, self._until)
            waiting.append((after, until, self._submit({"certify": [after, until]})))
            if len(waiting) > _AHEAD:
                yield from self._certified(*waiting.popleft())
        while waiting:
            yield from self._certified(*waiting.popleft())

    def _certified(self, after: int, until: int, job: Future[Any] | None) -> Iterator[Certificate | None]:
        found = None if job is None else job.result()
        if found is None:
            return certificates(self._db, after, until, self._genesis)
        return (c and Certificate(c[0], c[1], bytes.fromhex(c[2]), c[3]) for c in found)

    def pages_are_right(self) -> bool:
        """Whether a hand let SQLite check the pages and it found nothing; False when nobody looked."""
        return self._pages is not None and self._pages.result() is True

    def contents_are_right(self) -> bool:
        """Whether a hand found every content as it should be; False when nobody looked."""
        return self._contents is not None and self._contents.result() is True

    def _submit(self, job: Mapping[str, Any]) -> Future[Any] | None:
        return None if self._threads is None else self._threads.submit(self._ask, job)

    def _ask(self, job: Mapping[str, Any]) -> Any:
        """Have this thread's own hand do a job; None when there is no answer."""
        try:
            if not hasattr(self._own, "hand"):
                self._own.hand = _Hand(self._path, self._genesis)
                self._hands.append(self._own.hand)
                if self._closed:
                    self._own.hand.end()
            return None if self._closed else self._own.hand.ask(job)
        except (OSError, ValueError):  # it could not be started, or has ended
            return None


class _Hand:
    """One process, spoken to by one thread. Raises OSError when it cannot be started."""

    def __init__(self, path: str, genesis: str) -> None:
        # None of our settings, as it needs no token.
        env = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
        self._process = subprocess.Popen(
            (sys.executable, "-P", "-m", f"{__package__}.hand"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            encoding="utf-8",
        )
        self._first: Mapping[str, Any] | None = {"path": path, "genesis": genesis, "parent": os.getpid()}

    def ask(self, job: Mapping[str, Any]) -> Any:
        """Return the answer. Raises OSError or ValueError when the process has ended."""
        assert self._process.stdin
        assert self._process.stdout
        told = [job] if self._first is None else [self._first, job]
        self._first = None
        self._process.stdin.write("".join(f"{json.dumps(line)}\n" for line in told))
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        """End the process; whoever waits for it gets no answer."""
        self._process.kill()

    def close(self) -> None:
        """Take leave of a process that was ended and that nobody waits for."""
        with suppress(OSError):  # what it no longer read
            self._process.communicate()


def _about(db: sqlite3.Connection) -> tuple[str, int, bool]:
    """Path and size of the ledger, and whether there is content; a size of 0 when the file does not tell."""
    try:
        path = next(row[2] for row in db.execute("PRAGMA database_list") if row[1] == "main")
        (size,) = db.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()
        return path, size, db.execute("SELECT 1 FROM contents LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return "", 0, False


def _cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
