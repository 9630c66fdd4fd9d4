"""OpenAI's chat and model routes: gated before the first token; what is released is recorded before."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from ..core.canonical import short
from ..core.engine import Piece
from ..core.errors import SekishoError
from ..core.records import Judgement
from ..core.tools import ToolCall
from ..loop.judge import Chat
from . import answering, errors
from .bodies import read_object
from .chat_form import ChatForm, read_chat
from .desk import ALIAS, desk_of
from .lanes import lane_of
from .schemas import ERRORS, ChatAnswer, ChatRequest, ModelEntry, ModelList, body_of
from .waiting import EventStream, unless_gone

router = APIRouter(tags=["OpenAI"])


@router.post(
    "/v1/chat/completions",
    summary="Answer a conversation, if the gate allows it",
    description="Every message is judged but the answers this server wrote, and so are the words of `tools`; and all of them as one text, before the first token. At most 512 messages and 128 tools come at once. "
    "A request that is refused or escalated is answered with the policy's text, `finish_reason` content_filter and the judgement in `x_sekisho`. `x_contract` names the identity contract. "
    "`response_format` takes a JSON schema of types, properties, items, enum, const, anyOf, references into $defs, counts and bounds; anything else in it, and one too large, is a 422. "
    "`tools` (functions) and their results are passed on by the engine `remote`, and are a 422 with others; calls come whole, once they are in the ledger. "
    "A long wait within a stream is filled with comments, so that nobody between takes the connection for dead.",
    responses={
        200: {"model": ChatAnswer, "description": "A completion, or server-sent chunks of one."},
        **ERRORS,
    },
    openapi_extra=body_of(ChatRequest),
)
async def chat_completions(request: Request) -> Response:
    """Gate, then write."""
    desk = desk_of(request)
    _, body = await read_object(request, desk.body_limit)
    form = read_chat(body, desk.judge.serving.engine.info.context)
    model, lane = lane_of(request, form.model)
    desk.require_model(model)
    chat = await answering.judged(request, form, lane)
    answer = Answer(chat.judgement)
    if form.stream:
        first = await answering.started(request, chat)
        return EventStream(_events(chat, answer, first, form))
    text, last = await unless_gone(request, answering.whole(chat))
    return errors.json_response(answer.whole(text, last))


@router.get(
    "/v1/models",
    summary="List the models that answer here",
    description="One body for two kinds of clients: OpenAI's read `data`, System One's read `models`.",
    responses={200: {"model": ModelList, "description": "The served model and its alias."}, **ERRORS},
)
async def models(request: Request) -> Response:
    """The served model by its own name and by the name System One's clients use."""
    serving = desk_of(request).judge.serving
    told = f"{serving.stamp.engine}, release {short(serving.stamp.model_digest)}, {serving.stamp.calibration}"
    names = list(dict.fromkeys((serving.stamp.model, ALIAS)))
    data = [_entry(n) for n in names]
    listed = [{"name": n, "description": told, "release_date": ""} for n in names]
    return errors.json_response({"object": "list", "data": data, "models": listed})


@router.get(
    "/v1/models/{id}",
    summary="One model that answers here",
    description="The entry of that model as OpenAI's clients read it; 404 when it is not served.",
    responses={200: {"model": ModelEntry, "description": "The model."}, **ERRORS},
)
async def model(
    request: Request, id: Annotated[str, Path(max_length=1000, description="Its name.")]
) -> Response:
    """One of the names under which the served model answers."""
    desk_of(request).require_model(id)
    return errors.json_response(_entry(id))


def _entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "sekisho"}


