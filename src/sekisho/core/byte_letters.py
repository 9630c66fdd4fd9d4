"""How byte-level vocabularies write bytes as letters."""

from __future__ import annotations


def byte_letters() -> dict[str, int]:
    """The letter each byte is written as (GPT-2; Radford and others 2019): itself when printable, else one from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(rest)}
