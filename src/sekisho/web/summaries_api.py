"""POST /v1/summaries: a text of any length, summarised in the batch lane; progress as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..core.access import Caller
from ..core.errors import InputError, SekishoError
from ..loop import summarise
from ..loop.summarise import Summary
from . import errors
from .desk import Desk, caller_of, desk_of, links_of
from .forms import read_form
from .lanes import lane_of
from .schemas import ERRORS, body_of
from .schemas_dialects import SummaryAnswer, SummaryRequest
from .waiting import EventStream, unless_gone

router = APIRouter(tags=["Summaries"])


@router.post(
    "/v1/summaries",
    summary="Summarise a text of any length",
    description="Cut by tokens at the ends of sentences, with overlap; every part is judged, written and recorded by itself, in the batch lane, and summaries are summarised until one is "
    "left. Each line carries the parts of the text it came from; what the gate did not let pass is in `left_out`. With `stream`, progress comes as events, and the summary last. A request that was cut "
    "off goes on from what was done when it is sent again. Texts above `max_body_bytes` are refused.",
    responses={200: {"model": SummaryAnswer, "description": "The summary, or events and it."}, **ERRORS},
    openapi_extra=body_of(SummaryRequest),
)
async def summaries(request: Request) -> Response:
    """Summarise, part by part."""
    desk = desk_of(request)
    form = await read_form(request, desk.body_limit, SummaryRequest)
    if lane_of(request)[1] == "rt" and request.headers.get("x-sekisho-lane"):
        raise InputError(
            "Summaries take the batch lane.", "Leave the header out.", ("header", "x-sekisho-lane")
        )
    work = _work(desk, form, caller_of(request))
    if form.stream:
        return EventStream(_lines(work))
    return errors.json_response(await unless_gone(request, _whole(work)))


def _work(desk: Desk, form: SummaryRequest, caller: Caller) -> Summary:
    settings, who = desk.parts.settings, (links_of(caller), caller.clearance)
    return Summary(desk.judge, settings.home, form.text, form.contract, settings.slots, who)


async def _whole(work: Summary) -> dict[str, Any]:
    async def silent(name: str, done: int, total: int) -> None:
        """Nobody is told before it is done."""

    return await work.run(silent)


async def _lines(work: Summary) -> AsyncGenerator[bytes]:
    """The events; an error is the last one."""
    async with aclosing(summarise.events(work)) as found:
        try:
            async for event in found:
                yield _event(event)
        except SekishoError as e:
            yield _event({"type": "error", "error_type": errors.error_type(e), "message": str(e)})


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n\n"
