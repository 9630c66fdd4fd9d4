"""POST /v1/decisions: the same typed questions as System One, in the words of OpenAI's and LiteLLM's clients."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..core.records import Judgement
from ..loop.answers import wire_answer
from .bodies import read_object
from .decisions_form import Decisions, decision_answer, read_decisions
from .desk import caller_of, desk_of, links_of, request_id
from .errors import json_response
from .lanes import lane_of
from .schemas import ERRORS, body_of
from .schemas_dialects import DecisionsAnswer, DecisionsRequest
from .waiting import unless_gone

router = APIRouter(tags=["OpenAI"])


@router.post(
    "/v1/decisions",
    summary="Answer typed questions, as OpenAI's Decisions do",
    description="Judged and recorded as `/v1/systemone` is; `predicate`, `choice` and `score` instead of `noul`, `choice` and `score`, and answers in a list in the order "
    "of the questions. LiteLLM sends the same form. Text only; a list of messages is read as its turns.",
    responses={200: {"model": DecisionsAnswer, "description": "Every question answered."}, **ERRORS},
    openapi_extra=body_of(DecisionsRequest),
)
async def decisions(request: Request) -> Response:
    """Read, ask, answer."""
    desk = desk_of(request)
    _, body = await read_object(request, desk.body_limit)
    form = read_decisions(body, desk.parts.settings.max_questions)
    model, lane = lane_of(request, form.model)
    desk.require_model(model)
    mine = request_id(request)
    caller = caller_of(request)
    links = {"request": mine, **links_of(caller)}
    asking = desk.judge.ask(form.state, form.asked, links, lane, caller.clearance)
    return json_response(_answer(form, await unless_gone(request, asking), mine))


def _answer(form: Decisions, judgements: list[Judgement], request: str) -> dict[str, Any]:
    answers = [
        decision_answer(wire_answer(a.question, a.shown, j), values, name)
        for a, j, values, name in zip(form.asked, judgements, form.values, form.names, strict=True)
    ]
    tokens = sum(int(j.usage.get("input_tokens", 0)) for j in judgements)
    usage = {
        "input_tokens": tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens,
    }
    return {"model": judgements[0].stamp.model, "answers": answers, "usage": usage, "x_request": request}
