"""The remote engine: a model that another server holds (llama.cpp, vLLM, SGLang, LMDeploy, Ollama, `transformers serve`, LiteLLM), over HTTP.

What the server can do is found out once, at the start, and said in the engine's name, which stands in every judgement's stamp: `remote/systemone`,
`remote/logprobs` or `remote/choice`. There is no other server to fall back to: what this one does not answer is not answered.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal

from ...core.canonical import digest_json, digest_text
from ...core.engine import EngineInfo, Message, Piece, Sampling, TokenLogprob
from ...core.errors import EngineError, SekishoError
from ...core.question import OptionScores, Question, QuestionType
from .. import prompts
from ..deadline import deadline_in
from . import calls, ways
from .link import AbsentError, Link, Names
from .ways import Way

_SHORT = 30.0
_TOPS = (500, 20, 5)
"""Numbers of log-probabilities servers give, the most first; many refuse more than 20."""
_log = logging.getLogger("sekisho.remote")


class RemoteEngine:
    """Asks one model on one far server. Fulfils `core.engine.Backend`.

    Args:
        url: the server's root.
        name: the name our clients use.
        model: the model's name there; None takes the only one it lists.
        key: bearer token for it.
        decisions: the way to a decision; `auto` takes the best that keeps probabilities. `choice` loses them, and is only taken when it is named.
        temperatures: what the server divides logits by, by question type, when it answers System One.
        context: tokens one request may use.
        names: the settings that named the server, where they are not those of the first one.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        model: str | None = None,
        key: str | None = None,
        decisions: Literal["auto", "systemone", "logprobs", "choice"] = "auto",
        temperatures: Mapping[QuestionType, float] | None = None,
        context: int = 2048,
        link: Link | None = None,
        names: Names | None = None,
    ) -> None:
        self._url, self._name, self._wanted = url, name, model
        self._link = link or Link(url, key, names=names)
        self._decisions = decisions
        self._temperatures = temperatures or {}
        self._context = context
        self._model = model or ""
        self._way: Way | None = None
        self._top = _TOPS[0]
        self._tokenizes = False

    @property
    def info(self) -> EngineInfo:
        """What is being asked. The digest is of the address and the name there: nobody here has seen the weights."""
        return EngineInfo(
            engine=f"remote/{self._way or 'unknown'}",
            model=self._name,
            model_digest=digest_text(f"remote:{self._url}:{self._model}"),
            context=self._context,
            device="remote",
            tools=True,
        )

    async def start(self) -> None:
        """Find the model and the best way to a decision. Raises EngineError when there is none."""
        self._link.start()
        try:
            self._model = await self._find_model()
            self._tokenizes = await self._can_tokenize()
            self._way = await self._find_way()
        except BaseException:
            await self.stop()
            raise
        if self._way == "choice":
            _log.warning("%s gives no probabilities; decisions count as single observations.", self._url)

    async def stop(self) -> None:
        """Close the connections; safe to call twice."""
        await self._link.stop()

    async def healthy(self) -> bool:
        """Whether it says that it is well, or where it has no words for that lists its models, within two seconds."""
        deadline = deadline_in(2.0)
        for path in ("/health", "/v1/models"):
            try:
                await self._link.reach(path, deadline)
            except AbsentError:
                continue
            except SekishoError:
                return False
            return True
        return False

    async def ask(
        self, state: str, questions: Sequence[Question], timeout: float, slot: int | None = None
    ) -> list[OptionScores]:
        """Score every question, the way that was found at the start."""
        prompts.plain_pieces(state)
        if self._way is None:
            raise EngineError("The engine is not running.", "Start it first.")
        return await self._ask(self._way, state, questions, deadline_in(timeout))

    async def _ask(
        self, way: Way, state: str, questions: Sequence[Question], deadline: float
    ) -> list[OptionScores]:
        if way == "systemone":
            body = ways.systemone_body(self._model, state, questions)
            reply = await self._link.post("/v1/systemone", body, deadline)
            return ways.systemone_scores(reply, questions, self._temperatures)
        return [await self._letter(way, state, question, deadline) for question in questions]

    async def _letter(self, way: Way, state: str, question: Question, deadline: float) -> OptionScores:
        path = "/v1/chat/completions"
        if way == "choice":
            body = ways.choice_body(self._model, state, question, grammar=self._tokenizes)
            return ways.choice_scores(await self._link.post(path, body, deadline), question)
        body = ways.logprobs_body(self._model, state, question, self._top)
        return ways.logprobs_scores(await self._link.post(path, body, deadline), question)

    async def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        timeout: float,
        slot: int | None = None,
        written: Sequence[int] | None = None,
    ) -> AsyncIterator[Piece]:
        """Stream an answer. A text that is taken up again is written anew and passed over as far as it had come; its characters stand for its tokens.

        Calls of tools come with the last piece.

        Raises:
            EngineError: also when it does not come out the same again, and for a call that is not whole.
        """
        prompts.require_sampling(sampling)
        tools = calls.offered(sampling)
        body = self._completion(messages, sampling, repeatable=written is not None) | tools
        gathered = calls.Gathered(tools)
        known = "".join(map(chr, written or ()))
        text, finish = "", ""
        usage: Mapping[str, Any] = {}
        async with aclosing(self._link.events("/v1/chat/completions", body, deadline_in(timeout))) as events:
            async for event in events:
                usage = event.get("usage") or usage
                part, finish = _said(event, finish)
                gathered.take(event)
                before, text = max(len(text), len(known)), text + part
                _require_same(text, known)
                if len(text) > before:
                    new = text[before:]
                    yield Piece(
                        text=new,
                        tokens=() if written is None else tuple(map(ord, new)),
                        logprobs=_tokens(event, sampling),
                    )
        called, ended = gathered.whole(finish)
        yield Piece(
            text="",
            finish=ended,
            calls=called,
            input_tokens=int(usage.get("prompt_tokens", 0)),
            output_tokens=int(usage.get("completion_tokens", 0)),
        )

    def _completion(
        self, messages: Sequence[Message], sampling: Sampling, repeatable: bool
    ) -> dict[str, Any]:
        turns = calls.turns(messages)
        seed = sampling.seed
        if seed is None and repeatable:
            seed = int(digest_json(turns).rpartition(":")[2][:7], 16)
        body = {
            "model": self._model,
            "messages": turns,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed,
            "stop": list(sampling.stop) or None,
            "stream": True,
            "stream_options": {"include_usage": True},
            **_asked_for(sampling),
        }
        return {k: v for k, v in body.items() if v is not None}

    async def count(self, text: str) -> int:
        """Number of tokens of `text`, or, where the server does not tell, of its UTF-8 bytes: a byte-level token is no shorter."""
        prompts.plain_pieces(text)
        if not self._tokenizes:
            return len(text.encode("utf-8"))
        reply = await self._link.post("/tokenize", {"content": ways.harmless(text)}, deadline_in(_SHORT))
        return len(reply["tokens"])

    async def _find_model(self) -> str:
        try:
            reply = await self._link.get("/v1/models", deadline_in(_SHORT))
        except EngineError:
            if self._wanted is None:
                raise
            return self._wanted  # `transformers serve` breaks at its own list when its model is a folder
        names = [str(m.get("id")) for m in reply.get("data", []) if isinstance(m, dict)]
        if self._wanted is not None and (self._wanted in names or not names):
            return self._wanted
        if self._wanted is None and len(names) == 1:
            return names[0]
        there = ", ".join(names[:8]) or "none"
        raise EngineError(
            f"{self._url} lists these models: {there}.", f"Name one with `{self._link.names.model}`."
        )

    async def _can_tokenize(self) -> bool:
        try:
            reply = await self._link.post("/tokenize", {"content": "a b"}, deadline_in(_SHORT))
        except SekishoError:
            return False
        return isinstance(reply.get("tokens"), list)

    async def _find_way(self) -> Way:
        """The first way that answers the smallest question; one that was named is the only one tried."""
        wanted: tuple[Way, ...] = (
            ("systemone", "logprobs") if self._decisions == "auto" else (self._decisions,)
        )
        said = ""
        for way in wanted:
            for top in _TOPS if way == "logprobs" else (self._top,):
                self._top = top
                try:
                    await self._ask(way, "", [prompts.SMALLEST], deadline_in(_SHORT))
                except (AbsentError, EngineError) as e:
                    said = f"{said} {way}: {e.what}"
                    continue
                return way
        raise EngineError(
            f"{self._url} gives no probabilities of options.{said}",
            "Serve a model that does, or set `remote_decisions` to choice and lose them.",
        )


