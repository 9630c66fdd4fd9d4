"""Teachers of a small model: linear ones, each over the topics that another part of the rows is not made of.

A linear model over n-grams learns from a few thousand requests what a language model of some million parameters does not see by itself: which
words speak for a decision. Its judgement on topics it has not seen says how far to trust them; on its own rows it would only repeat the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.question import Example

_WORDS = r"(?u)[A-Za-z']+|[ァ-ヴー]+|[一-鿿]+|[ぁ-ん]"
"""Words of English; of Japanese runs of katakana and of kanji, and single hiragana."""


class Teachers:
    """TF-IDF of characters (1 to 5) and words (1 to 3) and multinomial logistic regression, one a fold of topics.

    Args:
        examples: rows with `meta["text"]`; rows of one `group` lie in one fold, and of those of one `meta["request"]` one is read.
        folds: how many.
        seed: of the order of topics.
    """

    def __init__(self, examples: Sequence[Example], folds: int, seed: int) -> None:
        groups = np.array(sorted({e.group for e in examples}))
        shuffled = np.random.default_rng(seed).permutation(groups)
        self._fold = {str(group): i % folds for i, group in enumerate(shuffled)}
        self.options = tuple(sorted({e.label for e in examples}))
        once = list({str(e.meta.get("request", e.id)): e for e in examples}.values())
        self._models = [_fitted([e for e in once if self.fold(e) != k]) for k in range(folds)]

    def fold(self, example: Example) -> int:
        """The fold whose teacher has not seen the example's topic."""
        return self._fold[example.group]

    def judge(self, examples: Sequence[Example], texts: Sequence[str]) -> NDArray[np.float64]:
        """Probabilities `[n, options]` of texts made from the examples, each by the teacher that has not seen their topic.

        `options` names the columns; a decision that a teacher never saw has 0.
        """
        found = np.zeros((len(texts), len(self.options)))
        folds = np.array([self.fold(e) for e in examples], dtype=int)
        for k, model in enumerate(self._models):
            mine = np.flatnonzero(folds == k)
            if len(mine):
                columns = np.array([self.options.index(str(c)) for c in model.classes_])
                found[np.ix_(mine, columns)] = model.predict_proba([texts[int(i)] for i in mine])
        return found


def _fitted(rows: Sequence[Example]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    rare = 2 if len(rows) >= 200 else 1
    shared = {"min_df": rare, "sublinear_tf": True, "dtype": np.float32}
    model = make_pipeline(
        make_union(
            TfidfVectorizer(analyzer="char", ngram_range=(1, 5), **shared),
            TfidfVectorizer(analyzer="word", ngram_range=(1, 3), token_pattern=_WORDS, **shared),
        ),
        LogisticRegression(C=10.0, max_iter=300),
    )
    return model.fit([str(e.meta["text"]) for e in rows], [e.label for e in rows])
