"""API keys and promotions over HTTP, each behind its own scope."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from ..core.records import Promotion
from ..loop import keys
from ..loop import promote as promoting
from ..loop.parts import Parts
from .desk import caller_of, desk_of, name_of
from .errors import json_response
from .forms import read_form
from .schemas import ERRORS, body_of
from .schemas_people import (
    KeyList,
    KeyMade,
    KeyRequest,
    KeyShown,
    PromotionList,
    PromotionRequest,
    PromotionShown,
    RotateRequest,
)

router = APIRouter(tags=["Access"])

_Id = Annotated[str, Path(max_length=200, description="`key_…`")]


@router.get(
    "/v1/keys",
    summary="List the API keys",
    description="Every key as it is now, also revoked ones, without its secret, which is kept nowhere.",
    responses={200: {"model": KeyList, "description": "All keys."}, **ERRORS},
)
async def list_keys(request: Request) -> Response:
    """All keys."""
    return json_response({"keys": await asyncio.to_thread(keys.listed, desk_of(request).parts.ledger)})


@router.post(
    "/v1/keys",
    status_code=201,
    summary="Make an API key",
    description="The answer holds the secret; it is shown this once. The change is an entry of the ledger.",
    responses={201: {"model": KeyMade, "description": "The key and its secret."}, **ERRORS},
    openapi_extra=body_of(KeyRequest),
)
async def make_key(request: Request) -> Response:
    """Make a key."""
    said, desk = await read_form(request, desk_of(request).body_limit, KeyRequest), desk_of(request)
    record, secret = await asyncio.to_thread(
        keys.make,
        desk.parts,
        said.name,
        said.scopes,
        name_of(caller_of(request), said.by),
        said.clearance,
        said.per_minute,
        said.days,
    )
    return json_response({**keys.shown(record), "secret": secret}, 201)


@router.post(
    "/v1/keys/{id}/rotate",
    summary="Give an API key a new secret",
    description="The old secret goes on opening for `grace_seconds`.",
    responses={200: {"model": KeyMade, "description": "The key and its new secret."}, **ERRORS},
    openapi_extra=body_of(RotateRequest),
)
async def rotate_key(request: Request, id: _Id) -> Response:
    """Rotate a key."""
    said, desk = await read_form(request, desk_of(request).body_limit, RotateRequest), desk_of(request)
    by = name_of(caller_of(request), said.by)
    record, secret = await asyncio.to_thread(keys.rotate, desk.parts, id, by, said.grace_seconds)
    return json_response({**keys.shown(record), "secret": secret})


@router.delete(
    "/v1/keys/{id}",
    summary="Revoke an API key",
    description="It opens nothing any more, one second later at the latest.",
    responses={200: {"model": KeyShown, "description": "The key as it is now."}, **ERRORS},
)
async def revoke_key(request: Request, id: _Id) -> Response:
    """Revoke a key."""
    by = name_of(caller_of(request), None)
    return json_response(keys.shown(await asyncio.to_thread(keys.revoke, desk_of(request).parts, id, by)))


@router.get(
    "/v1/promotions",
    summary="List promotions",
    description="Every promotion and rollback, oldest first.",
    responses={200: {"model": PromotionList, "description": "All of them."}, **ERRORS},
)
async def list_promotions(request: Request) -> Response:
    """All promotions."""
    found = await asyncio.to_thread(promoting.all_promotions, desk_of(request).parts)
    return json_response({"promotions": [p.model_dump(mode="json") for p in found]})


@router.post(
    "/v1/promotions",
    status_code=201,
    summary="Promote a release, or take the last promotion back",
    description="With `release`, its digest or the beginning of it; with `rollback`, what served before; with neither, the newest release. "
    "The server takes it up by itself.",
    responses={201: {"model": PromotionShown, "description": "Filed, and durable in the ledger."}, **ERRORS},
    openapi_extra=body_of(PromotionRequest),
)
async def make_promotion(request: Request) -> Response:
    """Promote or roll back."""
    said, desk = await read_form(request, desk_of(request).body_limit, PromotionRequest), desk_of(request)
    by = name_of(caller_of(request), said.by)
    filed = await asyncio.to_thread(_promote, desk.parts, said, by)
    return json_response(filed.model_dump(mode="json"), 201)


def _promote(parts: Parts, said: PromotionRequest, by: str) -> Promotion:
    return promoting.rollback(parts, by) if said.rollback else promoting.promote(parts, said.release, by)
