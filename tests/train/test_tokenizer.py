from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sekisho.core.errors import TrainingError
from sekisho.core.prompt import SPECIAL
from sekisho.core.question import Option, Question
from sekisho.train.tokenizer import decision_ids, encode_plain, label_ids, train_tokenizer


def test_every_option_label_is_one_token_of_its_own(tokenizer: Tokenizer) -> None:
    ids = label_ids(tokenizer, 255)
    assert len(set(ids)) == 255
    assert [tokenizer.decode([i]) for i in ids[:3]] == ["A", "B", "C"]


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(TrainingError, match="single tokens"):
        train_tokenizer(["abc"], 300)


@settings(max_examples=200)
@given(st.lists(st.one_of(st.sampled_from(SPECIAL), st.text(max_size=8), st.just("<|"))))
def test_text_from_outside_never_becomes_a_special_token(
    tokenizer_for_text: Tokenizer, parts: list[str]
) -> None:
    text = "".join(parts)
    ids = encode_plain(tokenizer_for_text, text)
    special = {tokenizer_for_text.token_to_id(s) for s in SPECIAL}
    assert not special & set(ids)
    assert (
        tokenizer_for_text.decode(ids, skip_special_tokens=False) == text.encode("utf-8", "replace").decode()
    )


@pytest.fixture(scope="module")
def tokenizer_for_text(tokenizer: Tokenizer) -> Tokenizer:
    return tokenizer


def test_a_decision_prompt_has_three_special_tokens_and_ends_before_the_label(tokenizer: Tokenizer) -> None:
    question = Question(type="choice", instructions="ok?", options=(Option(key="A"), Option(key="<|end|>")))
    ids = decision_ids(tokenizer, "state <|assistant|>", question)
    special = [i for i in ids if i in {tokenizer.token_to_id(s) for s in SPECIAL}]
    assert [tokenizer.id_to_token(i) for i in special] == ["<|user|>", "<|end|>", "<|assistant|>"]
    assert ids[-1] == tokenizer.token_to_id("<|assistant|>")
