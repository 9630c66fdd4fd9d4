"""Labelled images: from a file, each looked at anew, or from the ledger, where people spoke on judgements. One form for proof and calibration."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from ..core.canonical import digest_file, digest_json
from ..core.errors import DataError, EngineError, InputError, SekishoError
from ..core.progress import Progress
from ..core.records import Judgement
from ..core.sight import Sight, is_observed, log_odds_of
from ..ledger.store import Ledger
from ..tasks.images import look
from ..tasks.rubric.lint import read_pack
from ..tasks.rubric.pack import Pack
from ..tasks.rubric.patterns import Scorer
from .eye_calibration import TASK
from .ocr import read_bytes
from .parts import Parts
from .recognise import Eyes, Look
from .rubric import read_answers

FORM = 'one {"image": PATH, "answers": {id: 0 or 1}} object an image'


class Label(NamedTuple):
    """An image on disk, by the digest of its file, and what is right of it, 0 or 1 by criterion."""

    file: Path
    image: str
    answers: Mapping[str, int]


class Row(NamedTuple):
    """An image that was looked at: uncalibrated log-odds of every criterion, and the labels of some."""

    image: str
    odds: Mapping[str, float]
    answers: Mapping[str, int]


@dataclass(frozen=True)
class Labelled:
    """Labelled images an eye has looked at.

    Attributes:
        sight: the eye, with the calibration that is in force for the pack.
        file: digest of the file of labels; None when they are people's words in the ledger.
    """

    scorer: Scorer
    sight: Sight
    rows: tuple[Row, ...]
    file: str | None = None

    @property
    def pack(self) -> Pack:
        """The rubric."""
        return self.scorer.pack

    @property
    def data(self) -> str:
        """Digest of which images they are and how they are labelled, whatever their order and their files' names."""
        return digest_json(sorted([row.image, dict(row.answers)] for row in self.rows))

    def arrays(self) -> tuple[Any, Any]:
        """Log-odds and labels, `[images, criteria]` in the pack's order; NaN where there is no label."""
        import numpy as np

        ids = self.pack.ids
        odds = np.array([[row.odds[i] for i in ids] for row in self.rows])
        return odds, np.array([[row.answers.get(i, math.nan) for i in ids] for row in self.rows], dtype=float)


def gather(parts: Parts, pack: str, labels: Path | None, progress: Progress) -> Labelled:
    """Labelled images with what the eye of the house makes of them.

    Args:
        labels: JSON lines, one object an image; None takes the words of people on this eye's judgements, without looking again.

    Raises:
        DataError, NotFoundError: a file or an image that is not there, a pack there is none of.
        InputError, MalformedError, TooLargeError, UnsupportedEncodingError: naming the first label that is wrong. Nothing has been looked at then.
        ConflictError: the eye has not learnt the pack.
        EngineError: naming the image that was not answered.
    """
    if labels is None:
        return asyncio.run(_heard(parts, pack))
    if str(labels) == "-":
        raise InputError("Labels are no stream: their images lie beside the file.", "Give a file.")
    found = read_labels(labels, read_pack(pack, parts.settings.share), progress)
    return asyncio.run(_looked(parts, pack, found, digest_file(labels), progress))


def read_labels(file: Path, pack: Pack, progress: Progress) -> list[Label]:
    """Read labels and put every image to the guard, so that nothing is found wrong in the middle of a long run. Raises as `gather`."""
    given = read_answers(file, FORM)
    found: list[Label] = []
    first: dict[str, int] = {}
    for number, one in enumerate(given, start=1):
        try:
            label = _label(one, file.parent, pack)
        except SekishoError as e:
            raise type(e)(f"Label {number}: {e.what}", e.do) from e
        if label.image in first:
            raise InputError(
                f"Labels {first[label.image]} and {number} are of the same image, {label.file}.",
                "Give every image once.",
            )
        first[label.image] = number
        found.append(label)
        progress.step("check", number, len(given))
    return found


def _label(one: Mapping[str, Any], folder: Path, pack: Pack) -> Label:
    name, answers = one.get("image"), one.get("answers")
    if one.keys() != {"image", "answers"} or not isinstance(name, str) or not isinstance(answers, dict):
        raise InputError("It is not of the form that was agreed.", f"Give {FORM}.")
    _require_answers(answers, pack)
    try:
        return Label(folder / name, look(read_bytes(folder / name)).digest, answers)
    except ValueError as e:  # a zero byte, half a surrogate pair
        raise DataError(f"{name!r} cannot be the name of a file.", "Give a path.") from e
    except SekishoError as e:
        told = e.what if name in e.what else f"{name}: {e.what}"
        raise type(e)(told, e.do) from e


