"""The llama.cpp engine: a promoted GGUF in a supervised child process, asked over loopback HTTP.

A question is one prefill: the next token is limited to the k option labels by a bias and read back with its probabilities, which
are then exactly the softmax over the label logits. Prompts go over as token ids, so nothing is parsed on the other side.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx

from ...core.engine import EngineInfo, Message, Piece, Sampling
from ...core.errors import EngineError
from ...core.prompt import ASSISTANT, SYSTEM, USER
from ...core.question import OptionScores, Question
from .. import prompts
from ..deadline import by, deadline_in
from ..gguf_header import read_header
from ..rules import KEPT
from ..speed import rate_of
from . import bodies, wire
from .caches import UNKNOWN, Caches
from .exchange import BrokenError
from .process import KvType, Launch
from .stretches import stretches
from .supervisor import Supervisor
from .tongue import Tongue

_SHORT = 30.0
"""Seconds for calls that carry no deadline of their own."""
_WARM = Sampling(max_tokens=24, temperature=0)
"""How the text is written that tells an engine's speed."""

_JSON_STARTS = frozenset('{["-0123456789tfn')


class LlamaCppEngine:
    """Serves one GGUF file. Fulfils `core.engine.Engine`; see there for what each method promises.

    Args:
        model: GGUF file.
        name: the name clients use.
        model_digest: digest of the file; computed at the start when None.
        slots: texts written at once; the child gets `KEPT` more, so that a decision never waits for a whole text.
        context, threads, device, flash_attention, kv_type, cores: as in `Launch`.
        load_seconds, restarts: as in `Supervisor`.
    """

    def __init__(
        self,
        model: Path,
        name: str,
        *,
        model_digest: str | None = None,
        context: int = 2048,
        slots: int = 2,
        threads: int = 2,
        device: Literal["cpu", "cuda"] = "cpu",
        flash_attention: bool = False,
        kv_type: KvType = "F32",
        cores: tuple[int, ...] = (),
        load_seconds: float = 300.0,
        restarts: int = 5,
    ) -> None:
        self._model = model
        self._name = name
        self._digest = model_digest
        self._launch = Launch(
            str(model),
            context,
            slots + KEPT,
            threads,
            device=device,
            flash_attention=flash_attention,
            kv_type=kv_type,
            cores=cores,
        )
        self._supervisor = Supervisor(self._launch, load_seconds=load_seconds, restarts=restarts)
        self._writers = asyncio.Semaphore(slots)
        self._slots = asyncio.Semaphore(self._launch.slots)  # first come, first served
        self._tongue = Tongue(self._post, name)
        self._caches = Caches(context * self._launch.slots)
        self.warm_rate: float | None = None
        """Tokens a second of the text that was written at the start, alone; None before it."""

    @property
    def info(self) -> EngineInfo:
        """What is being served. Raises EngineError before the first start when no digest was given."""
        if self._digest is None:
            raise EngineError("The engine has not been started.", "Call start first.")
        return EngineInfo(
            engine="llamacpp",
            model=self._name,
            model_digest=self._digest,
            context=self._launch.context,
            device=self._launch.device,
        )

    @property
    def pid(self) -> int | None:
        """Process id of the child; None without one."""
        return self._supervisor.pid

    async def start(self) -> None:
        """Load the model, learn its special tokens and labels, and answer one question to warm up."""
        if self._digest is None:
            self._digest = await asyncio.to_thread(wire.digest, self._model)
        header = await asyncio.to_thread(read_header, self._model)
        await self._supervisor.start()
        try:
            await self._check_context()
            await self._tongue.learn(header)
            await self.ask("", [prompts.SMALLEST], _SHORT)
            self.warm_rate = await rate_of(self.generate([], _WARM, _SHORT))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the child; requests in flight fail with EngineError."""
        await self._supervisor.stop()

    async def healthy(self) -> bool:
        """Whether the child lives and says it is well, within two seconds."""
        try:
            async with asyncio.timeout(2.0):
                return (await self._supervisor.client.get("/health")).status_code == 200
        except (EngineError, httpx.HTTPError, TimeoutError):
            return False

    async def ask(
        self, state: str, questions: Sequence[Question], timeout: float, slot: int | None = None
    ) -> list[OptionScores]:
        """Score the questions one after another on one slot, where all but the first find the state in the cache."""
        return await by(deadline_in(timeout), self._ask(state, questions, slot))

    async def _ask(self, state: str, questions: Sequence[Question], slot: int | None) -> list[OptionScores]:
        async with self._slots:  # before tokenising, so that callers are served in the order they came
            asked = []
            for question in questions:
                asked.append(await self._decision_prompt(state, question))
                if len(questions) > 1:
                    await asyncio.sleep(0)  # cutting holds everybody up; each question for itself alone
            return [
                await self._score(prompt, len(q.options), slot)
                for prompt, q in zip(asked, questions, strict=True)
            ]

    async def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        timeout: float,
        slot: int | None = None,
        written: Sequence[int] | None = None,
    ) -> AsyncIterator[Piece]:
        """Stream an answer. Closing the iterator drops the connection, which frees the slot in the child."""
        self._supervisor.require_up()
        prompts.require_sampling(sampling)
        prompts.require_no_tools(messages, sampling, "llamacpp")
        deadline = deadline_in(timeout)
        async with self._place(deadline):
            prompt = await by(deadline, self._tongue.cut(prompts.chat_pieces(messages, self._tongue.special)))
            prompts.require_fit(len(prompt), self._launch.context)
            pieces = (
                self._streamed(prompt, sampling, deadline, slot)
                if written is None
                else self._resumable(prompt, sampling, deadline, slot, written)
            )
            free = sampling.json_schema is None or bool(written)
            async with aclosing(pieces):
                async for piece in pieces:
                    free = free or _begins_json(piece.text)
                    yield piece

    async def _streamed(
        self, prompt: list[int], sampling: Sampling, deadline: float, slot: int | None
    ) -> AsyncGenerator[Piece]:
        """A text in one stream."""
        body = self._completion(prompt, sampling, slot)
        async with aclosing(wire.events(self._supervisor.exchange, body, deadline)) as events:
            async for event in events:
                if event.get("stop"):
                    yield wire.last_piece(event, len(prompt))
                    return
                if event["content"]:
                    logprobs = wire.token_logprobs(event, sampling.top_logprobs)
                    yield Piece(text=event["content"], logprobs=logprobs)
        raise EngineError("llama.cpp ended the text without a word.", "Try again.")

    def _resumable(
        self,
        prompt: list[int],
        sampling: Sampling,
        deadline: float,
        slot: int | None,
        written: Sequence[int],
    ) -> AsyncGenerator[Piece]:
        """A text in stretches. Raises EngineError when the model's tokens cannot be told apart by their bytes."""
        if self._tongue.vocabulary is None:
            raise EngineError(f"{self._name} has no byte-level vocabulary.", "Ask in the real-time lane.")

        async def events(ids: list[int], count: int, seed: int) -> AsyncGenerator[dict[str, Any]]:
            await by(deadline, self._read_in(ids, slot))
            body = {**self._completion(ids, sampling, slot), "n_predict": count, "seed": seed, "stop": []}
            body["return_tokens"] = True
            async with aclosing(wire.events(self._supervisor.exchange, body, deadline)) as stream:
                async for event in stream:
                    self._caches.grow(slot, event.get("tokens", []))
                    yield event

        async def tokens_of(text: str) -> list[int]:
            return await by(deadline, self._tongue.cut([text]))

        limit = min(sampling.max_tokens, self._launch.context - len(prompt))
        return stretches(events, tokens_of, self._tongue.vocabulary, prompt, sampling, limit, written)

    async def _read_in(self, ids: list[int], slot: int | None) -> None:
        """Read a prompt into a slot's cache in slices, but for the last one. What lies there already is passed over."""
        if slot is None:
            return
        for part in self._caches.slices(slot, ids):
            self._caches.note(slot, part)
            began = time.monotonic()
            await self._post("/completion", bodies.read_in(part, slot))
            self._caches.took(time.monotonic() - began)

    @asynccontextmanager
    async def _place(self, deadline: float) -> AsyncIterator[None]:
        """A slot to write in; writers leave one to the decisions."""
        async with AsyncExitStack() as held:
            for places in (self._writers, self._slots):
                await by(deadline, places.acquire())
                held.callback(places.release)
            yield

    async def count(self, text: str) -> int:
        """Number of tokens of `text`, special tokens in it read as plain characters."""
        return len(await by(deadline_in(_SHORT), self._tongue.cut(prompts.plain_pieces(text))))

    async def _decision_prompt(self, state: str, question: Question) -> Sequence[prompts.Piece]:
        self._supervisor.require_up()
        prompt = await self._tongue.decision_prompt(state, question)
        if all(isinstance(p, int) for p in prompt):
            prompts.require_fit(len(prompt), self._launch.context)
        return prompt

    async def _score(self, prompt: Sequence[prompts.Piece], count: int, slot: int | None) -> OptionScores:
        """Log-probabilities of the first `count` labels after `prompt`, in one prefill. Raises TooLargeError when it does not fit."""
        labels = self._tongue.labels[:count]
        self._caches.note(slot, ())
        reply = await self._post("/completion", bodies.score(prompt, labels, slot))
        tokens = wire.prompt_tokens(reply)
        prompts.require_fit(tokens, self._launch.context)
        if slot is not None:
            self._caches.note(slot, [UNKNOWN] * tokens)
        return OptionScores(logprobs=wire.label_logprobs(reply, labels), input_tokens=tokens)

    def _completion(self, prompt: list[int], sampling: Sampling, slot: int | None = None) -> dict[str, Any]:
        """A streaming request; turns cannot be opened by the model."""
        self._caches.note(slot, prompt)
        turns = [self._tongue.special[t] for t in (SYSTEM, USER, ASSISTANT)]
        return bodies.completion(prompt, sampling, self._launch.context - len(prompt), turns, slot)

    async def _check_context(self) -> None:
        """Refuse to serve a context the model does not carry."""
        reply = await wire.spoken(self._supervisor.client.get("/props"))
        served = wire.read(reply)["default_generation_settings"]["n_ctx"]
        if served < self._launch.context:
            raise EngineError(
                f"A context of {self._launch.context} tokens was asked for; {self._name} carries {served}.",
                f"Set `context` to at most {served}.",
            )

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post and read JSON; once more when a connection broke and the child still lives, as nothing here has effects."""
        try:
            return wire.read(await self._supervisor.exchange.post(path, body))
        except BrokenError:
            return wire.read(await self._supervisor.exchange.post(path, body))


def _begins_json(text: str) -> bool:
    """Whether a text has begun as JSON does; not yet, when it is blank.

    Raises:
        EngineError: it is something else: llama.cpp drops a schema it cannot compile without a word.
    """
    begun = text.lstrip()
    if begun and begun[0] not in _JSON_STARTS:
        raise EngineError("llama.cpp did not keep to the schema.", "Ask for a simpler one.")
    return bool(begun)
