"""A byte-level BPE tokenizer, trained from the corpus: every byte has a token, every option label is one token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ..core.errors import ShelfError, TrainingError
from ..core.prompt import DIALECTS, END, LETTERS, SPECIAL, TOKEN, chat_parts, decision_parts, split_special
from ..core.question import Question


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train byte-level BPE with GPT-2's pre-tokenisation (which llama.cpp knows as `gpt-2`).

    Raises:
        TrainingError: when an option label did not become a single token; a larger vocabulary or more text cures it.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=12,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    lost = [c for c in LETTERS if len(tokenizer.encode(c).ids) != 1]
    if lost:
        raise TrainingError(
            f"These option labels are not single tokens: {''.join(lost)}.", "Raise vocab_size."
        )
    return tokenizer


def dialect(tokenizer: Tokenizer) -> Mapping[str, str]:
    """What a tokenizer writes for each special token of the house: itself, or what its family's models were trained with.

    Raises:
        ShelfError: when the tokenizer has the tokens of no family that is known.
    """
    for words in DIALECTS.values():
        if all(_is_control(tokenizer, t) for w in words.values() for t in TOKEN.findall(w)):
            return words
    raise ShelfError(
        f"The tokenizer has the chat tokens of none of: {', '.join(DIALECTS)}.",
        "Use a base with chat tokens as Phi-3, Qwen (ChatML), Llama 3 or Mistral (from tokenizer v3 on) have them. "
        "The `[INST]` of Llama 2 and of the first Mistral models is text, which anybody can write.",
    )


def _is_control(tokenizer: Tokenizer, token: str) -> bool:
    """Whether it is a token that no text can spell."""
    found = tokenizer.token_to_id(token)
    return found is not None and found not in encode_plain(tokenizer, token)


def _spoken(tokenizer: Tokenizer, token: str) -> list[int]:
    """Token ids of a special token of the house, in the tokenizer's own dialect."""
    own = tokenizer.token_to_id(token)
    if own is not None:
        return [own]
    pieces = [p for p in TOKEN.split(dialect(tokenizer)[token]) if p]
    return [i for p in pieces for i in _piece(tokenizer, p)]


def _piece(tokenizer: Tokenizer, piece: str) -> list[int]:
    if TOKEN.fullmatch(piece):
        return [_known(tokenizer, piece)]
    return list(tokenizer.encode(piece, add_special_tokens=False).ids)


def encode_parts(tokenizer: Tokenizer, parts: Iterable[tuple[str, bool]]) -> list[int]:
    """Encode (text, is_special) parts to token ids. Only parts marked special may become special tokens.

    A client's text that spells `<|end|>` is cut at its first character, so it can never be read as the token.
    """
    ids: list[int] = []
    for text, special in parts:
        ids += _spoken(tokenizer, text) if special else encode_plain(tokenizer, text)
    return ids


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """Id of a special token, or of the one that stands for it in the tokenizer's dialect. Raises ShelfError when there is none."""
    if tokenizer.token_to_id(token) is None:
        words = dialect(tokenizer)
        token = TOKEN.findall(words[token] or words[END])[0]
    return _known(tokenizer, token)


def _known(tokenizer: Tokenizer, token: str) -> int:
    found: Any = tokenizer.token_to_id(token)
    return int(found)


def encode_plain(tokenizer: Tokenizer, text: str) -> list[int]:
    """Encode text from outside: special tokens in it stay literal characters."""
    ids: list[int] = []
    with _blind(tokenizer):
        for piece in split_special(text):
            ids += tokenizer.encode(piece, add_special_tokens=False).ids
    return ids


@contextmanager
def _blind(tokenizer: Tokenizer) -> Iterator[None]:
    """Within: no special token is found in a text, `</s>` and `[INST]` neither, which `split_special` does not cut."""
    before = tokenizer.encode_special_tokens
    tokenizer.encode_special_tokens = True
    try:
        yield
    finally:
        tokenizer.encode_special_tokens = before


def decision_ids(tokenizer: Tokenizer, state: str, question: Question) -> list[int]:
    """Token ids of the decision prompt, ending right before the label."""
    return encode_parts(tokenizer, decision_parts(state, question))


def label_ids(tokenizer: Tokenizer, count: int) -> list[int]:
    """Token ids of the first `count` option labels."""
    return [tokenizer.encode(c, add_special_tokens=False).ids[0] for c in LETTERS[:count]]


def dialogue_ids(tokenizer: Tokenizer, turns: Iterable[tuple[str, str]]) -> list[int]:
    """Token ids of a finished conversation of (role, text) turns."""
    return encode_parts(tokenizer, chat_parts(list(turns), prompt=False))
