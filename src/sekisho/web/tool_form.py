"""Tools of a chat request, from JSON: what is offered, which of it is to be called, and the calls and results of a conversation. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.engine import Message
from ..core.errors import InputError
from ..core.tools import MOST_TOOLS, ToolCall, as_text, object_text

FIELDS = ("tools", "tool_choice", "parallel_tool_calls")
IN_MESSAGE: Mapping[str, str] = {"assistant": "tool_calls", "tool": "tool_call_id"}
"""The field of a message, by its role, that is about tools."""
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_FUNCTION: Mapping[str, tuple[type, str]] = {
    "name": (str, "a text"),
    "description": (str, "a text"),
    "parameters": (dict, "an object"),
    "strict": (bool, "true or false"),
}
_IN_CALL = frozenset(("id", "type", "function", "index"))
"""`index` is what clients that gathered a stream send back; it says nothing that the order does not."""
_CHOICES = ("none", "auto", "required")

Loc = tuple[str | int, ...]


def read_tools(given: Mapping[str, Any]) -> dict[str, Any]:
    """The tools of a request, as fields of `Sampling`; none of them when there are no tools.

    Raises:
        InputError: naming the field that is wrong, or a choice among no tools.
    """
    tools = given.get("tools", [])
    if not isinstance(tools, list) or len(tools) > MOST_TOOLS:
        raise InputError(f"`tools` is not a list of at most {MOST_TOOLS} tools.", "", ("body", "tools"))
    if not tools:
        if given.get("tool_choice", "auto") not in ("none", "auto"):
            raise InputError("`tool_choice` needs `tools`.", "Offer some.", ("body", "tool_choice"))
        return {}
    told = [_tool(tool, ("body", "tools", i)) for i, tool in enumerate(tools)]
    names = [tool["function"]["name"] for tool in told]
    return {
        "tools": as_text(told),
        "tool_choice": _choice(given.get("tool_choice"), _different(names)),
        "parallel_calls": _parallel(given.get("parallel_tool_calls")),
    }


def read_calls(message: Mapping[str, Any], loc: Loc) -> tuple[ToolCall, ...]:
    """The calls of an assistant's message. Raises InputError for what is no call of a function."""
    calls, loc = message.get("tool_calls") or [], (*loc, "tool_calls")
    if not isinstance(calls, list) or len(calls) > MOST_TOOLS:
        raise InputError(f"`tool_calls` is not a list of at most {MOST_TOOLS} calls.", "", loc)
    found = tuple(_call(call, (*loc, i)) for i, call in enumerate(calls))
    if len({call.id for call in found}) < len(found):
        raise InputError("Two calls have the same id.", "Give each its own.", loc)
    return found


def read_call_id(message: Mapping[str, Any], loc: Loc) -> str:
    """The call that a tool's message is the result of."""
    id = message.get("tool_call_id")
    if not isinstance(id, str) or not id:
        raise InputError("`tool_call_id` is not a text.", "Name the call.", (*loc, "tool_call_id"))
    return id


def require_calls(messages: Sequence[Message]) -> None:
    """Raise InputError for a result of a call that no earlier message makes."""
    known: set[str] = set()
    for i, message in enumerate(messages):
        known |= {call.id for call in message.calls}
        if message.call_id is not None and message.call_id not in known:
            loc = ("body", "messages", i, "tool_call_id")
            raise InputError("No earlier message makes this call.", "Send the call before its result.", loc)


def _tool(value: Any, loc: Loc) -> dict[str, Any]:
    given = _function_of(value, frozenset(("type", "function")), loc)
    loc = (*loc, "function")
    for name, right in given.items():
        if name not in _FUNCTION:
            raise InputError(f"`{name}` is unknown here.", "Leave it out.", (*loc, name))
        sort, what = _FUNCTION[name]
        if not isinstance(right, sort):
            raise InputError(f"`{name}` is not {what}.", "", (*loc, name))
    _require_name(given, loc)
    return {"type": "function", "function": given}


def _function_of(value: Any, known: frozenset[str], loc: Loc) -> dict[str, Any]:
    """What stands under `function`, without what is null."""
    if not isinstance(value, dict):
        raise InputError("This is not an object.", "", loc)
    if value.get("type") != "function":
        raise InputError(f"Of tools, only functions are done, not {value.get('type')!r}.", "", (*loc, "type"))
    for name, more in value.items():
        if more is not None and name not in known:
            raise InputError(f"`{name}` is unknown here.", "Leave it out.", (*loc, name))
    function = value.get("function")
    if not isinstance(function, dict):
        raise InputError("`function` is not an object.", "", (*loc, "function"))
    return {k: v for k, v in function.items() if v is not None}


def _require_name(function: Mapping[str, Any], loc: Loc) -> None:
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            "`name` is not 1 to 64 of the letters a to z and A to Z, digits, _ and -.", "", (*loc, "name")
        )


def _different(names: Sequence[str]) -> Sequence[str]:
    for i, name in enumerate(names):
        if name in names[:i]:
            loc = ("body", "tools", i, "function", "name")
            raise InputError(f"Two tools are called {name!r}.", "Offer each once.", loc)
    return names


def _choice(value: Any, names: Sequence[str]) -> str | None:
    """Which tool is to be called, as JSON text; None when nothing is said."""
    loc = ("body", "tool_choice")
    if value is None or (isinstance(value, str) and value in _CHOICES):
        return None if value is None else as_text(value)
    if not isinstance(value, dict):
        raise InputError(f"`tool_choice` is none of {', '.join(_CHOICES)} and a function.", "", loc)
    name = _function_of(value, frozenset(("type", "function")), loc).get("name")
    if name not in names:
        raise InputError(f"No tool is called {name!r}.", "Name one of `tools`.", (*loc, "function", "name"))
    return as_text({"type": "function", "function": {"name": name}})


def _parallel(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        loc = ("body", "parallel_tool_calls")
        raise InputError("`parallel_tool_calls` is not true or false.", "", loc)
    return value


def _call(value: Any, loc: Loc) -> ToolCall:
    given = _function_of(value, _IN_CALL, loc)
    id, arguments, within = value.get("id"), given.get("arguments", ""), (*loc, "function")
    if not isinstance(id, str) or not id:
        raise InputError("`id` is not a text.", "Send the call as it came.", (*loc, "id"))
    _require_name(given, within)
    if not isinstance(arguments, str):
        raise InputError("`arguments` is not a text.", "Send JSON as text.", (*within, "arguments"))
    for name in given:
        if name not in ("name", "arguments"):
            raise InputError(f"`{name}` is unknown here.", "Leave it out.", (*within, name))
    try:
        return ToolCall(id=id, name=given["name"], arguments=object_text(arguments))
    except ValueError as e:
        raise InputError(f"`arguments` is no JSON object: {e}.", "", (*within, "arguments")) from None
