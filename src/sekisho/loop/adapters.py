"""Which adapter answers: load, promote, unload, roll back. Every step is decided inside the ledger's own transaction and written there.

No model is needed: a server that is up takes the latest step up by itself. What may serve is only what has a passing proof.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from .. import metrics
from ..core.adapting import Activation, Step
from ..core.canonical import model_digest, new_id, short, utc_now
from ..core.errors import ConflictError, InputError, NotFoundError, ShelfError
from ..core.records import Proof
from ..ledger import adapting, views
from ..ledger.chain import Head
from ..serve.nli_files import check_adapter, labels_of
from ..tasks import adapting as rules
from .parts import Parts
from .reviewed import TASK

_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{4,64}")


def nli_folder(parts: Parts, which: str = "fast") -> Path:
    """Folder of the fast or the slow classifier: a path, or a name under `share`/models.

    Raises:
        NotFoundError: it is not there, or no slow one is set.
    """
    name = parts.settings.nli_model if which == "fast" else parts.settings.nli_slow_model
    if name is None:
        raise NotFoundError("There is no slow model.", "Set `nli_slow_model`, or ask for `fast`.")
    for folder in (Path(name), parts.settings.share / "models" / name):
        if (folder / "config.json").is_file():
            return folder
    raise NotFoundError(f"There is no model {name!r}.", "Set `nli_model` to a model folder, or to nano-nli.")


def adapter_folder(parts: Parts, name: str) -> tuple[Path, str]:
    """An adapter on the shelf by its digest or the beginning of it: its folder, and its whole digest computed anew.

    Raises:
        InputError: what is no digest, such as a path.
        ShelfError: there is none or more than one, or its files have changed.
    """
    if not _DIGEST.fullmatch(name):
        raise InputError(
            f"{name[:80]!r} is no digest.",
            "Adapters are named by their digest on the shelf; see `sekisho adapt list`.",
            ("body", "adapter"),
        )
    folder = parts.shelf.get("nli_adapters", name)
    digest = parts.shelf.digest_of("nli_adapters", folder)
    if not digest.removeprefix("sha256:").startswith(name.removeprefix("sha256:")):
        raise ShelfError(
            f"No adapter has the digest {name}.", f"The one that begins alike is {short(digest, 64)}."
        )
    return folder, digest


def history(parts: Parts, model: str) -> list[Activation]:
    """Every step over a base, oldest first."""
    with parts.ledger.snapshot() as db:
        return adapting.history(db, TASK, model)


def load(
    parts: Parts, name: str, by: str = "operator", step: Step = "load", model: str | None = None
) -> Activation:
    """Let a proved adapter answer from now on.

    Args:
        model: digest of the base that serves, if it is known; else it is computed from the files.
        step: `load`, or `promote`, which also asks that its proof compared it with what serves now.

    Raises:
        InputError, ShelfError: no such adapter, a damaged one, or one for another base or label map.
        ConflictError: it has no passing proof, it serves already, or who promotes has corrected where duties are separate.
    """
    _check_duties(parts, by)
    base = nli_folder(parts)
    model = model or model_digest(base)
    folder, digest = adapter_folder(parts, name)
    check_adapter(folder, model, labels_of(base)[0])

    def decide(past: list[Activation], proofs: list[Proof]) -> tuple[str | None, str | None]:
        if rules.active(past) == digest:
            raise ConflictError("This adapter serves already.", "Nothing to do.")
        proof = rules.proof_for(digest, proofs)
        rules.check_standing(digest, proof, past)
        if step == "promote":
            rules.check_rival(proof, rules.active(past) or model)
        return digest, proof.id

    return _act(parts, model, step, by, decide)


def unload(parts: Parts, by: str = "operator", model: str | None = None) -> Activation:
    """Let the base alone answer; `model` as in `load`. Raises ConflictError when it does already."""
    model = model or model_digest(nli_folder(parts))

    def decide(past: list[Activation], proofs: list[Proof]) -> tuple[str | None, str | None]:
        if rules.active(past) is None:
            raise ConflictError("No adapter is loaded.", "Nothing to do.")
        return None, None

    return _act(parts, model, "unload", by, decide)


def rollback(
    parts: Parts,
    by: str = "operator",
    step: Step = "rollback",
    why: str = "",
    only: str | None = None,
    model: str | None = None,
) -> Activation:
    """Let answer what answered when the present adapter first came into force.

    Args:
        model: as in `load`.
        only: roll back only while this adapter serves.

    Raises:
        ConflictError: the base serves and has nothing before it; what served before has lost its proof since, or was taken back by the house; `only` serves no longer.
        ShelfError: what served before is damaged.
    """
    model = model or model_digest(nli_folder(parts))

    def decide(past: list[Activation], proofs: list[Proof]) -> tuple[str | None, str | None]:
        if only is not None and rules.active(past) != only:
            raise ConflictError("Something else serves by now.", "Nothing to do.")
        earlier = rules.before(past)
        try:
            return earlier, None if earlier is None else _may_return(parts, model, earlier, past, proofs).id
        except (ConflictError, ShelfError, InputError):
            if step != "auto_rollback":
                raise
            return None, None  # nobody is there to choose; the base may always answer

    return _act(parts, model, step, by, decide, why)


def _may_return(parts: Parts, model: str, adapter: str, past: list[Activation], proofs: list[Proof]) -> Proof:
    """The proof by which an adapter may come back: as for loading it, its files must be whole and its last way out must not have been the house's own doing."""
    proof = rules.proof_for(adapter, proofs)
    rules.check_standing(adapter, proof, past)
    folder, _ = adapter_folder(parts, adapter)
    check_adapter(folder, model, labels_of(nli_folder(parts))[0])
    return proof


