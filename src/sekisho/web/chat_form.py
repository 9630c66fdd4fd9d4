"""A chat request, from JSON to messages and sampling. What this version does not do is refused by name, never ignored. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..core.answer_schema import check_schema
from ..core.engine import Message, Sampling
from ..core.errors import InputError
from . import tool_form

_ROLES: Mapping[str, Literal["system", "user", "assistant", "tool"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_HARMLESS = frozenset(
    (
        "user",
        "metadata",
        "store",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "service_tier",
        "reasoning_effort",
        "verbosity",
    )
)
"""Fields clients send that change nothing here: whom to bill, what to log, how to reason for models that do."""
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "modalities": (["text"],),
}
"""Fields that are understood only at the values that mean "as usual"."""
_SAMPLING = ("max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop")
_SHAPE = ("response_format", "logprobs", "top_logprobs")
_READ = frozenset(("model", "messages", "stream", "stream_options", *_SAMPLING, *_SHAPE, *tool_form.FIELDS))
_CONTRACT = "x_contract"
_IN_MESSAGE = frozenset(("role", "content", "name"))
"""Fields of a message that are read; others are refused unless they are empty, as in an answer that is sent back."""
_STOPS = 4
_MOST_MESSAGES = 512
"""Every one of them is judged by itself; a body full of tiny ones would keep the engine from everybody else."""


@dataclass(frozen=True)
class ChatForm:
    """A chat request as the house understands it.

    Attributes:
        usage: whether a stream ends with a chunk of token counts.
        contract: the identity contract under which the gate judges.
    """

    model: Any
    messages: tuple[Message, ...]
    sampling: Sampling
    stream: bool
    usage: bool
    contract: str


def read_chat(body: Mapping[str, Any], context: int) -> ChatForm:
    """Read a chat request; null means absent.

    Args:
        context: tokens of the model; a larger `max_tokens` is the same as this.

    Raises:
        InputError: naming the field that is wrong or not done here.
    """
    given = {k: v for k, v in body.items() if v is not None}
    _refuse_unknown(given)
    options = _field(given, "stream_options", _is_object, "an object", {})
    if "model" not in given:
        raise InputError("`model` is missing.", "Name the model.", ("body", "model"))
    return ChatForm(
        model=given["model"],
        messages=_messages(given.get("messages")),
        sampling=_sampling(given, context),
        stream=_field(given, "stream", _is_bool, "true or false", False),
        usage=_field(options, "include_usage", _is_bool, "true or false", False),
        contract=_field(given, _CONTRACT, _is_text, "a text", "general"),
    )


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name in _READ or name in _HARMLESS or name == _CONTRACT:
            continue
        neutral = _NEUTRAL.get(name)
        if neutral is None:
            raise InputError(f"`{name}` is unknown here.", "Leave it out.", ("body", name))
        if not any(
            value == usual and isinstance(value, bool) == isinstance(usual, bool) for usual in neutral
        ):
            raise InputError(
                f"This version does not do `{name}` other than {neutral[0]!r}.", "", ("body", name)
            )


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise InputError("`messages` is not a list with a message in it.", "", ("body", "messages"))
    if len(value) > _MOST_MESSAGES:
        raise InputError(
            f"There are {len(value)} messages; {_MOST_MESSAGES} may come at once.",
            "Leave the oldest ones out.",
            ("body", "messages"),
        )
    messages = tuple(_message(m, ("body", "messages", i)) for i, m in enumerate(value))
    tool_form.require_calls(messages)
    if not any(m.role == "user" and m.content.strip() for m in messages):
        raise InputError("No message of the user has any text.", "Say something.", ("body", "messages"))
    return messages


def _message(value: Any, loc: tuple[str | int, ...]) -> Message:
    if not isinstance(value, dict):
        raise InputError("The message is not an object.", "", loc)
    role = value.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise InputError(
            f"The role {role!r} is not done here.", f"Use one of {', '.join(_ROLES)}.", (*loc, "role")
        )
    for name, more in value.items():
        if more and name not in _IN_MESSAGE and name != tool_form.IN_MESSAGE.get(role):
            raise InputError(f"This version does not do `{name}`.", "", (*loc, name))
    calls = tool_form.read_calls(value, loc) if role == "assistant" else ()
    silent = bool(calls) and value.get("content") is None
    return Message(
        role=_ROLES[role],
        content="" if silent else _content(value.get("content"), (*loc, "content")),
        calls=calls,
        call_id=tool_form.read_call_id(value, loc) if role == "tool" else None,
    )


def _content(value: Any, loc: tuple[str | int, ...]) -> str:
    """A text, or text parts joined as they are."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise InputError("The content is neither a text nor a list of text parts.", "", loc)
    return "".join(_part(part, (*loc, i)) for i, part in enumerate(value))


