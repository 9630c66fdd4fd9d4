"""Records of adapters that come and go while their base stays: what serves, what people say of sources and claims, which calibration is in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from .question import Frozen

Step = Literal["promote", "load", "unload", "rollback", "auto_rollback"]


class Activation(Frozen):
    """Which adapter answers from now on, over which base. The latest one of a base counts.

    Attributes:
        task: nli.
        model: digest of the base.
        adapter: digest of the adapter; None for the base alone.
        previous: what answered before.
        proof: id of the passing proof the adapter rests on; None for the base alone.
        why: in words, for a step that the house took by itself.
    """

    id: str
    at: str
    task: str
    model: str
    adapter: str | None
    previous: str | None
    proof: str | None
    step: Step
    why: str = ""
    by: str = "unknown"


class Feedback(Frozen):
    """A person's word on a whole source or claim, beside the corrections of single answers. The latest word on a subject counts.

    Attributes:
        judgement: the answer that showed it.
        level: source (where the premise is from) or claim (the hypothesis).
        action: reject (nothing of it is learnt from) or restore.
        subject: digest of the source's name or the claim's text.
    """

    id: str
    at: str
    judgement: str
    level: Literal["source", "claim"]
    action: Literal["reject", "restore"]
    subject: str
    reason: str
    by: str = "unknown"


class Calibrated(Frozen):
    """A version of a task's calibration. The latest one of a model and adapter counts, of a rubric that of its pack too; a rollback is one too.

    Attributes:
        version: lasting name of what was fitted, `cal_…`; a rollback names an earlier one again.
        model, adapter: whose probabilities it was fitted on.
        method: none, temperature or platt.
        temperature: what log-probabilities are divided by.
        a, b: Platt's numbers.
        pack: digest of the rubric pack; None for any other task.
        scales: of a rubric, Platt's numbers of every criterion, those too that stayed as they were.
        rows: reviewed answers it was fitted on; `data` is their digest.
        measures: before and after, on the rows that were not fitted on.
    """

    id: str
    at: str
    task: str
    version: str
    model: str
    adapter: str | None
    method: Literal["none", "temperature", "platt"]
    temperature: float = 1.0
    a: float = 1.0
    b: float = 0.0
    pack: str | None = None
    scales: Mapping[str, tuple[float, float]] = {}
    rows: int = 0
    data: str = ""
    measures: Mapping[str, float] = {}
    previous: str | None = None
    rollback: bool = False
    by: str = "unknown"