def _act(
    parts: Parts,
    model: str,
    step: Step,
    by: str,
    decide: Callable[[list[Activation], list[Proof]], tuple[str | None, str | None]],
    why: str = "",
) -> Activation:
    def work(db: sqlite3.Connection, head: Head) -> list[Any]:
        past = adapting.history(db, TASK, model)
        adapter, proof = decide(past, adapting.proofs(db, TASK))
        record = Activation(
            id=new_id("act"),
            at=utc_now(),
            task=TASK,
            model=model,
            adapter=adapter,
            previous=rules.active(past),
            proof=proof,
            step=step,
            why=why,
            by=by,
        )
        return [record]

    (entry,) = parts.ledger.act(work)
    metrics.NLI_SWAPS.labels(step).inc()
    return cast(Activation, entry.record)


def _check_duties(parts: Parts, by: str) -> None:
    if parts.settings.separate_duties == "on" and by in views.correctors(parts.ledger):
        raise ConflictError(
            f"Duties are separate, and {by} has filed corrections.", "Let somebody else load it."
        )


def watch_live(parts: Parts, model: str) -> Activation | None:
    """Roll back by itself when the live Brier score of the serving adapter is worse than its proof said, over enough reviewed answers.

    Returns:
        The step taken; None when there was nothing to do.
    """
    past = history(parts, model)
    adapter = rules.active(past)
    if adapter is None:
        return None
    since = next(a.id for a in reversed(past) if a.adapter == adapter)
    proof = views.latest_proof(parts.ledger, adapter)
    if proof is None:
        return None
    own = adapting.latest_reviews(parts.ledger, TASK, adapter, since, parts.settings.nli_live_rows)
    # Uncalibrated, as in the proof: a calibration alone must not move the alarm.
    scores = [rules.brier_of(judgement.raw, word.label) for judgement, word in own]
    settings, proved = parts.settings, float(proof.measures["target"]["candidate"]["brier"])
    worse = rules.live_drop(scores, proved, settings.nli_live_rows, settings.nli_live_margin)
    if worse is None:
        return None
    why = f"Brier {worse:.3f} over the last {settings.nli_live_rows} reviewed answers, {proved:.3f} in its proof"
    try:
        return rollback(parts, "sekisho", "auto_rollback", why, only=adapter, model=model)
    except ConflictError:
        return None
