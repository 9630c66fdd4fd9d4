"""The project's own everyday and harmful requests, each in several wordings of the same right decision, in Japanese and English.

Real requests are few, and a small model reads a wording it has not met by its words. Of these it sees that many wordings ask the same.
Like the paraphrases of real requests they are trained on or only evaluated on: calibration and hold-out are the same rows without them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from ..core.errors import DataError
from ..core.gate_prompt import LANGS
from ..core.records import Decision
from .clean import clean_text
from .collect import LICENCES, Request
from .corpus import read_json_lines
from .reword import FOLDER, Wording

SOURCE = "wordings"
_HALVES = re.compile("[\ud800-\udfff]")
_TRAINED, _EVALUATED = "own.jsonl", "own_heldout.jsonl"


def read_own(data: Path) -> Iterator[Wording]:
    """Yield the cleaned wordings that are trained on, in the order of the file; those of one request share its family.

    Args:
        data: the `data` folder.

    Raises:
        DataError: naming a line that lacks something.
    """
    for row in _rows(data / FOLDER / _TRAINED):
        yield from _wordings(row)


def evaluated_own(data: Path) -> list[list[Request]]:
    """The requests that are only ever evaluated on: each language's wordings of one together. Raises DataError."""
    found = []
    for row in _rows(data / FOLDER / _EVALUATED):
        requests = [w.request for w in _wordings(row)]
        found += [[r for r in requests if r.lang == lang] for lang in LANGS]
    return found


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of a file; no id may come twice."""
    seen: set[str] = set()
    for row in read_json_lines(path):
        id = str(row.get("id"))
        if id in seen:
            raise DataError(f"{path.name} has the own request {id!r} twice.", "Take one of them out.")
        seen.add(id)
        yield row


def _wordings(row: Mapping[str, Any]) -> Iterator[Wording]:
    if not _good(row):
        raise DataError(
            f"The own request {row.get('id')!r} lacks its id, decision, clause or texts.",
            f"See data/{FOLDER}/README.md.",
        )
    decision, ref = row["decision"], row.get("ref", "A0")
    texts = [(lang, text) for lang in LANGS for text in row[lang]]
    for place, (lang, text) in enumerate(texts, 1):
        request = Request(
            id=f"{SOURCE}:{row['id']}:{place}",
            text=clean_text(text),
            lang=lang,
            decision=decision,
            source=SOURCE,
            licence=LICENCES[SOURCE],
            policy_ref=ref,
            family=f"{SOURCE}:{row['id']}",
        )
        yield Wording(request=request, place=place)


def _good(row: Mapping[str, Any]) -> bool:
    """Whether a line has an id, a decision with a clause of it, and a list of texts in every language."""
    decision, ref = str(row.get("decision")), row.get("ref", "A0")
    texts = [row.get(lang) for lang in LANGS]
    return (
        _said(row.get("id"))
        and decision in get_args(Decision)
        and isinstance(ref, str)
        and re.fullmatch(f"{decision[0]}[0-9]+", ref) is not None
        and all(isinstance(t, list) and t and all(map(_said, t)) for t in texts)
    )


def _said(value: object) -> bool:
    """Whether a value is text that has something in it and can be written in UTF-8."""
    return isinstance(value, str) and bool(value.strip()) and not _HALVES.search(value)
