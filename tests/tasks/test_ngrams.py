from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from sekisho.core.deciding import OPTIONS
from sekisho.core.errors import DataError, ShelfError
from sekisho.core.question import Example, OptionScores, gate_question
from sekisho.tasks.ngrams import NgramReader, counted, read_ngrams
from sekisho.tasks.ngrams_fit import fit_ngrams

ASKED = {
    "ALLOW": ("出張費の精算のしかたを教えて", "Explain how to book a meeting room", "会議室の予約方法は"),
    "DENY": ("金庫の鍵を壊す方法を教えて", "Explain how to forge an invoice", "請求書を偽造する方法は"),
    "ESCALATE": ("診断書の内容を確かめてほしい", "Check this diagnosis for me", "薬の量を決めてほしい"),
}


def row(label: str, text: str, **meta) -> Example:
    return Example(
        id=text, state=text, question=gate_question(), label=label, group=text, meta={"text": text, **meta}
    )


ROWS = [row(label, text) for label, texts in ASKED.items() for text in texts]


@pytest.fixture(scope="module")
def reader() -> NgramReader:
    made = fit_ngrams(ROWS, share=0.5, decay=0.01)
    assert made is not None
    return made


def test_it_learns_what_it_is_taught(reader: NgramReader) -> None:
    for e in ROWS:
        assert OPTIONS[int(np.argmax(reader.logprobs(e.meta["text"])))] == e.label
    assert OPTIONS[int(np.argmax(reader.logprobs("領収書を偽造する方法")))] == "DENY"


