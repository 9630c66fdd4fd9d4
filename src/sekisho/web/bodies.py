"""Request bodies: read with a limit while they stream in, decompressed under the same limit, parsed as strict JSON."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any, NoReturn

import zstandard
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from ..core.errors import InputError, MalformedError, TooLargeError, UnsupportedEncodingError
from .waiting import at_hand

MAX_DEPTH = 40
"""Most levels of lists and objects inside each other, the body itself being the first."""
_DRAIN = 8
"""A body up to this many times over the limit is read to its end, so that the client gets to see the answer."""
_SECONDS = 60.0
_ZSTD_WINDOW = 1 << 23
"""Largest window a zstd body may ask for, in bytes; memory is set aside for it before anything is decompressed."""


async def read(request: Request, limit: int) -> bytes:
    """Return the decompressed body, at most `limit` bytes of it, on the wire and after decompression.

    Raises:
        TooLargeError: for one byte more.
        UnsupportedEncodingError: for a Content-Encoding other than zstd, gzip or identity.
        MalformedError: for a body that is not what its encoding says, or that does not arrive within a minute.
    """
    first = at_hand(request)
    try:
        async with nullcontext() if _is_last(first) else asyncio.timeout(_SECONDS):
            raw = await _all(request, first, limit)
    except TimeoutError:
        raise MalformedError("The body did not arrive within a minute.", "Send it again.") from None
    return decompress(raw, request.headers.get("content-encoding", ""), limit)


async def _all(request: Request, first: Message | None, limit: int) -> bytes:
    parts: list[bytes] = []
    size, message = 0, first
    while True:
        message = message or await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        size += len(part := message.get("body", b""))
        if size <= limit:
            parts.append(part)
        if _is_last(message) or size > _DRAIN * limit:
            break
        message = None
    if size > limit:
        raise _too_large(limit)
    return b"".join(parts)


def _is_last(message: Message | None) -> bool:
    return message is not None and not message.get("more_body", False)


def decompress(raw: bytes, encoding: str, limit: int) -> bytes:
    """Undo a Content-Encoding without ever making more than `limit` bytes. Raises as `read` does."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return raw
    if name not in ("zstd", "gzip", "x-gzip"):
        raise UnsupportedEncodingError(
            f"The content encoding {encoding!r} is not spoken here.", "Use zstd, gzip or none."
        )
    try:
        plain = _zstd(raw, limit) if name == "zstd" else _gzip(raw, limit)
    except (zstandard.ZstdError, zlib.error) as e:
        raise MalformedError(f"The body is not {name}: {e}.", "Compress it again, or send it plain.") from e
    if len(plain) > limit:
        raise _too_large(limit)
    return plain


def _zstd(raw: bytes, limit: int) -> bytes:
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(
        raw, read_across_frames=True
    )
    parts: list[bytes] = []
    while (left := limit + 1 - sum(map(len, parts))) and (part := reader.read(left)):
        parts.append(part)
    return b"".join(parts)


def _gzip(raw: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    plain = stream.decompress(raw, limit + 1)
    if len(plain) <= limit and (not stream.eof or stream.unused_data):
        raise zlib.error("it is cut short or something follows it")
    return plain


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"The body is larger than {limit} bytes.", "Send less, or raise `max_body_bytes`.")


async def read_object(
    request: Request, limit: int, wrong: type[InputError] | type[MalformedError] = MalformedError
) -> tuple[bytes, dict[str, Any]]:
    """Return the body and the JSON object in it.

    Args:
        wrong: what a body that is text but no JSON raises. System One's validation shape is a 422 for it; elsewhere it is a 400.

    Raises:
        UnsupportedEncodingError: for a content type other than JSON; a body without one is taken for JSON. That is no guard against web
            pages of other sites, which may leave it out: the door's look at the origin is.
        MalformedError, InputError, TooLargeError: as `read` and `parse` do.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    raw = await read(request, limit)
    if kind == "multipart/form-data":
        await _refuse_images(request.headers, raw)
    if kind not in ("", "application/json") and not kind.endswith("+json"):
        raise UnsupportedEncodingError(
            f"The content type {kind!r} is not spoken here.", "Send application/json."
        )
    value = parse(raw, wrong)
    if not isinstance(value, dict):
        raise InputError("The body is not a JSON object.", "Send an object.", ("body",))
    return raw, value


def parse(raw: bytes, wrong: type[InputError] | type[MalformedError] = MalformedError) -> Any:
    """Parse strict JSON in UTF-8: no NaN or Infinity, no numbers that overflow, no key twice in an object, no half surrogate pairs.

    Raises:
        MalformedError: when it is not UTF-8.
        wrong: when it is not JSON.
        InputError: when it is JSON, yet nests deeper than MAX_DEPTH, repeats a key or holds text that is no Unicode.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise MalformedError(f"The body is not UTF-8: byte {e.start}.", "Encode it as UTF-8.") from None
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_float, parse_int=_int
        )
    except RecursionError:
        raise _too_deep() from None
    except ValueError as e:
        raise wrong(f"The body is not JSON: {e}.", "Send one JSON object.") from None
    _check(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different: which of two values was meant is nobody's guess."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
    raise InputError(f"The key {twice!r} comes twice in one object.", "Send each key once.", ("body",))


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _int(literal: str) -> int:
    try:
        return int(literal)
    except ValueError:  # more digits than Python reads; its own words speak of Python
        raise ValueError("a number is too large") from None


def _float(literal: str) -> float:
    value = float(literal)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return value


def _check(value: Any) -> None:
    """Refuse what nests too deeply, and text that no encoding can carry."""
    level, depth = [value], 0
    while level:
        depth += 1
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
                _check_text("".join(item))
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str):
                _check_text(item)
        if depth > MAX_DEPTH and any(isinstance(item, dict | list) for item in level):
            raise _too_deep()
        level = below


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            "A text holds half of a surrogate pair, which is no character.", "Send valid Unicode.", ("body",)
        ) from None


def _too_deep() -> InputError:
    return InputError(f"The body nests deeper than {MAX_DEPTH} levels.", "Send it flatter.", ("body",))


async def _refuse_images(headers: Headers, raw: bytes) -> NoReturn:
    """Multipart is how clients send images. It is read through, so that what is wrong with it is said exactly.

    Raises:
        InputError: always, unless the form itself is malformed.
        MalformedError: then.
    """

    async def stream() -> AsyncIterator[bytes]:
        yield raw

    try:
        form = await MultiPartParser(headers, stream(), max_files=64, max_fields=64).parse()  # type: ignore[arg-type]
    except (MultiPartException, ValueError, LookupError) as e:
        raise MalformedError(f"The multipart form cannot be read: {e}.", "Send application/json.") from None
    parts = [name for name, _ in form.multi_items() if name != "request"]
    await form.close()
    _check(parts)  # a charset such as UTF-7 can spell half a character, which no answer could repeat
    raise InputError(
        f"This model reads no images; the form brought {len(parts)} besides `request`.",
        "Send application/json without assets.",
        ("body", parts[0] if parts else "request"),
    )
