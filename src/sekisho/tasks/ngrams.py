"""A second reader of requests: a linear model over n-grams of characters and words, whose opinion is pooled with the language model's.

A small language model and a model of which words stand in a text go wrong at different requests. Their opinions are pooled before they
are calibrated: p ∝ model^(1-share) · reader^share, the logarithmic opinion pool (Genest and Zidek 1986). It knows no meaning, and no order
beyond two words, so it never speaks alone.
"""

from __future__ import annotations

import json
import re
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.deciding import OPTIONS
from ..core.errors import ShelfError
from ..core.question import OptionScores

CHARACTERS, WORDS = 4, 2
"""The longest n-grams of characters and of words."""

MOST = 10_000
"""Characters above which the reader has no opinion: counting is fast, folding a long text of combining marks is not."""

_DTYPES = {"keys": np.uint32, "rarity": np.float32, "weights": np.float16, "bias": np.float32}
_RAREST = 100.0
_START = np.uint64(0xCBF29CE484222325)
_START_WORDS = np.uint64(0x84222325CBF29CE4)
_STEP = np.uint64(0x100000001B3)
_LAST = np.uint64(0x9E3779B97F4A7C15)
_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"[^\W_\u3040-\u30ff\u4e00-\u9fff]+|[\u30a0-\u30ff]+|[\u4e00-\u9fff]+|[\u3040-\u309f]")
"""A word is a run of letters and digits; in Japanese, which has no blanks, a run of katakana or of kanji, or one hiragana."""


def counted(text: str) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the hashes [m] of a text's n-grams, rising, and how often each stands there [m].

    Width and case are folded and runs of white space are one space.
    """
    plain = _SPACES.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    characters = np.frombuffer(plain.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    words = [zlib.crc32(w.encode("utf-8", "surrogatepass")) for w in _WORD.findall(plain)]
    found = [
        *_hashes(characters, CHARACTERS, _START),
        *_hashes(np.array(words, np.uint64), WORDS, _START_WORDS),
    ]
    keys, counts = np.unique(np.concatenate([*found, np.zeros(0, np.uint32)]), return_counts=True)
    return keys, counts


def _hashes(parts: NDArray[np.uint64], longest: int, start: np.uint64) -> list[NDArray[np.uint32]]:
    """Hashes of all runs of one to `longest` parts: FNV-1a over the parts (Fowler, Noll and Vo), spread by a multiplication, its upper 32 bits.

    Of half a million known n-grams, an unknown one meets the hash of one in ten thousand times.
    """
    found, state = [], np.full(len(parts), start)
    for n in range(min(longest, len(parts))):
        state = (state[: len(parts) - n] ^ parts[n:]) * _STEP
        found.append((((state ^ (state >> np.uint64(29))) * _LAST) >> np.uint64(32)).astype(np.uint32))
    return found


@dataclass(frozen=True)
class NgramReader:
    """The reader.

    Attributes:
        keys: hashes of the n-grams it knows [v], rising.
        rarity: their inverse document frequencies [v], by which the logarithmic counts of a text are weighed; the text is then of length 1.
        weights: [v, 3], by OPTIONS.
        bias: [3]; minus infinity for a decision it was never taught.
        rows: requests it has learnt from.
        share: its part of the pooled opinion, 0 to 1.
    """

    keys: NDArray[np.uint32]
    rarity: NDArray[np.float32]
    weights: NDArray[np.float16]
    bias: NDArray[np.float32]
    rows: int
    share: float

    def logprobs(self, text: str) -> NDArray[np.float64]:
        """Return log-probabilities [3] by OPTIONS. None is below 1 / (rows + 3), by the rule of succession: so much it has not seen."""
        keys, counts = counted(text)
        places = np.searchsorted(self.keys, keys)
        known = places < len(self.keys)
        known[known] = self.keys[places[known]] == keys[known]
        here = places[known]
        values = (1.0 + np.log(counts[known])) * self.rarity[here]
        length = float(np.linalg.norm(values))
        odds = self.bias.astype(np.float64)
        if length:
            odds = odds + (values / length) @ self.weights[here].astype(np.float64)
        p = np.exp(odds - odds.max())
        logged: NDArray[np.float64] = np.log((self.rows * p / p.sum() + 1.0) / (self.rows + len(OPTIONS)))
        return logged

    def pool(self, logprobs: Sequence[float], text: str) -> tuple[float, ...]:
        """Return the pooled log-probabilities [3] of a model's [3], both by OPTIONS; they sum to 1 after exp.

        Of a text over MOST characters they are the model's own.
        """
        if len(text) > MOST:
            return tuple(logprobs)
        mixed = (1.0 - self.share) * np.asarray(logprobs, dtype=np.float64) + self.share * self.logprobs(text)
        peak = float(mixed.max())
        return tuple((mixed - peak - np.log(np.exp(mixed - peak).sum())).tolist())

    def pooled(self, scores: OptionScores, text: str) -> OptionScores:
        """An engine's answer to the gate's question, with the reader's opinion of the request in it."""
        return scores.model_copy(update={"logprobs": self.pool(scores.logprobs, text)})

    def save(self, path: Path) -> None:
        """Write a safetensors file; no code can lie in one."""
        from safetensors.numpy import save_file

        arrays: dict[str, Any] = {k: getattr(self, k) for k in _DTYPES}
        said = {"rows": self.rows, "share": self.share, "longest": [CHARACTERS, WORDS]}
        save_file(arrays, path, metadata={"ngrams": json.dumps(said)})


def read_ngrams(path: Path) -> NgramReader:
    """Read what `NgramReader.save` wrote.

    Raises:
        ShelfError: the file cannot be read, or is not such a reader.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            said = json.loads((file.metadata() or {})["ngrams"])
            arrays = {k: file.get_tensor(k) for k in _DTYPES}
        reader = NgramReader(**arrays, rows=said["rows"], share=said["share"])
        whole = said["longest"] == [CHARACTERS, WORDS] and _fits(reader)
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        SafetensorError,
    ) as e:
        raise ShelfError(f"{path} cannot be read: {e}.", "Bake again.") from e
    if not whole:
        raise ShelfError(f"{path} is no reader of n-grams.", "Train and bake again.")
    return reader


def _fits(reader: NgramReader) -> bool:
    """Whether the parts of a reader are of the right kinds and of one size, of numbers that no text can turn into none, in order."""
    known = len(reader.keys)
    shapes = {"keys": (known,), "rarity": (known,), "weights": (known, len(OPTIONS)), "bias": (len(OPTIONS),)}
    if any(
        getattr(reader, k).shape != shapes[k] or getattr(reader, k).dtype != d for k, d in _DTYPES.items()
    ):
        return False
    if type(reader.rows) is not int or type(reader.share) is not float:
        return False
    ordered = bool((reader.keys[1:] > reader.keys[:-1]).all())
    rarity = bool(((reader.rarity > 0) & (reader.rarity < _RAREST)).all())
    taught = bool(np.isfinite(reader.bias.max()) and np.isfinite(reader.weights).all())
    return ordered and rarity and taught and 0 < reader.rows < 1 << 53 and 0 <= reader.share < 1