def _part(part: Any, loc: tuple[str | int, ...]) -> str:
    sort = part.get("type") if isinstance(part, dict) else None
    if sort != "text":
        raise InputError(f"A part of type {sort!r} cannot be read; this model reads text.", "", loc)
    if not isinstance(part.get("text"), str):
        raise InputError("The part has no text.", "", (*loc, "text"))
    text: str = part["text"]
    return text


def _sampling(given: Mapping[str, Any], context: int) -> Sampling:
    usual = Sampling()
    tokens = _field(
        given, "max_tokens", _whole(1, 1 << 31), "a whole number from 1 to 2147483648", usual.max_tokens
    )
    tokens = _field(
        given, "max_completion_tokens", _whole(1, 1 << 31), "a whole number from 1 to 2147483648", tokens
    )
    return Sampling(
        max_tokens=min(tokens, context),
        temperature=_field(given, "temperature", _number(0, 2), "a number from 0 to 2", usual.temperature),
        top_p=_field(given, "top_p", _number(1e-6, 1), "a number above 0, at most 1", usual.top_p),
        seed=_field(given, "seed", _whole(-(1 << 63), (1 << 63) - 1), "a 64-bit whole number", None),
        stop=_stop(given.get("stop")),
        json_schema=_schema(given.get("response_format", {"type": "text"})),
        top_logprobs=_logprobs(given),
        **tool_form.read_tools(given),
    )


def _schema(form: Any) -> str | None:
    """The JSON schema an answer must fulfil, as JSON text; None for free text. Whether an engine can hold to it, it says itself."""
    loc = ("body", "response_format")
    sort = form.get("type") if isinstance(form, dict) else None
    if sort == "text":
        return None
    if sort == "json_object":
        return '{"type":"object"}'
    schema = (
        form["json_schema"].get("schema")
        if sort == "json_schema" and _is_object(form.get("json_schema"))
        else None
    )
    if not isinstance(schema, dict):
        raise InputError(
            "`response_format` is none of text, json_object and json_schema with a `schema`.", "", loc
        )
    check_schema(schema, (*loc, "json_schema", "schema"))
    return json.dumps(schema, ensure_ascii=False)


def _logprobs(given: Mapping[str, Any]) -> int | None:
    """How many alternatives each token comes with; None when no log-probabilities were asked for."""
    wanted = _field(given, "logprobs", _is_bool, "true or false", False)
    top = _field(given, "top_logprobs", _whole(0, 20), "a whole number from 0 to 20", 0)
    if top and not wanted:
        raise InputError("`top_logprobs` needs `logprobs`.", "Set it to true.", ("body", "top_logprobs"))
    return int(top) if wanted else None


def _stop(value: Any) -> tuple[str, ...]:
    stops: Sequence[Any] = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > _STOPS or not all(isinstance(s, str) and s for s in stops):
        raise InputError(f"`stop` is not a text or up to {_STOPS} texts, none empty.", "", ("body", "stop"))
    return tuple(stops)


def _field(given: Mapping[str, Any], name: str, right: Callable[[Any], bool], what: str, default: Any) -> Any:
    """The field's value when it is right, the default when it is absent or null."""
    value = given.get(name)
    if value is None:
        return default
    if not right(value):
        raise InputError(f"`{name}` is not {what}.", "", ("body", name))
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int | float) and not isinstance(v, bool) and low <= v <= high
