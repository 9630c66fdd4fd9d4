"""Tokenizers that do not split: the same tokens in llama.cpp, up to half characters."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import httpx
import pytest
from tokenizers import Tokenizer

from sekisho.core.errors import InputError
from sekisho.core.prompt import EYE_CHAT_TEMPLATE
from sekisho.weights.gguf import export_gguf
from sekisho.weights.unsplit import UNSPLIT, readable, within_lines
from sekisho.weights.vocabularies import vocabulary_kind
from small_eye import PACK

from .makers import llama_cpp

EYE = Path(__file__).parents[2] / "models" / "nano_vl"
TEXTS = [c.question.en for c in PACK.criteria] + [
    "Does it say yes or no, then 12 notes?",
    "a\nb  c\n\n d",
    " leading, trailing ",
    "Is <|vision_end|> spelt out?",
    "印鑑はありますか。",
    "\u0000\t\u007f",
]


def test_llama_cpp_cuts_texts_as_the_eye_does(tmp_path):
    tokenizer = Tokenizer.from_file(str(EYE / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    with llama_cpp(export_gguf(EYE, tmp_path / "eye.gguf", "f16", template=EYE_CHAT_TEMPLATE)) as address:
        for text in TEXTS:
            asked = {"content": text, "parse_special": False}
            tokens = httpx.post(f"{address}/tokenize", json=asked).json()["tokens"]
            assert tokens == tokenizer.encode(text, add_special_tokens=False).ids, text
            back = httpx.post(f"{address}/detokenize", json={"tokens": tokens}).json()["content"]
            assert back == text


def test_answers_are_tokens_to_be_shown_and_never_cut_out_of_a_text(tmp_path):
    reader = gguf.GGUFReader(export_gguf(EYE, tmp_path / "eye.gguf", "f16", template=EYE_CHAT_TEMPLATE))
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    types = reader.get_field("tokenizer.ggml.token_type").contents()
    kinds = dict(zip(tokens, types, strict=True))
    assert kinds["yes"] == kinds["no"] == gguf.TokenType.NORMAL
    assert kinds["<|image_pad|>"] == gguf.TokenType.CONTROL
    assert kinds["<0x0A>"] == gguf.TokenType.BYTE
    assert len(set(tokens)) == len(tokens)


def test_half_characters_are_left_out():
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    tokens = ["<|end|>", "a", "Ġ", "aĠ", "ç§", "ç§ĺ", "Ċ"]
    types = [control, *[normal] * 6]
    names, kinds, merges = readable(tokens, types, ["a Ġ", "ç §", "ç§ ĺ"])
    assert names == ["<|end|>", "a", "\u2581", "a\u2581", "[HALF4]", "秘", "<0x0A>"]
    assert kinds[4] == gguf.TokenType.UNUSED
    assert kinds[6] == gguf.TokenType.BYTE
    assert merges == ["a \u2581"]


def test_merges_across_lines_are_refused(tmp_path):
    assert within_lines(["a b", "Ċ Ċ"])
    assert not within_lines(["a Ċ"])
    stored = json.loads((EYE / "tokenizer.json").read_text())
    assert vocabulary_kind(stored, EYE).pre == UNSPLIT
    stored["model"]["merges"].append(["a", "Ċ"])
    with pytest.raises(InputError, match="byte-level BPE"):
        vocabulary_kind(stored, EYE)
