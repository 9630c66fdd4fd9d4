"""Tokenizers that read the same in llama.cpp: which of its ways of cutting a text each one is, or a clear no.

A tokenizer is known by what it does, never by a model's name: its model, its normaliser, the expression it splits by. llama.cpp has a name for each expression (`tokenizer.ggml.pre`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gguf

from ..core.errors import InputError
from .unsplit import UNSPLIT, within_lines

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s|"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_SLASHED = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS: Mapping[str, str] = {
    _WORDS + r"\p{N}{1,3}" + _REST: "llama-bpe",
    _WORDS + r"\p{N}" + _REST: "qwen2",
    _CASED % ("", "") + r"\p{N}" + _SLASHED: "tekken",
    _CASED % (_SHORT, _SHORT) + r"\p{N}{1,3}" + _SLASHED: "gpt-4o",
}
"""Expressions of Llama 3, Qwen 2 and 3, Mistral's Tekken and Phi-4-mini, by llama.cpp's name."""
_BYTES = {"type": "ByteLevel", "add_prefix_space": False}
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_SPACE = "▁"


class Vocabulary(NamedTuple):
    """How llama.cpp is told about a tokenizer.

    Attributes:
        model: `gpt2` for byte-level BPE, `llama` for the kind SentencePiece makes.
        pre: how a text is split before merging.
        begins: whether a token is put before every text.
    """

    model: str
    pre: str
    begins: bool


def vocabulary_kind(stored: Mapping[str, Any], model_dir: Path) -> Vocabulary:
    """Say what a `tokenizer.json` is.

    Raises:
        InputError: when llama.cpp would cut texts otherwise.
    """
    begins = _begins(stored.get("post_processor") or {})
    if begins is not None and stored["model"].get("type") == "BPE":
        pre = _byte_level(stored)
        if pre is not None:
            return Vocabulary("gpt2", pre, begins)
        if _like_sentencepiece(stored):
            return Vocabulary("llama", "default", begins)
    raise InputError(
        f"The tokenizer of {model_dir} is not plain byte-level BPE split as by GPT-2, Llama 3, Qwen2, Tekken or GPT-4o, or not at all, nor BPE with byte fallback as Llama 2's.",
        "Use a base whose tokenizer.json is one of these.",
    )


def _byte_level(stored: Mapping[str, Any]) -> str | None:
    """llama.cpp's name of the split, or None."""
    normaliser, before = stored.get("normalizer"), stored.get("pre_tokenizer") or {}
    if (
        normaliser and normaliser.get("type") != "NFC"
    ):  # what is written in NFC already, which is nearly all, reads the same
        return None
    parts = before.get("pretokenizers", [before])
    whole = [{k: p.get(k) for k in _BYTES} for p in parts[-1:]] == [_BYTES]
    if not whole or (normaliser and len(parts) == 1):
        return None
    if len(parts) == 1:
        return "gpt-2" if parts[0].get("use_regex", True) else _unsplit(stored)
    split = parts[0]
    alone = len(parts) == 2 and split.get("type") == "Split" and split.get("behavior") == "Isolated"
    if not alone or split.get("invert") or parts[1].get("use_regex", True):
        return None
    return SPLITS.get((split.get("pattern") or {}).get("Regex", ""))


def _unsplit(stored: Mapping[str, Any]) -> str | None:
    return UNSPLIT if within_lines(merges(stored)) else None


def _like_sentencepiece(stored: Mapping[str, Any]) -> bool:
    """BPE over characters, a mark before every word, bytes for what is unknown."""
    if not stored["model"].get("byte_fallback") or stored["model"].get("ignore_merges"):
        return False
    before, normaliser = stored.get("pre_tokenizer"), stored.get("normalizer") or {}
    if before is not None:
        return normaliser == {} and (before.get("type"), before.get("replacement"), before.get("prepend_scheme"), before.get("split")) == (
            "Metaspace", _SPACE, "first", False,
        )  # fmt: skip
    steps = list(normaliser.get("normalizers", []))
    return [n.get("type") for n in steps] == ["Prepend", "Replace"] and (
        steps[0].get("prepend"), steps[1].get("pattern"), steps[1].get("content"),
    ) == (_SPACE, {"String": " "}, _SPACE)  # fmt: skip


def _begins(after: Mapping[str, Any]) -> bool | None:
    """Whether one token is put before a text and nothing behind it; None for anything else."""
    parts = [p for p in after.get("processors", [after]) if p and p.get("type") != "ByteLevel"]
    if not parts:
        return False
    if len(parts) > 1 or parts[0].get("type") != "TemplateProcessing":
        return None
    single = [next(iter(piece)) for piece in parts[0].get("single", [])]
    return {("Sequence",): False, ("SpecialToken", "Sequence"): True}.get(tuple(single))


def scores(stored: Mapping[str, Any], tokens: list[str]) -> list[float]:
    """What llama.cpp's SentencePiece way chooses merges by: the earlier the merge that makes a token, the higher."""
    rank = {"".join(_pair(m)): i for i, m in reversed(list(enumerate(stored["model"]["merges"])))}
    return [-float(rank.get(t, len(rank))) for t in tokens]


def byte_types(tokens: list[str], types: list[gguf.TokenType], unknown: str | None) -> list[gguf.TokenType]:
    """Types of a SentencePiece vocabulary: bytes and the unknown token are marked."""
    found = list(types)
    for i, token in enumerate(tokens):
        if _BYTE.fullmatch(token):
            found[i] = gguf.TokenType.BYTE
        elif token == unknown:
            found[i] = gguf.TokenType.UNKNOWN
    return found


def merges(stored: Mapping[str, Any]) -> list[str]:
    """Merges as GGUF wants them."""
    return [" ".join(_pair(m)) for m in stored["model"]["merges"]]


def _pair(merge: Any) -> list[str]:
    return merge.split(" ") if isinstance(merge, str) else list(merge)