def _require_answers(answers: Mapping[str, Any], pack: Pack) -> None:
    known = set(pack.ids)
    unknown = [i for i in answers if i not in known]
    wrong = [i for i, value in answers.items() if type(value) is not int or value not in (0, 1)]
    if not answers:
        raise InputError("It labels nothing.", "Leave the image out, or label a criterion.")
    if len(unknown) == len(answers):
        raise InputError(
            f"The pack {pack.name} has no criterion {', '.join(unknown)}.", "Are they labels of another pack?"
        )
    if unknown:
        raise InputError(f"The pack {pack.name} has no criterion {', '.join(unknown)}.", "Mend the id.")
    if wrong:
        raise InputError(f"{', '.join(wrong)}: not the number 0 or 1.", "Leave out what you cannot tell.")


async def _looked(parts: Parts, pack: str, labels: list[Label], file: str, progress: Progress) -> Labelled:
    eyes = Eyes(parts)
    rows = []
    try:
        scorer, sight = await eyes.ready(pack), await eyes.sight(pack)
        for number, label in enumerate(labels, start=1):
            found = await _look(eyes, label, pack)
            rows.append(Row(label.image, found.seen.log_odds, label.answers))
            sight = found.sight if found.seen.observed else sight
            progress.step("look", number, len(labels))
    finally:
        await eyes.close()
    return Labelled(scorer, sight, tuple(rows), file)


async def _look(eyes: Eyes, label: Label, pack: str) -> Look:
    try:
        found = await eyes.look(read_bytes(label.file), pack)
    except EngineError as e:
        raise type(e)(f"{label.file}: {e.what}", e.do) from e
    if found.picture.digest != label.image:
        raise DataError(f"{label.file} was changed while it was looked at.", "Begin anew.")
    return found


async def _heard(parts: Parts, name: str) -> Labelled:
    """The eye is opened only to know which one it is."""
    eyes = Eyes(parts)
    try:
        scorer, sight = await eyes.ready(name), await eyes.sight(name)
        rows = spoken(parts.ledger, scorer.pack, sight.eye.info.model_digest)
    finally:
        await eyes.close()
    if not rows:
        raise InputError(
            f"Nobody has spoken on a judgement of {scorer.pack.name} by this eye, in this version of the pack.",
            "Correct or confirm criteria: `sekisho correct`, or the page; or give a file of labels.",
        )
    return Labelled(scorer, sight, rows)


@dataclass
class _Heard:
    odds: Mapping[str, float]
    answers: dict[str, int] = field(default_factory=dict)


def spoken(ledger: Ledger, pack: Pack, model: str) -> tuple[Row, ...]:
    """What an eye said of images, and the latest word of people on each criterion.

    An image that was judged several times is one row, with the numbers of the judgement that was spoken on last; one whose digest was erased stands for itself.
    """
    found: dict[str, _Heard] = {}
    for record, criterion, yes in words(ledger, pack.name):
        ours = record.stamp.policy == pack.digest() and record.stamp.model_digest == model
        if not ours or record.raw.keys() != set(pack.ids):
            continue
        content = ledger.content(record.content) if record.content else None
        image = str((content or {}).get("image", record.id))
        odds = {i: log_odds_of(p) for i, p in record.raw.items()}
        if is_observed(odds):
            continue
        heard = found.setdefault(image, _Heard({}))
        heard.odds = odds
        heard.answers[criterion] = int(yes)
    return tuple(Row(image, heard.odds, heard.answers) for image, heard in found.items())


def words(ledger: Ledger, pack: str) -> Iterator[tuple[Judgement, str, bool]]:
    """Every word of people on judgements of a pack, whatever its version, oldest first: the judgement, the criterion, and whether it is yes."""
    after = 0
    while page := ledger.entries(kind="correction", task=TASK, after=after, limit=500):
        for entry in page:
            judged = ledger.get(str(entry.body["judgement"]))
            if judged is not None and judged.body.get("name") == pack:
                criterion, _, label = str(entry.body["label"]).partition(":")
                yield cast(Judgement, judged.record), criterion, label == "yes"
        after = page[-1].seq


def last_words(ledger: Ledger, pack: str) -> dict[str, dict[str, str]]:
    """Corrections in force of a pack's judgements: the latest label, yes or no, by judgement and criterion."""
    found: dict[str, dict[str, str]] = {}
    for record, criterion, yes in words(ledger, pack):
        found.setdefault(record.id, {})[criterion] = "yes" if yes else "no"
    return found
