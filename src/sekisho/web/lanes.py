"""Which lane a request takes, and GET /v1/lanes: how long the lines are."""

from __future__ import annotations

from typing import Any, cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..core.engine import Lane, Laned
from ..core.errors import InputError
from .desk import desk_of
from .errors import json_response
from .schemas import ERRORS, LaneList

router = APIRouter(tags=["Operation"])

HEADER = "x-sekisho-lane"
LANES = ("rt", "be")


@router.get(
    "/v1/lanes",
    summary="How long are the lines?",
    description="The engine's slots by state, the place kept for decisions among them, and for each lane how many requests wait and the "
    "estimated seconds until one that came now would start. `line` is everybody who waits, in the order in which they will be started; a "
    "decision may go first, when the place kept for it comes free. Real-time is `rt`, batch is `be`: a request takes "
    "the batch lane with the header `X-Sekisho-Lane: be`, the suffix `:be` after the model's name, an address under `/be`, or a token of `batch_tokens`.",
    responses={200: {"model": LaneList, "description": "The lanes as they are now."}, **ERRORS},
)
async def lanes(request: Request) -> Response:
    """The lanes of what serves now."""
    engine = desk_of(request).judge.serving.engine
    if not isinstance(engine, Laned):
        raise InputError("This engine has no lanes.", "Serve it through the wiring.")
    return json_response(engine.status())


def lane_of(request: Request, model: Any = None) -> tuple[Any, Lane]:
    """The model a client names without the lane's suffix, and the lane it asks for: real-time unless it says otherwise.

    Raises:
        InputError: for a lane that does not exist, or two different ones.
    """
    named, suffix = model, None
    if isinstance(model, str):
        name, colon, end = model.rpartition(":")
        if colon and end in LANES:
            named, suffix = name, end
    header = request.headers.get(HEADER, "").strip().lower() or None
    if header is not None and header not in LANES:
        raise InputError(
            f"There is no lane {header!r}.", f"Use one of {', '.join(LANES)}.", ("header", HEADER)
        )
    asks = {"header": header, "model": suffix, **getattr(request.state, "lanes", {})}
    asks = {who: lane for who, lane in asks.items() if lane}
    if len(set(asks.values())) > 1:
        told = ", ".join(f"the {who} for {lane}" for who, lane in asks.items())
        raise InputError(f"Two lanes are asked for: {told}.", "Ask for one.", ("header", HEADER))
    return named, cast(Lane, next(iter(asks.values()), "rt"))
