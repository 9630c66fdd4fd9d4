"""Calls and results of tools in Ollama's words, which need no ids, and OpenAI's words for them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import InputError
from ..core.tools import ToolCall, as_text

Loc = tuple[str | int, ...]


class Ids:
    """Ids for the calls of one conversation, made in their order where the client has none; a result without one belongs to the oldest call of its tool that waits."""

    def __init__(self) -> None:
        self._open: list[tuple[str, Any]] = []
        self._made = 0

    def calls(self, value: Any, loc: Loc) -> Any:
        """An assistant's calls as OpenAI has them; what is none is left for the chat form to refuse."""
        return (
            [self._call(call, (*loc, i)) for i, call in enumerate(value)]
            if isinstance(value, list)
            else value
        )

    def result(self, message: Mapping[str, Any], loc: Loc) -> str:
        """The id of the call that a message of role `tool` is the result of: it names the call, the tool, or neither.

        Raises:
            InputError: when no call waits for it.
        """
        id, name = message.get("tool_call_id"), message.get("tool_name")
        for waiting in self._open:
            if waiting[0] == id if id else name in (None, "", waiting[1]):
                self._open.remove(waiting)
                return waiting[0]
        raise InputError("No earlier call waits for this result.", "Send the call before it.", loc)

    def _call(self, value: Any, loc: Loc) -> Any:
        function = value.get("function") if isinstance(value, dict) else None
        if not isinstance(function, dict):
            raise InputError("`function` is not an object.", "", (*loc, "function"))
        given = {k: v for k, v in function.items() if k != "index"}
        if not isinstance(given.get("arguments", {}), dict):
            raise InputError("`arguments` is not an object.", "", (*loc, "function", "arguments"))
        self._made += 1
        id = value.get("id") or f"call_{self._made}"
        self._open.append((id, given.get("name")))
        function = {**given, "arguments": as_text(given.get("arguments", {}))}
        return {**value, "id": id, "type": "function", "function": function}


def told_calls(calls: Sequence[ToolCall]) -> Mapping[str, Any]:
    """Calls as a field of an answer's message; none when there are none."""
    told = [{"function": {"name": call.name, "arguments": json.loads(call.arguments)}} for call in calls]
    return {"tool_calls": told} if told else {}
