"""Engine: the protocol every backend fulfils. It answers typed questions, writes text and counts tokens; it decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from .question import Frozen, OptionScores, Question
from .tools import ToolCall, words_of_call, words_of_tools

Lane = Literal["rt", "be"]
"""Real-time: somebody waits for the answer. Best effort: batch work, which makes room for the others."""


class EngineInfo(Frozen):
    """What is being served.

    Attributes:
        engine: backend name: llamacpp, torch, remote or fake.
        model: the name clients use.
        model_digest: tagged digest of the weights file.
        context: tokens one request may use, prompt and answer together.
        device: cpu or cuda.
        tools: whether its texts may call tools.
    """

    engine: str
    model: str
    model_digest: str
    context: int
    device: str
    tools: bool = False


class Message(Frozen):
    """One turn of a conversation.

    Attributes:
        calls: the tools that an assistant called.
        call_id: of a tool's result, the call it is the result of.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """All that it tells a model: its content, and its calls as one more text; neither when it is blank."""
        found = (self.content, "\n".join(map(words_of_call, self.calls)))
        return tuple(text for text in found if text.strip())


class Sampling(Frozen):
    """How text is drawn. `temperature` 0 is greedy; `seed` makes a run repeatable.

    Attributes:
        json_schema: a JSON schema as JSON text, which the text must fulfil; None for free text.
        top_logprobs: how many alternatives each token comes with, 0 for the token's own log-probability alone; None for neither.
        tools: functions that may be called, in OpenAI's form, as JSON text; None for none.
        tool_choice: which of them, in OpenAI's form, as JSON text; None leaves it to the model.
        parallel_calls: whether one answer may hold several calls; None leaves it to the engine.
    """

    max_tokens: int = 256
    temperature: float = 0.7
    top_p: float = 0.95
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json_schema: str | None = None
    top_logprobs: int | None = None
    tools: str | None = None
    tool_choice: str | None = None
    parallel_calls: bool | None = None

    @property
    def offered(self) -> str | None:
        """The tools that the model is shown. Those nobody is to call it is not shown, yet they are judged like the others."""
        return None if self.tool_choice == '"none"' else self.tools

    @property
    def texts(self) -> tuple[str, ...]:
        """All that it tells a model besides the conversation."""
        return () if self.tools is None else (words_of_tools(self.tools),)

    @property
    def whole(self) -> bool:
        """Whether the text cannot be taken up again in the middle: a schema and calls are followed from their beginning, and log-probabilities are said once."""
        return any(x is not None for x in (self.json_schema, self.top_logprobs, self.offered))


class TokenLogprob(Frozen):
    """A token that was written, and what might have been: natural-log probabilities before temperature and bias."""

    token: str
    logprob: float
    utf8: tuple[int, ...]
    top: tuple[tuple[str, float, tuple[int, ...]], ...] = ()


class Piece(Frozen):
    """A piece of generated text. The last piece has `finish` set and carries the token counts, and all calls of tools, each of them whole.

    `tokens` are the piece's own, when the text was begun in a way that lets it be taken up again (`Backend.generate`). `by` is who wrote it, as in
    `OptionScores`.
    """

    text: str
    finish: Literal["stop", "length", "tool_calls"] | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    tokens: tuple[int, ...] = ()
    by: tuple[str, str] | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    calls: tuple[ToolCall, ...] = ()


class Engine(Protocol):
    """What answers. All methods may be called from many tasks at once.

    Errors: EngineError when it is down or unreadable, EngineTimeoutError past `timeout` seconds, TooLargeError when a prompt
    does not fit the context (never truncation).
    """

    @property
    def info(self) -> EngineInfo:
        """What is being served; fixed once started."""
        ...

    async def start(self) -> None:
        """Load, warm up and become ready."""
        ...

    async def stop(self) -> None:
        """Stop and free everything; safe to call twice."""
        ...

    async def healthy(self) -> bool:
        """Whether the engine would answer now."""
        ...

    async def ask(self, state: str, questions: Sequence[Question], timeout: float) -> list[OptionScores]:
        """Score every option of each question over `state`; one OptionScores a question, in order."""
        ...

    def generate(
        self, messages: Sequence[Message], sampling: Sampling, timeout: float
    ) -> AsyncIterator[Piece]:
        """Write an answer piece by piece. Closing the iterator cancels the work in the engine."""
        ...

    async def count(self, text: str) -> int:
        """Number of tokens of `text`."""
        ...


class Backend(Engine, Protocol):
    """An engine whose slots somebody else gives out, and whose texts can be taken up again."""

    async def ask(
        self, state: str, questions: Sequence[Question], timeout: float, slot: int | None = None
    ) -> list[OptionScores]:
        """As `Engine.ask`, on the slot with that number."""
        ...

    def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        timeout: float,
        slot: int | None = None,
        written: Sequence[int] | None = None,
    ) -> AsyncIterator[Piece]:
        """As `Engine.generate`, on the slot with that number.

        Args:
            written: None for a text that will not be taken up again. Otherwise the tokens of all pieces so far, none at the first call: pieces then
                carry their tokens, and the text goes on after them as if it had never been left, when it is greedy or has a seed.
        """
        ...


@runtime_checkable
class Laned(Engine, Protocol):
    """An engine shared by two lanes. Called by itself, it serves the real-time lane."""

    def lane(self, lane: Lane) -> Engine:
        """The same engine, as one of the lanes has it."""
        ...

    def retry_after(self, lane: Lane) -> int:
        """Whole seconds after which somebody who is refused now may try again."""
        ...

    def status(self) -> Mapping[str, Any]:
        """Slots by state, how many wait in each lane, and the line with estimated seconds; for people and programs to look at."""
        ...
