"""What comes back from the llama.cpp child, read strictly: a default is never invented, and every failure has a name."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Awaitable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx

from ...core.canonical import digest_file
from ...core.engine import Piece, TokenLogprob
from ...core.errors import EngineError, TooLargeError
from ..deadline import by
from ..scoring import log_softmax
from .exchange import Exchange, Reply

T = TypeVar("T")

_SMALLEST = 1e-45
"""Least positive float32. A label whose probability underflowed to 0 there counts as this, not as minus infinity."""
_TOLERANCE = 1e-3


def digest(model: Path) -> str:
    """Digest of a model file. Raises EngineError when it cannot be read."""
    try:
        return digest_file(model)
    except OSError as e:
        raise EngineError(f"The model file cannot be read: {e}.", "Check the path.") from e


async def spoken(work: Awaitable[T]) -> T:
    """Await an exchange with the child; a broken connection becomes EngineError."""
    try:
        return await work
    except httpx.HTTPError as e:
        raise broken(e) from e


def broken(error: httpx.HTTPError) -> EngineError:
    """The error for a connection that failed."""
    return EngineError(
        f"The connection to llama.cpp broke ({type(error).__name__}).", "Try again in a moment."
    )


class Answered(Protocol):
    """A whole answer."""

    @property
    def status_code(self) -> int:
        """HTTP's."""
        ...

    @property
    def text(self) -> str:
        """The body."""
        ...


def read(response: Answered) -> dict[str, Any]:
    """The JSON object of a good answer. Raises EngineError or TooLargeError otherwise."""
    if response.status_code != 200:
        raise refusal(response)
    return json_object(response.text)


def refusal(response: Answered) -> EngineError | TooLargeError:
    """What a status other than 200 means."""
    if "exceed_context_size_error" in response.text:
        return TooLargeError("The prompt does not fit the context.", "Shorten it, or raise `context`.")
    return EngineError(f"llama.cpp answered {response.status_code}: {response.text[:200]}", "Try again.")


def json_object(text: str, who: str = "llama.cpp") -> dict[str, Any]:
    """The JSON object that somebody answered with. Raises EngineError for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise EngineError(f"{who} gave an answer that is no JSON object.", "Try again.")
    return value


async def events(exchange: Exchange, body: dict[str, Any], deadline: float) -> AsyncGenerator[dict[str, Any]]:
    """Server-sent events of a completion."""
    stream = await by(deadline, exchange.stream("/completion", body))
    try:
        if stream.status_code != 200:
            raise refusal(Reply(stream.status_code, await by(deadline, stream.text())))
        while (line := await by(deadline, stream.line())) is not None:
            if line.startswith(("data:", "error:")):
                yield event(line)
    finally:
        stream.close()


def event(line: str) -> dict[str, Any]:
    """One server-sent event. Raises EngineError when it reports an error."""
    event = json_object(line.partition(":")[2])
    if line.startswith("error:") or "error" in event or not isinstance(event.get("content"), str):
        raise EngineError(f"llama.cpp broke off: {line[:200]}", "Try again.")
    return event


def token_logprobs(event: dict[str, Any], top: int | None) -> tuple[TokenLogprob, ...]:
    """The tokens of an event with their log-probabilities; none unless they were asked for.

    Raises:
        EngineError: when they were, and are not there.
    """
    if top is None:
        return ()
    try:
        return tuple(
            TokenLogprob(
                token=e["token"],
                logprob=e["logprob"],
                utf8=tuple(e["bytes"]),
                top=tuple((t["token"], t["logprob"], tuple(t["bytes"])) for t in e["top_logprobs"][:top]),
            )
            for e in event["completion_probabilities"]
        )
    except (KeyError, TypeError, ValueError):
        raise EngineError("llama.cpp gave no log-probabilities.", "Try again without them.") from None


def last_piece(event: dict[str, Any], input_tokens: int) -> Piece:
    """The piece that ends a text, from the last event."""
    return Piece(
        text=event["content"],
        finish="length" if event.get("stop_type") == "limit" else "stop",
        input_tokens=input_tokens,
        output_tokens=int(event["tokens_predicted"]),
    )


def prompt_tokens(reply: dict[str, Any]) -> int:
    """How many tokens the prompt had. Raises EngineError when that is not said."""
    count = reply.get("tokens_evaluated")
    if not isinstance(count, int):
        raise EngineError("llama.cpp did not say how much it read.", "Try again.")
    return count


def label_logprobs(reply: dict[str, Any], labels: Sequence[int]) -> tuple[float, ...]:
    """Log-probabilities of `labels`, in order.

    Raises:
        EngineError: unless every label is there once, with a finite probability, and they sum to 1: a default is never invented.
    """
    try:
        entries = reply["completion_probabilities"][0]["top_probs"]
        found = {int(e["id"]): float(e["prob"]) for e in entries}
        values = [found[i] for i in labels]
    except (KeyError, IndexError, TypeError, ValueError):
        raise EngineError("llama.cpp did not score every option.", "Check the model.") from None
    if not all(math.isfinite(p) and p >= 0 for p in values) or abs(math.fsum(values) - 1) > _TOLERANCE:
        raise EngineError("llama.cpp gave probabilities that are none.", "Check the model.")
    return log_softmax([math.log(max(p, _SMALLEST)) for p in values])
