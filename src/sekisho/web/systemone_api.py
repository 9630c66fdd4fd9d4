"""POST /v1/systemone: any typed question over a state, answered with a probability for every option and written down."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..core.canonical import digest
from ..core.engine import Lane
from ..core.errors import InputError
from ..core.records import Judgement
from ..loop.answers import wire_answer
from ..loop.nli import claim_of, is_nli
from . import questions
from .access import REQUEST_ID
from .bodies import read_object
from .desk import Desk, caller_of, desk_of, links_of, request_id
from .errors import json_response
from .lanes import lane_of
from .schemas import ERRORS, SystemOneAnswer, SystemOneRequest, body_of
from .waiting import hung_up

router = APIRouter(tags=["System One"])


@router.post(
    "/v1/systemone",
    summary="Answer typed questions over a state",
    description="One probability for every option of every question; each answer is in the ledger before it is sent. "
    "A choice named `gate` with the labels ALLOW, ESCALATE and DENY is the gate itself; its answer carries `x_decision`.",
    responses={200: {"model": SystemOneAnswer, "description": "Every question answered."}, **ERRORS},
    openapi_extra=body_of(SystemOneRequest),
)
async def systemone(request: Request) -> Response:
    """Read, ask, answer; a retry gets the answer of the request it repeats."""
    desk = desk_of(request)
    raw, body = await read_object(request, desk.body_limit, InputError)
    asked = questions.read_request(body, desk.parts.settings.max_questions)
    model, lane = lane_of(request, asked.model)
    if model is not None:
        desk.require_model(model)
    mine = request_id(request)

    async def work(repeats: str | None) -> dict[str, Any]:
        links = {"request": mine, **links_of(caller_of(request))}
        links |= {"retry_of": repeats} if repeats else {}
        return await _answer(desk, asked, links, lane, caller_of(request).clearance)

    first, answer = await desk.retries.run(
        _key(request, lane, raw), mine, _is_retry(request), work, lambda: hung_up(request)
    )
    return json_response(answer, headers={REQUEST_ID: first})


async def _answer(
    desk: Desk, asked: questions.Request, links: dict[str, str], lane: Lane, level: str | None
) -> dict[str, Any]:
    judgements = await _judged(desk, asked, links, lane, level)
    answers = {
        a.name: wire_answer(a.question, a.shown, j) for a, j in zip(asked.asked, judgements, strict=True)
    }
    tokens = sum(int(j.usage["input_tokens"]) for j in judgements)
    return {
        "model": judgements[0].stamp.model,
        "answers": answers,
        "usage": {"input_tokens": tokens, "output_tokens": 0},
        "x_request": links["request"],
    }


async def _judged(
    desk: Desk, asked: questions.Request, links: dict[str, str], lane: Lane, level: str | None
) -> list[Judgement]:
    """Judgements in the order asked. A choice named `nli` over a pair is the NLI classifier's, every other question the engine's."""
    claim = claim_of(asked.state)
    mine = [a for a in asked.asked if claim is not None and is_nli(a.name, a.question)]
    rest = [a for a in asked.asked if a not in mine]
    found = await desk.judge.ask(asked.state, rest, links, lane, level) if rest else []
    by_name = dict(zip((a.name for a in rest), found, strict=True))
    if mine and claim is not None:
        _, _, (answer,) = await desk.nli.judge([claim], links)
        if answer.judgement is None:
            raise answer.error or InputError("The pair could not be judged.")
        by_name |= {a.name: answer.judgement for a in mine}
    return [by_name[a.name] for a in asked.asked]


def _key(request: Request, lane: Lane, raw: bytes) -> str:
    """Who asks what, and in which lane: a digest of the token if there is one, else the address, and of the body."""
    address = request.client.host if request.client else ""
    who = request.headers.get("authorization") or address  # a header holds no zero byte
    return digest(b"\0".join((who.encode("utf-8"), lane.encode(), raw)))


def _is_retry(request: Request) -> bool:
    """Whether the client counts this as a second or later attempt."""
    count = request.headers.get("x-typesafe-retry-count", "")
    return count.isascii() and count.isdigit() and count.strip("0") != ""
