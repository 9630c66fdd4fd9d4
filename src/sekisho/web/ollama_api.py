"""Ollama's routes: the same gate, ledger and lanes as every other chat, in Ollama's words. Exactly one model is listed, and nothing is ever loaded."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from .. import __version__
from ..core.canonical import utc_now
from ..core.engine import Lane, Piece
from ..core.errors import SekishoError
from ..core.tools import ToolCall
from ..loop.judge import Chat
from ..loop.served import Served, served
from . import answering, errors
from .bodies import read_object
from .desk import Desk, desk_of
from .lanes import lane_of
from .ollama_form import OllamaForm, read_ollama
from .ollama_tools import told_calls
from .openai_api import verdict_of
from .schemas import ERRORS, body_of
from .schemas_dialects import (
    OllamaAnswer,
    OllamaChat,
    OllamaGenerate,
    OllamaModels,
    OllamaShow,
    OllamaVersion,
)
from .waiting import EventStream, unless_gone

router = APIRouter(tags=["Ollama"])

TAG = ":latest"
"""Ollama's clients name a model with a tag; there is only this one."""
_FOR_EVER, _EVER = "9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z"
"""A pinned model does not expire, and a release is named by its content, not by a time."""
_PINNED = (
    "Options that say how a model is loaded (`num_ctx` up to the context, `num_gpu`, `keep_alive` …) are mapped to what serves, everything else "
    "this version does not do is refused with 400; nothing is ever loaded or unloaded."
)


@router.post(
    "/api/chat",
    summary="Answer a conversation, as Ollama does",
    description=f"Judged and recorded as `/v1/chat/completions` is, with tools as there. Lines of JSON unless `stream` is false. {_PINNED}",
    responses={200: {"model": OllamaAnswer, "description": "An answer, or lines of one."}, **ERRORS},
    openapi_extra=body_of(OllamaChat),
)
async def chat(request: Request) -> Response:
    """Gate, then write."""
    return await _answered(request, generate=False)


@router.post(
    "/api/generate",
    summary="Answer a prompt, as Ollama does",
    description=f"As `/api/chat`, with one prompt. Without a prompt it says that the model is in memory. {_PINNED}",
    responses={200: {"model": OllamaAnswer, "description": "An answer, or lines of one."}, **ERRORS},
    openapi_extra=body_of(OllamaGenerate),
)
async def generate(request: Request) -> Response:
    """Gate, then write."""
    return await _answered(request, generate=True)


@router.get(
    "/api/tags",
    summary="The one model, as Ollama lists models",
    description="Exactly one entry: what serves now.",
    responses={200: {"model": OllamaModels, "description": "The model that serves."}, **ERRORS},
)
async def tags(request: Request) -> Response:
    """The model that serves."""
    desk = desk_of(request)
    return errors.json_response({"models": [_listed(desk, await _served(desk))]})


@router.get(
    "/api/ps",
    summary="What is in memory, as Ollama tells it",
    description="Exactly one entry, which never expires.",
    responses={200: {"model": OllamaModels, "description": "The model that serves."}, **ERRORS},
)
async def ps(request: Request) -> Response:
    """The model that serves, which is in memory always."""
    desk = desk_of(request)
    found, info = await _served(desk), desk.judge.serving.engine.info
    listed = {
        **_listed(desk, found),
        "expires_at": _FOR_EVER,
        "size_vram": found.size if info.device == "cuda" else 0,
        "context_length": info.context,
    }
    del listed["modified_at"]
    return errors.json_response({"models": [listed]})


@router.post(
    "/api/show",
    summary="The model's own data, as Ollama tells it",
    description="Metadata of the weights file, the context that is served, and what the model can do: `completion`, and `tools` where they are passed on.",
    responses={200: {"model": OllamaShow, "description": "The model that serves."}, **ERRORS},
    openapi_extra=body_of(OllamaShow),
)
async def show(request: Request) -> Response:
    """What is known of the model that serves."""
    desk = desk_of(request)
    _, body = await read_object(request, desk.body_limit)
    _require_model(request, desk, body.get("model", body.get("name")))
    found, info = await _served(desk), desk.judge.serving.engine.info
    told = {
        "modelfile": f"# {desk.model}, pinned by the operator; nothing can be made from it here.\n",
        "parameters": f"num_ctx {info.context}",
        "template": "{{ .Prompt }}",
        "details": _details(found),
        "model_info": {**found.values, f"{found.family}.context_length": info.context},
        "capabilities": ["completion", "tools"] if info.tools else ["completion"],
    }
    return errors.json_response(told)


@router.get(
    "/api/version",
    summary="The version, as Ollama tells it",
    description="The version of this server; no version of Ollama runs here.",
    responses={200: {"model": OllamaVersion, "description": "The version."}, **ERRORS},
)
async def version(request: Request) -> Response:
    """This server's version."""
    return errors.json_response({"version": __version__})


