"""The address in the settings: is Sekisho there already, is it free, and asking the server that is there.

A judgement is asked of a running server where there is one, so that its one loaded model stays the only one.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import (
    AccessError,
    ConflictError,
    EngineError,
    EngineTimeoutError,
    InputError,
    SekishoError,
    all_errors,
)
from ..core.progress import Progress
from ..core.settings import Settings

if TYPE_CHECKING:
    import httpx

    from ..wiring import House

_SECONDS = 2.0
_STREAM_SECONDS = 60.0
"""A stream is not silent for longer; the server fills it with comments."""
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


def address_of(settings: Settings) -> str:
    """Where a client on this machine finds the server."""
    host = _ANYWHERE.get(settings.host, settings.host)
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def health(settings: Settings) -> dict[str, Any] | None:
    """What the server on the set address says of itself; None when Sekisho is not there."""
    import httpx

    if settings.port == 0:
        return None
    try:
        with _client(settings, _SECONDS) as client:
            said = client.get("/healthz").json()
    except (httpx.HTTPError, ValueError):
        return None
    return said if isinstance(said, dict) and {"ledger", "release", "status"} <= set(said) else None


def serves(house: House) -> dict[str, Any] | None:
    """The health of a server over this very house; None when there is none, or it keeps another ledger."""
    from ..loop import audit

    said = health(house.settings)
    if said is None or "head" not in said["ledger"]:
        return None
    seq, head = said["ledger"]["entries"], said["ledger"]["head"]
    found = audit.show(house.ledger, after=seq - 1, limit=1, newest_first=False) if seq else []
    return said if found and found[0]["digest"] == head else None


def port_problem(settings: Settings) -> str | None:
    """Why the set address cannot be bound; None when it can."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        if os.name != "nt":
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((settings.host, settings.port))
        except OSError as e:
            return f"{settings.host}:{settings.port} cannot be bound: {e.strerror or e}"
    return None


def require_port(settings: Settings) -> None:
    """Raise ConflictError when the set address cannot be bound: better now than after minutes of training."""
    problem = port_problem(settings)
    if problem is not None:
        raise ConflictError(f"{problem}.", "Choose another with `--port`, or 0 for a free one.")


def gate(settings: Settings, text: str, contract: str) -> dict[str, Any]:
    """Have the server judge a request.

    Raises:
        SekishoError: what the server refused, or EngineError when it went away.
    """
    import httpx

    try:
        with _client(settings, settings.deadline_seconds + 30) as client:
            answer = client.post("/v1/gate", json={"text": text, "contract": contract})
            body = answer.json()
    except httpx.TimeoutException as e:
        raise EngineTimeoutError("The server did not answer in time.", "See `sekisho doctor`.") from e
    except (httpx.HTTPError, ValueError) as e:
        raise EngineError(f"The server on port {settings.port} went away: {e}.", "Start it again.") from e
    if answer.status_code != 200:
        raise refused(answer.status_code, body)
    judged: dict[str, Any] = body
    return judged


def summary(settings: Settings, text: str, contract: str, progress: Progress) -> dict[str, Any]:
    """Have the server summarise a text, and show how far it has come.

    Raises:
        SekishoError: what the server refused or where it failed, or EngineError when it went away; what is done stays done.
    """
    import httpx

    body = {"text": text, "contract": contract, "stream": True}
    try:
        with (
            _client(settings, _STREAM_SECONDS) as client,
            client.stream("POST", "/v1/summaries", json=body) as answer,
        ):
            if answer.status_code != 200:
                raise refused(answer.status_code, json.loads(answer.read()))
            for line in answer.iter_lines():
                event: dict[str, Any] = json.loads(line[5:]) if line.startswith("data:") else {"type": ""}
                if event["type"] == "progress":
                    progress.step(event["step"], event["done"], event["total"])
                elif event["type"] == "error":
                    raise refused(503, {"detail": event})
                elif event["type"] == "summary":
                    return {k: v for k, v in event.items() if k != "type"}
    except (httpx.HTTPError, ValueError) as e:
        raise EngineError(f"The server on port {settings.port} went away: {e}.", "Give it again.") from e
    raise EngineError(f"The server on port {settings.port} broke off.", "Give it again: it goes on.")


def refused(status: int, body: Any) -> SekishoError:
    """The error a server answered with, as the class it was there."""
    detail = body.get("detail") if isinstance(body, dict) else None
    if isinstance(detail, list) and detail:
        return InputError("; ".join(str(problem.get("msg")) for problem in detail))
    if not isinstance(detail, dict):
        return EngineError(f"The server answered {status}.", "See its log.")
    code, message = detail.get("error_type"), str(detail.get("message"))
    if code == "authentication_error":
        return AccessError(message, "Set `api_key` to a key of the server, or `tokens` as the server has it.")
    known = {e.code: e for e in all_errors() if e.code != "settings"}
    return known.get(str(code), SekishoError)(message)


def _client(settings: Settings, seconds: float) -> httpx.Client:
    import httpx

    secrets = (settings.api_key, *settings.token_list())
    headers = {"authorization": f"Bearer {secret}"} if (secret := next(filter(None, secrets), None)) else {}
    trusted = _context(settings.tls_cert) if settings.tls_cert else False
    return httpx.Client(
        base_url=address_of(settings), headers=headers, timeout=seconds, trust_env=False, verify=trusted
    )


def _context(certificate: Path) -> ssl.SSLContext:
    """Trust this very certificate and no other, by whatever name of this machine it is reached."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certificate)
    return context
