"""Which scopes open which route. One table, checked at the door and shown in the OpenAPI document; what is not in it needs `admin`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.access import EVERYTHING, SCOPES

OPEN = frozenset({"/healthz", "/rubrics"})
"""Paths that need no key: a supervisor has none, and a page without data asks for one itself."""

_READING = frozenset({"audit", "correct"})
ROUTES: Mapping[str, frozenset[str]] = {
    "POST /v1/systemone": frozenset({"judge"}),
    "POST /v1/decisions": frozenset({"judge"}),
    "POST /v1/chat/completions": frozenset({"judge"}),
    "POST /v1/completions": frozenset({"judge"}),
    "POST /nli": frozenset({"judge"}),
    "POST /nli/adapter/load": frozenset({"promote"}),
    "POST /nli/adapter/unload": frozenset({"promote"}),
    "POST /nli/adapter/rollback": frozenset({"promote"}),
    "GET /nli/adapter/status": frozenset({"judge", "promote", "audit"}),
    "GET /nli/dashboard": _READING,
    "POST /v1/feedback": frozenset({"correct"}),
    "POST /v1/summaries": frozenset({"judge"}),
    "GET /v1/rubrics": EVERYTHING,
    "POST /v1/rubrics/{pack}": frozenset({"judge"}),
    "POST /v1/ocr": frozenset({"judge"}),
    "POST /api/chat": frozenset({"judge"}),
    "POST /api/generate": frozenset({"judge"}),
    "POST /api/show": EVERYTHING,
    "GET /api/tags": EVERYTHING,
    "GET /api/ps": EVERYTHING,
    "GET /api/version": EVERYTHING,
    "POST /v1/gate": frozenset({"judge"}),
    "GET /v1/models": EVERYTHING,
    "GET /v1/models/{id}": EVERYTHING,
    "GET /v1/lanes": frozenset({"judge", "audit"}),
    "GET /v1/judgements": _READING,
    "GET /v1/judgements/{id}": _READING,
    "GET /v1/corrections": _READING,
    "POST /v1/corrections": frozenset({"correct"}),
    "GET /v1/escalations": _READING,
    "GET /v1/escalations/{id}": frozenset({"judge", "audit", "correct"}),
    "POST /v1/escalations/{id}/take": frozenset({"correct"}),
    "POST /v1/escalations/{id}/decide": frozenset({"correct"}),
    "POST /v1/escalations/{id}/hand_back": frozenset({"correct"}),
    "GET /v1/promotions": frozenset({"promote", "audit"}),
    "POST /v1/promotions": frozenset({"promote"}),
    "GET /v1/keys": frozenset({"admin"}),
    "POST /v1/keys": frozenset({"admin"}),
    "POST /v1/keys/{id}/rotate": frozenset({"admin"}),
    "DELETE /v1/keys/{id}": frozenset({"admin"}),
    "GET /metrics": frozenset({"audit"}),
    "GET /openapi.json": EVERYTHING,
}
"""Scopes of which one is needed, by method and path of the OpenAPI document."""

_NOBODY_ELSE = frozenset({"admin"})
_PATTERNS = tuple((k.split("/"), v) for k, v in ROUTES.items() if "{" in k)


def wanted(method: str, path: str) -> frozenset[str]:
    """The scopes of which one opens this path; `admin` for a path nobody thought of."""
    name = f"{method} {path}"
    found = ROUTES.get(name)
    if found is not None:
        return found
    parts = name.split("/")
    for pattern, scopes in _PATTERNS:
        if len(pattern) == len(parts) and all(
            p == q or p[:1] == "{" for p, q in zip(pattern, parts, strict=True)
        ):
            return scopes
    return _NOBODY_ELSE


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """Write into an OpenAPI document which scopes open each route."""
    scheme = {"type": "http", "scheme": "bearer", "description": "An API key, or a token of the settings."}
    document.setdefault("components", {})["securitySchemes"] = {"key": scheme}
    document["x-scopes"] = dict(SCOPES)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            opened = [] if path in OPEN else sorted(wanted(method.upper(), path))
            operation["x-scopes"] = opened
            operation["security"] = [{"key": []}, {}] if opened else []
    return document
