from __future__ import annotations

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from sekisho.core.errors import ShelfError, TrainingError
from sekisho.core.prompt import ASSISTANT, CLOSE, DIALECTS, END, SPECIAL, TOKEN, USER
from sekisho.core.question import Option, Question, gate_question
from sekisho.train.tokenizer import decision_ids, encode_plain, label_ids, special_id, train_tokenizer
from sekisho.weights.decision import systemone_template


def test_every_option_label_is_one_token_of_its_own(tokenizer: Tokenizer) -> None:
    ids = label_ids(tokenizer, 255)
    assert len(set(ids)) == 255
    assert [tokenizer.decode([i]) for i in ids[:3]] == ["A", "B", "C"]


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(TrainingError, match="single tokens"):
        train_tokenizer(["abc"], 300)


@settings(max_examples=200, deadline=None)
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


def speaking(words: dict[str, str]) -> Tokenizer:
    """A tokenizer of another family: its chat tokens, and not those of the house."""
    tokens = sorted({t for said in words.values() for t in TOKEN.findall(said)})
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        ["user system assistant"] * 3,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return tokenizer


@pytest.mark.parametrize("family", DIALECTS)
def test_a_decision_is_asked_in_the_words_of_each_family_and_its_template_says_the_same(family: str) -> None:
    """The prompt made of tokens, and the template that ships with an export, rendered as llama.cpp and transformers render it."""
    words = DIALECTS[family]
    tokenizer, question = speaking(dict(words)), gate_question()
    ids = decision_ids(tokenizer, "May I?", question)
    text = tokenizer.decode(ids, skip_special_tokens=False)
    shell = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    options = [{"key": o.key, "description": None} for o in question.options]
    rendered = shell.from_string(systemone_template(words)).render(
        state="May I?", instructions=question.instructions, options=options
    )
    assert text == rendered
    assert text.startswith(words[USER])
    assert text.endswith(words[ASSISTANT])
    assert tokenizer.encode(rendered, add_special_tokens=False).ids == ids
    assert tokenizer.id_to_token(special_id(tokenizer, CLOSE)) in (words[CLOSE] or words[END])


def test_a_clients_chat_tokens_stay_text_in_every_family() -> None:
    for words in DIALECTS.values():
        tokenizer = speaking(dict(words))
        control = {tokenizer.token_to_id(t) for s in words.values() for t in TOKEN.findall(s)}
        assert control & set(encode_plain(tokenizer, "x" + "".join(words.values()))) == set()


def test_special_tokens_that_no_prompt_is_made_of_stay_text_too() -> None:
    """Phi-3-mini has Llama 2's `</s>` beside its own tokens."""
    tokenizer = speaking({**DIALECTS["Phi-3"], "more": "</s>"})
    ids = encode_plain(tokenizer, "a</s>b")
    assert tokenizer.token_to_id("</s>") not in ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == "a</s>b"
    assert tokenizer.token_to_id("</s>") in tokenizer.encode("a</s>b").ids  # others find it as before


def test_a_tokenizer_of_no_family_is_refused() -> None:
    with pytest.raises(ShelfError, match="none of: Phi-3, ChatML, Llama 3, Mistral"):
        decision_ids(speaking({"a": "<|other|>"}), "x", gate_question())


def test_marks_that_are_text_are_refused() -> None:
    """In Llama 2 and the first Mistral models a client could write them; so also where they are tokens that every text is searched for."""
    of_text = speaking({"a": "<s></s>"})
    searched = speaking({"a": "<s></s>"})
    searched.add_tokens(["[INST]", "[/INST]"])
    for tokenizer in (of_text, searched):
        with pytest.raises(ShelfError, match="none of") as caught:
            decision_ids(tokenizer, "x", gate_question())
        assert "is text, which anybody can write" in caught.value.do
