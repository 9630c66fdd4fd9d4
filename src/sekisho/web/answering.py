"""A chat's pieces on their way to a client, for every dialect alike: the first one awaited, the rest passed on, all of it closed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from fastapi import Request

from ..core.engine import Lane, Piece
from ..loop.judge import Chat
from .chat_form import ChatForm
from .desk import caller_of, desk_of, links_of
from .waiting import unless_gone

_PATIENCE = 10.0
"""Seconds an answer may keep its status open; after that its stream begins, and what fails later is an event in it."""


async def judged(request: Request, form: ChatForm, lane: Lane) -> Chat:
    """Let the gate judge a conversation, as its caller. Ends when the caller goes away."""
    caller = caller_of(request)
    work = desk_of(request).judge.chat(
        form.messages, form.sampling, form.contract, lane, links_of(caller), caller.clearance, form.stream
    )
    return await unless_gone(request, work)


async def started(request: Request, chat: Chat) -> asyncio.Task[Piece] | None:
    """The first piece of a stream, awaited before the answer begins, so that what fails at once still gets its own status; None when the policy answers."""
    return await unless_gone(request, soon(chat.pieces)) if chat.pieces else None


async def soon(pieces: AsyncGenerator[Piece]) -> asyncio.Task[Piece]:
    """The first piece, as a task that is done, or still waits in line after `_PATIENCE` seconds; a batch text may have to.

    Raises:
        SekishoError: what failed at once, so that it still gets a status of its own.
    """
    first = asyncio.create_task(_first(pieces))
    try:
        await asyncio.wait({first}, timeout=_PATIENCE)
    except asyncio.CancelledError:
        first.cancel()
        await asyncio.wait({first})
        raise
    if first.done():
        first.result()
    return first


async def _first(pieces: AsyncGenerator[Piece]) -> Piece:
    return await anext(pieces)


async def whole(chat: Chat) -> tuple[str, Piece | None]:
    """The whole text, and when a model wrote it the last piece, with the log-probabilities of all of them."""
    if chat.pieces is None:
        return chat.text or "", None
    pieces = [piece async for piece in chat.pieces]
    logprobs = tuple(token for piece in pieces for token in piece.logprobs)
    return "".join(p.text for p in pieces), pieces[-1].model_copy(update={"logprobs": logprobs})


async def with_first(first: asyncio.Task[Piece], rest: AsyncGenerator[Piece]) -> AsyncGenerator[Piece]:
    """Every piece, the first one from its task."""
    yield await first
    async for piece in rest:
        yield piece


async def close(chat: Chat, first: asyncio.Task[Piece] | None) -> None:
    """End what still runs; the answer's record is written before this returns."""
    if first is not None and not first.done():
        first.cancel()
        await asyncio.wait({first})
    if chat.pieces is not None:
        await chat.pieces.aclose()
