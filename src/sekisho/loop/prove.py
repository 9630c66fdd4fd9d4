"""Prove: a candidate scored on rows it never saw, calibrated, bounded, compared with what serves, and the verdict written down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.canonical import digest_json, new_id, utc_now
from ..core.deciding import OPTIONS
from ..core.progress import Progress, Quiet
from ..core.question import Example
from ..core.records import Promotion, Proof
from ..ledger import views
from ..proof import baseline, calibration, measures, threshold, verdict
from ..proof.comparison import Comparison, compare
from ..proof.measures import Scored
from ..proof.report import build_report
from ..proof.verdict import Section
from ..shelf import write_json
from ..tasks import gate
from ..tasks.sidecar import Sidecar, read_sidecar
from ..train.batches import score_examples
from ..train.fit import load_adapted, load_base
from .certificate import certificate_of, in_force
from .corrections import filed
from .finetune import base_folder, data_digest, read_split, training_examples
from .making import making
from .parts import Parts


@dataclass(frozen=True)
class Scores:
    """A model's scored rows by split, with what was fitted on its calibration split."""

    calibration: calibration.Calibration
    threshold: threshold.Threshold
    splits: Mapping[str, list[Scored]]

    def released(self, split: str) -> dict[str, Any]:
        """What is released on a split, by row id."""
        return dict(measures.decisions(self.splits[split], self.calibration.temperature, self.threshold.tau))

    def measured(self, rows: Sequence[Scored]) -> dict[str, Any]:
        """Every measure of some rows."""
        return measures.evaluate(rows, self.calibration.temperature, self.threshold.tau)


@making
def prove(parts: Parts, adapter: str | None = None, progress: Progress | None = None) -> Proof:
    """Prove an adapter, the newest by default, and write the proof and its certificate into the ledger, passed or not.

    Calibration and hold-out are the gathered ones plus reviewed corrections that were never trained on. The serving model is scored on the same rows.

    Raises:
        ShelfError, DataError: when there is no adapter or nothing was gathered.
    """
    told = progress or Quiet()
    folder = parts.shelf.get("adapters", adapter) if adapter else _newest(parts)
    splits = gather_splits(parts)
    digest = parts.shelf.digest_of("adapters", folder)
    told.step("prove", 0, 3, "candidate")
    mine = score_adapter(parts, folder.name, splits)
    told.step("prove", 1, 3, "baseline")
    rival = baseline_scores(parts, training_examples(parts), splits)
    told.step("prove", 2, 3, "serving model")
    found = verdict.judge(sections(mine, rival), comparison=_comparison(parts, mine, splits))
    proof = _record(parts, digest, mine, rival, found, splits)
    told.step("prove", 3, 3)
    return proof


def kept_proof(parts: Parts, adapter: str) -> Proof | None:
    """The latest proof of an adapter, if it passed and a new one would be on the same rows, beside the same release, by the same bounds."""
    proof, now, settings = (
        views.latest_proof(parts.ledger, adapter),
        views.serving(parts.ledger),
        parts.settings,
    )
    if proof is None or not proof.passed or proof.base != (now.release if now else None):
        return None
    try:
        whole = json.loads(_file(parts, proof.id).read_bytes())
    except (OSError, ValueError):
        return None
    shown = views.certificate(parts.ledger, adapter)
    if shown is None or shown.data != proof.data or (shown.policy, shown.contracts) != in_force(parts):
        return None
    bounds = (whole["threshold"]["alpha"], whole["threshold"]["confidence"])
    same = digest_json(whole) == proof.report and bounds == (settings.alpha, settings.confidence)
    return proof if same and proof.data == digest_json(_digests(gather_splits(parts))) else None


def _file(parts: Parts, proof: str) -> Path:
    place: Path = parts.settings.home / "proofs" / f"{proof}.json"
    return place


def _digests(splits: Mapping[str, Sequence[Example]]) -> dict[str, str]:
    return {name: data_digest(rows) for name, rows in splits.items()}


