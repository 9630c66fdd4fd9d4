"""The one place where an error becomes an answer, in the dialect of the route it happened on."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..core.errors import AccessError, HostError, InputError, OverloadedError, SekishoError

_log = logging.getLogger("sekisho.web")
_OPENAI = ("/v1/chat", "/v1/decisions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/models")
"""Routes whose clients expect OpenAI's error object."""
_OLLAMA = "/api/"
"""Routes whose clients expect Ollama's; every other route speaks System One's."""
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer that keeps text byte for byte and refuses NaN."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
    return Response(body, status, headers=dict(headers or {}), media_type="application/json")


def render(error: SekishoError, path: str) -> Response:
    """Answer with an error of the house. One that is the house's own fault is also logged, and so reaches the system's log."""
    if error.http_status >= 500:
        _log.error("%s: %s", path, error)
    headers = {}
    if isinstance(error, OverloadedError):
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, AccessError) and not isinstance(error, HostError):
        headers["www-authenticate"] = "Bearer"
    if error.http_status == 413:
        headers["connection"] = "close"
    loc = error.loc if isinstance(error, InputError) else ()
    body = _body(error.http_status, error_type(error), str(error), loc, path)
    return json_response(body, _status(error.http_status, path), headers)


def _status(status: int, path: str) -> int:
    """Ollama calls 400 what is 422 elsewhere."""
    return 400 if status == 422 and path.startswith(_OLLAMA) else status


def event(error: SekishoError) -> dict[str, Any]:
    """OpenAI's error object, for an answer that has already begun to stream."""
    return _openai(error.http_status, error_type(error), str(error), ())


def error_type(error: SekishoError) -> str:
    """The error's code; clients of System One know a missing or wrong token by a name of its own."""
    is_token = isinstance(error, AccessError) and not isinstance(error, HostError)
    return "authentication_error" if is_token else error.code


def _body(status: int, code: str, message: str, loc: tuple[str | int, ...], path: str) -> dict[str, Any]:
    if path.startswith(_OPENAI):
        return _openai(status, code, message, loc)
    if path.startswith(_OLLAMA):
        return {"error": message, "code": code}
    if status != 422:
        return {"detail": {"error_type": code, "message": message}}
    where = loc if loc[:1] in (("body",), ("query",), ("path",), ("header",)) else ("body", *loc)
    return {"detail": [{"loc": list(where), "msg": message, "type": code}]}


def _openai(status: int, code: str, message: str, loc: tuple[str | int, ...]) -> dict[str, Any]:
    names = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    sort = "server_error" if status >= 500 else names.get(status, "invalid_request_error")
    param = ".".join(map(str, loc[1:])) or None
    return {"error": {"message": message, "type": sort, "param": param, "code": code}}


async def on_sekisho(request: Request, error: Exception) -> Response:
    """Handle an error of the house."""
    assert isinstance(error, SekishoError)
    return render(error, request.url.path)


async def on_validation(request: Request, error: Exception) -> Response:
    """Handle query or path values that FastAPI refused, all of them named."""
    assert isinstance(error, RequestValidationError)
    problems = [{"loc": list(p["loc"]), "msg": p["msg"], "type": p["type"]} for p in error.errors()]
    if request.url.path.startswith(_OPENAI):
        first = problems[0]
        return json_response(_openai(422, "invalid_input", first["msg"], tuple(first["loc"])), 422)
    return json_response({"detail": problems}, 422)


async def on_http(request: Request, error: Exception) -> Response:
    """Handle a path or method that does not exist."""
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "http_error")
    message = f"{request.method} {request.url.path}: {error.detail}."
    return json_response(
        _body(error.status_code, code, message, (), request.url.path), error.status_code, error.headers
    )


async def on_any(request: Request, error: Exception) -> Response:
    """Handle a fault of ours inside the framework; who called the framework hears of it too, and logs it."""
    return unexpected(request.state.request_id, request.url.path)


def unexpected(request_id: str, path: str) -> Response:
    """Answer for a fault of ours: it says where to look and nothing about the inside."""
    message = f"Something went wrong inside; the server's log has it under {request_id}."
    return json_response(_body(500, "internal", message, (), path), 500)
