"""A stream's text is durable before it leaves: pieces are joined to stretches, and a stretch is released once it is in the ledger."""

from __future__ import annotations

import asyncio
import time

from .. import metrics
from ..core.canonical import new_id, utc_now
from ..core.engine import Piece
from ..core.records import Stamp, Stretch
from ..ledger.store import Ledger

SECONDS = 0.5
"""A stretch gathers pieces for so long before the next commit; the first one does not wait."""
LENGTH = 200
"""Characters at which a stretch waits no longer."""


class Stretches:
    """Takes the pieces of one stream and gives them back as stretches.

    Args:
        gate: id of the judgement that lets the stream pass.
        stamp: what writes it.
    """

    def __init__(self, ledger: Ledger, gate: str, stamp: Stamp) -> None:
        self._ledger, self._gate, self._stamp = ledger, gate, stamp
        self._held, self._kept, self._due = "", 0, 0.0

    async def take(self, piece: Piece) -> Piece | None:
        """Add a piece; return what may be released now, None while it is held back.

        Raises:
            LedgerError: the stretch could not be made durable; nothing of it may be released.
        """
        self._held += piece.text
        if not self._held or (time.monotonic() < self._due and len(self._held) < LENGTH):
            return None
        text, self._held = self._held, ""
        with metrics.LEDGER_SECONDS.time():
            await asyncio.to_thread(self._append, text)
        self._kept, self._due = self._kept + 1, time.monotonic() + SECONDS
        return piece.model_copy(update={"text": text})

    def close(self, last: Piece) -> Piece:
        """Return the last piece with what is still held back; the record that closes the stream must be durable by then."""
        return last.model_copy(update={"text": self._held + last.text})

    def _append(self, text: str) -> None:
        sealed = Ledger.seal({"answer": text})
        record = Stretch(
            id=new_id("str"),
            at=utc_now(),
            judgement=self._gate,
            place=self._kept,
            content=sealed.digest,
            stamp=self._stamp,
        )
        self._ledger.append([record], [sealed])
