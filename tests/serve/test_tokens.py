from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sekisho.core.prompt import SPECIAL
from sekisho.serve.engines.llamacpp import LlamaCppEngine
from sekisho.serve.gguf_header import read_header
from sekisho.serve.prompts import plain_pieces
from sekisho.serve.tokens import LONGEST, PROBES, cut, tokenizer_of
from sekisho.train.tokenizer import encode_plain

from .conftest import ROOT
from .makers import Live

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.fixture(scope="module")
def header(nano):
    return read_header(nano)


@pytest.fixture(scope="module")
def ours(header):
    return tokenizer_of(header)


@pytest.fixture(scope="module")
def trained():
    return Tokenizer.from_file(str(ROOT / "models" / "nano" / "tokenizer.json"))


@pytest.fixture(scope="module")
def live(nano):
    served = Live(LlamaCppEngine(nano, "nano", context=2048, slots=1, threads=1))
    yield served
    served.close()


@given(TEXTS | st.sampled_from(PROBES))
def test_text_is_cut_as_the_model_learnt_it(ours, trained, text):
    assert cut(ours, plain_pieces(text)) == encode_plain(trained, text)


@given(st.lists(TEXTS | st.sampled_from(PROBES), min_size=1, max_size=20))
def test_llama_cpp_cuts_alike(live, ours, texts):
    assert live.engine._tongue.tokenizer is not None
    assert cut(ours, texts) == live.wait(live.engine._tongue.cut_there(texts))


def test_control_tokens_are_spelt_and_given_ids_stay(ours):
    assert 1 not in cut(ours, SPECIAL[:2])
    assert cut(ours, [7, "a", 9])[::2] == [7, 9]


@pytest.mark.parametrize(
    "changed",
    [
        {"tokenizer.ggml.pre": "llama-bpe"},
        {"tokenizer.ggml.model": "llama"},
        {"tokenizer.ggml.token_type": [4] * 10},
        {"tokenizer.ggml.tokens": ["a", "a"]},
        {"tokenizer.ggml.merges": ["a b c"]},
        {"tokenizer.ggml.merges": ["absent alike"]},
    ],
)
def test_rules_that_are_not_known_are_llama_cpps(header, changed):
    assert tokenizer_of(replace(header, values={**header.values, **changed})) is None


def test_a_tokenizer_that_cuts_otherwise_is_not_trusted(live, header):
    merges = list(reversed(header.values["tokenizer.ggml.merges"]))
    other = tokenizer_of(replace(header, values={**header.values, "tokenizer.ggml.merges": merges}))
    assert live.wait(live.engine._tongue.trusted(other)) is None


def test_a_long_text_is_cut_by_llama_cpp(live, monkeypatch):
    there = []
    post = live.engine._tongue._post

    async def noted(path, body):
        there.append(path)
        return await post(path, body)

    monkeypatch.setattr(live.engine._tongue, "_post", noted)
    assert live.wait(live.engine.count("あ" * LONGEST)) > 0
    assert there == []
    assert live.wait(live.engine.count("あ" * (LONGEST + 1))) > 0
    assert there == ["/tokenize"]
