"""Appends of one event loop, together: those of one turn of the loop share a transaction, and so do those that come while one is in flight.

A thread for each append costs more than the append: the interpreter's lock goes from core to core for every one of them. So the loop
commits by itself what is quick, one transaction for all who wait, and what is not goes to one thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..core.errors import LedgerError, SekishoError
from ..core.records import Record
from ..ledger.chain import Entry, Sealed
from ..ledger.commit import Job
from ..ledger.store import Ledger

QUICK = 0.002
"""Seconds of a commit, on the running mean, up to which the loop does it itself: others are being answered meanwhile."""

_Waiting = list[tuple[Job, "asyncio.Future[list[Entry]]"]]


class Together:
    """Appends for the coroutines of one event loop at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: _Waiting = []
        self._busy = False

    async def append(self, records: Sequence[Record], sealed: Sequence[Sealed] = ()) -> list[Entry]:
        """As `Ledger.append`. Whoever is cancelled while it waits may find its records written all the same.

        Raises:
            ConflictError, LedgerError: as `Ledger.append`.
        """
        job, loop = self._ledger.job(records, sealed), asyncio.get_running_loop()
        if loop is not self._loop:  # nobody of an earlier one waits any longer
            self._loop, self._waiting, self._busy = loop, [], False
        done: asyncio.Future[list[Entry]] = loop.create_future()
        self._waiting.append((job, done))
        self._go_on(loop)
        return await done

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            loop.call_soon(self._commit, loop)

    def _commit(self, loop: asyncio.AbstractEventLoop) -> None:
        # What nobody waits for any longer is not written.
        batch = [(job, done) for job, done in self._waiting if not done.done()]
        self._waiting = []
        jobs = [job for job, _ in batch]
        try:
            if jobs and not self._ledger.commit_at_once(jobs, QUICK):
                thread = loop.run_in_executor(None, self._ledger.commit, jobs)
                thread.add_done_callback(lambda ended: self._settle(loop, batch, _error(ended)))
                return
        except BaseException as e:
            self._settle(loop, batch, e)
            raise
        self._settle(loop, batch, None)

    def _settle(self, loop: asyncio.AbstractEventLoop, batch: _Waiting, error: BaseException | None) -> None:
        self._busy = False
        for job, done in batch:
            if not done.done():
                _tell(job, done, error)
        self._go_on(loop)


def _error(ended: asyncio.Future[None]) -> BaseException | None:
    return asyncio.CancelledError() if ended.cancelled() else ended.exception()


def _tell(job: Job, done: asyncio.Future[list[Entry]], error: BaseException | None) -> None:
    """Set the result, or an error of its own for whoever waits."""
    if isinstance(error, SekishoError):
        error = type(error)(error.what, error.do)
    elif error is not None:
        error = LedgerError(f"The commit ended with {error!r}; it is not known to be durable.", "Try again.")
    try:
        if error is not None:
            raise error
        done.set_result(job.outcome())
    except SekishoError as e:
        done.set_exception(e)
