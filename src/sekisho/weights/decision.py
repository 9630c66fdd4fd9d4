"""A model as a decision model for others: what a stock llama.cpp or `transformers serve` needs to ask it as we do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..core.disk import write_whole
from ..core.errors import InputError
from ..core.prompt import DECISION_TEMPLATE, DIALECTS, IMAGES, LETTERS, TOKEN, USER, in_dialect
from ..core.question import MAX_LEVELS, Frozen, QuestionType
from .hf import Array, read_json

SYSTEMONE_TYPE = "openjev"
"""llama.cpp's name for a decision model that answers with the logits of option letters."""

_LETTERS = '{% set letters = "' + LETTERS + '" %}'
# transformers gives one `question` with keys and descriptions in two lists; the house template wants pairs.
_OPTIONS = (
    "{% set instructions = question.instructions %}{% set pairs = namespace(all=[]) %}"
    "{% for key in question.options %}"
    "{% set pairs.all = pairs.all + [{'key': key, 'description': question.descriptions[loop.index0]}] %}"
    "{% endfor %}{% set options = pairs.all %}"
)


class DecisionMeta(Frozen):
    """What an exported model says about its own decisions.

    Attributes:
        temperature: by question type, what the label logits are divided by before the softmax; 1 where not named.
        words: tokens by which the model itself says yes and no, when it was taught others than letters.
        template: decision prompt; that of the house when None.
    """

    temperature: Mapping[QuestionType, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    words: tuple[str, str] | None = None
    template: str | None = None


def dialect_of(model_dir: Path) -> Mapping[str, str]:
    """What the folder's tokenizer writes for the special tokens of the house; those of the house when it knows no family's."""
    try:
        added = json.loads((model_dir / "tokenizer.json").read_bytes())["added_tokens"]
        known = {t["content"] for t in added}
    except (OSError, ValueError, KeyError):
        return DIALECTS["Phi-3"]
    fits = (w for w in DIALECTS.values() if {t for s in w.values() for t in TOKEN.findall(s)} <= known)
    return next(fits, DIALECTS["Phi-3"])


def _spelt(words: Mapping[str, str], model_dir: Path) -> Mapping[str, str]:
    """The words with a space behind a user's mark, where the tokenizer puts one in front of a text and transformers, which reads the mark first, would not."""
    stored = read_json(model_dir / "tokenizer.json")
    first = (stored.get("pre_tokenizer") or {}).get("prepend_scheme") == "first"
    swallowing = {t["content"] for t in stored["added_tokens"] if t["rstrip"]}
    last = TOKEN.split(words[USER])[-2:]
    return (
        {**words, USER: words[USER] + " "} if first and last[1] == "" and last[0] not in swallowing else words
    )


def systemone_template(words: Mapping[str, str] = DIALECTS["Phi-3"], seeing: bool = False) -> str:
    """The `systemone` template of a GGUF: `DECISION_TEMPLATE` with its letters, in a family's words; images before the state where the model is `seeing`.

    llama.cpp gives it `state`, `instructions` and `options[{key, description}]`, and reads option i as A–Z, a–z by
    itself; more than 52 options it refuses.
    """
    template = DECISION_TEMPLATE.replace(USER, USER + IMAGES, 1) if seeing else DECISION_TEMPLATE
    return _LETTERS + in_dialect(template, words)


def transformers_template(words: Mapping[str, str] = DIALECTS["Phi-3"]) -> str:
    """The `decision_template.jinja` of a model folder: the same prompt from transformers' `state` and `question`."""
    return _LETTERS + _OPTIONS + in_dialect(DECISION_TEMPLATE, words)


def lettered(
    weights: Iterable[tuple[str, Array]], model_dir: Path, tied: bool, words: Sequence[str]
) -> Iterator[tuple[str, Array]]:
    """The weights of a file whose model says yes and no in words of its own: its head is kept apart, and in it A and B say what those words say.

    llama.cpp asks in letters alone. The logits of A and B are then those of the words, to the bit.

    Args:
        weights: as (GGUF name, float32 array).
        tied: whether the embeddings are the head too.
        words: tokens that say yes and no.

    Raises:
        InputError: when the tokenizer lacks one of them.
    """
    head = "token_embd.weight" if tied else "output.weight"
    for name, tensor in weights:
        if name != head or tied:
            yield name, tensor
        if name == head:
            said = tensor.copy()
            said[_ids(model_dir, LETTERS[: len(words)])] = tensor[_ids(model_dir, words)]
            yield "output.weight", said


def _ids(model_dir: Path, tokens: Sequence[str]) -> list[int]:
    stored = read_json(model_dir / "tokenizer.json")
    ids = stored["model"]["vocab"] | {t["content"]: t["id"] for t in stored["added_tokens"]}
    if missing := [t for t in tokens if t not in ids]:
        raise InputError(
            f"The tokenizer of {model_dir} has no token {', '.join(missing)}.", "Name words that it has."
        )
    return [ids[t] for t in tokens]


def write_decision_files(model_dir: Path, meta: DecisionMeta) -> None:
    """Make a model folder a decision model for `transformers.decision`.

    Writes `decision.json` (labels, temperatures, true before false, control tokens of a request read as text) and
    `decision_template.jinja`.
    """
    config = {
        "labels": {"choice": list(LETTERS), "score": list(LETTERS[:MAX_LEVELS]), "noul": list(LETTERS[:2])},
        "temperature": dict(meta.temperature),
        "noul_options": ["true", "false"],
        "sanitize_control_tokens": True,
    }
    text = json.dumps(config, ensure_ascii=False, indent=1, sort_keys=True)
    write_whole(model_dir / "decision.json", (text + "\n").encode())
    template = transformers_template(_spelt(dialect_of(model_dir), model_dir))
    write_whole(model_dir / "decision_template.jinja", template.encode())
