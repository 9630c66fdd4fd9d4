"""Which bytes each token of a byte-level vocabulary stands for, and which tokens a stream kept to itself."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence

from ..core.byte_letters import byte_letters
from .gguf_header import Header
from .streaming import StopCutter

_LITERAL = frozenset((2, 3, 4))
"""Token types whose text is meant as it stands: unknown, control, user-defined."""
_MARKS = frozenset((2, 3))
"""Of these, the types that llama.cpp finds in a text only when it is told to."""


class Vocabulary:
    """Bytes by token id.

    Args:
        pieces: the bytes of every token, by id.
        marks: texts of the tokens that are no text: control tokens and unknown ones.
    """

    def __init__(self, pieces: Sequence[bytes], marks: Sequence[str] = ()) -> None:
        self._pieces, self._marks = pieces, tuple(m for m in marks if m)
        self._ids: Mapping[bytes, int] = {piece: i for i, piece in reversed(list(enumerate(pieces)))}

    @classmethod
    def of(cls, header: Header) -> Vocabulary | None:
        """The vocabulary of a GGUF file; None when it is not a byte-level one."""
        if header.values.get("tokenizer.ggml.model") != "gpt2":
            return None
        texts: Sequence[str] = header.values.get("tokenizer.ggml.tokens", [])
        types: Sequence[int] = header.values.get("tokenizer.ggml.token_type", [1] * len(texts))
        letters = byte_letters()
        marks = [t for t, kind in zip(texts, types, strict=True) if kind in _MARKS]
        return cls([_piece(t, kind, letters) for t, kind in zip(texts, types, strict=True)], marks)

    def is_plain(self, text: str) -> bool:
        """Whether no mark is spelt in `text`, so that it gives the same tokens whether or not marks are looked for in it."""
        return not any(mark in text for mark in self._marks)

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for."""
        return self._pieces[token]

    def hidden(self, content: bytes, last: int, count: int) -> tuple[int, ...] | None:
        """The `count` tokens that came before `last` and make up `content` with it; None when no split fits.

        llama.cpp streams a character when its last token is there and names only that token. What is missing is found from the bytes; should
        several splits fit, the one with the longest tokens first is taken, always the same one.
        """
        end = self.bytes_of(last)
        if not content.endswith(end):
            return None
        return self._split(content[: len(content) - len(end)], count)

    def _split(self, data: bytes, count: int) -> tuple[int, ...] | None:
        if count == 0:
            return () if not data else None
        for length in range(len(data) - count + 1, 0, -1):
            first = self._ids.get(data[:length])
            rest = self._split(data[length:], count - 1) if first is not None else None
            if first is not None and rest is not None:
                return (first, *rest)
        return None


class Writing:
    """Tokens of one text on their way to words: whole characters only, and nothing from a stop text on.

    The words depend on the tokens alone, so a text that is taken up again goes on as if it had never been left.
    """

    def __init__(self, vocabulary: Vocabulary, stop: Sequence[str], written: Sequence[int] = ()) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._cutter = StopCutter(stop)
        self.push(written)

    @property
    def stopped(self) -> bool:
        """Whether a stop text was met."""
        return self._cutter.stopped

    def push(self, tokens: Sequence[int]) -> str:
        """Take tokens, return the text that may leave."""
        data = b"".join(self._vocabulary.bytes_of(t) for t in tokens)
        return self._cutter.push(self._decoder.decode(data))

    def flush(self) -> str:
        """What was held back, at the end."""
        return self._cutter.push(self._decoder.decode(b"", True)) + self._cutter.flush()


def _piece(text: str, kind: int, letters: Mapping[str, int]) -> bytes:
    if kind in _LITERAL or any(c not in letters for c in text):
        return text.encode("utf-8")
    return bytes(letters[c] for c in text)
