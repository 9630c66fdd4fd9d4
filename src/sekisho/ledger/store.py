"""The ledger as the house sees it: append records, durable when it returns, and read them back.

Threads that append while a commit is in flight share the next transaction (group commit), so the price of an fsync is split among them.
Several processes may write one file: the head is read again inside every transaction.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sekisho.core.errors import InputError, LedgerError
from sekisho.core.records import Record

from . import rows, schema, trouble, witness
from .chain import Entry, Head, Sealed, draft, seal, seal_digest
from .commit import Job, Queue, Work, write
from .place import Place
from .readers import Readers
from .verify import Verification, audit

MAX_PAGE = 10_000
"""Most entries one call returns."""
_REMEMBERED = 30.0
"""Seconds for which a failed append speaks against the ledger; then it deserves another try."""
_LAST_SEQ = (1 << 63) - 1
QUICK = 0.005
"""Seconds: commits that take no longer on the running mean are done where they are asked for."""
_LATEST = 0.2
"""Weight of the latest commit in that mean."""


class Ledger:
    """An open ledger. Every method may be called from any thread; other processes may use the file at the same time.

    Errors: LedgerError when the file is locked, full, read-only, damaged or closed; never a raw SQLite error.
    """

    seal = staticmethod(seal)

    def __init__(self, path: Path, writer: sqlite3.Connection | None) -> None:
        """Use `Ledger.open`."""
        self.path = path
        self._writer = writer
        self._queue = Queue(self._commit)
        self._place = Place(path) if writer is not None else None
        self._readers = Readers(path)
        self._reading = self._readers.lent
        self._failed: tuple[float, str] | None = None
        self._pace, self._patient = 2 * QUICK, True
        self.clock_tolerance = 300.0
        """Seconds by which the clock may stand before the newest entry; beyond, nothing is written."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be written now, or why the latest append failed, for half a minute; None when all is well."""
        try:
            self._check_place()
        except LedgerError as e:
            return str(e)
        at, why = self._failed or (-_REMEMBERED, None)
        return why if time.monotonic() - at < _REMEMBERED else None

    @classmethod
    def open(cls, path: Path, read_only: bool = False) -> Ledger:
        """Open a ledger; unless `read_only`, create and migrate it as needed.

        Raises:
            LedgerError: it is absent (read-only), another program's, of another version, or cannot be opened.
        """
        path = path.absolute()
        try:
            if not read_only:
                return cls(path, schema.open_writer(path))
            with closing(schema.connect(path, "ro")) as db:
                schema.check_version(db, path)
            return cls(path, None)
        except sqlite3.Error as e:
            raise trouble.translated(e, path) from e
        except OSError as e:
            raise LedgerError(
                f"The folder of {path} cannot be made: {e}.", "Check the path and its rights."
            ) from e

    def close(self) -> None:
        """Finish what waits and close every connection; safe to call twice."""
        self._queue.close()
        self._readers.close()
        if self._writer is not None:
            # Last, so that its closing moves the write-ahead log into the file.
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def append(self, records: Sequence[Record], sealed: Sequence[Sealed] = ()) -> list[Entry]:
        """Append records and sealed content in one transaction, all or nothing; durable when it returns.

        Raises:
            ConflictError: an id is already in the ledger, or twice in `records`.
            LedgerError: it is not known to be durable, so nothing may be released on it.
        """
        job = self.job(records, sealed)
        if job.drafts or job.sealed:
            self._queue.run([job])
            return job.outcome()
        return []

    def append_at_once(self, records: Sequence[Record], sealed: Sequence[Sealed] = ()) -> list[Entry] | None:
        """As `append`, for a thread that must not wait: None, and nothing was written, when commits have been slow of late or somebody else writes.

        To change threads costs more than a quick disk's commit, and so does nothing for whoever is alone.

        Raises:
            ConflictError, LedgerError: as `append`.
        """
        job = self.job(records, sealed)
        return job.outcome() if self.commit_at_once([job]) else None

    def job(self, records: Sequence[Record], sealed: Sequence[Sealed] = ()) -> Job:
        """What `append` would write, for `commit_at_once` or `commit`. Raises LedgerError for what cannot be written at all."""
        self._require_writer()
        return Job([draft(r) for r in records], tuple(sealed))

    def commit_at_once(self, jobs: Sequence[Job], quick: float = QUICK) -> bool:
        """Commit some jobs together, each all or nothing; False, and nothing was written, when commits take more than `quick` seconds or somebody else writes. See `Job.outcome`."""
        return self._pace <= quick and self._queue.run_alone(jobs, self._commit_at_once)

    def commit(self, jobs: Sequence[Job]) -> None:
        """Commit some jobs, at least one, together, each all or nothing. See `Job.outcome`. Raises LedgerError when the ledger is closed."""
        self._queue.run(jobs)

    def act(self, work: Work) -> list[Entry]:
        """Run `work` inside the writer's transaction and append the records it returns; all or nothing, durable when it returns.

        Raises:
            SekishoError: what `work` raised; nothing of it is written then.
            LedgerError: as `append`.
        """
        self._require_writer()
        job = Job([], work=work)
        self._queue.run([job])
        return job.outcome()

    def _require_writer(self) -> None:
        if self._writer is None:
            raise LedgerError(f"{self.path} was opened read-only.", "Open it for writing.")

    def _commit(self, batch: list[Job]) -> None:
        """Commit a batch together; when it may be one caller's fault, each alone, so that only that one fails."""
        began = time.monotonic()
        try:
            self._transact(batch)
            self._failed = None
            self._pace += _LATEST * (min(time.monotonic() - began, 1.0) - self._pace)
        except LedgerError as e:
            self._fail(batch, e)
        except sqlite3.Error as e:
            if len(batch) > 1 and trouble.of_one_caller(e):
                for job in batch:
                    self._commit([job])
                return
            self._fail(batch, trouble.translated(e, self.path))

    def _commit_at_once(self, batch: list[Job]) -> bool:
        """Commit unless another process writes; what else is wrong with the file is for those to say who may wait."""
        db = self._writer
        assert db is not None
        try:
            self._wait_for_others(False)
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error:
            schema.roll_back(db)
            return False
        self._commit(batch)
        return True

    def _wait_for_others(self, patient: bool) -> None:
        """Set how a transaction begins while another process writes."""
        if self._patient != patient:
            assert self._writer is not None
            milliseconds = round(1000 * schema.BUSY_SECONDS) if patient else 0
            self._writer.execute(f"PRAGMA busy_timeout = {milliseconds}")
            self._patient = patient

    def _fail(self, batch: list[Job], error: LedgerError) -> None:
        for job in batch:
            job.error = LedgerError(error.what, error.do)
            job.error.__cause__ = error.__cause__
        self._failed = time.monotonic(), str(error)

    def _check_place(self) -> None:
        if self._place is not None and not self._readers.closed:
            self._place.check()

    def _transact(self, batch: list[Job]) -> None:
        db = self._writer
        assert db is not None
        if not db.in_transaction:
            self._wait_for_others(True)
            db.execute("BEGIN IMMEDIATE")
        try:
            head, at = rows.newest(db)
            rows.check_clock(at, self.clock_tolerance)
            written = write(db, batch, head)
            # A file that was removed or renamed takes a commit without a word, and it is lost with the last process that has it open.
            self._check_place()
            db.execute("COMMIT")
        except BaseException:
            schema.roll_back(db)
            raise
        for job, entries in written:
            job.entries = entries

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Lend a read connection on which the ledger stands still, for several questions about one state."""
        with self._reading() as db:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                schema.roll_back(db)

    def get(self, id: str) -> Entry | None:
        """Return the entry with that record id, or None."""
        with self._reading() as db:
            row = db.execute(rows.SELECT + "WHERE id = ?", (id,)).fetchone()
        return rows.entry(row) if row else None

    def entries(
        self,
        kind: str | None = None,
        task: str | None = None,
        decision: str | None = None,
        judgement: str | None = None,
        after: int = 0,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Entry]:
        """Return one page of entries that match every filter given.

        Args:
            judgement: id of the judgement that a correction speaks of.
            after: `seq` of the last entry of the page before; 0 for the first page, in either direction.
            limit: 1 to 10,000.

        Raises:
            InputError: for a `limit` or `after` outside its range.
        """
        if not 1 <= limit <= MAX_PAGE or not 0 <= after <= _LAST_SEQ:
            raise InputError(
                f"limit {limit} or after {after} is out of range.",
                f"Use limit 1 to {MAX_PAGE}, after from 0.",
            )
        given = {"kind": kind, "task": task, "decision": decision, "judgement": judgement}
        filters = {name: value for name, value in given.items() if value is not None}
        with self._reading() as db:
            return rows.page(db, filters, after, limit, newest_first)

    def content(self, digest: str) -> Any | None:
        """Return the content a record's `content` digest names; None when it was erased (or is null).

        Raises:
            LedgerError: what is stored does not have that digest.
        """
        with self._reading() as db:
            row = db.execute("SELECT salt, body FROM contents WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            return None
        if seal_digest(row[0], row[1].encode()) != digest:
            raise LedgerError(f"The content {digest} was altered.", "Run `sekisho audit verify`.")
        return json.loads(row[1])

    def head(self) -> Head:
        """Return position and digest of the newest entry; keep them elsewhere too, as a witness against a cut tail."""
        with self._reading() as db:
            return rows.head(db)

    def count(self, kind: str | None = None) -> int:
        """Return how many entries there are, of one kind or in all."""
        with self._reading() as db:
            return rows.count(db, kind)

    def verify(self, witnessed: Path | None = None) -> Verification:
        """Distrust the whole file, on one snapshot, in constant memory, against a witness's file if given; see `verify.audit`."""
        with self._reading() as db:
            return audit(db, witness.read(witnessed) if witnessed is not None else ())
