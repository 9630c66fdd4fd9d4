"""Prove an eye, or calibrate it, on labelled images: what the labels say is in the ledger before anybody is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.adapting import Calibrated
from ..core.canonical import new_id, utc_now
from ..core.errors import ConflictError, ProofError
from ..core.progress import Progress, Quiet
from ..core.question import Frozen
from ..core.records import Proof
from ..core.sight import Sight, is_observed
from ..data.split import split_of
from ..tasks.rubric.pack import Pack
from ..tasks.rubric.patterns import Scorer
from ..tasks.rubric.second import pair, weighed
from . import eye_calibration
from .calibrate_task import earlier
from .eye_calibration import TASK
from .labelled import Labelled, gather
from .parts import Parts
from .recognise import Eyes

_WORDS = "The labels are people's words on judgements. Who speaks where an answer is wrong makes the eye look worse than it is."


class EyeCalibrated(Frozen):
    """A calibration that came into force.

    Attributes:
        fitted: criteria that were fitted anew.
        left: why each other one stays as it was: `few_labels`, `flat` or `worse`.
    """

    record: Calibrated
    fitted: tuple[str, ...]
    left: Mapping[str, str]


def prove(parts: Parts, pack: str, labels: Path | None, progress: Progress | None = None) -> Proof:
    """Measure the eye as it serves, threshold and calibration in force included. Nothing is judged, and the images are not kept.

    It passes when it is right more often than always giving each criterion's more frequent answer would be.

    Args:
        labels: a file of labels; None for people's words in the ledger.

    Raises:
        SekishoError: as `labelled.gather` does.
    """
    found = gather(parts, pack, labels, progress or Quiet())
    again = parts.settings.rubric_second_look == "on" and found.sight.pack is not None
    measured = _measured(found, again)
    score = f"{measured['mean']:.4f} of the answers are right; always giving the more frequent one, {measured['majority_mean']:.4f} would be"
    sign = f"on {measured['wins']} images it is right more often than that, on {measured['losses']} less"
    record = Proof(
        id=new_id("prf"),
        at=utc_now(),
        task=TASK,
        candidate=found.sight.eye.info.model_digest,
        base=None,
        passed=measured["better"],
        why=(f"{score}; {sign}.", *((_WORDS,) if found.file is None else ())),
        measures=measured,
        data=found.data,
    )
    parts.ledger.append([record])
    return record


def _measured(found: Labelled, again: bool) -> dict[str, Any]:
    """The measures of a proof: figures, and by which pack, calibration and labels they came about."""
    import numpy as np

    from ..proof.labelled import chances, measure_labelled

    pack = found.pack
    odds, labels = found.arrays()
    probabilities = chances(odds, pack.ids, found.sight.scales)
    thresholds = np.array([c.threshold for c in pack.criteria])
    measured = measure_labelled(
        pack.ids, probabilities, labels, thresholds, _outcomes(found, probabilities, again)
    )
    return {
        **measured.model_dump(mode="json"),
        "better": measured.better,
        "labels": "corrections" if found.file is None else "file",
        "labels_file": found.file,
        "pack": {"name": pack.name, "version": pack.version, "digest": pack.digest()},
        "model": found.sight.eye.info.model,
        "calibration": found.sight.calibration,
        "second_look": again,
    }


def _outcomes(found: Labelled, probabilities: Any, again: bool) -> tuple[int, int]:
    """Right outcomes, and images on which every criterion is labelled. Ties end by the image, or by a second look for what was said."""
    scorer, right, whole = found.scorer, 0, 0
    for row, chances in zip(found.rows, probabilities.tolist(), strict=True):
        if len(row.answers) == len(found.pack.ids):
            said = _said(scorer, dict(zip(found.pack.ids, chances, strict=True)), row.image, again)
            whole += 1
            right += said == scorer.score(scorer.bits(row.answers), row.image).pattern
    return right, whole


def _said(scorer: Scorer, chances: dict[str, float], image: str, again: bool) -> str | None:
    """The outcome as it would serve."""
    score = scorer.score(scorer.bits_of(chances), image)
    between = pair(score) if again else None
    chosen = between and weighed(scorer.pack, between, score, chances).chosen
    return chosen or score.pattern


def calibrate(
    parts: Parts, pack: str, labels: Path | None, by: str, progress: Progress | None = None
) -> EyeCalibrated:
    """Fit the criteria that have labels enough, and put them into force beside the others as they are. A running server takes it up by itself.

    A quarter of the images, chosen by their digests, is held out; a criterion whose log loss rises there stays as it was.

    Raises:
        ProofError: no criterion could be fitted.
        ConflictError: the eye gives no probabilities, or another calibration came into force meanwhile.
        SekishoError: as `labelled.gather` does.
    """
    import numpy as np

    from ..proof.labelled import LEAST, LEAST_HELD, fit_scales

    found = gather(parts, pack, labels, progress or Quiet())
    if any(is_observed(row.odds) for row in found.rows):
        raise ConflictError(
            "The far eye gives answers without probabilities: there is nothing to calibrate.",
            "Serve a model that speaks System One.",
        )
    odds, truth = found.arrays()
    held = np.array([split_of(row.image) == "holdout" for row in found.rows])
    fitted = fit_scales(found.pack.ids, odds, truth, held, found.sight.scales)
    if not fitted.scales:
        why = ", ".join(f"{list(fitted.left.values()).count(w)} {w}" for w in sorted({*fitted.left.values()}))
        raise ProofError(
            f"No criterion could be fitted ({why}).",
            f"A criterion needs {LEAST} yes and {LEAST} no to be fitted on, and {LEAST_HELD} of each among the quarter of the images it is checked on.",
        )
    now = {id: found.sight.scales.get(id, (1.0, 0.0)) for id in found.pack.ids}
    record = eye_calibration.put(
        parts.ledger,
        found.sight,
        found.pack,
        by,
        version=new_id("cal"),
        method="platt",
        scales=now | dict(fitted.scales),
        rows=fitted.rows,
        data=found.data,
        measures=fitted.measures,
    )
    return EyeCalibrated(record=record, fitted=tuple(fitted.scales), left=fitted.left)


def versions(parts: Parts, pack: str) -> list[Calibrated]:
    """Every calibration of the eye for a pack, oldest first; the last one is in force. Raises as `Eyes.ready` does."""
    return _opened(parts, pack)[2]


def rollback(parts: Parts, pack: str, by: str) -> Calibrated:
    """Put the calibration before into force again; before the first there was the eye's own.

    Raises:
        ConflictError: none of the ledger's is in force.
        SekishoError: as `Eyes.ready` does.
    """
    sight, opened, past = _opened(parts, pack)
    return eye_calibration.put(parts.ledger, sight, opened, by, rollback=True, **earlier(past))


def _opened(parts: Parts, pack: str) -> tuple[Sight, Pack, list[Calibrated]]:
    """The eye in force, the pack, and the calibrations so far."""

    async def work() -> tuple[Sight, Pack, list[Calibrated]]:
        eyes = Eyes(parts)
        try:
            scorer, sight = await eyes.ready(pack), await eyes.sight(pack)
            return sight, scorer.pack, eye_calibration.past_of(parts.ledger, sight, scorer.pack)
        finally:
            await eyes.close()

    return asyncio.run(work())
