"""POST /v1/ocr: the text of an image or of a PDF's pages, read on this machine; on request a summary of it, through the gate. Only text reaches a model."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..core.errors import InputError
from ..core.gate_prompt import DEFAULT_CONTRACT
from ..loop import ocr
from ..loop.summarise import Summary
from .access import REQUEST_ID
from .desk import Desk, caller_of, desk_of, links_of, request_id
from .errors import json_response
from .pictures import Sent, picture_body, read_picture
from .schemas import ERRORS
from .schemas_images import OcrAnswer
from .waiting import unless_gone

router = APIRouter(tags=["Rubrics"])


@router.post(
    "/v1/ocr",
    summary="Read the text of an image or PDF",
    description="Cleaned up and read by Tesseract on this machine, page by page; the image stays in memory and goes nowhere. With `summary`, the text is summarised as `/v1/summaries` does, "
    "each part through the gate. `languages` are Tesseract's names, the likelier first, joined by `+`.",
    responses={
        200: {"model": OcrAnswer, "description": "Text, lines with boxes, and the summary."},
        **ERRORS,
    },
    openapi_extra=picture_body(languages="string", summary="boolean"),
)
async def read(request: Request) -> Response:
    """Read, and summarise when asked to."""
    desk = desk_of(request)
    sent = await read_picture(request)
    languages = ocr.languages_of(str(sent.fields.get("languages", "jpn+eng")), ("body", "languages"))
    wanted = str(sent.fields.get("summary", "false")).lower() in ("true", "1", "yes")
    found = await unless_gone(request, _read(desk, sent, languages))
    text = ocr.whole_text(found)
    summary = None
    if wanted:
        if not text:
            raise InputError(
                "There is no text to summarise on it.", "Leave `summary` out.", ("body", "summary")
            )
        summary = await unless_gone(request, _summary(desk, text, request))
    answer = {
        "digest": found[0].digest,
        "text": text,
        "pages": [p.model_dump(mode="json") for p in found],
        "summary": summary,
    }
    return json_response(answer, headers={REQUEST_ID: request_id(request)})


async def _read(desk: Desk, sent: Sent, languages: list[str]) -> list[ocr.Read]:
    seconds, threads = ocr.SECONDS, desk.parts.settings.threads
    return await asyncio.to_thread(lambda: list(ocr.read_pages(sent.data, languages, seconds, threads)))


async def _summary(desk: Desk, text: str, request: Request) -> dict[str, Any]:
    async def silent(name: str, done: int, total: int) -> None:
        """Nobody is told before it is done."""

    caller, settings = caller_of(request), desk.parts.settings
    who = (links_of(caller), caller.clearance)
    return await Summary(desk.judge, settings.home, text, DEFAULT_CONTRACT, settings.slots, who).run(silent)
