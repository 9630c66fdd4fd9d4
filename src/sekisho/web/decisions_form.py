"""A request to `/v1/decisions` (OpenAI's Decisions, also spoken by LiteLLM), from JSON to canonical questions, and answers back into its words. Pure.

A `predicate` is a noul, a `choice` a choice whose values may be texts or booleans, a `score` a score whose levels have labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import InputError
from ..loop.entries import Asked
from .questions import Loc, read_request

_FIELDS: Mapping[str, frozenset[str]] = {
    "predicate": frozenset(("type", "name", "instructions")),
    "choice": frozenset(("type", "name", "instructions", "choices")),
    "score": frozenset(("type", "name", "instructions", "levels")),
}
_ROLES = ("user", "developer", "system", "assistant")
_TEXTS = ("input_text", "output_text", "text")


@dataclass(frozen=True)
class Decisions:
    """A request as the house understands it.

    Attributes:
        values: for each question what its options are called outside, by canonical key: texts or booleans of a choice, labels of a score.
        names: what the client calls each question; None where it does not.
    """

    model: Any
    state: str
    asked: tuple[Asked, ...]
    values: tuple[Mapping[str, Any], ...]
    names: tuple[str | None, ...]


def read_decisions(body: Mapping[str, Any], most: int) -> Decisions:
    """Read a request.

    Args:
        most: questions allowed in one request.

    Raises:
        InputError: with the place of what is wrong.
        TooLargeError: for too many questions.
    """
    if body.get("model") is None:
        raise InputError("`model` is missing.", "Name the model.", ("body", "model"))
    given = body.get("questions")
    if not isinstance(given, list) or not given:
        raise InputError("`questions` is not a list with a question in it.", "", ("body", "questions"))
    read = [_question(q, ("body", "questions", i)) for i, q in enumerate(given)]
    plain = {str(i): q for i, (q, _) in enumerate(read)}
    request = read_request({"state": _state(body.get("input")), "questions": plain}, most)
    names = tuple(q.get("name") for q in given)
    asked = tuple(replace(a, name=n or a.name) for a, n in zip(request.asked, names, strict=True))
    return Decisions(body["model"], request.state, asked, tuple(v for _, v in read), names)


def _question(question: Any, loc: Loc) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """A question in System One's words, and the names of its options by key."""
    sort = question.get("type") if isinstance(question, dict) else None
    if not isinstance(sort, str) or sort not in _FIELDS:
        raise InputError(f"The type {sort!r} is unknown.", "Use predicate, choice or score.", (*loc, "type"))
    for name in question:
        if name not in _FIELDS[sort]:
            raise InputError(f"A {sort} has no field {name!r}.", "Leave it out.", (*loc, name))
    if not isinstance(question.get("name"), str | None):
        raise InputError("`name` is not a text.", "", (*loc, "name"))
    instructions = _text(question.get("instructions"), (*loc, "instructions"))
    if sort == "predicate":
        return {"type": "noul", "instructions": instructions}, {}
    criteria, values = (_choices if sort == "choice" else _levels)(question, loc)
    return {"type": sort, "instructions": instructions, "criteria": criteria}, values


def _choices(question: Mapping[str, Any], loc: Loc) -> tuple[Any, Mapping[str, Any]]:
    """Options by key. A boolean and a text of the same letters stay two; only then the boolean's key says what it is."""
    options = _listed(question.get("choices"), "value", (*loc, "choices"))
    texts = {o["value"] for o in options if isinstance(o["value"], str)}
    criteria: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for i, option in enumerate(options):
        value = option["value"]
        if not isinstance(value, str | bool):
            raise InputError("The value is neither a text nor a boolean.", "", (*loc, "choices", i, "value"))
        key = value if isinstance(value, str) else str(value).lower()
        key += " (boolean)" if isinstance(value, bool) and key in texts else ""
        if key in values:
            raise InputError(f"The choice {value!r} comes twice.", "", (*loc, "choices", i, "value"))
        criteria[key], values[key] = option.get("description"), value
    return criteria, values


