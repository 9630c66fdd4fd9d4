"""OpenAI's older completions: a prompt is one turn of a user, judged and recorded as a chat is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..core.engine import Piece
from ..core.errors import InputError, SekishoError
from ..loop.judge import Chat
from . import answering, errors
from .bodies import read_object
from .chat_form import ChatForm, read_chat
from .desk import desk_of
from .lanes import lane_of
from .openai_api import Answer, event_of
from .schemas import ERRORS, body_of
from .schemas_dialects import CompletionAnswer, CompletionRequest
from .waiting import EventStream, unless_gone

router = APIRouter(tags=["OpenAI"])
_OFF: Mapping[str, tuple[Any, ...]] = {
    "echo": (False,),
    "best_of": (1,),
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
}
_MOST = 5
_USUAL_TOKENS = 16


@router.post(
    "/v1/completions",
    summary="Answer a prompt, if the gate allows it",
    description="As `/v1/chat/completions`, with one prompt as one turn of a user: nobody outside writes a model's control tokens. `logprobs` takes 0 to 5; `echo`, `suffix` and several prompts are refused.",
    responses={
        200: {"model": CompletionAnswer, "description": "A completion, or server-sent chunks of one."},
        **ERRORS,
    },
    openapi_extra=body_of(CompletionRequest),
)
async def completions(request: Request) -> Response:
    """Gate, then write."""
    desk = desk_of(request)
    _, body = await read_object(request, desk.body_limit)
    form = read_completion(body, desk.judge.serving.engine.info.context)
    model, lane = lane_of(request, form.model)
    desk.require_model(model)
    chat = await answering.judged(request, form, lane)
    answer = Completion(chat.judgement)
    if form.stream:
        first = await answering.started(request, chat)
        return EventStream(_events(chat, answer, first, form))
    text, last = await unless_gone(request, answering.whole(chat))
    more = {**answer.counted(last), "x_sekisho": answer.verdict()}
    return errors.json_response(answer.told(text, answer.finish(last), last, **more))


def read_completion(body: Mapping[str, Any], context: int) -> ChatForm:
    """Read a completion's request as the chat it stands for; null means absent.

    Raises:
        InputError: naming the field that is wrong or not done here.
    """
    given = {k: v for k, v in body.items() if v is not None}
    for name, usual in _OFF.items():
        if given.pop(name, usual[0]) not in usual:
            raise InputError(f"This version does not do `{name}`.", "", ("body", name))
    for name in ("messages", "top_logprobs", "response_format"):
        if name in given:
            raise InputError(f"`{name}` is unknown here.", "Use /v1/chat/completions.", ("body", name))
    prompt = given.pop("prompt", None)
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError("`prompt` is not one text with something in it.", "", ("body", "prompt"))
    if "logprobs" in given:
        top = given.pop("logprobs")
        if isinstance(top, bool) or not isinstance(top, int) or not 0 <= top <= _MOST:
            raise InputError(f"`logprobs` is not a whole number from 0 to {_MOST}.", "", ("body", "logprobs"))
        given |= {"logprobs": True, "top_logprobs": top}
    given.setdefault("max_tokens", _USUAL_TOKENS)
    return read_chat({**given, "messages": [{"role": "user", "content": prompt}]}, context)


class Completion(Answer):
    """The words of one completion of the older form."""

    def told(self, text: str, finish: str | None, piece: Piece | None, **more: Any) -> dict[str, Any]:
        """A completion, or a chunk of one."""
        choice = {"index": 0, "text": text, "logprobs": _logprobs(piece), "finish_reason": finish}
        shared = {**self.shared, "id": str(self.shared["id"]).replace("chatcmpl", "cmpl")}
        return {**shared, "object": "text_completion", "choices": [choice], **more}


def _logprobs(piece: Piece | None) -> dict[str, Any] | None:
    """Log-probabilities as the older form has them: lists beside each other."""
    if piece is None or not piece.logprobs:
        return None
    tokens = [t.token for t in piece.logprobs]
    return {
        "tokens": tokens,
        "token_logprobs": [t.logprob for t in piece.logprobs],
        "top_logprobs": [{name: value for name, value, _ in t.top} for t in piece.logprobs],
        "text_offset": [len("".join(tokens[:i])) for i in range(len(tokens))],
    }


async def _events(
    chat: Chat, answer: Completion, first: asyncio.Task[Piece] | None, form: ChatForm
) -> AsyncGenerator[bytes]:
    """The stream of a completion. An error in the middle becomes an event, and no [DONE] follows it."""
    try:
        last: Piece | None = None
        if chat.pieces is None or first is None:
            yield event_of(answer.told(chat.text or "", None, None, x_sekisho=answer.verdict()))
        else:
            async for last in answering.with_first(first, chat.pieces):
                if last.text or last.logprobs:
                    yield event_of(answer.told(last.text, None, last, x_sekisho=answer.verdict()))
        yield event_of(answer.told("", answer.finish(last), None))
        if form.usage:
            yield event_of({**answer.told("", None, None), "choices": [], **answer.counted(last)})
        yield b"data: [DONE]\n\n"
    except SekishoError as e:
        yield event_of(errors.event(e))
    finally:
        await answering.close(chat, first)
