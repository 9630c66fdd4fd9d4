"""Cutting text into tokens in this process, as the model's own tokenizer cuts it: to have llama.cpp do it takes half a millisecond of a short request.

Only for vocabularies whose rules are known here to the last detail, byte-level BPE with GPT-2's split, which is what Sekisho trains (Sennrich and others 2016; Radford and
others 2019), and only after llama.cpp has cut the probes alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers

from .gguf_header import Header

LONGEST = 8192
"""Characters that are cut here; it takes about a microsecond for each, during which nobody else is served."""
PROBES = (
    "",
    " ",
    "窓口で、氏名・住所を確認してください。",
    "The clerk's form isn't signed; they'd say we've won't, I'm, you're, she'll.",
    "  two  spaces,\ttabs\n\nand lines \r\n ends   ",
    "１２３ 456 ７八九 ²³ ½ Ⅷ ٣",
    "がぎぐ が ﾊﾟﾋﾟ ﷽ 한국어 ไทย हिन्दी עברית",
    "😀👩\u200d👩\u200d👧\ufe0f𠮷𩸽\U0010ffff\u0000\u200b\u00a0\u3000\ufeff",
    "<|system|> <|user|> a<|end|>b <s> </s> {\"a\": [1, 2.5e-3]} a_b-c/d\\e",
    "'S 'T 's't ''ll don''t _'re",
)  # fmt: skip
_PLAIN = frozenset((1, 3))
"""Token types that this can cut: text, and control tokens, which no text spells. User-defined ones llama.cpp finds in texts."""


def tokenizer_of(header: Header) -> Tokenizer | None:
    """The tokenizer of a GGUF file, which finds no control token in any text; None when its rules are not known here."""
    told = header.values
    tokens, merges = told.get("tokenizer.ggml.tokens", []), told.get("tokenizer.ggml.merges", [])
    if (told.get("tokenizer.ggml.model"), told.get("tokenizer.ggml.pre")) != ("gpt2", "gpt-2"):
        return None
    if not _PLAIN.issuperset(told.get("tokenizer.ggml.token_type", ())) or len(set(tokens)) < len(tokens):
        return None
    pairs = [tuple(m.split(" ")) for m in merges]
    if any(len(pair) != 2 for pair in pairs):
        return None
    return _built({text: i for i, text in enumerate(tokens)}, pairs)


def _built(vocabulary: Mapping[str, int], merges: Sequence[tuple[Any, ...]]) -> Tokenizer | None:
    try:
        tokenizer = Tokenizer(models.BPE(vocab=dict(vocabulary), merges=list(merges)))
    except Exception:  # a merge of tokens that are none: the library has no narrower error
        return None
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return tokenizer


def cut(tokenizer: Tokenizer, pieces: Sequence[str | int]) -> list[int]:
    """Token ids of a prompt: ids as they are, texts cut one by one."""
    found: list[int] = []
    for piece in pieces:
        found += [piece] if isinstance(piece, int) else tokenizer.encode(piece, add_special_tokens=False).ids
    return found
