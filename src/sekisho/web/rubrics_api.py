"""Rubrics over HTTP: which packs there are, an image judged by one, and the page on which people look at the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path as File
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.datastructures import QueryParams
from starlette.responses import Response

from ..core.errors import InputError
from ..loop.rubric import Wording, require_named, shown
from .access import REQUEST_ID
from .desk import caller_of, desk_of, links_of, request_id
from .errors import json_response
from .pictures import picture_body, read_picture
from .schemas import ERRORS
from .schemas_images import RubricAnswer, RubricList
from .waiting import unless_gone

router = APIRouter(tags=["Rubrics"])
_PAGE = File(__file__).parent / "pages" / "rubrics.html"
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""What the page may load: nothing but itself."""
_Name = Annotated[str, Path(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$", description="Name of a pack.")]


@router.get(
    "/rubrics",
    summary="The page for people",
    description="Drop an image, see every criterion as a bar, the outcome and its words; correct a criterion with a click. It loads nothing from outside.",
    include_in_schema=False,
)
async def page() -> Response:
    """The page, one file."""
    body = await asyncio.to_thread(_PAGE.read_bytes)
    return Response(body, media_type="text/html; charset=utf-8", headers={"content-security-policy": _POLICY})


@router.get(
    "/v1/rubrics",
    summary="List rubric packs",
    description="Names, titles and sizes of the packs that ship, and of your own beside them.",
    responses={200: {"model": RubricList, "description": "The packs."}, **ERRORS},
)
async def list_packs(request: Request) -> Response:
    """Every pack in short."""
    share = desk_of(request).parts.settings.share
    return json_response({"rubrics": await asyncio.to_thread(shown, share)})


@router.post(
    "/v1/rubrics/{pack}",
    summary="Judge an image by a rubric",
    description="One image, as a multipart part, as JSON with one asset (System One), or as the body itself. The judgement, with the image's digest, is in the ledger before the answer is sent. "
    "A criterion nobody answered is an error, never a no. `comments` asks for so many comments in `lang`, with `name` put in; how many a pack can always give is in docs/rubrics.md. "
    "These three may stand in the query as well.",
    responses={
        200: {"model": RubricAnswer, "description": "Outcome, scores, comments, every criterion."},
        **ERRORS,
    },
    openapi_extra=picture_body(lang="string", comments="integer", name="string"),
)
async def judge(request: Request, pack: _Name) -> Response:
    """Judge one image."""
    desk = desk_of(request)
    sent = await read_picture(request)
    await asyncio.to_thread(require_named, pack, desk.parts.settings.share)
    links = {"request": request_id(request), **links_of(caller_of(request))}
    work = desk.eyes.recognise(sent.data, pack, _wording(_fields(request.query_params, sent.fields)), links)
    found = await unless_gone(request, work)
    return json_response(found.model_dump(mode="json"), headers={REQUEST_ID: links["request"]})


def _fields(query: QueryParams, body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request, from its query and its body. Raises InputError for one that is given in two ways: which counts is anybody's guess."""
    found: dict[str, Any] = {}
    for name in ("comments", "lang", "name"):
        given = [*query.getlist(name), *([body[name]] if name in body else [])]
        if any(str(one) != str(given[0]) for one in given):
            raise InputError(f"`{name}` is given in two ways.", "Give it once.", ("query", name))
        found |= {name: given[-1]} if given else {}
    return found


def _wording(fields: Mapping[str, Any]) -> Wording:
    """What words are wanted. Raises InputError for a field that makes no sense; fields that are not ours are passed over."""
    count, lang, name = fields.get("comments", 0), fields.get("lang", "ja"), fields.get("name")
    if lang not in ("ja", "en"):
        raise InputError(f"There is no language {lang!r}.", "Use ja or en.", ("body", "lang"))
    if isinstance(count, str) and count.isascii() and count.isdigit() and len(count) <= 2:
        count = int(count)
    if type(count) is not int or not 0 <= count <= 20:
        raise InputError("`comments` is not a number from 0 to 20.", "", ("body", "comments"))
    if name is not None and not isinstance(name, str):
        raise InputError("`name` is not a text.", "", ("body", "name"))
    return Wording(count=count, lang=lang, name=name or None)