def _levels(question: Mapping[str, Any], loc: Loc) -> tuple[Any, Mapping[str, Any]]:
    """Levels as texts, in order; the key of a level is its number."""
    levels = _listed(question.get("levels"), "label", (*loc, "levels"))
    for i, level in enumerate(levels):
        if not isinstance(level["label"], str) or not level["label"]:
            raise InputError("The label is not a text.", "", (*loc, "levels", i, "label"))
    texts = [f"{v['label']}: {v['description']}" if v.get("description") else v["label"] for v in levels]
    return texts, {str(i): v["label"] for i, v in enumerate(levels)}


def _listed(value: Any, key: str, loc: Loc) -> Sequence[Mapping[str, Any]]:
    """A list of objects with `key` and perhaps `description`."""
    if not isinstance(value, list):
        raise InputError(f"`{loc[-1]}` is not a list.", "", loc)
    for i, item in enumerate(value):
        if not isinstance(item, dict) or key not in item or not item.keys() <= {key, "description"}:
            raise InputError(f"Not an object of `{key}` and `description`.", "", (*loc, i))
        if not isinstance(item.get("description"), str | None):
            raise InputError("The description is not a text.", "", (*loc, i, "description"))
    return value


def _state(value: Any) -> Any:
    """The state: a text as it is, one message of a user as its text, anything longer as its turns."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise InputError("`input` is neither a text nor a list of messages.", "", ("body", "input"))
    turns = [_turn(item, ("body", "input", i)) for i, item in enumerate(value)]
    return turns[0]["content"] if len(turns) == 1 and turns[0].get("role") == "user" else turns


def _turn(item: Any, loc: Loc) -> dict[str, Any]:
    """A message with its content as text; calls of tools and what they gave as they are."""
    sort = item.get("type", "message") if isinstance(item, dict) else None
    if sort == "message" and item.get("role") in _ROLES:
        return {"role": item["role"], "content": _text(item.get("content"), (*loc, "content"))}
    if sort in ("function_call", "custom_tool_call"):
        told = item.get("arguments" if sort == "function_call" else "input")
        if isinstance(told, str) and isinstance(item.get("name"), str):
            return {"call": item["name"], "input": told}
    if sort in ("function_call_output", "custom_tool_call_output"):
        return {"output": _text(item.get("output"), (*loc, "output"))}
    raise InputError("This is no message, call or output.", "", loc)


def _text(value: Any, loc: Loc) -> Any:
    """A text, or text parts joined; JSON parts stay what they are, as the state is rendered later."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise InputError("Neither a text nor a list of parts.", "", loc)
    parts = [_part(part, (*loc, i)) for i, part in enumerate(value)]
    return "".join(parts) if all(isinstance(p, str) for p in parts) else parts


def _part(part: Any, loc: Loc) -> Any:
    sort = part.get("type") if isinstance(part, dict) else None
    if sort in _TEXTS and isinstance(part.get("text"), str):
        return part["text"]
    if sort == "refusal" and isinstance(part.get("refusal"), str):
        return part["refusal"]
    if sort == "input_json" and isinstance(part.get("data"), dict | list):
        return part["data"]
    raise InputError(f"A part of type {sort!r} cannot be read; this model reads text.", "", loc)


def decision_answer(wire: Mapping[str, Any], values: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """An answer in the words of `/v1/decisions`, from the same answer in System One's; fields of ours stay."""
    ours = {"name": name, **{k: v for k, v in wire.items() if k.startswith("x_")}}
    if wire["type"] == "noul":
        return {"type": "predicate", "probability": wire["noul"], **ours}
    p = wire["probabilities"]
    shared = {"type": wire["type"], "confidence": wire["confidence"], **ours}
    if wire["type"] == "choice":
        listed = [{"value": values[k], "probability": x} for k, x in p.items()]
        return {**shared, "choice": values[wire["choice"]], "probabilities": listed}
    listed = [{"label": values[k], "value": int(k), "probability": x} for k, x in p.items()]
    return {**shared, "score": wire["score"], "probabilities": listed}
