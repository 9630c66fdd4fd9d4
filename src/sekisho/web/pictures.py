"""Images in requests: a multipart form, or JSON with one asset. Bytes and a few words come out; what the bytes are, the guard on images finds out."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ..core.errors import InputError, MalformedError, UnsupportedEncodingError
from ..tasks.images import Bounds
from .bodies import parse, read

LIMIT = Bounds().bytes * 4 // 3 + (1 << 20)
"""Bytes of a body: the largest image in base64, and a mebibyte for the rest."""
_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")
_ONE = "Send one image: a multipart part named `image`, or JSON with one entry in `assets`."


def picture_body(**fields: str) -> dict[str, Any]:
    """The OpenAPI document's request body of one image and, in a form, further fields: name to JSON type."""
    form = {"image": {"type": "string", "format": "binary"}, **{n: {"type": t} for n, t in fields.items()}}
    kinds = {
        "multipart/form-data": {"type": "object", "required": ["image"], "properties": form},
        "application/json": {
            "type": "object",
            "required": ["assets"],
            "properties": {"assets": {"type": "object"}},
        },
    }
    return {"requestBody": {"required": True, "content": {k: {"schema": v} for k, v in kinds.items()}}}


@dataclass(frozen=True)
class Sent:
    """One image and the fields that came with it."""

    data: bytes
    fields: Mapping[str, Any]


async def read_picture(request: Request) -> Sent:
    """Read a request's one image.

    Raises:
        InputError: for no image, several, or base64 that is none. An address is never fetched.
        MalformedError, TooLargeError, UnsupportedEncodingError: as `bodies.read` and `bodies.parse`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    raw = await read(request, LIMIT)
    if kind == "multipart/form-data":
        return await _multipart(request.headers, raw)
    if kind == "application/json" or kind.endswith("+json"):
        body = parse(raw)
        if not isinstance(body, dict):
            raise InputError("The body is not a JSON object.", "Send an object.", ("body",))
        return Sent(_asset(body), {k: v for k, v in body.items() if k not in ("assets", "images")})
    if kind.startswith("image/") or kind in ("application/octet-stream", "application/pdf"):
        return Sent(raw, dict(request.query_params))
    raise UnsupportedEncodingError(f"The content type {kind!r} is not spoken here.", _ONE)


async def _multipart(headers: Headers, raw: bytes) -> Sent:
    async def stream() -> AsyncGenerator[bytes]:
        yield raw

    try:
        form = await MultiPartParser(headers, stream(), max_files=8, max_fields=16).parse()
    except (MultiPartException, ValueError, LookupError) as e:
        raise MalformedError(f"The multipart form cannot be read: {e}.", _ONE) from None
    try:
        files = [v for _, v in form.multi_items() if isinstance(v, UploadFile)]
        if len(files) != 1:
            raise InputError(f"The form brought {len(files)} files.", _ONE, ("body", "image"))
        fields: dict[str, Any] = {k: v for k, v in form.multi_items() if isinstance(v, str)}
        if "request" in fields:
            told = parse(str(fields.pop("request")).encode("utf-8"))
            fields |= told if isinstance(told, dict) else {}
        return Sent(await files[0].read(), fields)
    finally:
        await form.close()


def _asset(body: Mapping[str, Any]) -> bytes:
    """The one image of a JSON body: System One's `assets`, or a data URL in `images`."""
    assets, images = body.get("assets"), body.get("images")
    if isinstance(assets, dict) and len(assets) == 1 and images is None:
        (asset,) = assets.values()
        encoded = asset.get("data_base64") if isinstance(asset, dict) else None
    elif isinstance(images, list) and len(images) == 1 and assets is None:
        encoded = images[0]
        if not isinstance(encoded, str) or not _DATA_URL.match(encoded):
            raise InputError("An image must be a data URL; nothing is fetched.", _ONE, ("body", "images"))
        encoded = encoded.partition(",")[2]
    else:
        raise InputError("There is not exactly one image.", _ONE, ("body", "assets"))
    try:
        return base64.b64decode(encoded, validate=True)  # type: ignore[arg-type]
    except (binascii.Error, ValueError, TypeError):
        raise InputError("The image is not base64.", _ONE, ("body", "assets")) from None
