"""Schemas for far vision models: only what every backend keeps to, and answers read as strictly as the schema says.

Servers drop constructs they do not know without a word, and then the model writes what it likes. So a schema is linted before it is sent, against the few
constructs that constrained decoding has everywhere, and what comes back is checked as if nothing had been constrained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...core.errors import InputError

KEPT = frozenset({"type", "properties", "required", "additionalProperties", "enum", "title"})
"""Keywords that LMDeploy, vLLM, llama.cpp and Ollama all turn into a constraint; `title` says nothing to any of them."""
IGNORED: Mapping[str, str] = {
    "pattern": "a regular expression is kept by some servers in part only",
    "format": "a format is mostly a comment",
    "minimum": "bounds of numbers are ignored by several servers; use enum",
    "maximum": "bounds of numbers are ignored by several servers; use enum",
    "minLength": "lengths are ignored by several servers",
    "maxLength": "lengths are ignored by several servers",
    "minItems": "counts of items are ignored by several servers",
    "maxItems": "counts of items are ignored by several servers",
    "uniqueItems": "no grammar can count",
    "not": "a grammar cannot say not",
    "if": "conditions are ignored",
    "then": "conditions are ignored",
    "else": "conditions are ignored",
    "patternProperties": "names by pattern are ignored",
    "dependentRequired": "conditions are ignored",
    "default": "a default is no constraint, and a missing answer must stay missing",
}
"""Why a keyword is refused, where more can be said than that it is not among those that are kept."""
_TYPES = frozenset({"object", "integer", "boolean", "string"})


def lint_schema(schema: Mapping[str, Any]) -> list[str]:
    """Everything in a schema that a backend may ignore, each with its place; empty when it can be relied on."""
    return list(_findings(schema, "$"))


def _findings(schema: Mapping[str, Any], where: str) -> Iterator[str]:
    for key in schema:
        if key not in KEPT:
            yield f"{where}: {key} ({IGNORED.get(key, 'not kept by every backend')})"
    if schema.get("type") not in _TYPES:
        yield f"{where}: type must be one of {', '.join(sorted(_TYPES))}"
    if schema.get("type") == "object":
        named = schema.get("properties") or {}
        if schema.get("additionalProperties") is not False:
            yield f"{where}: additionalProperties must be false, or any key may come"
        if sorted(schema.get("required") or ()) != sorted(named):
            yield f"{where}: every property must be required, or the model leaves some out"
        for name, inner in named.items():
            yield from _findings(inner, f"{where}.{name}")


def answer_schema(ids: Sequence[str]) -> dict[str, Any]:
    """The schema of an answer: every id once, as the number 0 or 1. Raises InputError when it would not be kept."""
    named = {id: {"type": "integer", "enum": [0, 1]} for id in ids}
    schema = {"type": "object", "properties": named, "required": list(ids), "additionalProperties": False}
    if wrong := lint_schema(schema):
        raise InputError(f"The schema cannot be relied on: {'; '.join(wrong)}.")
    return schema


def read_answers(text: str, ids: Sequence[str]) -> dict[str, int]:
    """The answers in a reply: some or all of `ids`. Empty when anything in the reply is not as it was asked for.

    A reply with one wrong value, one unknown key or one key twice is not believed in its other parts either.
    """
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or not found.keys() <= set(ids):
        return {}
    if any(type(v) is not int or v not in (0, 1) for v in found.values()):
        return {}
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found
