"""The gate by itself, judgements and their corrections: what was decided, and what people say about it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ..core.errors import NotFoundError
from ..core.gate_prompt import DEFAULT_CONTRACT
from ..loop.audit import stretches
from ..loop.feedback import corrected
from ..loop.parts import Parts
from .access import REQUEST_ID
from .desk import caller_of, desk_of, links_of, name_of, request_id
from .errors import json_response
from .forms import read_form
from .lanes import lane_of
from .schemas import (
    ERRORS,
    CorrectionFiled,
    CorrectionList,
    CorrectionRequest,
    GateAnswer,
    GateRequest,
    JudgementFound,
    JudgementList,
    body_of,
)
from .waiting import unless_gone

router = APIRouter(tags=["Judgements"])

_After = Annotated[
    int, Query(ge=0, le=(1 << 63) - 1, description="`seq` of the last one of the page before.")
]
_Limit = Annotated[int, Query(ge=1, le=1000, description="Most of them on this page.")]
_Newest = Annotated[bool, Query(description="Newest first instead of oldest first.")]
_Task = Annotated[
    Literal["gate", "nli", "question", "chat", "rubric"] | None, Query(description="Only of this task.")
]
_CORRECTIONS = 1000


@router.post(
    "/v1/gate",
    summary="Judge one request",
    description="ALLOW, ESCALATE or DENY for a text, with probabilities and the clause that decided. "
    "What the engine could not read, in time or at all, is ESCALATE.",
    responses={200: {"model": GateAnswer, "description": "The judgement, durable in the ledger."}, **ERRORS},
    openapi_extra=body_of(GateRequest),
)
async def gate(request: Request) -> Response:
    """Judge a text."""
    desk = desk_of(request)
    asked = await read_form(request, desk.body_limit, GateRequest)
    caller = caller_of(request)
    links = {"request": request_id(request), **links_of(caller)}
    _, lane = lane_of(request)
    judging = desk.judge.gate(asked.text, asked.contract or DEFAULT_CONTRACT, links, lane, caller.clearance)
    j = await unless_gone(request, judging)
    answer = GateAnswer(
        id=j.id,
        decision=j.decision,
        answer=j.answer,
        probabilities=dict(j.probabilities),
        reasons=list(j.reasons),
        policy_ref=j.policy_ref,
        escalation_target=j.escalation_target,
        proposal=j.proposal,
        risks=list(j.risks),
        calibration=j.stamp.calibration,
        model=j.stamp.model,
    )
    return json_response(answer.model_dump(), headers={REQUEST_ID: links["request"]})


@router.get(
    "/v1/judgements",
    summary="List judgements",
    description="A page of judgements. `next` is the `after` of the page that follows, null at the end. Content is not listed.",
    responses={200: {"model": JudgementList, "description": "One page."}, **ERRORS},
)
async def list_judgements(
    request: Request,
    task: _Task = None,
    decision: Annotated[str | None, Query(max_length=1000, description="Only with this decision.")] = None,
    after: _After = 0,
    limit: _Limit = 100,
    newest_first: _Newest = False,
) -> Response:
    """A page of the ledger's judgements."""
    filters = {"kind": "judgement", "task": task, "decision": decision}
    page = await _page(desk_of(request).parts, filters, after, limit, newest_first)
    return json_response({"judgements": page, "next": _next(page, limit)})


@router.get(
    "/v1/judgements/{id}",
    summary="One judgement",
    description="The record, its place in the chain, the corrections filed on it, what left in a stream under it, and its content unless that was erased.",
    responses={200: {"model": JudgementFound, "description": "The judgement."}, **ERRORS},
)
async def get_judgement(
    request: Request, id: Annotated[str, Path(max_length=200, description="`jdg_…`")]
) -> Response:
    """One judgement with all that hangs on it."""
    return json_response(await asyncio.to_thread(_found, desk_of(request).parts, id))


@router.post(
    "/v1/corrections",
    status_code=201,
    summary="File a correction",
    description="The right option of a judgement, in a person's view, and why. "
    "The machine's own answer as `label` says: reviewed and right. A later correction of the same judgement overrules an earlier one. With an API key, `by` is the key's name.",
    responses={201: {"model": CorrectionFiled, "description": "Filed, and durable in the ledger."}, **ERRORS},
    openapi_extra=body_of(CorrectionRequest),
)
async def file_correction(request: Request) -> Response:
    """File a correction."""
    desk = desk_of(request)
    said = await read_form(request, desk.body_limit, CorrectionRequest)
    by = name_of(caller_of(request), said.by)
    filed = await asyncio.to_thread(corrected, desk.parts, said.judgement, said.label, said.reason, by)
    return json_response(filed.model_dump(mode="json"), 201)


@router.get(
    "/v1/corrections",
    summary="List corrections",
    description="A page of corrections, all of them or those of one judgement.",
    responses={200: {"model": CorrectionList, "description": "One page."}, **ERRORS},
)
async def list_corrections(
    request: Request,
    task: _Task = None,
    judgement: Annotated[str | None, Query(max_length=200, description="Only of this judgement.")] = None,
    after: _After = 0,
    limit: _Limit = 100,
    newest_first: _Newest = False,
) -> Response:
    """A page of the ledger's corrections."""
    filters = {"kind": "correction", "task": task, "judgement": judgement}
    page = await _page(desk_of(request).parts, filters, after, limit, newest_first)
    return json_response({"corrections": page, "next": _next(page, limit)})


async def _page(
    parts: Parts, filters: dict[str, str | None], after: int, limit: int, newest_first: bool
) -> list[dict[str, Any]]:
    def read() -> list[dict[str, Any]]:
        entries = parts.ledger.entries(**filters, after=after, limit=limit, newest_first=newest_first)
        return [{"seq": e.seq, **e.body} for e in entries]

    return await asyncio.to_thread(read)


def _next(page: list[dict[str, Any]], limit: int) -> int | None:
    return page[-1]["seq"] if len(page) == limit else None


def _found(parts: Parts, id: str) -> dict[str, Any]:
    entry = parts.ledger.get(id)
    if entry is None or entry.kind != "judgement":
        raise NotFoundError(f"There is no judgement {id!r}.", "List them with GET /v1/judgements.")
    sealed = entry.body.get("content")
    kept = parts.ledger.content(sealed) if sealed else None
    filed = parts.ledger.entries(kind="correction", judgement=id, limit=_CORRECTIONS)
    return {
        "seq": entry.seq,
        "digest": entry.digest,
        **entry.body,
        **({} if kept is None else {"kept": kept}),
        "stretches": stretches(parts.ledger, entry),
        "corrections": [{"seq": e.seq, **e.body} for e in filed],
    }