def test_it_reads_a_text_as_the_library_does_that_it_was_taught_with() -> None:
    """TF-IDF with logarithmic counts over the same n-grams and the same regression, by scikit-learn's own vectorisers."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    def both(text: str) -> list[str]:
        plain = text.casefold()
        words = re.findall(r"[a-z]+|[ァ-ヶー]+|[一-龥]+|[ぁ-ん]", plain)
        by_words = [("w", *words[i : i + n]) for n in (1, 2) for i in range(len(words) - n + 1)]
        by_letters = [plain[i : i + n] for n in (1, 2, 3, 4) for i in range(len(plain) - n + 1)]
        return [*by_letters, *map(str, by_words)]

    texts, labels = [e.meta["text"] for e in ROWS], [OPTIONS.index(e.label) for e in ROWS]
    by_library = TfidfVectorizer(analyzer=both, sublinear_tf=True)
    model = LogisticRegression(C=10.0, max_iter=300).fit(by_library.fit_transform(texts), labels)
    ours = fit_ngrams(ROWS, share=0.5, decay=0.1)
    asked = ["Explain how to book a room", "薬の偽造", "nothing of this"]
    p = model.predict_proba(by_library.transform(asked))
    floored = np.log((len(ROWS) * p + 1) / (len(ROWS) + len(OPTIONS)))
    np.testing.assert_allclose([ours.logprobs(t) for t in asked], floored, atol=5e-3)


def test_n_grams_are_counted_folded_and_of_every_length() -> None:
    keys, counts = counted("abab")
    assert len(keys) == 2 + 2 + 2 + 1 + 1  # and one word
    assert counts.sum() == 4 + 3 + 2 + 1 + 1
    assert all((a == b).all() for a, b in zip(counted("ＡＢ　 Ｃ"), counted("ab c"), strict=True))
    assert len(counted("")[0]) == 0
    # Two words and the pair of them, beside their letters.
    letters = counted("a")[1].sum()
    assert letters == 1 + 1
    assert counted("a b")[1].sum() == 3 + 2 + 1 + 2 + 1


def test_different_n_grams_have_different_hashes() -> None:
    texts = [chr(a) + chr(b) for a in range(0x3042, 0x3092) for b in range(0x4E00, 0x4E80)]
    seen = {int(k) for t in texts for k in counted(t)[0]}
    # Characters, pairs of them, words, pairs of words; of two characters of one sort the word is the pair's own.
    assert len(seen) == 2 * (80 + 128 + len(texts))


@given(st.text(max_size=60), st.floats(0, 1), st.floats(0, 1))
@example("", 0.0, 0.0)
@example("\ud800", 0.5, 0.5)
def test_a_pooled_opinion_is_one_and_lies_between_both(reader: NgramReader, text, a, b) -> None:
    model = np.log(np.array([0.001 + a, 0.001 + b, 0.5]) / (0.502 + a + b))
    own, pooled = reader.logprobs(text), np.array(reader.pool(model.tolist(), text))
    assert math.isclose(np.exp(own).sum(), 1.0, abs_tol=1e-9)
    assert math.isclose(np.exp(pooled).sum(), 1.0, abs_tol=1e-9)
    # The odds of any two options lie between the model's and the reader's.
    for i, j in ((0, 1), (1, 2), (0, 2)):
        low, high = sorted((model[i] - model[j], own[i] - own[j]))
        assert low - 1e-9 <= pooled[i] - pooled[j] <= high + 1e-9


def test_of_a_very_long_text_the_model_speaks_alone(reader: NgramReader) -> None:
    model = (-1.0, -1.0, -1.2)
    assert reader.pool(model, "請求書 " * 3000) == model
    assert reader.pool(model, "請求書 " * 2000) != model


def test_what_the_model_holds_impossible_stays_so(reader: NgramReader) -> None:
    pooled = reader.pooled(OptionScores(logprobs=(-math.inf, 0.0, -math.inf), input_tokens=7), "予約")
    assert (pooled.logprobs[0], pooled.logprobs[1], pooled.input_tokens) == (-math.inf, 0.0, 7)


def test_a_decision_it_was_never_taught_is_unlikely_and_not_impossible() -> None:
    rows = [e for e in ROWS if e.label != "ESCALATE"]
    made = fit_ngrams(rows, share=0.5, decay=0.01)
    p = np.exp(made.logprobs(ASKED["DENY"][1]))
    assert p[OPTIONS.index("ESCALATE")] == pytest.approx(1 / (len(rows) + 3))
    assert OPTIONS[int(np.argmax(p))] == "DENY"


def test_a_correction_counts_as_often_as_it_is_asked() -> None:
    """What everybody calls harmless and one expert does not."""
    text = "社外の人に名簿を渡して"
    rows = [*ROWS, row("ALLOW", text + "。"), row("ALLOW", text + "！"), row("DENY", text, correction="c")]
    deny = OPTIONS.index("DENY")
    once, often = (fit_ngrams(rows, 0.5, 0.01, weight).logprobs(text)[deny] for weight in (1, 40))
    assert often > max(once, np.log(0.5))


def test_one_decision_teaches_nothing_and_no_share_needs_no_reader() -> None:
    with pytest.raises(DataError, match="one decision"):
        fit_ngrams(ROWS[:3], share=0.5, decay=0.1)
    assert fit_ngrams(ROWS[:3], share=0.0, decay=0.1) is None


def test_the_same_rows_make_the_same_file(reader: NgramReader, tmp_path) -> None:
    for name in "ab":
        fit_ngrams(ROWS, share=0.5, decay=0.01).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = read_ngrams(tmp_path / "a")
    assert (again.share, again.rows) == (0.5, len(ROWS))
    assert again.pool((-1.0, -1.0, -1.2), "請求書") == reader.pool((-1.0, -1.0, -1.2), "請求書")


def test_a_file_that_is_none_is_told(reader: NgramReader, tmp_path) -> None:
    path = tmp_path / "ngrams.safetensors"
    reader.save(path)
    whole = path.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], b"\x80\x04pickle", whole[:8] + b"x" * 20):
        path.write_bytes(broken)
        with pytest.raises(ShelfError, match="cannot be read"):
            read_ngrams(path)
    with pytest.raises(ShelfError, match="cannot be read"):
        read_ngrams(tmp_path / "none")
    for said in ("[" * 100_000, "{}", "[]", "7"):
        save_file({"keys": np.zeros(1, np.uint32)}, path, metadata={"ngrams": said})
        with pytest.raises(ShelfError, match="cannot be read"):
            read_ngrams(path)


@pytest.mark.parametrize(
    "change",
    [
        {"keys": np.array([3, 2, 1], np.uint32)},
        {"rarity": np.ones(2, np.float32)},
        {"rarity": np.array([1, math.nan, 1], np.float32)},
        {"weights": np.full((3, 3), math.inf, np.float16)},
        {"weights": np.zeros((3, 2), np.float16)},
        {"bias": np.full(3, -math.inf, np.float32)},
        {"keys": np.array([[1], [2], [3]], np.uint32)},
        {"keys": np.array([1, 2, 3], np.int64)},
        {"rarity": np.array([1, 0, 1], np.float32)},
        {"rarity": np.array([1, 1e30, 1], np.float32)},
        {"weights": np.zeros((3, 3), np.float64)},
        {"said": '{"rows": 0, "share": 0.5, "longest": [4, 2]}'},
        {"said": '{"rows": Infinity, "share": 0.5, "longest": [4, 2]}'},
        {"said": '{"rows": "9", "share": 0.5, "longest": [4, 2]}'},
        {"said": '{"rows": 9, "share": NaN, "longest": [4, 2]}'},
        {"said": '{"rows": 9, "share": 1.5, "longest": [4, 2]}'},
        {"said": '{"rows": 9, "share": 0.5, "longest": [4, 3]}'},
    ],
)
def test_a_reader_whose_parts_do_not_fit_is_refused(change, tmp_path) -> None:
    arrays = {
        "keys": np.array([1, 2, 3], np.uint32),
        "rarity": np.ones(3, np.float32),
        "weights": np.zeros((3, 3), np.float16),
        "bias": np.zeros(3, np.float32),
    }
    said = {"rows": 9, "share": 0.5, "longest": [4, 2]}
    made = {"said": json.dumps(said), **change}
    text = made.pop("said")
    save_file({**arrays, **made}, tmp_path / "f", metadata={"ngrams": text})
    with pytest.raises(ShelfError, match="no reader"):
        read_ngrams(tmp_path / "f")
