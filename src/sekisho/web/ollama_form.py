"""An Ollama request, from JSON to the chat form of the house. Pure.

Ollama lets a request choose how the model is loaded. Here nothing is: one model, one context, always in memory. What names these is mapped to
what serves, or refused with what serves in the message; it never loads anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import ConflictError, InputError
from .chat_form import ChatForm, read_chat
from .ollama_tools import Ids

_DURATION = re.compile(r"[-+]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+|[-+]?\d+")
"""Go's `time.ParseDuration`, or bare seconds."""
_SAMPLING: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
}
_LOADING = frozenset(
    (
        "num_gpu",
        "num_thread",
        "num_batch",
        "main_gpu",
        "num_keep",
        "num_gqa",
        "use_mmap",
        "use_mlock",
        "numa",
        "low_vram",
        "f16_kv",
    )
)
"""Options that say how a model is loaded and change no answer; the operator has said so for everybody."""
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "top_k": (0, -1),
    "min_p": (0,),
    "typical_p": (1,),
    "tfs_z": (1,),
    "repeat_penalty": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "mirostat": (0,),
    "penalize_newline": (False, True),
    "embedding_only": (False,),
    "vocab_only": (False,),
    "logits_all": (False,),
}
"""Options that are understood only at the values that mean "off"."""
_IDLE = frozenset(("repeat_last_n", "mirostat_tau", "mirostat_eta"))
"""Options that only say more about one that is off."""
_OFF: Mapping[str, tuple[Any, ...]] = {
    "think": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "images": ([],),
    "suffix": ("",),
    "template": ("",),
    "context": ([],),
    "raw": (False,),
    "truncate": (False, True),
    "shift": (False, True),
}
"""Fields that are understood only at the values that mean "as usual". A prompt that is too long is refused, whatever `truncate` and `shift` say."""
_SHARED = frozenset(("model", "stream", "options", "keep_alive", "x_contract", "format", *_OFF))
_MESSAGE = frozenset(("role", "content", "tool_calls", "tool_name", "tool_call_id"))
_MESSAGE_OFF: Mapping[str, tuple[Any, ...]] = {
    "images": ([],),
    "thinking": ("",),
}


@dataclass(frozen=True)
class OllamaForm:
    """An Ollama request as the house understands it.

    Attributes:
        model: as the client names it, not yet checked.
        stream: whether the answer comes in lines; Ollama's default is yes.
        chat: what is asked; None when the request only wants the model in memory, where it always is.
    """

    model: Any
    stream: bool
    chat: ChatForm | None


def read_ollama(body: Mapping[str, Any], context: int, generate: bool) -> OllamaForm:
    """Read a request to `/api/chat`, or to `/api/generate`; null means absent.

    Args:
        context: tokens of the model that serves.

    Raises:
        InputError: naming the field or option that is wrong, or not done here.
        ConflictError: when the model is to be unloaded.
    """
    given = {k: v for k, v in body.items() if v is not None}
    own = ("prompt", "system") if generate else ("messages", "tools")
    _only(given, _SHARED | {*own}, {**_OFF, "tools": ([],)} if generate else _OFF, ("body",))
    if "model" not in given:
        raise InputError("`model` is missing.", "Name the model.", ("body", "model"))
    stream = given.get("stream", True)
    if not isinstance(stream, bool):
        raise InputError("`stream` is not true or false.", "", ("body", "stream"))
    at_once = _keep_alive(given.get("keep_alive"))
    sampling = _options(given.get("options", {}), context)
    messages = _prompted(given) if generate else _messages(given.get("messages", []))
    if not messages:
        if at_once:
            raise ConflictError("The model is pinned and is not unloaded.", "Stop the server instead.")
        return OllamaForm(given["model"], stream, None)
    kept = ("model", "x_contract") if generate else ("model", "x_contract", "tools")
    shared: dict[str, Any] = {k: given[k] for k in kept if k in given}
    form = _format(given.get("format", ""))
    chat = read_chat({**shared, "stream": stream, "messages": messages, **sampling, **form}, context)
    return OllamaForm(given["model"], stream, chat)


def _format(value: Any) -> dict[str, Any]:
    """A form of the answer in OpenAI's words: nothing, `json`, or a schema."""
    if value == "":
        return {}
    if value == "json":
        return {"response_format": {"type": "json_object"}}
    if not isinstance(value, dict):
        raise InputError("`format` is neither `json` nor a JSON schema.", "", ("body", "format"))
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": value}}}


