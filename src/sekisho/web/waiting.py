"""Waiting for work while watching the client: a client that hangs up stops what only it was waiting for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar, cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

T = TypeVar("T")
GONE = "sekisho.gone"
"""Extension of a request's scope: tells at once whether the client has hung up, where the server knows."""
_SEND_SECONDS = 60.0
"""A client that takes nothing for so long is gone; until then it holds a place in the engine."""
_BEAT_SECONDS = 15.0
"""A stream is not silent for longer than this; proxies close what is."""


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`, done in this very task. The request's body must have been read.

    Raises:
        ClientDisconnect: when the client hung up first; `work` was cancelled then, and has cleaned up.
    """
    mine, left = asyncio.current_task(), False
    assert mine is not None

    def leave(watch: asyncio.Task[None]) -> None:
        nonlocal left
        if not watch.cancelled():
            left = True
            mine.cancel()

    gone = asyncio.create_task(_hung_up(request.receive))
    gone.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if left and mine.cancelling() == 1:
            raise ClientDisconnect from None
        raise
    finally:
        if left:
            mine.uncancel()
        gone.remove_done_callback(leave)
        gone.cancel()  # holds nothing, so nobody waits for its end


def hung_up(request: Request) -> bool:
    """Whether the client is known to have hung up by now. The request's body must have been read."""
    if (gone := request.scope.get("extensions", {}).get(GONE)) is not None:
        return bool(gone["ask"]())
    message = at_hand(request)
    return message is not None and message["type"] == "http.disconnect"


def at_hand(request: Request) -> Message | None:
    """The next message, if it has arrived already."""
    asking = cast(Coroutine[Any, Any, Message], request.receive())
    try:
        asking.send(None)
    except StopIteration as told:
        return cast(Message, told.value)
    asking.close()  # it would wait for news, so there is none
    return None


class EventStream(StreamingResponse):
    """Server-sent events, or another form of stream. When the client hangs up, the source is closed and has cleaned up before this returns.

    Args:
        beat: what fills a long silence: a comment, or a piece without text where a form has no comments.

    Starlette's own streaming cancels its source in a scope where a second `await` is cancelled too, so a source could not
    write its last record; here it can.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes],
        media_type: str = "text/event-stream",
        beat: bytes = b": waiting\n\n",
    ) -> None:
        super().__init__(events, media_type=media_type)
        self._events, self._beat = events, beat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send every event."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        pump, gone = asyncio.create_task(self._pump(send)), asyncio.create_task(_hung_up(receive))
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
        finally:
            await _cancelled(pump, gone)
            await self._events.aclose()

    async def _pump(self, send: Send) -> None:
        async for event in _kept_alive(self._events, self._beat):
            async with asyncio.timeout(_SEND_SECONDS):
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _kept_alive(events: AsyncGenerator[bytes], beat: bytes) -> AsyncGenerator[bytes]:
    """The events, and the beat whenever none came for a while."""
    while True:
        event = asyncio.create_task(_next(events))
        try:
            while not (await asyncio.wait({event}, timeout=_BEAT_SECONDS))[0]:
                yield beat
        finally:
            await _cancelled(event)  # nothing, when it is done
        if (told := event.result()) is None:
            return
        yield told


async def _next(events: AsyncGenerator[bytes]) -> bytes | None:
    return await anext(events, None)


async def _hung_up(receive: Receive) -> None:
    """Return when the client's connection is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel what still runs and wait until all have cleaned up."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
