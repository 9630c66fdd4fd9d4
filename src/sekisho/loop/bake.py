"""Bake: a proved adapter folded into plain weights, proved equal end to end, exported to GGUF and put on the shelf as a release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..core.canonical import digest_file, digest_json, folder_digest, model_digest
from ..core.errors import ConflictError, ShelfError
from ..core.progress import Progress, Quiet
from ..core.question import Frozen
from ..core.records import Proof
from ..ledger import views
from ..shelf import Release, write_json
from ..tasks.sidecar import copy_sidecar
from ..train.fit import load_adapted
from ..train.tokenizer import decision_ids
from ..weights.bake import MAX_ROUNDING, compare
from ..weights.bake import bake as fold
from ..weights.gauge import apply_gauge, gauge_trial
from .exporting import copy_tokenizer, export_all, quantiser_is_there, require_kind
from .finetune import base_folder, read_split
from .making import making
from .parts import Parts

_PROMPTS = 64


class Baked(Frozen):
    """A release on the shelf.

    Attributes:
        release: its tagged digest.
        folder: where it lies.
        certificate: what was measured while baking.
    """

    release: str
    folder: str
    certificate: Mapping[str, Any]


@making
def bake(
    parts: Parts, adapter: str | None = None, progress: Progress | None = None, gauge: bool = False
) -> Baked:
    """Bake the adapter of the newest passing proof, or a named one that has a passing proof.

    Args:
        gauge: turn values and output projection against each other (`weights.gauge`); the certificate says what that did, used or not.

    Raises:
        ConflictError: when there is no passing proof.
        ToolError: when the file that is to be served cannot be made here.
        BakeError: when baked and gated model differ by more than 1e-5 in a logit or 1e-6 in KL, computed in float64 with the float32
            weights; or by more than rounding explains when computed in float32.
    """
    told = progress or Quiet()
    proof = passing_proof(parts, adapter)
    whole = json.loads((parts.settings.home / "proofs" / f"{proof.id}.json").read_bytes())
    if digest_json(whole) != proof.report:
        raise ConflictError(f"The file of proof {proof.id} was changed.", "Run `sekisho prove` again.")
    source = parts.shelf.get("adapters", proof.candidate)
    parts.shelf.digest_of("adapters", source)
    told.step("bake", 0, 3, "fold")
    kinds = (*parts.settings.exports.split(","), parts.settings.weights)
    require_kind(parts.settings.weights)
    with parts.shelf.building("releases") as folder:
        certificate, plain, prompts = _fold(parts, source, folder, gauge)
        told.step("bake", 1, 3, "export")
        certificate |= export_all(folder, plain, prompts, whole["calibration"]["temperature"], kinds)
        told.step("bake", 2, 3, "keep")
        copy_sidecar(source, folder)
        release = _release(parts, proof, whole, source, folder, certificate)
        write_json(folder / "release.json", release.model_dump(mode="json"))
        digest = parts.shelf.keep("releases", folder)
    told.step("bake", 3, 3)
    return Baked(release=digest, folder=str(parts.shelf.path("releases", digest)), certificate=certificate)


def kept_release(parts: Parts, proof: Proof) -> str | None:
    """The newest whole release that was baked from a proof, by tagged digest; None when there is none."""
    for folder in reversed(parts.shelf.all("releases")):
        try:
            _, release = parts.shelf.release(folder.name)
        except ShelfError:
            continue
        if release.proof == proof.id:
            return parts.shelf.digest_of("releases", folder)
    return None


def passing_proof(parts: Parts, adapter: str | None) -> Proof:
    """The newest passing proof, of a named adapter when one is given."""
    wanted = parts.shelf.digest_of("adapters", parts.shelf.get("adapters", adapter)) if adapter else None
    proof = views.newest_proof(parts.ledger, wanted)
    if proof is None:
        raise ConflictError(
            "There is no passing proof to bake from.", "Run `sekisho prove`; it says what falls short."
        )
    return proof


def _fold(
    parts: Parts, source: Path, folder: Path, gauge: bool
) -> tuple[dict[str, Any], Any, list[list[int]]]:
    """Fold, compare end to end over real held-out prompts, and write the plain model folder; return what was found, the model and the prompts."""
    base = base_folder(parts)
    gated, tokenizer = load_adapted(base, source)
    plain, report = fold(gated, torch.float32)
    trial = gauge_trial(plain) if quantiser_is_there() else {}
    if gauge:
        apply_gauge(plain)
    rows = read_split(parts, "holdout")
    chosen = rows[:: max(1, len(rows) // _PROMPTS)][:_PROMPTS]
    prompts = [decision_ids(tokenizer, e.state, e.question) for e in chosen]
    found, exact = compare(gated, plain, prompts), compare(gated, plain, prompts, torch.float64)
    exact.check()
    found.check(MAX_ROUNDING)
    plain.save_pretrained(folder / "model")
    copy_tokenizer(base, folder / "model")
    certificate = {
        "fold_error": report.max_error,
        "orthogonality": max((f.orthogonality for f in report.folds.values()), default=0.0),
        "gauge": {"used": gauge, "relative_error": trial},
        "prompts": len(chosen),
        "end_to_end": found.model_dump(),
        "end_to_end_float64": exact.model_dump(),
        "folds": {name: fold.model_dump() for name, fold in report.folds.items()},
        "in": {"base": model_digest(base), "adapter": folder_digest(source)},
    }
    return certificate, plain, prompts


def _release(
    parts: Parts,
    proof: Proof,
    whole: Mapping[str, Any],
    source: Path,
    folder: Path,
    certificate: Mapping[str, Any],
) -> Release:
    made = json.loads((source / "made.json").read_bytes())
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return Release(
        name=f"sekisho-{Path(parts.settings.gate_model).name}-gate",
        base=made["base"],
        adapter=proof.candidate,
        recipe=made["recipe"],
        data=made["data"],
        files={p.relative_to(folder).as_posix(): digest_file(p) for p in files},
        gguf=dict(certificate["kinds"]),
        temperatures={"choice": whole["calibration"]["temperature"], "score": 1.0, "noul": 1.0},
        calibration=whole["calibration"]["id"],
        threshold=whole["threshold"]["tau"],
        proof=proof.id,
        certificate=certificate,
    )
