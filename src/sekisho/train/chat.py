"""A chat turn as a base's own chat template has it, and where its answers end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from ..core.errors import ShelfError
from ..core.prompt import ASSISTANT, CLOSE, TOKEN, chat_parts
from ..weights.hf import chat_template, read_json
from .tokenizer import dialect, encode_parts, special_id


def user_ids(folder: Path, tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of what a user says and of the mark where the answer begins. The base's template writes them; one without a template is asked as the house asks.

    Control tokens that the text spells stay text.
    """
    if (template := _template(folder)) is None:
        return encode_parts(tokenizer, chat_parts([("user", text)]))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **_ends(folder))
    # The library counts as control tokens those a template spells out; some templates put them together from pieces.
    wrapped.chat_control_tokens = sorted(wrapped.added_tokens_encoder)
    try:
        ids: list[int] = wrapped.apply_chat_template(
            [{"role": "user", "content": text}],
            chat_template=template,
            add_generation_prompt=True,
            return_dict=False,
            sanitize_control_tokens=True,
        )
    except Exception as e:  # whatever a stranger's template comes to
        raise ShelfError(
            f"The chat template of {folder} does not write a question: {e}.", "Mend it, or take it away."
        ) from e
    return ids


def closing_ids(model: Any, tokenizer: Tokenizer) -> list[int]:
    """Tokens that end an answer: what the model's own configuration says, and what its family closes a turn with."""
    own = getattr(model.generation_config, "eos_token_id", None)
    found = own if isinstance(own, list) else [] if own is None else [own]
    try:
        return [*found, special_id(tokenizer, CLOSE)]
    except ShelfError:
        if not found:
            raise
        return found


def require_own_form(folder: Path, tokenizer: Tokenizer) -> None:
    """Raise ShelfError when the base's template writes no mark of those that the tokenizer has: it was taught another form."""
    template, marks = _template(folder), TOKEN.findall(dialect(tokenizer)[ASSISTANT])
    if template is not None and not any(mark in template for mark in marks):
        raise ShelfError(
            f"The tokenizer of {folder} has the chat tokens {', '.join(marks)}, and its chat template writes none of them.",
            "Use a base whose template writes the chat tokens that its tokenizer has.",
        )


def _template(folder: Path) -> str | None:
    try:
        return chat_template(folder)
    except ShelfError:
        return None


def _ends(folder: Path) -> dict[str, str]:
    """The tokens that templates call by name."""
    file = folder / "tokenizer_config.json"
    told = read_json(file) if file.is_file() else {}
    named = {k: told.get(k) for k in ("bos_token", "eos_token", "pad_token", "unk_token")}
    spelt = {k: v.get("content") if isinstance(v, dict) else v for k, v in named.items()}
    return {k: v for k, v in spelt.items() if isinstance(v, str)}
