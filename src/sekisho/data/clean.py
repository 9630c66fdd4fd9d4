"""Cleaning that keeps meaning: Unicode form, white space, length, quality. Whatever is dropped says why."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from .collect import Drop, Request

SHORTEST, LONGEST = 4, 400
"""Length bounds of a request in characters, both included."""
LOWEST_QUALITY = 0.6
"""Requests with a lower score are dropped."""

_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufffe\uffff]"
)
_SPACES = re.compile(r"[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_BREAKS = re.compile(r"\s*\n\s*")


def clean_text(text: str) -> str:
    """Return `text` in NFC without control and invisible characters, each run of blanks one space, each run of breaks one break.

    NFKC is not used: it would turn ①, ㎡ or full-width marks into other characters.
    """
    plain = _CONTROL.sub("", unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")))
    return _BREAKS.sub("\n", _SPACES.sub(" ", plain)).strip()


def quality(text: str) -> float:
    """Score a text from 0 (noise) to 1: (share of letters, digits and blanks + punctuation at half weight) × variety.

    Variety is the share of distinct character 3-grams, full marks from one half on; texts under 20 characters are not
    judged by it.
    """
    if not text:
        return 0.0
    weight = {"L": 1.0, "N": 1.0, "Z": 1.0, "M": 1.0, "P": 0.5, "S": 0.25}
    legible = sum(1.0 if c == "\n" else weight.get(unicodedata.category(c)[0], 0.0) for c in text) / len(text)
    if len(text) < 20:
        return legible
    grams = [text[i : i + 3] for i in range(len(text) - 2)]
    return legible * min(1.0, 2 * len(set(grams)) / len(grams))


def fault(text: str) -> str | None:
    """Return why a cleaned text is unfit (`empty`, `too_short`, `too_long`, `low_quality`), or None."""
    if not text:
        return "empty"
    if len(text) < SHORTEST:
        return "too_short"
    if len(text) > LONGEST:
        return "too_long"
    return "low_quality" if quality(text) < LOWEST_QUALITY else None


def clean(requests: Iterable[Request]) -> tuple[list[Request], list[Drop]]:
    """Clean every request; return those that are fit and the drops with their reasons."""
    kept: list[Request] = []
    drops: list[Drop] = []
    for request in requests:
        cleaned = request.model_copy(update={"text": clean_text(request.text)})
        reason = fault(cleaned.text)
        if reason == "empty" and cleaned.whole:
            reason = "no_rule_breaking"
        if reason:
            drops.append(Drop(request=cleaned, reason=reason))
        else:
            kept.append(cleaned)
    return kept, drops
