"""Held-out bits per character of a base model, beside a character n-gram model and xz on the same text."""

from __future__ import annotations

import lzma
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn import functional

from ..core.prompt import END
from .tokenizer import encode_plain, special_id


@torch.no_grad()
def model_bits(model: Any, tokenizer: Tokenizer, texts: Sequence[str], window: int = 512) -> float:
    """Bits per character of a causal LM, each text from an end-of-text token, in windows of `window` tokens."""
    model.eval()
    end = special_id(tokenizer, END)
    nats = math.fsum(_nats(model, [end, *encode_plain(tokenizer, t)], window) for t in texts)
    return nats / math.log(2) / sum(map(len, texts))


def _nats(model: Any, ids: list[int], window: int) -> float:
    """Negative log-likelihood of `ids[1:]`. A window starts with half of the one before as context."""
    total, done = 0.0, 1
    while done < len(ids):
        start = max(0, done - window // 2)
        piece = torch.tensor([ids[start : start + window]])
        logits = model(input_ids=piece).logits[0, :-1].float()
        nll = functional.cross_entropy(logits, piece[0, 1:], reduction="none")
        total += float(nll[done - start - 1 :].sum())
        done = start + piece.shape[1]
    return total


class NgramModel:
    """Character n-grams with Witten–Bell interpolation down to a uniform distribution (Witten and Bell 1991).

    p(c|h) = (count(h,c) + kinds(h) · p(c|h')) / (count(h) + kinds(h)), h' one character shorter.
    """

    def __init__(self, order: int = 5) -> None:
        self._order = order
        self._next: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._alphabet = 1

    def fit(self, texts: Sequence[str]) -> NgramModel:
        """Count every context of up to `order - 1` characters."""
        for text in texts:
            for history, char in self._pairs(text):
                for cut in range(len(history) + 1):
                    self._next[history[cut:]][char] += 1
        self._alphabet = len(self._next[""]) + 1
        return self

    def bits(self, texts: Sequence[str]) -> float:
        """Bits per character of unseen texts."""
        nats = math.fsum(-math.log(self._p(h, c)) for t in texts for h, c in self._pairs(t))
        return nats / math.log(2) / sum(map(len, texts))

    def _pairs(self, text: str) -> Iterator[tuple[str, str]]:
        for i, char in enumerate(text):
            yield text[max(0, i - self._order + 1) : i], char

    def _p(self, history: str, char: str) -> float:
        p = 1.0 / self._alphabet
        for cut in range(len(history), -1, -1):
            seen = self._next.get(history[cut:])
            if seen is None:
                break
            total, kinds = sum(seen.values()), len(seen)
            p = (seen.get(char, 0) + kinds * p) / (total + kinds)
        return p


def xz_bits(training: Sequence[str], texts: Sequence[str]) -> float:
    """Bits per character that xz -9e needs for `texts` after it has seen `training`."""
    before, held = "\n".join(training).encode(), "\n".join(texts).encode()
    more = len(_xz(before + held)) - len(_xz(before))
    return 8 * more / sum(map(len, texts))


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