def data_of(splits: Mapping[str, Sequence[Example]]) -> str:
    """The digest of a proof's data."""
    return digest_json(_digests(splits))


def _newest(parts: Parts) -> Any:
    found = parts.shelf.all("adapters")
    return found[-1] if found else parts.shelf.get("adapters", "")


def gather_splits(parts: Parts) -> dict[str, list[Example]]:
    """Everything that is never trained on: calibration and holdout, each with its corrections, and, if gathered, evaluation."""
    corrections = filed(parts).splits
    return {
        "calibration": read_split(parts, "calibration") + corrections["calibration"],
        "holdout": read_split(parts, "holdout") + corrections["holdout"],
        "evaluation": read_split(parts, "evaluation"),
    }


def score_adapter(parts: Parts, adapter: str, splits: Mapping[str, Sequence[Example]]) -> Scores:
    """Score splits with base and adapter as trained (gates not yet folded), with the adapter's own scope and reader of n-grams."""
    folder = parts.shelf.get("adapters", adapter)
    model, tokenizer = load_adapted(base_folder(parts), folder)
    return score_model(parts, model, tokenizer, read_sidecar(folder), splits)


def score_release(parts: Parts, release: str, splits: Mapping[str, Sequence[Example]]) -> Scores:
    """Score splits with a release's own plain weights and sidecar, whatever has become of base and adapter since.

    Raises:
        ShelfError: when the release is missing or its files have changed.
    """
    return score_model(parts, *load_release(parts, release), splits)


def load_release(parts: Parts, release: str) -> tuple[Any, Any, Sidecar]:
    """Model, tokenizer and sidecar of a release. Raises as `score_release`."""
    folder, _ = parts.shelf.release(release)
    return *load_base(folder / "model"), read_sidecar(folder)


def score_model(
    parts: Parts, model: Any, tokenizer: Any, beside: Sidecar, splits: Mapping[str, Sequence[Example]]
) -> Scores:
    """Score splits with a loaded model, then fit temperature and threshold on the calibration split alone.

    A row that does not fit the context is ESCALATE, as it is when serving.
    """
    scored = {
        name: score_rows(model, tokenizer, beside, examples, parts.settings.context)
        for name, examples in splits.items()
    }
    fitted = calibration.fit(scored["calibration"], data_digest(splits["calibration"]))
    settings = parts.settings
    bound = threshold.choose(scored["calibration"], fitted.temperature, settings.alpha, settings.confidence)
    return Scores(fitted, bound, scored)


def score_rows(
    model: Any, tokenizer: Any, beside: Sidecar, examples: Sequence[Example], context: int
) -> list[Scored]:
    """Score rows as they are judged: a loaded model, pooled with the reader of n-grams, and the scope as guard; nothing is fitted.

    A row that does not fit the context is ESCALATE.
    """
    logprobs = dict(score_examples(model, tokenizer, examples, context=context))
    return [_scored(e, logprobs.get(i), beside) for i, e in enumerate(examples)]


def _scored(example: Example, logprobs: Sequence[float] | None, beside: Sidecar) -> Scored:
    text = str(example.meta["text"])
    guards = gate.guards(text, beside.scope)
    if logprobs is None:
        guards = ("too_large", *guards)
        return Scored(example.id, example.label, measures.UNANSWERED, guards, example.meta, example.group)  # type: ignore[arg-type]
    by_key = dict(zip(example.question.keys, logprobs, strict=True))
    three = tuple(by_key[o] for o in OPTIONS)
    three = three if beside.ngrams is None else beside.ngrams.pool(three, text)
    return Scored(example.id, example.label, three, guards, example.meta, example.group)  # type: ignore[arg-type]


def baseline_scores(
    parts: Parts, training: Sequence[Example], splits: Mapping[str, Sequence[Example]]
) -> baseline.BaselineRun:
    """The linear character-n-gram model on the same rows in the same run, with its own calibration and threshold."""
    settings = parts.settings
    return baseline.run(
        [_labelled(e) for e in training],
        [_labelled(e) for e in splits["calibration"]],
        {name: [_labelled(e) for e in rows] for name, rows in splits.items()},
        data_digest(splits["calibration"]),
        alpha=settings.alpha,
        confidence=settings.confidence,
    )