def _only(
    given: Mapping[str, Any], known: frozenset[str], off: Mapping[str, tuple[Any, ...]], loc: tuple[Any, ...]
) -> None:
    """Refuse what is unknown, and what is known only at its usual values."""
    for name, value in given.items():
        if name in off:
            _require_off(name, value, off[name], loc)
        elif name not in known:
            raise InputError(f"`{name}` is unknown here.", "Leave it out.", (*loc, name))


def _require_off(name: str, value: Any, usual: tuple[Any, ...], loc: tuple[Any, ...]) -> None:
    if not any(value == u and isinstance(value, bool) == isinstance(u, bool) for u in usual):
        raise InputError(f"This version does not do `{name}` other than {usual[0]!r}.", "", (*loc, name))


def _keep_alive(value: Any) -> bool:
    """Whether the model is to leave the memory at once. Any other duration means what is anyhow so: it stays."""
    if value is None:
        return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value == 0
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return not any(c in "123456789" for c in value)
    raise InputError(
        "`keep_alive` is no duration.", "Give seconds, or a text like 5m.", ("body", "keep_alive")
    )


def _options(options: Any, context: int) -> dict[str, Any]:
    """Sampling in OpenAI's words, from Ollama's options."""
    loc = ("body", "options")
    if not isinstance(options, dict):
        raise InputError("`options` is not an object.", "", loc)
    given = {k: v for k, v in options.items() if v is not None}
    _only(given, frozenset((*_SAMPLING, "num_ctx", "num_predict")) | _LOADING | _IDLE, _NEUTRAL, loc)
    _require_context(given.get("num_ctx", context), context)
    sampling = {_SAMPLING[k]: v for k, v in given.items() if k in _SAMPLING}
    if "num_predict" in given:
        sampling["max_tokens"] = _length(given["num_predict"], context)
    return sampling


def _require_context(wanted: Any, context: int) -> None:
    """A smaller context is served by the larger one there is."""
    loc = ("body", "options", "num_ctx")
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise InputError("`num_ctx` is not a whole number from 1.", "", loc)
    if wanted > context:
        raise InputError(
            f"A context of {wanted} tokens was asked for; this server has {context}, fixed at its start.",
            f"Set num_ctx to at most {context}, or leave it out.",
            loc,
        )


def _length(value: Any, context: int) -> int:
    """Tokens to write; −1 and −2 mean as many as fit."""
    if isinstance(value, bool) or not isinstance(value, int) or value == 0 or value < -2:
        raise InputError(
            "`num_predict` is not a whole number from 1, nor −1.", "", ("body", "options", "num_predict")
        )
    return value if value > 0 else context


def _messages(value: Any) -> Any:
    """Messages as OpenAI has them; what is no list is left for the chat form to refuse."""
    if not isinstance(value, list):
        return [value]
    ids = Ids()
    return [_message(m, ("body", "messages", i), ids) for i, m in enumerate(value)]


def _message(value: Any, loc: tuple[Any, ...], ids: Ids) -> Any:
    if not isinstance(value, dict):
        return value
    given = {k: v for k, v in value.items() if v is not None}
    _only(given, _MESSAGE, _MESSAGE_OFF, loc)
    told = {"role": given.get("role"), "content": given.get("content", "")}
    if given.get("tool_calls"):
        told["tool_calls"] = ids.calls(given["tool_calls"], (*loc, "tool_calls"))
    if told["role"] == "tool":
        told["tool_call_id"] = ids.result(given, (*loc, "tool_name"))
        return told
    for name in ("tool_name", "tool_call_id"):
        if given.get(name):
            raise InputError(f"`{name}` is of messages of role tool.", "Leave it out.", (*loc, name))
    return told


def _prompted(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conversation a prompt stands for; empty when there is no prompt."""
    for name in ("prompt", "system"):
        if not isinstance(given.get(name, ""), str):
            raise InputError(f"`{name}` is not a text.", "", ("body", name))
    if not given.get("prompt"):
        return []
    system = [{"role": "system", "content": given["system"]}] if given.get("system") else []
    return [*system, {"role": "user", "content": given["prompt"]}]
