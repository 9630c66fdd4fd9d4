"""A stream's text is durable before it leaves: pieces are joined to stretches, and a stretch is released once it is in the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .. import metrics
from ..core.canonical import new_id, utc_now
from ..core.engine import Piece, TokenLogprob
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
        stamp: from who wrote a piece to its stamp.
    """

    def __init__(self, ledger: Ledger, gate: str, stamp: Callable[[tuple[str, str] | None], Stamp]) -> None:
        self._ledger, self._gate, self._stamp = ledger, gate, stamp
        self._held, self._kept, self._due = "", 0, 0.0
        self._logprobs: tuple[TokenLogprob, ...] = ()

    async def take(self, piece: Piece) -> Piece | None:
        """Add a piece; return what may be released now, None while it is held back.

        Raises:
            LedgerError: the stretch could not be made durable; nothing of it may be released.
        """
        self._held += piece.text
        self._logprobs += piece.logprobs
        if not self._held or (time.monotonic() < self._due and len(self._held) < LENGTH):
            return None
        text, self._held = self._held, ""
        with metrics.LEDGER_SECONDS.time():
            await asyncio.to_thread(self._append, text, self._stamp(piece.by))
        self._kept, self._due = self._kept + 1, time.monotonic() + SECONDS
        return self._told(piece, text)

    def close(self, last: Piece) -> Piece:
        """Return the last piece with what is still held back; the record that closes the stream must be durable by then."""
        return self._told(last, self._held + last.text, last.logprobs)

    def _told(self, piece: Piece, text: str, more: tuple[TokenLogprob, ...] = ()) -> Piece:
        told, self._logprobs = self._logprobs + more, ()
        return piece.model_copy(update={"text": text, "logprobs": told})

    def _append(self, text: str, stamp: Stamp) -> None:
        sealed = Ledger.seal({"answer": text})
        record = Stretch(
            id=new_id("str"),
            at=utc_now(),
            judgement=self._gate,
            place=self._kept,
            content=sealed.digest,
            stamp=stamp,
        )
        self._ledger.append([record], [sealed])
