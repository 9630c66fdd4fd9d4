"""What goes over to the llama.cpp child: the bodies of its `/completion`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...core.engine import Sampling

_BIAS = 100.0
"""Lifts the labels over every other token; logits of language models lie far closer together."""
_TIGHT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
LARGEST_SEED = 0xFFFFFFFF
"""llama.cpp reads this seed as "random"."""


def score(prompt: Sequence[int | str], labels: Sequence[int], slot: int | None) -> dict[str, Any]:
    """Ask for the probabilities of `labels` after `prompt`, which sum to 1 over them.

    Args:
        prompt: token ids, and texts between them; it begins with an id, or llama.cpp might put one before it.
    """
    return {
        "prompt": list(prompt),
        "n_predict": 1,
        "n_probs": len(labels),
        "post_sampling_probs": True,
        "temperature": 1.0,
        "top_k": len(labels),
        "samplers": ["top_k", "temperature"],
        "logit_bias": [[i, _BIAS] for i in labels],
        "cache_prompt": True,
        "id_slot": _number(slot),
        "response_fields": ["completion_probabilities", "tokens_evaluated"],
    }


def read_in(prompt: Sequence[int], slot: int) -> dict[str, Any]:
    """Have a slot read `prompt` into its cache and write nothing."""
    return {
        "prompt": list(prompt),
        "n_predict": 0,
        "cache_prompt": True,
        "id_slot": slot,
        "response_fields": ["tokens_predicted"],
    }


def completion(
    prompt: Sequence[int], sampling: Sampling, room: int, never: Sequence[int], slot: int | None
) -> dict[str, Any]:
    """Ask for a text as a stream. Temperature comes before top-p, as in transformers.

    Args:
        room: tokens the context has left.
        never: token ids that are not drawn.
    """
    return {
        "prompt": list(prompt),
        "n_predict": min(sampling.max_tokens, room),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "samplers": ["temperature", "top_p"],
        "seed": -1 if sampling.seed is None else sampling.seed % LARGEST_SEED,
        "stop": list(sampling.stop),
        "logit_bias": [[i, False] for i in never],
        "cache_prompt": True,
        "id_slot": _number(slot),
        "stream": True,
        **_asked_for(sampling),
    }


def _asked_for(sampling: Sampling) -> dict[str, Any]:
    """A schema, and log-probabilities. Blanks between the parts of JSON are left out: a model can fill its tokens with them."""
    found: dict[str, Any] = {}
    if sampling.json_schema is not None:
        found["json_schema"] = {**json.loads(sampling.json_schema), "x-guidance": _TIGHT}
    if sampling.top_logprobs is not None:
        found["n_probs"] = max(1, sampling.top_logprobs)
    return found


def _number(slot: int | None) -> int:
    """The slot's number; −1 lets llama.cpp choose."""
    return -1 if slot is None else slot
