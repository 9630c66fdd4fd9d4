"""Disguises: text that imitates control tokens or the gate's own answer, or hides characters. Found without a model; never a reason to allow."""

from __future__ import annotations

import re
import unicodedata

TOKENS = "imitates_tokens"
ANSWER = "imitates_answer"
HIDDEN = "hidden_characters"

_MARK = re.compile(
    r"<\s*\|[^|<>\n]{1,40}\|\s*>"  # <|end|>, <|im_start|>, <|start_header_id|>
    r"|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS)\]|\[TOOL_(?:CALLS|CONTENT)\]|<</?SYS>>",
    re.IGNORECASE,
)
"""How control tokens of the common chat templates are spelt (Phi-3, ChatML, Llama 2 and 3, Mistral, Gemma)."""
_ANSWER = re.compile(
    r"\b(?:ALLOW|ESCALATE|DENY)\b"
    r"|(?i:answer|decision|label|答え|回答|判定|判断)\s*(?i:is|は|:|=)\s*[「『(\"'`*]*(?:[ABC]|(?i:allow))\b"
    r"|(?m:^[^\w\n]*[ABC](?:[^\w\n]+[ABC])*[^\w\n]*$)"
)
"""The gate's options as it spells them, a sentence that gives one of its letters as the answer, or a line of such letters alone."""
_JOINER = "\u200d"
_PLAIN = frozenset("\t\n\r\f")
_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs"})
"""Unicode's general categories of what a reader does not see: control, format, private use, surrogate."""
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u034f\u2800")
"""Letters and signs that are drawn as nothing, and so lie in no category above."""


def disguises(text: str) -> tuple[str, ...]:
    """Return those of `imitates_tokens`, `imitates_answer` and `hidden_characters` that hold, in that order.

    Full-width spellings count: what Unicode's NFKC makes a control token of is read as one.
    """
    seen = unicodedata.normalize("NFKC", text)
    found = {TOKENS: _MARK.search(seen), ANSWER: _ANSWER.search(seen), HIDDEN: _hides(text)}
    return tuple(reason for reason, held in found.items() if held)


def _hides(text: str) -> bool:
    """Whether a character is invisible; a byte order mark in front and the joiner between two emoji are not meant."""
    text = text.removeprefix("\ufeff")
    return any(_invisible(c) and not _joins_emoji(text, i) for i, c in enumerate(text))


def _invisible(character: str) -> bool:
    if character in _PLAIN:
        return False
    return character in _FILLERS or unicodedata.category(character) in _UNSEEN


def _joins_emoji(text: str, place: int) -> bool:
    """Whether the joiner at `place` stands between symbols, as in an emoji of several people."""
    around = (text[max(place - 1, 0) : place], text[place + 1 : place + 2])
    return text[place] == _JOINER and all(c and unicodedata.category(c) in {"So", "Sk", "Mn"} for c in around)
