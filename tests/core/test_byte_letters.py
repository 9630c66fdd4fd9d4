from __future__ import annotations

from tokenizers import pre_tokenizers

from sekisho.core.byte_letters import byte_letters


def test_every_byte_has_the_letter_that_tokenizers_gives_it():
    letters = byte_letters()
    assert sorted(letters.values()) == list(range(256))
    assert set(letters) == set(pre_tokenizers.ByteLevel.alphabet())
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for text in ("関所 \n\t~", "ÿé\x00\x7f", "¡­®"):
        ((written, _),) = split.pre_tokenize_str(text)
        assert bytes(letters[c] for c in written) == text.encode()
