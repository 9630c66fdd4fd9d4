"""Feedback: a person's word on an answer, on its claim or on its source. One verb for HTTP, the command line and files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, ValidationError

from .. import metrics
from ..core.adapting import Feedback
from ..core.canonical import json_lines, model_digest, new_id, utc_now
from ..core.errors import ConflictError, DataError, InputError, NotFoundError, SekishoError
from ..core.question import Frozen
from ..core.records import Correction, Judgement
from ..ledger.adapting import latest_words
from .adapters import nli_folder, watch_live
from .correct import correct, correction_of
from .parts import Parts
from .reviewed import TASK, reviewed, subjects

ACTIONS: Mapping[str, tuple[str, ...]] = {
    "edge": ("correct", "right"),
    "claim": ("reject", "restore"),
    "source": ("reject", "restore"),
}
"""Levels of feedback, and what may be said on each."""


class Word(Frozen):
    """What a person says.

    Attributes:
        judgement: the answer, `jdg_…`.
        level: edge (this answer), claim (its hypothesis, wherever it is asked) or source (the document of its premise).
        action: on an edge `correct`, with a label, or `right`; on a claim or source `reject`, so that nothing of it is learnt from, or `restore`.
    """

    judgement: str = Field(min_length=1, max_length=200)
    level: Literal["edge", "claim", "source"] = "edge"
    action: Literal["correct", "right", "reject", "restore"] = "correct"
    label: str | None = None
    reason: str = Field(min_length=1, max_length=4000)
    by: str | None = Field(None, min_length=1, max_length=200)


def word_of(value: Mapping[str, Any]) -> Word:
    """Read a word. Raises InputError naming the first thing wrong."""
    try:
        return Word.model_validate(value, strict=True)
    except ValidationError as e:
        first = e.errors()[0]
        raise InputError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}.", "See `sekisho feedback file --help`."
        ) from None


def feedback(parts: Parts, word: Word, by: str) -> Correction | Feedback:
    """Write a word down, and look whether the serving adapter still keeps what was proved. Raises as `record_of`."""
    record = record_of(parts, word, by)
    _file(parts, [record])
    return record


def record_of(parts: Parts, word: Word, by: str) -> Correction | Feedback:
    """The record of a word, not yet filed.

    Raises:
        NotFoundError: no such answer.
        InputError: an action of another level, a label missing or not offered, an answer that is no NLI answer.
        ConflictError: the content of the answer was erased, so its claim or source is not known any more.
    """
    if word.action not in ACTIONS[word.level]:
        raise InputError(
            f"{word.action!r} is nothing to say of a {word.level}.",
            f"Use {' or '.join(ACTIONS[word.level])}.",
            ("body", "action"),
        )
    judgement = _answer(parts, word.judgement)
    if word.level == "edge":
        return correction_of(parts.ledger, judgement.id, _label(word, judgement), word.reason, by)
    return _on_subject(parts, word, judgement, by)


def _file(parts: Parts, records: Sequence[Correction | Feedback]) -> None:
    """File records together, all or none."""
    parts.ledger.append(records)
    corrections = sum(isinstance(r, Correction) for r in records)
    metrics.CORRECTIONS.labels(TASK).inc(corrections)
    _watch(parts, [r for r in records if isinstance(r, Correction)])


def _watch(parts: Parts, filed: Sequence[Correction]) -> None:
    """Look at the adapters whose answers were spoken of. The base needs no watch, and the model need not be read for it."""
    entries = [parts.ledger.get(c.judgement) for c in filed]
    stamps = [cast(Judgement, e.record).stamp for e in entries if e is not None]
    for model in {s.model_digest for s in stamps if s.adapter_digest is not None}:
        with suppress(NotFoundError):  # the model that answered is not set here any more
            watch_live(parts, model)


def corrected(parts: Parts, judgement: str, label: str, reason: str, by: str) -> Correction:
    """File a correction of any task, and look whether a serving adapter still keeps what was proved. Raises as `correct`."""
    filed = correct(parts.ledger, judgement, label, reason, by)
    if filed.task == TASK:
        _watch(parts, [filed])
    return filed


def _answer(parts: Parts, id: str) -> Judgement:
    entry = parts.ledger.get(id)
    if entry is None or entry.kind != "judgement":
        raise NotFoundError(f"There is no judgement {id!r}.", "List them with `sekisho audit show`.")
    record = cast(Judgement, entry.record)
    if record.task != TASK:
        raise InputError(
            f"{id} is of the task {record.task}, not {TASK}.",
            "Use `sekisho correct` for it.",
            ("body", "judgement"),
        )
    return record


def _label(word: Word, judgement: Judgement) -> str:
    if word.action == "right":
        if word.label not in (None, judgement.answer):
            raise InputError(
                f"The answer was {judgement.answer}, not {word.label}.",
                "Leave the label out, or say `correct`.",
                ("body", "label"),
            )
        return str(judgement.answer)
    if word.label is None:
        raise InputError(
            "The right label is missing.",
            f"Give one of: {', '.join(judgement.probabilities)}.",
            ("body", "label"),
        )
    return word.label


def _on_subject(parts: Parts, word: Word, judgement: Judgement, by: str) -> Feedback:
    if word.label is not None:
        raise InputError(f"A {word.level} has no label.", "Leave it out.", ("body", "label"))
    if not word.reason.strip():
        raise InputError("The reason is empty.", "Say why.", ("body", "reason"))
    content = parts.ledger.content(judgement.content) if judgement.content else None
    if content is None:
        raise ConflictError(
            "The content of this answer was erased.", "Name another answer with the same claim or source."
        )
    found = [s for level, s in subjects(content) if level == word.level]
    if not found:
        raise InputError("This answer names no source.", "Send `source` with the pairs.", ("body", "level"))
    return Feedback(
        id=new_id("fbk"),
        at=utc_now(),
        judgement=judgement.id,
        level=cast(Literal["source", "claim"], word.level),
        action=cast(Literal["reject", "restore"], word.action),
        subject=found[0],
        reason=word.reason,
        by=by,
    )


class Imported(Frozen):
    """What became of a file: how many words were filed, and what was wrong with the others, by line."""

    filed: int
    wrong: Mapping[int, str]


def import_words(parts: Parts, lines: Iterable[str], by: str) -> Imported:
    """File one word a line (JSON, as `Word`), all together in one commit; a file with a wrong line files nothing.

    Raises:
        DataError: naming every wrong line.
    """
    records: list[Correction | Feedback] = []
    wrong: dict[int, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            word = _word_of(line)
            records.append(record_of(parts, word, word.by or by))
        except ValidationError as e:
            first = e.errors()[0]
            wrong[number] = f"{'.'.join(map(str, first['loc'])) or 'line'}: {first['msg']}"
        except SekishoError as e:
            wrong[number] = str(e)
    if wrong:
        told = "; ".join(f"line {n}: {why}" for n, why in list(wrong.items())[:20])
        raise DataError(f"{len(wrong)} of the lines are wrong, and nothing was filed. {told}", "Mend them.")
    if records:
        _file(parts, records)
    return Imported(filed=len(records), wrong={})


_TOLD = {"at", "was", "probabilities", "raw", "model", "adapter", "calibration", "content"}
"""What an export adds to a word; an import passes over it."""


def _word_of(line: str) -> Word:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise DataError(f"it is not JSON: {e}", "") from e
    if not isinstance(value, dict):
        raise DataError("it is no JSON object", "")
    return Word.model_validate({k: v for k, v in value.items() if k not in _TOLD}, strict=True)


def read_lines(path: Path) -> list[str]:
    """Lines of a file in UTF-8. Raises DataError."""
    try:
        return json_lines(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path} cannot be read: {e}.", "Give JSON lines in UTF-8.") from e


def export_words(parts: Parts) -> Iterator[dict[str, Any]]:
    """The latest word on every reviewed answer, with what was asked, what the machine had said, and by which model, adapter and calibration; and the latest one on
    every source and claim.
    """
    for one in reviewed(parts.ledger, model_digest(nli_folder(parts))):
        stamp = one.judgement.stamp
        yield {
            "judgement": one.judgement.id,
            "level": "edge",
            "action": "correct" if one.wrong else "right",
            "label": one.word.label,
            "reason": one.word.reason,
            "by": one.word.by,
            "at": one.word.at,
            "was": one.word.was,
            "probabilities": dict(one.judgement.probabilities),
            "raw": dict(one.judgement.raw),
            "model": stamp.model_digest,
            "adapter": stamp.adapter_digest,
            "calibration": stamp.calibration,
            "content": one.content,
        }
    for said in latest_words(parts.ledger):
        yield said.model_dump(include={"judgement", "level", "action", "reason", "by", "at"})


def dump(rows: Iterable[Mapping[str, Any]]) -> str:
    """JSON lines."""
    return "".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) + "\n" for r in rows)