class Telling:
    """The words of one answer, in the form of `/api/chat` or `/api/generate`."""

    def __init__(self, form: OllamaForm, generate: bool) -> None:
        self._model, self._generate = form.model, generate
        self._begun = time.monotonic_ns()
        self._written: int | None = None
        self.verdict: dict[str, Any] | None = None

    def part(self, text: str, calls: Sequence[ToolCall] = (), **more: Any) -> dict[str, Any]:
        """A piece of the answer. The first that holds text ends the reading of the prompt."""
        if text and self._written is None:
            self._written = time.monotonic_ns()
        message = {"role": "assistant", "content": text, **told_calls(calls)}
        said = {"response": text} if self._generate else {"message": message}
        return {"model": self._model, "created_at": utc_now(), **said, "done": False, **more}

    def last(self, piece: Piece | None, text: str = "", calls: Sequence[ToolCall] = ()) -> dict[str, Any]:
        """The piece that ends the answer; None when the policy answered. Durations are nanoseconds; loading takes none."""
        now = time.monotonic_ns()
        written = self._written or now
        counts = (piece.input_tokens, piece.output_tokens) if piece else (0, 0)
        return self.part(
            text,
            calls,
            done=True,
            done_reason=_reason(piece),
            total_duration=now - self._begun,
            load_duration=0,
            prompt_eval_count=counts[0],
            prompt_eval_duration=written - self._begun,
            eval_count=counts[1],
            eval_duration=now - written,
            x_sekisho=self.verdict,
        )

    def loaded(self) -> dict[str, Any]:
        """The answer to a request that only wants the model in memory, where it is."""
        return self.part("", done=True, done_reason="load")


async def _answered(request: Request, generate: bool) -> Response:
    desk = desk_of(request)
    _, body = await read_object(request, desk.body_limit)
    lane = _require_model(request, desk, body.get("model"))
    form = read_ollama(body, desk.judge.serving.engine.info.context, generate)
    telling = Telling(form, generate)
    if form.chat is None:
        return errors.json_response(telling.loaded())
    chat = await answering.judged(request, form.chat, lane)
    telling.verdict = verdict_of(chat.judgement)
    if form.stream:
        first = await answering.started(request, chat)
        return _stream(chat, first, telling)
    return errors.json_response(await unless_gone(request, _whole(chat, telling)))


def _stream(chat: Chat, first: asyncio.Task[Piece] | None, telling: Telling) -> Response:
    return EventStream(_lines(chat, first, telling), "application/x-ndjson", _line(telling.part("")))


async def _lines(chat: Chat, first: asyncio.Task[Piece] | None, telling: Telling) -> AsyncGenerator[bytes]:
    """The lines of an answer. An error in the middle becomes a line, and nothing follows it."""
    try:
        if chat.pieces is None or first is None:
            yield _line(telling.part(chat.text or ""))
            yield _line(telling.last(None))
            return
        async for piece in answering.with_first(first, chat.pieces):
            if piece.text or piece.calls:
                yield _line(telling.part(piece.text, piece.calls))
        yield _line(telling.last(piece))
    except SekishoError as e:
        yield _line({"error": str(e)})
    finally:
        await answering.close(chat, first)


async def _whole(chat: Chat, telling: Telling) -> dict[str, Any]:
    if chat.pieces is None:
        return telling.last(None, chat.text or "")
    text = ""
    async for piece in chat.pieces:
        telling.part(piece.text)  # it takes note of when the first text came
        text += piece.text
    return telling.last(piece, text, piece.calls)


def _reason(piece: Piece | None) -> str | None:
    """Why an answer ended; for one that calls tools Ollama has no word of its own."""
    if piece is None:
        return "content_filter"
    return "stop" if piece.finish == "tool_calls" else piece.finish


def _require_model(request: Request, desk: Desk, name: Any) -> Lane:
    """The lane a request takes. Raises as `Desk.require_model` does."""
    model, lane = lane_of(request, name)
    desk.require_model(model.removesuffix(TAG) if isinstance(model, str) else model)
    return lane


async def _served(desk: Desk) -> Served:
    return await asyncio.to_thread(served, desk.parts, desk.judge.serving)


def _listed(desk: Desk, found: Served) -> dict[str, Any]:
    stamp = desk.judge.serving.stamp
    name = stamp.model + TAG
    return {
        "name": name,
        "model": name,
        "modified_at": _EVER,
        "size": found.size,
        "digest": stamp.model_digest.removeprefix("sha256:"),
        "details": _details(found),
    }


def _details(found: Served) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": found.family,
        "families": [found.family],
        "parameter_size": str(found.values.get("general.size_label", "")),
        "quantization_level": found.numbers,
    }


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"
