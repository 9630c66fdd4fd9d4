"""Written paraphrases of real training requests: other wordings of the same right decision, so that the gate learns what is asked and not how.

They decide nothing about where a request belongs. Requests are grouped, deduplicated and capped as if there were no paraphrases, and each
paraphrase then follows its own request, if that is in the training split: calibration and hold-out are the same rows with and without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..core.errors import DataError
from ..core.question import Frozen
from .clean import clean_text, fault
from .collect import Request
from .corpus import read_json_lines
from .dedup import near_pairs
from .format import SourceReport

FOLDER = "paraphrases"
"""Folder under `data`, and the name under which paraphrases are reported; in the set each has the source of its request."""
_TRAINED, _EVALUATED = "train.jsonl", "real.jsonl"


class Wording(Frozen):
    """One paraphrase.

    Attributes:
        request: the request it rewords, with this text instead of its own.
        place: its number among the request's paraphrases, from 1; the variant of its row.
    """

    request: Request
    place: int


def read_wordings(data: Path, requests: Mapping[str, Request]) -> Iterator[Wording]:
    """Yield the cleaned paraphrases of these training requests, in the order of the file. Those of other requests are passed over.

    Args:
        data: the `data` folder.
        requests: training requests by id.

    Raises:
        DataError: naming a line without a request or texts.
    """
    for of, texts in _lines(data / FOLDER / _TRAINED):
        if request := requests.get(of):
            for place, text in enumerate(texts, 1):
                yield Wording(request=request.model_copy(update={"text": clean_text(text)}), place=place)


def evaluated_texts(data: Path) -> list[str]:
    """The paraphrases that are only ever evaluated on: nothing near them is trained on."""
    return [text for _, texts in _lines(data / FOLDER / _EVALUATED) for text in texts]


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    for row in read_json_lines(path):
        of, texts = row.get("of"), row.get("texts")
        if not isinstance(of, str) or not texts or not all(isinstance(t, str) for t in texts):
            raise DataError(
                f"{path.name}: the line of {of!r} lacks a request or texts.", f"See data/{FOLDER}/README.md."
            )
        yield of, texts


def fit_wordings(
    wordings: Sequence[Wording],
    trained: Sequence[str],
    unseen: Sequence[str],
    source: str = FOLDER,
    licence: str = "that of the request",
) -> tuple[list[Wording], SourceReport]:
    """Choose the paraphrases that may be trained on.

    One that is no fit text goes with the reason of `clean`; one near an unseen text goes as `leak`; one near a training text or an earlier
    paraphrase goes as `duplicate`.

    Args:
        trained: texts of the training split.
        unseen: texts that must stay unseen: calibration, hold-out and what else is only evaluated on.
        source, licence: under which they are reported.
    """
    texts = [*unseen, *trained, *(w.request.text for w in wordings)]
    first, reasons = len(unseen) + len(trained), dict[int, str]()
    for i, wording in enumerate(wordings, first):
        if unfit := fault(wording.request.text):
            reasons[i] = unfit
    for a, b in near_pairs(texts):  # ascending, so an unseen text is met before a trained one
        if b >= first and a not in reasons:
            reasons.setdefault(b, "leak" if a < len(unseen) else "duplicate")
    return [w for i, w in enumerate(wordings, first) if i not in reasons], _report(
        source, licence, wordings, reasons
    )


def _report(
    source: str, licence: str, wordings: Sequence[Wording], reasons: Mapping[int, str]
) -> SourceReport:
    found = sorted(reasons.values())
    return SourceReport(
        source=source,
        licence=licence,
        read=len(wordings),
        kept=len(wordings) - len(found),
        drops={reason: found.count(reason) for reason in dict.fromkeys(found)},
    )