def _asked_for(sampling: Sampling) -> dict[str, Any]:
    """A schema and log-probabilities, in OpenAI's words."""
    found: dict[str, Any] = {}
    if sampling.json_schema is not None:
        schema = {"name": "answer", "schema": json.loads(sampling.json_schema)}
        found["response_format"] = {"type": "json_schema", "json_schema": schema}
    if sampling.top_logprobs is not None:
        found |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
    return found


def _tokens(event: Mapping[str, Any], sampling: Sampling) -> tuple[TokenLogprob, ...]:
    """Tokens of an event with their log-probabilities. Raises EngineError when they were asked for and are not there."""
    if sampling.top_logprobs is None:
        return ()
    try:
        return tuple(
            TokenLogprob(
                token=t["token"],
                logprob=t["logprob"],
                utf8=_utf8(t),
                top=tuple((o["token"], o["logprob"], _utf8(o)) for o in t.get("top_logprobs") or ()),
            )
            for t in event["choices"][0]["logprobs"]["content"]
        )
    except (KeyError, IndexError, TypeError):
        raise EngineError("The far server gave no log-probabilities.", "Ask without them.") from None


def _utf8(token: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(token["token"].encode("utf-8") if token.get("bytes") is None else token["bytes"])


def _said(event: Mapping[str, Any], finish: str) -> tuple[str, str]:
    """Text of an event of a stream, and why it ended, if it did."""
    for choice in event.get("choices") or ():
        return (choice.get("delta") or {}).get("content") or "", choice.get("finish_reason") or finish
    return "", finish


def _require_same(text: str, known: str) -> None:
    if not (text.startswith(known) or known.startswith(text)):
        raise EngineError("The far server does not write the same text again.", "Ask in the real-time lane.")
