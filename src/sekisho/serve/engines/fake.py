"""The fake engine: deterministic, without a model or torch. For tests of other parts, and for showing the house without weights."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from ...core.canonical import canonical_json, digest_text
from ...core.engine import EngineInfo, Message, Piece, Sampling
from ...core.errors import EngineError, SekishoError
from ...core.prompt import SPECIAL
from ...core.question import Option, OptionScores, Question
from ...core.tools import ToolCall
from .. import prompts
from ..deadline import by, deadline_in
from ..loads import loading
from ..scoring import log_softmax
from ..streaming import StopCutter

_IDS = {text: i for i, text in enumerate(SPECIAL)}
_SPREAD = 8.0
"""Made-up logits lie between 0 and this."""
_NEVER = -1e4


@dataclass
class Script:
    """How a fake engine behaves; change a field at any time and the next call follows.

    Attributes:
        probabilities: from state and question to probabilities by option key (a missing key is 0); None for the digest's.
        text: what it writes, or a function of the conversation; None for an echo of the last turn.
        delay: seconds before each answer to `ask` and before each piece of text.
        error: raised by `ask` and `generate` instead of an answer.
        piece: characters of a piece of text.
        calls: the tools it calls whenever some are offered, or a function of the conversation; its text is then nothing unless `text` says one.
    """

    probabilities: Callable[[str, Question], Mapping[str, float] | None] | None = None
    text: str | Callable[[Sequence[Message]], str] | None = None
    delay: float = 0.0
    error: SekishoError | None = None
    piece: int = 4
    calls: tuple[ToolCall, ...] | Callable[[Sequence[Message]], tuple[ToolCall, ...]] = ()


class FakeEngine:
    """Fulfils `core.engine.Engine` with made-up answers: the same state and question always get the same probabilities.

    Attributes:
        script: how it behaves.
        asked: number of calls to `ask` that began.
        writing: number of texts being written now.
    """

    def __init__(self, script: Script | None = None, *, name: str = "fake", context: int = 2048) -> None:
        self.script = script or Script()
        self.asked = 0
        self.writing = 0
        self._running = False
        self._info = EngineInfo(
            engine="fake",
            model=name,
            model_digest=digest_text(f"fake:{name}"),
            context=context,
            device="cpu",
            tools=True,
        )

    @property
    def info(self) -> EngineInfo:
        """What is being served."""
        return self._info

    async def start(self) -> None:
        """Become ready."""
        with loading("start"):
            self._running = True

    async def stop(self) -> None:
        """Stop answering."""
        self._running = False

    async def healthy(self) -> bool:
        """Whether it was started and is not told to fail."""
        return self._running and self.script.error is None

    async def ask(
        self, state: str, questions: Sequence[Question], timeout: float, slot: int | None = None
    ) -> list[OptionScores]:
        """Answer from the script, or from a digest of state and question."""
        self.asked += 1
        self._require_up()
        sizes = [self._require_fit(prompts.decision_pieces(state, q, _IDS)) for q in questions]
        await by(deadline_in(timeout), asyncio.sleep(self.script.delay))
        return [
            OptionScores(logprobs=self._logprobs(state, q), input_tokens=size)
            for q, size in zip(questions, sizes, strict=True)
        ]

    async def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        timeout: float,
        slot: int | None = None,
        written: Sequence[int] | None = None,
    ) -> AsyncIterator[Piece]:
        """Write the script's text, piece by piece; a token is one character, and its code point is its id."""
        self._require_up()
        prompts.require_sampling(sampling)
        prompts.require_plain(sampling, "fake")
        size = self._require_fit(prompts.chat_pieces([_turn(m) for m in messages], _IDS))
        limit = min(sampling.max_tokens, self._info.context - size)
        calls = self._calls(messages) if sampling.offered else ()
        whole = "" if calls and self.script.text is None else self._text(messages)
        cutter = StopCutter(sampling.stop)
        text = cutter.push(whole[:limit]) + cutter.flush()
        finish = "stop" if cutter.stopped or len(whole) <= limit else "length"
        deadline = deadline_in(timeout)
        self.writing += 1
        try:
            for start in range(len(written or ()), len(text), self.script.piece):
                await by(deadline, asyncio.sleep(self.script.delay))
                self._require_up()
                part = text[start : start + self.script.piece]
                yield Piece(text=part, tokens=() if written is None else tuple(map(ord, part)))
            yield Piece.model_validate(
                {
                    "text": "",
                    "finish": "tool_calls" if calls else finish,
                    "input_tokens": size,
                    "output_tokens": len(text),
                    "calls": calls,
                }
            )
        finally:
            self.writing -= 1

    async def count(self, text: str) -> int:
        """Number of characters: the fake engine's tokens."""
        return _size(prompts.plain_pieces(text))

    def _require_up(self) -> None:
        if self.script.error is not None:
            raise self.script.error
        if not self._running:
            raise EngineError("The engine is not running.", "Start it first.")

    def _require_fit(self, pieces: Sequence[prompts.Piece]) -> int:
        size = _size(pieces)
        prompts.require_fit(size, self._info.context)
        return size

    def _text(self, messages: Sequence[Message]) -> str:
        if callable(self.script.text):
            return self.script.text(messages)
        return self.script.text if self.script.text is not None else f"fake: {messages[-1].content}"

    def _calls(self, messages: Sequence[Message]) -> tuple[ToolCall, ...]:
        return self.script.calls(messages) if callable(self.script.calls) else self.script.calls

    def _logprobs(self, state: str, question: Question) -> tuple[float, ...]:
        chosen = self.script.probabilities(state, question) if self.script.probabilities else None
        if chosen is not None:
            return _from_probabilities([chosen.get(key, 0.0) for key in question.keys])
        return log_softmax([_logit(state, question, option) for option in question.options])


def _turn(message: Message) -> Message:
    """The prompt of the house has no turn for what a tool says; of this engine's prompt only the length counts."""
    return message.model_copy(update={"role": "user"}) if message.role == "tool" else message


def _from_probabilities(values: Sequence[float]) -> tuple[float, ...]:
    """Log-probabilities of chosen probabilities; 0 becomes a very small one, as engines give finite numbers only."""
    return log_softmax([math.log(p) if p > 0 else _NEVER for p in values])


def _logit(state: str, question: Question, option: Option) -> float:
    """A number from 0 to `_SPREAD` that depends on state, question and option, and not on the options' order."""
    seen = canonical_json([state, question.type, question.instructions, option.key, option.description])
    return int.from_bytes(hashlib.sha256(seen).digest()[:8]) / 2**64 * _SPREAD


def _size(pieces: Sequence[prompts.Piece]) -> int:
    """Special tokens count one, texts a token a character."""
    return sum(1 if isinstance(p, int) else len(p) for p in pieces)
