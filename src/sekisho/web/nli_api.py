"""POST /nli: pairs of premise and hypothesis judged; the adapters that answer; feedback of three levels; the dashboard's data."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ..core.errors import InputError, SekishoError, TooLargeError
from ..loop.adapt_series import series
from ..loop.feedback import feedback
from ..loop.nli import Claim, Which
from ..loop.nli_answers import truncation, wire
from .access import REQUEST_ID
from .bodies import read_object
from .desk import caller_of, desk_of, links_of, name_of, request_id
from .errors import json_response
from .forms import fill, read_form
from .schemas import ERRORS, body_of
from .schemas_nli import (
    Activated,
    AdapterRequest,
    AdapterStatus,
    ByRequest,
    Dashboard,
    FeedbackFiled,
    FeedbackRequest,
    NliAnswer,
    NliRequest,
)
from .waiting import unless_gone

router = APIRouter(tags=["NLI"])
_FIELDS = {"id", "premise", "hypothesis", "source"}
_STEP: dict[int | str, dict[str, Any]] = {
    200: {"model": Activated, "description": "The step, durable in the ledger and in force."},
    **ERRORS,
}


@router.post(
    "/nli",
    summary="Judge pairs: supports, refutes, neutral",
    description="Each pair's label with the model's own label, all probabilities and the id of its judgement, which is in the ledger before it is sent. What is wrong with one pair is that pair's answer; "
    "`truncation` says what is done to long ones. All pairs of a request are answered by one adapter.",
    responses={200: {"model": NliAnswer, "description": "Every pair answered."}, **ERRORS},
    openapi_extra=body_of(NliRequest),
)
async def nli(request: Request) -> Response:
    """Judge pairs."""
    desk = desk_of(request)
    _, body = await read_object(request, desk.parts.settings.nli_max_body_bytes)
    pairs, which = _pairs(body, desk.parts.settings.nli_max_pairs)
    links = {"request": request_id(request), **links_of(caller_of(request))}
    judging = desk.nli.judge([c for _, c in pairs], links, which)
    line, serves, answers = await unless_gone(request, judging)
    found = {
        "model": line.reader.name,
        "adapter": serves.variant.adapter,
        "calibration": serves.version,
        "truncation": truncation(line.reader),
        "results": [wire(a, id) for (id, _), a in zip(pairs, answers, strict=True)],
        "request": links["request"],
    }
    return json_response(found, headers={REQUEST_ID: links["request"]})


def _pairs(body: dict[str, Any], most: int) -> tuple[list[tuple[str, Claim | SekishoError]], Which]:
    """Pairs with their ids; a wrong one is its error.

    Raises:
        InputError, TooLargeError: what concerns the whole request.
    """
    strange = sorted(set(body) - {"pairs", "model"})
    if strange:
        raise InputError(
            f"There is no field {strange[0]!r}.",
            "Send `pairs`, and `model` if you like.",
            ("body", strange[0]),
        )
    pairs, which = body.get("pairs"), body.get("model", "fast")
    if which not in ("fast", "slow"):
        raise InputError(f"There is no model {which!r}.", "Use fast or slow.", ("body", "model"))
    if not isinstance(pairs, list) or not pairs:
        raise InputError("`pairs` is not a list with a pair in it.", "Send 1 or more.", ("body", "pairs"))
    if len(pairs) > most:
        raise TooLargeError(f"{len(pairs)} pairs are more than {most}.", "Split the request.")
    return _once([_pair(pair, i) for i, pair in enumerate(pairs)]), which


def _once(
    pairs: Sequence[tuple[str, Claim | SekishoError]],
) -> list[tuple[str, Claim | SekishoError]]:
    """An id that a pair before has taken is its error: nobody could tell the two answers apart."""
    seen: set[str] = set()
    found: list[tuple[str, Claim | SekishoError]] = []
    for place, (id, claim) in enumerate(pairs):
        taken = InputError(
            f"The id {id[:80]!r} is another pair's.",
            "Give each pair its own; one without an id has its place, from 0.",
            ("body", "pairs", place, "id"),
        )
        found.append((id, taken if id in seen else claim))
        seen.add(id)
    return found


def _pair(value: Any, place: int) -> tuple[str, Claim | SekishoError]:
    where = ("body", "pairs", place)
    if not isinstance(value, dict):
        return str(place), InputError("The pair is not an object.", "Send `premise` and `hypothesis`.", where)
    id = value.get("id", str(place))
    if not isinstance(id, str):
        return str(place), InputError("The id is not a text.", "Send a text.", (*where, "id"))
    strange = sorted(set(value) - _FIELDS)
    if strange:
        return id, InputError(
            f"There is no field {strange[0]!r}.",
            f"Known: {', '.join(sorted(_FIELDS))}.",
            (*where, strange[0]),
        )
    for name in ("premise", "hypothesis"):
        if not isinstance(value.get(name), str):
            return id, InputError(f"`{name}` is not a text.", "Send a text.", (*where, name))
    source = value.get("source")
    if source is not None and not (isinstance(source, str) and source.strip()):
        return id, InputError("`source` is not a text.", "Send a text, or leave it out.", (*where, "source"))
    return id, Claim(premise=value["premise"], hypothesis=value["hypothesis"], source=source)


@router.post(
    "/nli/adapter/load",
    summary="Let an adapter answer",
    description="By its digest on the shelf. Only one with a passing proof, for this base and its labels; a damaged one is refused before anything changes. Requests under way end with what they began with.",
    responses=_STEP,
    openapi_extra=body_of(AdapterRequest),
)
async def load(request: Request) -> Response:
    """Load an adapter."""
    desk = desk_of(request)
    said = await read_form(request, desk.body_limit, AdapterRequest)
    return await _stepped(request, "load", said.adapter, said.by)


@router.post(
    "/nli/adapter/unload",
    summary="Let the base alone answer",
    description="Always possible while an adapter is loaded.",
    responses=_STEP,
    openapi_extra=body_of(ByRequest),
)
async def unload(request: Request) -> Response:
    """Unload the adapter."""
    return await _stepped(request, "unload", None, (await _by(request)).by)


@router.post(
    "/nli/adapter/rollback",
    summary="Let answer what answered before",
    description="What answered when the present adapter first came into force: an adapter, or the base.",
    responses=_STEP,
    openapi_extra=body_of(ByRequest),
)
async def rollback(request: Request) -> Response:
    """Roll back."""
    return await _stepped(request, "rollback", None, (await _by(request)).by)


async def _by(request: Request) -> ByRequest:
    """The body, which may be missing."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return ByRequest(by=None)
    _, body = await read_object(request, desk_of(request).body_limit)
    return fill(ByRequest, body)


