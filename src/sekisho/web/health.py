"""GET /healthz and GET /metrics: would it answer, with what, and how is it doing."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from .. import metrics
from ..core.errors import SekishoError
from .desk import Desk, desk_of
from .errors import json_response
from .schemas import ERRORS, Health

router = APIRouter(tags=["Operation"])

_SECONDS = 3.0


@router.get(
    "/healthz",
    summary="Would the server answer?",
    description="200 when engine and ledger answer, 503 when not, and for half a minute after nothing could be written into the ledger. `degraded` means that it serves, but could not take up a promotion or an NLI adapter, or writes much more slowly than after its start; "
    "`problem` says why. Needs no token.",
    responses={
        200: {"model": Health, "description": "It answers."},
        403: ERRORS[403],
        503: {"model": Health, "description": "It would not answer."},
    },
)
async def healthz(request: Request) -> Response:
    """Ask engine and ledger."""
    desk = desk_of(request)
    serving, info = desk.judge.serving, desk.judge.serving.engine.info
    engine, ledger = await _engine(desk), await _ledger(desk)
    up = engine and "problem" not in ledger
    metrics.READY.set(up)
    problem = desk.watch.problem or getattr(serving.engine, "problem", None) or desk.nli.problem
    status = "down" if not up else "degraded" if problem else "ok"
    health = {
        "status": status,
        "engine": {"name": info.engine, "device": info.device, "context": info.context, "answers": engine},
        "ledger": ledger,
        "release": {"model": serving.stamp.model, "digest": serving.release or serving.stamp.model_digest},
        "calibration": serving.stamp.calibration,
        "problem": problem,
    }
    return json_response(health, 200 if up else 503)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    description="Every metric of the server in Prometheus' text format; docs/metrics.md explains each.",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "The metrics."}, **ERRORS},
)
async def prometheus(request: Request) -> Response:
    """The registry as it is now; whether the server is ready is asked anew."""
    desk = desk_of(request)
    metrics.READY.set(await _engine(desk) and "problem" not in await _ledger(desk))
    metrics.settle()
    return Response(generate_latest(metrics.REGISTRY), headers={"content-type": CONTENT_TYPE_LATEST})


async def _engine(desk: Desk) -> bool:
    try:
        async with asyncio.timeout(_SECONDS):
            return await desk.judge.serving.engine.healthy()
    except (SekishoError, TimeoutError):
        return False


async def _ledger(desk: Desk) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_SECONDS):
            head = await asyncio.to_thread(desk.parts.ledger.head)
    except SekishoError as e:
        return {"problem": str(e)}
    except TimeoutError:
        return {"problem": f"The ledger did not answer within {_SECONDS:g} s."}
    if problem := desk.parts.ledger.problem:
        return {"problem": problem}
    return {"entries": head.seq, "head": head.digest}
