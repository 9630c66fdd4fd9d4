"""Tools at a far server: they and their results in OpenAI's words, and its calls gathered from the pieces of a stream, whole or not at all.

Servers differ in how they cut calls up. Seen in the wild: no index; index 0 for every call (Ollama); another id, or none, with every piece; the name
with every piece; all of a call in one piece, and once more at the end; arguments as an object; `stop` as the reason.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...core.engine import Message, Sampling
from ...core.errors import EngineError, InputError
from ...core.tools import ToolCall, as_text, object_text
from . import ways

Finish = Literal["stop", "length", "tool_calls"]
_ENDS = frozenset(("stop", "length", "tool_calls", "function_call"))


def turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """A conversation in OpenAI's words. Calls get new ids: what a client calls them is judged by nobody, and Mistral's templates take nine letters and digits only."""
    told, known = [], dict[str, tuple[str, str]]()
    count = 0
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": ways.harmless(message.content)}
        for call in message.calls:
            count += 1
            known[call.id] = f"call{count:05d}", call.name
            turn.setdefault("tool_calls", []).append(_told(call, known[call.id][0]))
        if message.call_id is not None:
            if message.call_id not in known:
                raise InputError("A tool's result is of no call.", "Send the call before it.")
            turn["tool_call_id"], turn["name"] = known[message.call_id]
        told.append(turn)
    return told


def _told(call: ToolCall, id: str) -> dict[str, Any]:
    # In JSON text that is written without escapes, every control token stands as it is, and within a string.
    arguments = ways.harmless(call.arguments)
    return {"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def offered(sampling: Sampling) -> dict[str, Any]:
    """The tools of a request and what is said of them; nothing when there are none.

    One that is named is the only one offered, and required: llama.cpp and others read a name as `auto` without a word.
    """
    if sampling.offered is None:
        return {}
    tools = json.loads(ways.harmless(sampling.offered))
    choice = None if sampling.tool_choice is None else json.loads(sampling.tool_choice)
    if isinstance(choice, dict):
        tools = [t for t in tools if t["function"]["name"] == choice["function"]["name"]]
        choice = "required"
    found = {"tools": tools, "tool_choice": choice, "parallel_tool_calls": sampling.parallel_calls}
    return {k: v for k, v in found.items() if v is not None}


@dataclass
class _Part:
    """A call that may not be whole yet."""

    index: Any
    id: str
    name: str = ""
    arguments: str = ""


class Gathered:
    """The calls of one stream.

    Args:
        asked: as `offered` gives it.
    """

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self._names = {str(tool["function"]["name"]) for tool in asked.get("tools", ())}
        self._required = asked.get("tool_choice") == "required"
        self._alone = asked.get("parallel_tool_calls") is False
        self._parts: list[_Part] = []

    def take(self, event: Mapping[str, Any]) -> None:
        """Take what an event of the stream tells of calls. Raises EngineError for what is no piece of a call."""
        try:
            for choice in (event.get("choices") or ())[:1]:
                for piece in (choice.get("delta") or {}).get("tool_calls") or ():
                    self._add(piece)
        except (AttributeError, TypeError, ValueError):
            raise _malformed("is no call") from None

    def whole(self, finish: str) -> tuple[tuple[ToolCall, ...], Finish]:
        """All calls, and why the text ended. Where one alone was asked for it is the first: llama.cpp does not count.

        Args:
            finish: why the far server says it did.

        Raises:
            EngineError: when a call is not whole or not one that was asked for, or when none came though one was asked for.
        """
        if finish not in _ENDS:
            raise EngineError("The far server ended the text without a word.", "Try again.")
        kept = self._parts[:1] if self._alone else self._parts
        calls = self._different([self._call(part) for part in kept])
        if not calls and (self._required or finish not in ("stop", "length")):
            raise EngineError("The far server was to call a tool, and called none.", "Check its model.")
        if finish == "length" and len(kept) == len(self._parts):
            return calls, "length"
        return calls, "tool_calls" if calls else "stop"

    def _add(self, piece: Mapping[str, Any]) -> None:
        said = piece.get("function") or {}
        id, name, arguments = str(piece.get("id") or ""), said.get("name") or "", said.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = as_text(arguments)
        part = self._part(piece.get("index"), id, name)
        if part is not None and self._repeats(part, id, name, arguments):
            return
        if part is None or (name and self._begins(part, id, name, arguments)):
            part = _Part(piece.get("index"), id)
            self._parts.append(part)
        part.id = part.id or id
        part.name += "" if name == part.name else name
        part.arguments += arguments

    def _part(self, index: Any, id: str, name: str) -> _Part | None:
        """The call that a piece belongs to, if it does not begin another one: by its index, else by its id, else the last one."""
        last = self._parts[-1] if self._parts else None
        if index is not None:
            same = [p for p in self._parts if p.index == index]
            return same[-1] if same else None if name else last
        same = [p for p in self._parts if id and p.id == id]
        return same[-1] if same else None if name and id else last

    def _repeats(self, part: _Part, id: str, name: str, arguments: str) -> bool:
        """Whether a piece only says once more what is whole already: a call must not be made twice."""
        same = (id, name, arguments) == (part.id, part.name, part.arguments)
        return same and bool(id and name) and _is_whole(arguments)

    def _begins(self, part: _Part, id: str, name: str, arguments: str) -> bool:
        """Whether a piece with a name begins another call, and is not more of the one where it would belong."""
        if not part.name:
            return False
        if id and part.id and id != part.id:
            return True
        if name == part.name:
            return bool(arguments.strip()) and _is_whole(part.arguments)
        more = part.name + name
        return bool(part.arguments) or not any(offered.startswith(more) for offered in self._names)

    def _call(self, part: _Part) -> ToolCall:
        if part.name not in self._names:
            raise _malformed(
                f"is of {part.name[:64]!r}, which nobody offered" if part.name else "has no name"
            )
        try:
            return ToolCall(id=part.id, name=part.name, arguments=object_text(part.arguments))
        except ValueError:
            raise _malformed(
                "has arguments that are no JSON object; perhaps there were too few tokens"
            ) from None

    def _different(self, calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
        """The calls, each with an id of its own."""
        seen: set[str] = set()
        found = []
        for call in calls:
            id = call.id if call.id and call.id not in seen else f"call_{secrets.token_hex(12)}"
            seen.add(id)
            found.append(call.model_copy(update={"id": id}))
        return tuple(found)


def _is_whole(text: str) -> bool:
    try:
        object_text(text)
    except ValueError:
        return False
    return bool(text.strip())


def _malformed(what: str) -> EngineError:
    return EngineError(f"A tool call of the far server {what}.", "Try again, or check its model.")
