"""Tools: functions that a client offers and a model may call. None is run here; what they say is judged, and calls are written down and handed on."""

from __future__ import annotations

import json
from typing import Any

from .question import Frozen

MOST_TOOLS = 128
"""Tools of a request, and calls of a message."""
_DEEPEST = 40


class ToolCall(Frozen):
    """A call that a model makes.

    Attributes:
        id: by which its result names it. No model is ever shown an id that a client has sent.
        name: the function's.
        arguments: a JSON object as text, as `object_text` writes it.
    """

    id: str
    name: str
    arguments: str


def as_text(value: Any) -> str:
    """A value as JSON text, its keys in their order. Raises ValueError for NaN and infinity."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def object_text(text: str) -> str:
    """The JSON object in a text, written anew, so that no escape hides from one reader what another one reads; nothing at all is the empty object.

    Raises:
        ValueError: when it is no JSON object, repeats a key, nests too deeply or holds what is no Unicode.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object) if text.strip() else {}
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    if _depth(value) > _DEEPEST:
        raise ValueError("it nests too deeply")
    found = as_text(value)
    found.encode("utf-8")
    return found


def words(value: Any) -> str:
    """Every key, text and number of a JSON value, a line each, in their order: what it tells a reader."""
    found: list[str] = []
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            rest += reversed([x for pair in item.items() for x in pair])
        elif isinstance(item, list | tuple):
            rest += reversed(item)
        elif item is not None and not isinstance(item, bool):
            found.append(item if isinstance(item, str) else as_text(item))
    return "\n".join(text for text in found if text.strip())


def words_of_tools(tools: str) -> str:
    """What definitions of tools, as JSON text, tell a model: names, descriptions, and all that stands in the parameters."""
    functions = [tool["function"] for tool in json.loads(tools)]
    return words([[f["name"], f.get("description"), f.get("parameters")] for f in functions])


def words_of_call(call: ToolCall) -> str:
    """What a call tells a model: the function's name and its arguments."""
    return words([call.name, json.loads(call.arguments)])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice in one object")
    return found


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [x for x in level if isinstance(x, dict | list)]:
        depth += 1
        level = [y for x in level for y in (x.values() if isinstance(x, dict) else x)]
    return depth
