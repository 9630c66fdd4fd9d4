"""What an eye of the house is asked: the image, then a question; after its last token the eye says yes or no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.packing import Packed, pack
from .packed import Form


def form_of(tokenizer: Any) -> Form:
    """The ids of the tokens around an image and of the answers."""
    ids = (tokenizer.token_to_id(t) for t in ("<|vision_start|>", "<|vision_end|>", "yes", "no"))
    return Form(*ids)


def branches(tokenizer: Any, questions: Sequence[str]) -> list[list[int]]:
    """Token ids of each question. Questions are cut as plain text, whatever they spell."""
    tokenizer.encode_special_tokens = True
    return [tokenizer.encode(q, add_special_tokens=False).ids for q in questions]


def packed(tokenizer: Any, questions: Sequence[str]) -> Packed:
    """All questions as branches of one row."""
    return pack(branches(tokenizer, questions))
