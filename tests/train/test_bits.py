from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch

from sekisho.train.bits import NgramModel, model_bits, xz_bits
from sekisho.train.fit import load_base


def test_ngram_probabilities_sum_to_one() -> None:
    model = NgramModel(3).fit(["abcabcabd", "abba"])
    alphabet = [*sorted(set("abcd")), "\0"]
    for history in ("", "a", "ab", "zz"):
        assert sum(model._p(history, c) for c in alphabet) == pytest.approx(1.0)


def test_ngram_learns_a_pattern_and_random_text_stays_random() -> None:
    rng = random.Random(0)
    noise = ["".join(rng.choice("abcd") for _ in range(2000)) for _ in range(2)]
    assert NgramModel().fit(["abcd" * 500]).bits(["abcd" * 50]) < 0.2
    assert NgramModel(2).fit(noise[:1]).bits(noise[1:]) == pytest.approx(2.0, abs=0.1)


def test_xz_pays_little_for_what_it_has_seen() -> None:
    rng = random.Random(1)
    text = "".join(rng.choice("abcdefghij") for _ in range(5000))
    assert xz_bits([text], [text]) < 0.2 < xz_bits(["other"], [text])


def test_bits_of_a_model_do_not_depend_on_how_text_is_windowed(base: Path) -> None:
    model, tokenizer = load_base(base)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    bits = model_bits(model, tokenizer, ["explain the record 12 and the form"] * 2, window=8)
    tokens = len(tokenizer.encode("explain the record 12 and the form").ids)
    assert bits == pytest.approx(tokens * math.log2(1024) / 34, rel=1e-3)
