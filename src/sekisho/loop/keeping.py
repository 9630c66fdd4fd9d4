"""Judgements become durable, in time or not at all: nothing is released on one that is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from .. import metrics
from ..core.errors import LedgerError
from ..core.records import Judgement
from ..ledger.chain import Sealed
from ..ledger.store import Ledger
from .together import Together

_SHADOW = 0.002
"""Seconds after which an engine has been asked, and this process has nothing to do but to wait for it."""


class Sealing:
    """Content that is sealed while the engine works, not after it.

    Args:
        content: makes it: a JSON value.
    """

    def __init__(self, content: Callable[[], Any]) -> None:
        self._content, self._sealed = content, None  # type: Callable[[], Any], Sealed | None
        self._timer = asyncio.get_running_loop().call_later(_SHADOW, self._early)

    def done(self) -> Sealed:
        """The sealed content. Raises LedgerError when it is no JSON value."""
        self._timer.cancel()
        return self._sealed or Ledger.seal(self._content())

    def _early(self) -> None:
        with suppress(LedgerError):
            self._sealed = Ledger.seal(self._content())


class Keeper:
    """Writes judgements into the ledger and counts them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._together = ledger, Together(ledger)

    async def keep(
        self, records: Sequence[Judgement], content: Any, until: float | None = None, alone: bool = False
    ) -> list[Judgement]:
        """Seal the content, append all records in one transaction, and count them once they are durable.

        Args:
            content: a JSON value, or one whose sealing has begun.
            until: the monotonic time up to which this may take; None waits as long as the ledger itself does.
            alone: whether nobody else is being answered. The event loop may then commit by itself: it holds nobody up, and saves two changes of threads.

        Raises:
            LedgerError: when they are not known to be durable. They may still become so after the time is up.
        """
        sealed = content.done() if isinstance(content, Sealing) else Ledger.seal(content)
        kept = [r.model_copy(update={"content": sealed.digest}) for r in records]
        seconds = None if until is None else max(0.0, until - time.monotonic())
        began = time.monotonic()
        try:
            late = seconds is not None and seconds <= 0
            if late or not (alone and self._ledger.append_at_once(kept, [sealed])):
                async with asyncio.timeout(seconds):
                    await self._together.append(kept, [sealed])
        except TimeoutError:
            raise LedgerError("The ledger was not written in time.", "Try again.") from None
        finally:
            metrics.soon(metrics.LEDGER_SECONDS.observe, time.monotonic() - began)
        metrics.soon(_count, kept)
        return kept


def _count(records: Sequence[Judgement]) -> None:
    for record in records:
        is_gate = record.task == "gate"
        metrics.JUDGEMENTS.labels(record.task, record.decision if is_gate else "answered").inc()
        for reason in record.reasons if is_gate else ():
            metrics.REASONS.labels(reason).inc()
