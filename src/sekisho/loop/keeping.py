"""Judgements become durable, in time or not at all: nothing is released on one that is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from .. import metrics
from ..core.errors import LedgerError
from ..core.records import Judgement
from ..ledger.store import Ledger


class Keeper:
    """Writes judgements into the ledger and counts them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def keep(
        self, records: Sequence[Judgement], content: Any, until: float | None = None, alone: bool = False
    ) -> list[Judgement]:
        """Seal the content, append all records in one transaction, and count them once they are durable.

        Args:
            until: the monotonic time up to which this may take; None waits as long as the ledger itself does.
            alone: whether nobody else is being answered. The event loop may then commit by itself: it holds nobody up, and saves two changes of threads.

        Raises:
            LedgerError: when they are not known to be durable. They may still become so after the time is up.
        """
        sealed = Ledger.seal(content)
        kept = [r.model_copy(update={"content": sealed.digest}) for r in records]
        seconds = None if until is None else max(0.0, until - time.monotonic())
        try:
            with metrics.LEDGER_SECONDS.time():
                if not (alone and self._ledger.append_at_once(kept, [sealed])):
                    async with asyncio.timeout(seconds):
                        await asyncio.to_thread(self._ledger.append, kept, [sealed])
        except TimeoutError:
            raise LedgerError("The ledger was not written in time.", "Try again.") from None
        for record in kept:
            _count(record)
        return kept


def _count(record: Judgement) -> None:
    is_gate = record.task == "gate"
    metrics.JUDGEMENTS.labels(record.task, record.decision if is_gate else "answered").inc()
    for reason in record.reasons if is_gate else ():
        metrics.REASONS.labels(reason).inc()
