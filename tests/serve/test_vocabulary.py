from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.prompt import SPECIAL
from sekisho.serve.gguf_header import Header, read_header
from sekisho.serve.vocabulary import Vocabulary, Writing
from sekisho.train.tokenizer import encode_plain


@pytest.fixture(scope="module")
def vocabulary(gguf_file):
    return Vocabulary.of(read_header(gguf_file))


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=30)


@given(TEXTS)
def test_bytes_of_tokens_are_the_text(vocabulary, tokenizer, text):
    ids = encode_plain(tokenizer, text)
    assert b"".join(vocabulary.bytes_of(i) for i in ids).decode() == text
    assert vocabulary.bytes_of(tokenizer.token_to_id(SPECIAL[0])).decode() == SPECIAL[0]


@given(TEXTS)
def test_hidden_tokens_are_found(vocabulary, tokenizer, text):
    """What llama.cpp's stream leaves out: the tokens before the one that finishes a character."""
    ids, start = encode_plain(tokenizer, text), 0
    for i in range(len(ids)):
        data = b"".join(vocabulary.bytes_of(t) for t in ids[start : i + 1])
        try:
            data.decode()
        except UnicodeDecodeError:
            continue
        found = vocabulary.hidden(data, ids[i], i - start)
        assert found is not None
        assert b"".join(map(vocabulary.bytes_of, [*found, ids[i]])) == data
        assert len(found) == i - start
        start = i + 1


def test_what_cannot_be_told_is_none():
    vocabulary = Vocabulary([b"a", b"b", b"ab"])
    assert vocabulary.hidden(b"aba", 0, 1) == (2,)
    assert vocabulary.hidden(b"aba", 0, 2) == (0, 1)
    assert vocabulary.hidden(b"xa", 0, 1) is None
    assert vocabulary.hidden(b"ab", 0, 1) is None
    assert vocabulary.hidden(b"a", 0, 1) is None
    assert Vocabulary.of(Header({"tokenizer.ggml.model": "llama"}, 0)) is None


@given(TEXTS, st.lists(st.sampled_from(["関", "検問", "a", "the ", "\n"]), max_size=2), st.integers(0, 60))
def test_a_text_taken_up_again_says_the_same(vocabulary, tokenizer, text, stop, cut):
    ids = encode_plain(tokenizer, text + "関所は検問所である。 the end")
    whole = Writing(vocabulary, stop)
    said = [whole.push([i]) for i in ids]
    again = Writing(vocabulary, stop, ids[:cut])
    rest = again.push(ids[cut:])
    assert "".join(said[cut:]) == rest
    assert (whole.stopped, whole.flush()) == (again.stopped, again.flush())
