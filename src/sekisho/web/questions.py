"""A System One request, from JSON to canonical questions. Pure: it knows no server and no model.

Nothing a client wrote as a question id gets into a question, and options are put into one order, whatever order they came in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError, TooLargeError
from ..core.question import MAX_LEVELS, MAX_OPTIONS, Option, Question, QuestionType
from ..loop.entries import Asked

Loc = tuple[str | int, ...]
_TYPES: tuple[QuestionType, ...] = ("noul", "choice", "score")
_IMAGES = ("assets", "images", "box")
_FIELDS = {"type", "instructions", "criteria"}


@dataclass(frozen=True)
class Request:
    """A request as the house understands it.

    Attributes:
        model: the name the client gave, not yet checked; None when it gave none.
        state: as text.
        asked: the questions in the client's order.
    """

    model: Any
    state: str
    asked: tuple[Asked, ...]


def read_request(body: Mapping[str, Any], most: int) -> Request:
    """Read a request. Top-level fields that are not known are ignored, as clients expect.

    Args:
        most: questions allowed in one request.

    Raises:
        InputError: with the place of what is wrong.
        TooLargeError: for too many questions.
    """
    for name in _IMAGES:
        if body.get(name) is not None:
            raise InputError(
                f"`{name}` needs a model that reads images; this one reads text.", "", ("body", name)
            )
    state = _required_text(body, "state")
    questions = body.get("questions")
    if not isinstance(questions, dict) or not questions:
        raise InputError("`questions` is not an object with a question in it.", "", ("body", "questions"))
    if len(questions) > most:
        raise TooLargeError(f"{len(questions)} questions are more than {most}.", "Split the request.")
    asked = tuple(_asked(name, q, ("body", "questions", name)) for name, q in questions.items())
    return Request(body.get("model"), state, asked)


def _required_text(body: Mapping[str, Any], name: str) -> str:
    text = as_text(body.get(name), ("body", name))
    if text is None:
        raise InputError(f"`{name}` is missing.", "Send a string, an object or an array.", ("body", name))
    return text


def as_text(value: Any, loc: Loc) -> str | None:
    """Text as it is; an object or array as compact JSON in the sender's key order; None for null.

    Raises:
        InputError: for a number or a truth value.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    raise InputError("This is not a string, an object or an array.", "", loc)


def _asked(name: str, question: Any, loc: Loc) -> Asked:
    if not name:
        raise InputError("A question's id is empty.", "Give each question a name.", loc)
    if not isinstance(question, dict):
        raise InputError("The question is not an object.", "", loc)
    sort = question.get("type")
    if sort not in _TYPES:
        raise InputError(f"The type {sort!r} is unknown.", "Use noul, choice or score.", (*loc, "type"))
    strange = sorted(k for k in question if k not in _FIELDS and not k.startswith("x_"))
    if strange:
        known = ", ".join(sorted(_FIELDS))
        raise InputError(
            f"The question has an unknown field {strange[0]!r}.", f"Known: {known}.", (*loc, strange[0])
        )
    instructions = as_text(question.get("instructions"), (*loc, "instructions"))
    options = _OPTIONS[sort](question.get("criteria"), (*loc, "criteria"))
    if sort == "noul" and not instructions and not any(o.description for o in options):
        raise InputError(
            "The question asks nothing.", "Give instructions, criteria or both.", (*loc, "instructions")
        )
    canonical = Question(type=sort, instructions=instructions, options=tuple(options))
    shown = tuple(question["criteria"]) if sort == "choice" else canonical.keys
    return Asked(name, canonical, shown)


def _noul(criteria: Any, loc: Loc) -> list[Option]:
    """True first, then false; either side may be described or not."""
    given = {} if criteria is None else criteria
    if not isinstance(given, dict) or not given.keys() <= {"true", "false"}:
        raise InputError("The criteria of a noul are an object of `true` and `false`.", "", loc)
    return [Option(key=k, description=as_text(given.get(k), (*loc, k))) for k in ("true", "false")]


def _choice(criteria: Any, loc: Loc) -> list[Option]:
    """Options sorted by the UTF-8 bytes of their keys; keys that look alike in NFC and NFD stay two."""
    if not isinstance(criteria, dict):
        raise InputError("The criteria of a choice are an object from label to description.", "", loc)
    _require_count(len(criteria), MAX_OPTIONS, "options", loc)
    if "" in criteria:
        raise InputError("A label is empty.", "Give every option a name.", loc)
    keys = sorted(criteria, key=lambda k: k.encode("utf-8"))
    return [Option(key=k, description=as_text(criteria[k], (*loc, k))) for k in keys]


def _score(criteria: Any, loc: Loc) -> list[Option]:
    """Levels in the order given; the index is the score."""
    if not isinstance(criteria, list):
        raise InputError("The criteria of a score are an array of levels.", "", loc)
    _require_count(len(criteria), MAX_LEVELS, "levels", loc)
    levels = [as_text(level, (*loc, i)) for i, level in enumerate(criteria)]
    if None in levels:
        raise InputError("A level is null.", "Describe every level.", (*loc, levels.index(None)))
    return [Option(key=str(i), description=level) for i, level in enumerate(levels)]


def _require_count(count: int, most: int, what: str, loc: Loc) -> None:
    if not 2 <= count <= most:
        raise InputError(f"There are {count} {what}.", f"Give 2 to {most}.", loc)


_OPTIONS = {"noul": _noul, "choice": _choice, "score": _score}
