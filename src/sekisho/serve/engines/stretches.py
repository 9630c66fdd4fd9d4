"""Text that can be taken up again: written in stretches, each of which is kept whole or written anew.

A stretch begins at a fixed place of the text, with a seed that depends on the caller's seed and that place alone. Whoever stops in the middle of one and
comes back later with the tokens so far therefore gets the text an undisturbed run would have got; what is lost is the rest of a stretch.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from ...core.engine import Piece, Sampling
from ...core.errors import EngineError
from ..vocabulary import Vocabulary, Writing
from .bodies import LARGEST_SEED

LENGTH = 16
"""Most tokens of a stretch: little enough to write again, long enough that a new request costs little beside it. A character that straddles its end is left to the next one."""

Events = Callable[[list[int], int, int], AsyncGenerator[dict[str, Any]]]
"""From a prompt, a number of tokens and a seed to the events of a completion."""


class Stretch:
    """The tokens of one stretch, read from the events of its stream."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._count = 0
        self.tokens: list[int] = []
        self.unread: str | None = None
        self.ended: dict[str, Any] | None = None

    def take(self, event: dict[str, Any]) -> bool:
        """Take an event; return whether more are wanted. Text whose tokens cannot be told is left in `unread`."""
        if event.get("stop"):
            self.ended = event
            return False
        named, predicted = [int(t) for t in event.get("tokens", [])], int(event["tokens_predicted"])
        missing, self._count = predicted - self._count - len(named), predicted
        if missing:
            hidden = self._vocabulary.hidden(event["content"].encode(), named[-1], missing) if named else None
            if hidden is None:
                self.unread = event["content"]
                return False
            self.tokens += hidden
        self.tokens += named
        return True


async def stretches(
    events: Events,
    tokens_of: Callable[[str], Awaitable[list[int]]],
    vocabulary: Vocabulary,
    prompt: Sequence[int],
    sampling: Sampling,
    limit: int,
    written: Sequence[int],
) -> AsyncGenerator[Piece]:
    """Write on from `prompt` and `written`, a piece a stretch, each with its tokens.

    Args:
        tokens_of: tokens of a text, for the rare stretch with a broken character in it.
        limit: most tokens of the whole text, those in `written` included.

    Raises:
        EngineError: when the engine ends a stretch without a token and without a reason.
    """
    writing, ids = Writing(vocabulary, sampling.stop, written), list(written)
    seed = secrets.randbelow(LARGEST_SEED) if sampling.seed is None else sampling.seed % LARGEST_SEED
    while True:
        stretch, room = Stretch(vocabulary), limit - len(ids)
        if room > 0:
            source = events([*prompt, *ids], min(room, LENGTH), seed_at(seed, len(ids)))
            async with aclosing(source) as stream:
                async for event in stream:
                    if not stretch.take(event):
                        break
        new = (stretch.tokens if stretch.unread is None else await _with_unread(stretch, tokens_of))[:room]
        text, count = _read(writing, new)
        finish = _finish(stretch, writing, len(new), room)
        ids += new
        if finish is None:
            yield Piece(text=text, tokens=tuple(new))
            continue
        total = len(ids) - len(new) + (count if writing.stopped else _written(stretch, new))
        yield Piece.model_validate(
            {
                "text": text + writing.flush(),
                "finish": finish,
                "input_tokens": len(prompt),
                "output_tokens": total,
            }
        )
        return


def seed_at(seed: int, place: int) -> int:
    """The seed of the stretch that begins after `place` tokens: the caller's own for the first."""
    if place == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}:{place}".encode()).digest()[:4]) % LARGEST_SEED


async def _with_unread(stretch: Stretch, tokens_of: Callable[[str], Awaitable[list[int]]]) -> list[int]:
    return [*stretch.tokens, *await tokens_of(stretch.unread or "")]


def _read(writing: Writing, tokens: Sequence[int]) -> tuple[str, int]:
    """The text of tokens up to a stop text, and how many were read for it."""
    text = ""
    for count, token in enumerate(tokens, 1):
        text += writing.push([token])
        if writing.stopped:
            return text, count
    return text, len(tokens)


def _finish(stretch: Stretch, writing: Writing, new: int, room: int) -> str | None:
    """Why the text ends with this stretch; None when it goes on."""
    if writing.stopped:
        return "stop"
    if stretch.ended is not None and stretch.ended.get("stop_type") != "limit":
        return "stop"
    predicted = int(stretch.ended["tokens_predicted"]) if stretch.ended else new
    if max(new, predicted) >= room:
        return "length"
    if new == 0:
        raise EngineError("llama.cpp ended the text without a word.", "Try again.")
    return None


def _written(stretch: Stretch, new: Sequence[int]) -> int:
    """Tokens of the last stretch as the engine counts them: an end token and the beginning of a character count too."""
    return int(stretch.ended["tokens_predicted"]) if stretch.ended else len(new)
