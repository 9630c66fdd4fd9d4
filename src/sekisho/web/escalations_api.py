"""The escalation queue over HTTP: list, take, decide, hand back; and what became of it, for who asked."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ..loop import escalations
from .desk import caller_of, desk_of, name_of
from .errors import json_response
from .forms import read_form
from .schemas import ERRORS, body_of
from .schemas_people import (
    DecideRequest,
    EscalationFound,
    EscalationList,
    EscalationStep,
    HandBackRequest,
    TakeRequest,
)

router = APIRouter(tags=["Escalations"])

_Id = Annotated[str, Path(max_length=200, description="The judgement, `jdg_…`")]
_STEP = {201: {"model": EscalationStep, "description": "The step, durable in the ledger."}, **ERRORS}


@router.get(
    "/v1/escalations",
    summary="List escalations that wait for a decision",
    description="A page, oldest first. `next` is the `after` of the page that follows, null at the end.",
    responses={200: {"model": EscalationList, "description": "One page."}, **ERRORS},
)
async def list_escalations(
    request: Request,
    state: Annotated[
        Literal["open", "taken", "expired"] | None, Query(description="Only those that stand so.")
    ] = None,
    after: Annotated[int, Query(ge=0, le=(1 << 63) - 1, description="`next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most of them on this page.")] = 100,
) -> Response:
    """A page of the queue."""
    parts = desk_of(request).parts
    found, following = await asyncio.to_thread(escalations.listed, parts, state, after, limit)
    return json_response({"escalations": found, "next": following})


@router.get(
    "/v1/escalations/{id}",
    summary="Where an escalation stands",
    description="Who asked reads what became of it, by the judgement's id and with the key it was asked with: `state` is open, taken, "
    "decided or expired, `outcome` ALLOW or DENY. Who may read judgements also gets its steps and what was asked.",
    responses={200: {"model": EscalationFound, "description": "The escalation."}, **ERRORS},
)
async def get_escalation(request: Request, id: _Id) -> Response:
    """One escalation."""
    parts, caller = desk_of(request).parts, caller_of(request)
    return json_response(await asyncio.to_thread(escalations.show, parts, id, caller))


@router.post(
    "/v1/escalations/{id}/take",
    status_code=201,
    summary="Take an escalation",
    description="It is nobody else's until `until`. With an API key, `by` is the key's name.",
    responses=_STEP,
    openapi_extra=body_of(TakeRequest),
)
async def take(request: Request, id: _Id) -> Response:
    """Take."""
    desk = desk_of(request)
    said = await read_form(request, desk.body_limit, TakeRequest)
    by = name_of(caller_of(request), said.by)
    step = await asyncio.to_thread(escalations.take, desk.parts, id, by)
    return json_response(step.model_dump(mode="json"), 201)


@router.post(
    "/v1/escalations/{id}/decide",
    status_code=201,
    summary="Decide on an escalation one has taken",
    description="ALLOW or DENY, with the reason; final.",
    responses=_STEP,
    openapi_extra=body_of(DecideRequest),
)
async def decide(request: Request, id: _Id) -> Response:
    """Decide."""
    desk, caller = desk_of(request), caller_of(request)
    said = await read_form(request, desk.body_limit, DecideRequest)
    by = name_of(caller, said.by)
    step = await asyncio.to_thread(
        escalations.decide, desk.parts, id, said.outcome, said.reason, by, caller.key
    )
    return json_response(step.model_dump(mode="json"), 201)


@router.post(
    "/v1/escalations/{id}/hand_back",
    status_code=201,
    summary="Hand an escalation back that one has taken",
    description="It is open again, for everybody.",
    responses=_STEP,
    openapi_extra=body_of(HandBackRequest),
)
async def hand_back(request: Request, id: _Id) -> Response:
    """Hand back."""
    desk = desk_of(request)
    said = await read_form(request, desk.body_limit, HandBackRequest)
    by = name_of(caller_of(request), said.by)
    step = await asyncio.to_thread(escalations.hand_back, desk.parts, id, said.reason, by)
    return json_response(step.model_dump(mode="json"), 201)