class Answer:
    """The words of one completion; the judgement that let it pass, or did not, is in every form of it."""

    def __init__(self, judgement: Judgement) -> None:
        self._judgement = judgement
        self.shared = {
            "id": f"chatcmpl-{judgement.id}",
            "created": int(time.time()),
            "model": judgement.stamp.model,
            "system_fingerprint": short(judgement.stamp.model_digest),
        }

    def whole(self, text: str, last: Piece | None) -> dict[str, Any]:
        """A completion in one piece. `last` is None when the policy answered."""
        calls = [told_call(call) for call in last.calls] if last else []
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if calls:
            message |= {"content": text or None, "tool_calls": calls}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": told_logprobs(last),
            "finish_reason": self.finish(last),
        }
        return {
            **self.shared,
            "object": "chat.completion",
            "choices": [choice],
            **self.counted(last),
            "x_sekisho": self.verdict(),
        }

    def chunk(
        self,
        delta: dict[str, Any] | None,
        finish: str | None = None,
        piece: Piece | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """A chunk of a stream; without delta it has no choices. `piece` brings log-probabilities."""
        choice = {"index": 0, "delta": delta, "logprobs": told_logprobs(piece), "finish_reason": finish}
        choices = [] if delta is None else [choice]
        return {**self.shared, "object": "chat.completion.chunk", "choices": choices, **more}

    def finish(self, last: Piece | None) -> str | None:
        """Why the answer ended."""
        return last.finish if last else "content_filter"

    def usage(self, last: Piece | None) -> dict[str, int] | None:
        """Token counts: of the writing, or of the gate when nothing was written; None when the gate could not be read."""
        asked = last.input_tokens if last else self._judgement.usage.get("input_tokens")
        if asked is None:
            return None
        read, written = int(asked), last.output_tokens if last else 0
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def counted(self, last: Piece | None) -> dict[str, Any]:
        """`usage`, or nothing when it is not known: OpenAI's document has no null there."""
        usage = self.usage(last)
        return {} if usage is None else {"usage": usage}

    def verdict(self) -> dict[str, Any]:
        """The gate's judgement, for programs."""
        return verdict_of(self._judgement)


def told_call(call: ToolCall) -> dict[str, Any]:
    """A call of a tool, in OpenAI's form."""
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def told_logprobs(piece: Piece | None) -> dict[str, Any] | None:
    """A piece's tokens with their log-probabilities, in OpenAI's form; None when there are none."""
    if piece is None or not piece.logprobs:
        return None

    def told(token: str, logprob: float, utf8: Sequence[int]) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(utf8)}

    content = [
        {**told(t.token, t.logprob, t.utf8), "top_logprobs": [told(*other) for other in t.top]}
        for t in piece.logprobs
    ]
    return {"content": content, "refusal": None}


def verdict_of(judgement: Judgement) -> dict[str, Any]:
    """A judgement of the gate, for programs; in every dialect under `x_sekisho`."""
    return {
        "judgement": judgement.id,
        "decision": judgement.decision,
        "reasons": list(judgement.reasons),
        "policy_ref": judgement.policy_ref,
        "escalation_target": judgement.escalation_target,
        "proposal": judgement.proposal,
        "risks": list(judgement.risks),
        "calibration": judgement.stamp.calibration,
    }


async def _events(
    chat: Chat, answer: Answer, first: asyncio.Task[Piece] | None, form: ChatForm
) -> AsyncGenerator[bytes]:
    """The stream of a completion. An error in the middle becomes an event, and no [DONE] follows it."""
    extra = {"usage": None} if form.usage else {}
    try:
        yield event_of(
            answer.chunk({"role": "assistant", "content": ""}, x_sekisho=answer.verdict(), **extra)
        )
        last: Piece | None = None
        if chat.pieces is None or first is None:
            yield event_of(answer.chunk({"content": chat.text}, **extra))
        else:
            async for last in answering.with_first(first, chat.pieces):
                if last.text or last.logprobs:
                    yield event_of(answer.chunk({"content": last.text}, piece=last, **extra))
        for i, call in enumerate(last.calls if last else ()):
            yield event_of(answer.chunk({"tool_calls": [{"index": i, **told_call(call)}]}, **extra))
        yield event_of(answer.chunk({}, answer.finish(last), **extra))
        if form.usage:
            yield event_of(answer.chunk(None, usage=answer.usage(last)))
        yield b"data: [DONE]\n\n"
    except SekishoError as e:
        yield event_of(errors.event(e))
    finally:
        await answering.close(chat, first)


def event_of(value: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n\n"