def _labelled(example: Example) -> baseline.Labelled:
    text, label = str(example.meta["text"]), example.label
    return baseline.Labelled(example.id, text, label, example.meta, example.group)  # type: ignore[arg-type]


def sections(mine: Scores, rival: baseline.BaselineRun) -> list[Section]:
    """Hold-out, held-out pairs and, if there, evaluation-only rows; candidate beside baseline."""

    def section(kind: Any, name: str, split: str, keep: Any = None) -> Section:
        rows = [r for r in mine.splits[split] if keep is None or keep(r)]
        others = [r for r in rival.scored[split] if keep is None or keep(r)]
        return Section(kind, name, mine.measured(rows), measured(rival, others))

    found = [
        section("holdout", "holdout", "holdout"),
        section("pairs", "authored", "holdout", lambda r: r.meta.get("pair") is not None),
    ]
    if mine.splits.get("evaluation"):
        found.append(section("real", "evaluation", "evaluation"))
    return found


def measured(rival: baseline.BaselineRun, rows: Sequence[Scored]) -> dict[str, Any]:
    """Every measure of some of the baseline's rows."""
    return measures.evaluate(rows, rival.calibration.temperature, rival.threshold.tau)


def _comparison(parts: Parts, mine: Scores, splits: Mapping[str, Sequence[Example]]) -> Comparison | None:
    """The candidate against the serving model, as each releases, on the same hold-out rows; None for the first model."""
    promotion: Promotion | None = views.serving(parts.ledger)
    if promotion is None:
        return None
    _, release = parts.shelf.release(promotion.release)
    loaded = load_release(parts, promotion.release)
    serving = score_rows(*loaded, splits["holdout"], parts.settings.context)
    labels = {r.id: r.label for r in mine.splits["holdout"]}
    theirs = measures.decisions(serving, release.temperatures["choice"], release.threshold)
    return compare(labels, mine.released("holdout"), theirs)


def document(
    mine: Scores,
    rival: baseline.BaselineRun,
    found: verdict.Verdict,
    about: Mapping[str, str],
    more: Sequence[Section] = (),
) -> dict[str, Any]:
    """The whole proof as one JSON document, which is also what the report card is rendered from."""
    return build_report(
        [*sections(mine, rival), *more],
        verdict=found,
        calibration=mine.calibration,
        threshold=mine.threshold,
        baseline_calibration=rival.calibration,
        baseline_threshold=rival.threshold,
        about={"at": utc_now(), **about},
    )


def _record(
    parts: Parts,
    candidate: str,
    mine: Scores,
    rival: baseline.BaselineRun,
    found: verdict.Verdict,
    splits: Mapping[str, Sequence[Example]],
) -> Proof:
    """Put the whole proof on the shelf and its record into the ledger."""
    promotion = views.serving(parts.ledger)
    data = _digests(splits)
    whole = document(
        mine, rival, found, {"candidate": candidate, **{f"data {k}": v for k, v in data.items()}}
    )
    identity = new_id("prf")
    write_json(_file(parts, identity), whole)
    holdout = mine.measured(mine.splits["holdout"])
    record = Proof(
        id=identity,
        at=utc_now(),
        task="gate",
        candidate=candidate,
        base=promotion.release if promotion else None,
        passed=found.passed,
        why=found.why,
        measures={k: holdout[k] for k in ("n", "macro_f1", "f1", "false_allow", "escalation", "sureness")},
        report=digest_json(whole),
        data=digest_json(data),
    )
    about = (candidate, identity, digest_json(data))
    rows = mine.splits["calibration"]
    shown = certificate_of(parts, rows, mine.calibration.temperature, mine.threshold, about)
    parts.ledger.append([record, shown])
    return record
