"""Byte-level BPE over whole texts, as small eyes have it, in the form llama.cpp reads: `tokenizer.ggml.pre` = `sarvam-moe`.

llama.cpp cuts nearly every text into words before it merges. That one way cuts at line breaks alone, but takes texts as characters instead of bytes, blanks as
`▁`, and bytes of characters it does not know as `<0xE7>`. Merges of half characters cannot be said in it: a character that is read by such a merge, and is no
token itself, becomes more tokens there than here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import gguf

from ..core.byte_letters import byte_letters

UNSPLIT = "sarvam-moe"
_BLANK = "▁"
_RAW = byte_letters()


def within_lines(merges: Iterable[str]) -> bool:
    """Whether no merge joins a line break with anything else, so that a cut at line breaks changes nothing."""
    made = (bytes(_RAW[c] for c in merge.replace(" ", "")) for merge in merges)
    return all(b"\n" not in token or not token.strip(b"\n") for token in made)


def readable(
    tokens: Sequence[str], types: Sequence[gguf.TokenType], merges: Iterable[str]
) -> tuple[list[str], list[gguf.TokenType], list[str]]:
    """Tokens, their types and merges as that way wants them. A token of half a character becomes unused, and its merges are left out.

    Args:
        tokens: by id, byte-level.
        types: by id; those that are not normal stay as they are.
        merges: `left right`, most frequent first.
    """
    names, kinds = list(tokens), list(types)
    for i, token in enumerate(tokens):
        if types[i] == gguf.TokenType.NORMAL:
            names[i], kinds[i] = _named(token, f"[HALF{i}]")
    pairs = (tuple(_text(part) for part in merge.split(" ")) for merge in merges)
    return names, kinds, [f"{left} {right}" for left, right in pairs if left and right]


def _named(token: str, other: str) -> tuple[str, gguf.TokenType]:
    raw, text = bytes(_RAW[c] for c in token), _text(token)
    if len(raw) == 1 and not 32 <= raw[0] < 127:
        return f"<0x{raw[0]:02X}>", gguf.TokenType.BYTE
    return (text, gguf.TokenType.NORMAL) if text else (other, gguf.TokenType.UNUSED)


def _text(token: str) -> str | None:
    """What a byte-level token says; None for half a character."""
    try:
        return bytes(_RAW[c] for c in token).decode().replace(" ", _BLANK)
    except UnicodeDecodeError:
        return None
