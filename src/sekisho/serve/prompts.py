"""What every engine does to a prompt before its first token: refuse what cannot be encoded, cut outside text, check that it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core.engine import Message, Sampling
from ..core.errors import InputError, TooLargeError
from ..core.prompt import chat_parts, decision_parts, split_special
from ..core.question import MAX_OPTIONS, Question

MOST_LOGPROBS = 20
"""Alternatives a token may come with, as OpenAI has it."""
SMALLEST = Question.model_validate(
    {"type": "noul", "instructions": "Is this a test?", "options": [{"key": "true"}, {"key": "false"}]}
)
"""What an engine is asked when it warms up."""

Piece = str | int
"""A piece of a prompt: a token id, or plain text to be tokenised on its own."""


def decision_pieces(state: str, question: Question, special: Mapping[str, int]) -> list[Piece]:
    """The decision prompt as pieces, ending right before the label.

    Args:
        special: token id of every special token of the house.

    Raises:
        InputError: for text that is not Unicode, or a question without options.
        TooLargeError: for more options than there are labels.
    """
    if not question.options:
        raise InputError("The question has no options.", "Give at least one.")
    if len(question.options) > MAX_OPTIONS:
        raise TooLargeError(
            f"The question has {len(question.options)} options.", f"Ask at most {MAX_OPTIONS} at once."
        )
    return _pieces(decision_parts(state, question), special)


def chat_pieces(messages: Sequence[Message], special: Mapping[str, int]) -> list[Piece]:
    """A conversation as pieces, ending where the assistant speaks. Raises InputError for text that is not Unicode."""
    return _pieces(chat_parts([(m.role, m.content) for m in messages]), special)


def plain_pieces(text: str) -> list[Piece]:
    """Text from outside as pieces. Raises InputError when it holds half a surrogate pair, which no encoding can carry."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            "The text holds half of a surrogate pair, which is no character.", "Send valid Unicode."
        ) from None
    return list(split_special(text))


def _pieces(parts: Sequence[tuple[str, bool]], special: Mapping[str, int]) -> list[Piece]:
    pieces: list[Piece] = []
    for text, is_special in parts:
        pieces += [special[text]] if is_special else plain_pieces(text)
    return pieces


def require_fit(tokens: int, context: int) -> None:
    """Raise TooLargeError unless a prompt of `tokens` leaves room for one more in `context`. Nothing is ever cut to fit."""
    if tokens > context - 1:
        raise TooLargeError(
            f"The prompt has {tokens} tokens; at most {context - 1} fit.", "Shorten it, or raise `context`."
        )


def require_sampling(sampling: Sampling) -> None:
    """Raise InputError for sampling values that mean nothing."""
    if sampling.max_tokens < 1:
        raise InputError(f"max_tokens is {sampling.max_tokens}.", "Ask for at least 1.")
    if not 0 <= sampling.temperature <= 100:
        raise InputError(f"temperature is {sampling.temperature}.", "Give a number from 0 to 100.")
    if not 0 < sampling.top_p <= 1:
        raise InputError(f"top_p is {sampling.top_p}.", "Give a number above 0, at most 1.")
    if any(not s for s in sampling.stop):
        raise InputError("A stop text is empty.", "Leave it out.")
    if sampling.top_logprobs is not None and not 0 <= sampling.top_logprobs <= MOST_LOGPROBS:
        raise InputError(f"top_logprobs is {sampling.top_logprobs}.", f"Give 0 to {MOST_LOGPROBS}.")


def require_plain(sampling: Sampling, engine: str) -> None:
    """Raise InputError for a schema or log-probabilities, with which this engine does not write."""
    if sampling.json_schema is not None or sampling.top_logprobs is not None:
        raise InputError(
            f"The {engine} engine writes neither by a schema nor with log-probabilities.",
            "Leave them out, or serve with llamacpp.",
            ("body", "logprobs" if sampling.json_schema is None else "response_format"),
        )


def require_no_tools(messages: Sequence[Message], sampling: Sampling, engine: str) -> None:
    """Raise InputError for tools, their calls and their results, of which the models made here know nothing."""
    spoken = (i for i, m in enumerate(messages) if m.role == "tool" or m.calls)
    loc: tuple[str | int, ...] | None = ("body", "tools")
    if sampling.offered is None:
        loc = next((("body", "messages", i) for i in spoken), None)
    if loc is not None:
        raise InputError(
            f"`{loc[1]}`: the {engine} engine calls no tools, as its models have not learnt to.",
            "Leave them out, or serve with remote, from a server whose model calls tools.",
            loc,
        )


def require_labels(labels: int, question: Question) -> None:
    """Raise TooLargeError when a model reads fewer labels as single tokens than the question has options."""
    if len(question.options) > labels:
        raise TooLargeError(
            f"The question has {len(question.options)} options; this model tells at most {labels} apart.",
            "Ask with fewer options, or serve a model whose option labels are single tokens.",
        )
