"""Writing: the text of an answer that the gate let pass, durable before it is released."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ..core.canonical import digest_json, new_id, utc_now
from ..core.engine import Lane, Message, Piece, Sampling
from ..core.errors import EngineError, SekishoError
from ..core.records import Judgement
from ..core.tools import ToolCall
from ..ledger.store import Ledger
from .entries import Serving
from .keeping import Keeper
from .streams import Stretches

_REMEMBERED = 10_000
"""Answers of its own that a server knows again; older ones are judged like a person's words."""

_log = logging.getLogger("sekisho.judge")

Held = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]
"""What is held while a text is written, and given back at its end: the model that serves, and a place in the lane."""


@dataclass(frozen=True)
class Asking:
    """What is to be written: after which messages, how, in which lane, in how many seconds, and whether piece by piece."""

    messages: Sequence[Message]
    sampling: Sampling
    lane: Lane
    seconds: float
    streamed: bool


class Writer:
    """Writes answers, and knows its own again."""

    def __init__(self, ledger: Ledger, keeper: Keeper) -> None:
        self._ledger, self._keeper = ledger, keeper
        self._released: OrderedDict[str, None] = OrderedDict()

    def wrote(self, message: Message) -> bool:
        """Whether a message is an answer of this server, word for word and call for call."""
        return message.role == "assistant" and _known_by(message.content, message.calls) in self._released

    async def write(
        self, serving: Serving, held: Held, judgement: Judgement, asked: Asking
    ) -> AsyncGenerator[Piece]:
        """Write the answer; its record is durable before the last piece leaves, also when the client goes away.

        Streamed pieces are made durable before they are yielded.

        Raises:
            EngineError, LedgerError: what was written until then is recorded as interrupted.
        """
        text, last = "", Piece(text="")
        stretches = Stretches(self._ledger, judgement.id, lambda by: serving.stamp_for("chat", by))
        with held[0], held[1]:
            pieces = serving.lane(asked.lane).generate(asked.messages, asked.sampling, timeout=asked.seconds)
            try:
                async for piece in pieces:
                    text, last = text + piece.text, piece
                    if piece.finish is None:
                        ready = await stretches.take(piece) if asked.streamed else piece
                        if ready is not None:
                            yield ready
            except SekishoError:
                raise
            except Exception as e:
                _log.exception("the engine failed while writing")
                raise EngineError(f"The engine failed: {type(e).__name__}.", "See the server's log.") from e
            finally:
                await pieces.aclose()  # type: ignore[attr-defined]
                await asyncio.shield(self._record(serving, judgement, text, last))
        if last.finish is None:
            raise EngineError("The engine stopped in the middle of its answer.", "Try again.")
        yield stretches.close(last)

    async def _record(self, serving: Serving, judgement: Judgement, text: str, last: Piece) -> None:
        record = Judgement(
            id=new_id("jdg"),
            at=utc_now(),
            task="chat",
            decision="released" if last.finish else "interrupted",
            stamp=serving.stamp_for("chat", last.by),
            links={"gate": judgement.id},
            usage=_counted(last),
        )
        calls = {"calls": [call.model_dump() for call in last.calls]} if last.calls else {}
        await self._keeper.keep([record], {"answer": text, **calls})
        self._released[_known_by(text, last.calls)] = None
        while len(self._released) > _REMEMBERED:
            self._released.popitem(last=False)


def _known_by(text: str, calls: Sequence[ToolCall]) -> str:
    """By what an answer is known again: its text, and names and arguments of its calls. Their ids no model is shown, and Ollama's protocol has none."""
    return digest_json([text, [[call.name, json.loads(call.arguments)] for call in calls]])


def _counted(last: Piece) -> dict[str, float]:
    """Token counts of a text, which come with its end; of one that was broken off they are not known, and not 0."""
    if last.finish is None:
        return {}
    return {"input_tokens": last.input_tokens, "output_tokens": last.output_tokens}