async def _stepped(request: Request, step: str, adapter: str | None, by: str | None) -> Response:
    done = await desk_of(request).nli.swap(step, adapter, name_of(caller_of(request), by))
    return json_response(done.model_dump(mode="json"))


@router.get(
    "/nli/adapter/status",
    summary="Which adapter answers",
    description="Model and labels, the adapter in force, its calibration, the shelf, and every step that led here.",
    responses={200: {"model": AdapterStatus, "description": "What answers."}, **ERRORS},
)
async def status(request: Request) -> Response:
    """What answers."""
    return json_response(await desk_of(request).nli.status())


@router.get(
    "/nli/dashboard",
    summary="How well the adapters do",
    description="Accuracy, correction rate, Brier score and expected calibration error of reviewed answers, by day and adapter, and of each adapter as a whole.",
    responses={200: {"model": Dashboard, "description": "The series."}, **ERRORS},
)
async def dashboard(
    request: Request, days: Annotated[int, Query(ge=1, le=3650, description="Days back.")] = 365
) -> Response:
    """The dashboard's data."""
    return json_response(await asyncio.to_thread(series, desk_of(request).parts, days))


@router.post(
    "/v1/feedback",
    status_code=201,
    summary="Say something of an answer, its claim or its source",
    description="On an answer (`edge`) correct its label or say it is right; of a claim or a source say that nothing of it is to be learnt from (`reject`), or take that back (`restore`). "
    "With an API key, `by` is the key's name.",
    responses={
        201: {"model": FeedbackFiled, "description": "Filed, and durable in the ledger."},
        **{k: v for k, v in ERRORS.items() if k != 200},
    },
    openapi_extra=body_of(FeedbackRequest),
)
async def file_feedback(request: Request) -> Response:
    """File a word."""
    desk = desk_of(request)
    word = await read_form(request, desk.body_limit, FeedbackRequest)
    by = name_of(caller_of(request), word.by)
    filed = await asyncio.to_thread(feedback, desk.parts, word, by)
    return json_response(filed.model_dump(mode="json"), 201)
