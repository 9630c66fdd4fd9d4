"""Teach the second reader of requests: TF-IDF of its n-grams and multinomial logistic regression, on the rows the adapter learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.deciding import OPTIONS
from ..core.errors import DataError
from ..core.question import Example
from .ngrams import NgramReader, counted

_RARE_FROM = 200
"""From this many rows on, an n-gram must occur in two of them."""


def fit_ngrams(
    examples: Sequence[Example], share: float, decay: float, correction_weight: int = 1, seed: int = 0
) -> NgramReader | None:
    """Teach a reader; None when it is given no share.

    Args:
        examples: rows with `meta["text"]`.
        share: its part of the pooled opinion.
        decay: weight of half the squared norm of its weights beside the summed loss.
        correction_weight: how often a corrected judgement counts.
        seed: of the solver; the same rows and seed give the same reader.

    Raises:
        DataError: when fewer than two decisions occur.
    """
    if not share:
        return None
    from sklearn.linear_model import LogisticRegression

    check_decisions(examples)
    labels = np.array([OPTIONS.index(e.label) for e in examples])
    texts = [counted(str(e.meta["text"])) for e in examples]
    keys, rarity = _vocabulary(texts)
    model = LogisticRegression(C=1.0 / decay, max_iter=300, random_state=seed)
    seen = [correction_weight if "correction" in e.meta else 1 for e in examples]
    model.fit(_matrix(texts, keys, rarity), labels, sample_weight=seen)
    weights, bias = _by_option(model)
    return NgramReader(keys, rarity, weights, bias, len(examples), share)


def check_decisions(examples: Sequence[Example]) -> None:
    """Raise DataError when fewer than two decisions occur. To be asked before anything is trained for long."""
    if len({e.label for e in examples}) < 2:
        raise DataError(
            f"All of {len(examples)} training rows have one decision.", "Give rows of at least two."
        )


def _vocabulary(
    texts: Sequence[tuple[NDArray[np.uint32], NDArray[np.int64]]],
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """The n-grams that are kept, and log((1 + texts) / (1 + texts with it)) + 1 of each."""
    keys, texts_with = np.unique(np.concatenate([k for k, _ in texts]), return_counts=True)
    kept = texts_with >= (2 if len(texts) >= _RARE_FROM else 1)
    rarity = np.log((1 + len(texts)) / (1 + texts_with[kept])) + 1.0
    return keys[kept], rarity.astype(np.float32)


def _matrix(
    texts: Sequence[tuple[NDArray[np.uint32], NDArray[np.int64]]],
    keys: NDArray[np.uint32],
    rarity: NDArray[np.float32],
) -> Any:
    """Sparse [texts, n-grams], as `NgramReader` weighs a text; rows of length 1."""
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import normalize

    known = [np.isin(k, keys, assume_unique=True) for k, _ in texts]
    columns = np.searchsorted(keys, np.concatenate([k[m] for (k, _), m in zip(texts, known, strict=True)]))
    counts = np.concatenate([c[m] for (_, c), m in zip(texts, known, strict=True)])
    values = ((1.0 + np.log(counts)) * rarity[columns]).astype(np.float32)
    ends = np.cumsum([0, *(int(m.sum()) for m in known)])
    return normalize(csr_matrix((values, columns, ends), shape=(len(texts), len(keys))), copy=False)


def _by_option(model: Any) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Weights [n-grams, 3] and bias [3] by OPTIONS; of two decisions the solver gives the odds of the second."""
    coefficients, intercept = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
        intercept = np.concatenate([np.zeros(1), intercept])
    weights = np.zeros((coefficients.shape[1], len(OPTIONS)), np.float16)
    bias = np.full(len(OPTIONS), -np.inf, np.float32)
    weights[:, model.classes_] = coefficients.T
    bias[model.classes_] = intercept
    return weights, bias
