"""Group commit: threads that wait while a commit is in flight share the next one, so the price of an fsync is split among them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from itertools import islice

from sekisho.core.errors import LedgerError, SekishoError
from sekisho.core.records import Record

from . import rows
from .chain import Draft, Entry, Head, Sealed, draft

Work = Callable[[sqlite3.Connection, Head], Sequence[Record]]
"""Given the writer's open transaction and the head, does something in it and returns the records that say so. It may be run again
when the transaction was rolled back, so it changes nothing but the database."""


class Job:
    """One caller's records on their way through the queue, then what became of them.

    Args:
        work: run inside the transaction; its records come after `drafts`.
    """

    def __init__(
        self, drafts: list[Draft], sealed: tuple[Sealed, ...] = (), work: Work | None = None
    ) -> None:
        self.drafts, self.sealed, self.work = drafts, sealed, work
        self.entries: list[Entry] | None = None
        self.error: Exception | None = None
        self.done = False
        self.leads = False
        """Whether its thread has the lead, though it may not know yet."""
        self.wake: threading.Lock | None = None
        """Held while its thread sleeps; whoever releases it has done the job or passed the lead on."""

    def outcome(self) -> list[Entry]:
        """Return the entries, or raise what befell this job."""
        if self.error is not None:
            raise self.error
        if self.entries is None:
            raise LedgerError(
                "The commit was interrupted; it is not known to be durable.",
                "Look the id up, then try again.",
            )
        return self.entries


_CROWD = 4
_GATHER = 0.001
"""Seconds for which a leader waits for those who shared the last commit, when they were a crowd: they come back at once, and would else go two by two halves."""


class Queue:
    """Leader and followers: whoever finds no commit in flight leads one for all who wait; the others sleep until theirs is done.

    Each sleeps on a lock of its own, so that a commit wakes those it was for and the next leader, and nobody has to ask for whom it was.
    """

    def __init__(self, commit: Callable[[list[Job]], None]) -> None:
        self._commit = commit
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._gathered: threading.Lock | None = None
        self._crowd = 0
        self._waiting: list[Job] = []
        self._leading = False
        self._closed = False

    def run(self, jobs: Sequence[Job]) -> None:
        """Return when the jobs, at least one, are committed or have failed, by this thread or another; all in one batch. What became of each is its `outcome`."""
        first = jobs[0]
        try:
            if self._must_sleep(jobs):
                assert first.wake
                _sleep(first.wake)
            batch = [] if first.done else self._gather()
        except BaseException:
            self._leave(jobs)
            raise
        if batch:
            try:
                self._commit(batch)
            finally:
                self._finish(batch)

    def run_alone(self, jobs: Sequence[Job], commit: Callable[[list[Job]], bool]) -> bool:
        """Whether `commit` was called and did something. It is not called when somebody else commits or waits to."""
        if not self._take_lead():
            return False
        done = False
        try:
            done = commit(list(jobs))
            return done
        finally:
            self._finish(list(jobs) if done else [])

    def _take_lead(self) -> bool:
        """Lead, if that takes no waiting."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            free = not (self._closed or self._leading or self._waiting)
            self._leading = self._leading or free
            return free
        finally:
            self._lock.release()

    def _must_sleep(self, jobs: Sequence[Job]) -> bool:
        """Join those who wait; whether somebody else leads. The first job of a thread stands for all of its."""
        first = jobs[0]
        with self._lock:
            if self._closed:
                raise closed_error()
            if self._leading:
                first.wake = threading.Lock()
                first.wake.acquire()
            else:
                self._leading = first.leads = True
            self._waiting.extend(jobs)
            if self._gathered is not None and len(self._waiting) >= self._crowd:
                self._gathered.release()
                self._gathered = None
            return not first.leads

    def _gather(self) -> list[Job]:
        """Wait for the crowd, and return the batch that is to be committed."""
        with self._lock:
            if self._crowd >= _CROWD and len(self._waiting) < self._crowd and not self._closed:
                self._gathered = gathered = threading.Lock()
                gathered.acquire()
            else:
                return self._taken()
        _sleep(gathered, _GATHER)
        with self._lock:
            return self._taken()

    def _taken(self) -> list[Job]:
        self._gathered = None
        batch, self._waiting = self._waiting, []
        return batch

    def _leave(self, jobs: Sequence[Job]) -> None:
        """Interrupted while waiting: nobody will look at the result, so it is not written, and another one leads."""
        with self._lock:
            self._waiting = [job for job in self._waiting if job not in jobs]
            if jobs[0].leads:
                self._gathered = None
                self._pass_on()

    def _finish(self, batch: list[Job]) -> None:
        with self._lock:
            for job in batch:
                job.done = True
            self._crowd = len(batch) + len(self._waiting)
            self._pass_on()
        for job in batch:
            if job.wake is not None and not job.leads:
                job.wake.release()

    def _pass_on(self) -> None:
        """Give the lead to whoever waits longest, if anybody does."""
        self._leading = bool(self._waiting)
        if self._waiting:
            following = self._waiting[0]
            following.leads = True
            assert following.wake
            following.wake.release()
        else:
            self._idle.notify_all()

    def close(self) -> None:
        """Take no more jobs, and return when those that wait are done."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: not self._leading)


def _sleep(lock: threading.Lock, seconds: float = -1) -> None:
    """Sleep until somebody releases the lock, or for so many seconds."""
    lock.acquire(timeout=seconds)


def closed_error() -> LedgerError:
    """The error of every call after `close`."""
    return LedgerError("The ledger is closed.", "Open it again.")


Written = list[tuple[Job, list[Entry]]]
"""Jobs that were written, each with its entries."""


def write(db: sqlite3.Connection, batch: Sequence[Job], head: Head) -> Written:
    """Write a batch inside the transaction: in one go, or, when one of the jobs may be refused, each by itself, so that it takes no other with it."""
    drafts = [d for job in batch for d in job.drafts]
    if any(job.work is not None for job in batch) or rows.conflict(db, drafts) is not None:
        return _one_by_one(db, batch, head)
    entries = iter(rows.insert(db, drafts, [s for job in batch for s in job.sealed], head))
    for job in batch:
        job.error = None
    return [(job, list(islice(entries, len(job.drafts)))) for job in batch]


def _one_by_one(db: sqlite3.Connection, batch: Sequence[Job], head: Head) -> Written:
    written: Written = []
    for job in batch:
        entries = _write_one(db, job, head)
        if entries is not None:
            head = Head(entries[-1].seq, entries[-1].digest) if entries else head
            written.append((job, entries))
    return written


def _write_one(db: sqlite3.Connection, job: Job, head: Head) -> list[Entry] | None:
    """Write one job inside the transaction; None when it was refused, with the reason in the job and nothing written."""
    job.error = None
    db.execute("SAVEPOINT job")
    try:
        records = job.work(db, head) if job.work is not None else ()
        drafts = [*job.drafts, *(draft(r) for r in records)]
        job.error = rows.conflict(db, drafts)
        entries = rows.insert(db, drafts, job.sealed, head) if job.error is None else None
    except SekishoError as e:
        job.error, entries = e, None
    if entries is None:
        db.execute("ROLLBACK TO job")
    db.execute("RELEASE job")
    return entries
