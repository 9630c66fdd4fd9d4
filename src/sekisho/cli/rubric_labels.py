"""`rubric prove` and `rubric calibrate`: an eye measured and calibrated on labelled images"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import InputError
from . import output
from .options import Call, command
from .people import By, name_of

if TYPE_CHECKING:
    from ..core.adapting import Calibrated
    from ..core.records import Proof
    from ..loop.prove_eye import EyeCalibrated

PackName = Annotated[
    str, typer.Option("--pack", help="Name of a pack that ships, or a path to a TOML or YAML file.")
]
Labels = Annotated[
    Path | None,
    typer.Argument(
        help='JSON lines, `{"image": PATH, "answers": {id: 0 or 1}}` an image, its path relative to the file; what is not labelled is left out.',
        metavar="[LABELS]",
    ),
]
Corrected = Annotated[
    bool,
    typer.Option(
        "--corrected",
        help="Instead of a file: judgements on whose criteria people spoke, without looking again.",
    ),
]


def register(group: typer.Typer) -> None:
    """Add the commands of this module to `rubric`."""
    command(group)(prove)
    command(group)(calibrate)


def prove(call: Call, pack: PackName, labels: Labels = None, corrected: Corrected = False) -> None:
    """Measure the eye on labelled images and write the proof into the ledger. Exit code 1 when it is no better than always giving the more frequent answer."""
    from ..loop import prove_eye as loop

    _require_one(labels is not None, corrected)
    with call.house() as house, call.progress() as progress:
        proof = loop.prove(house, pack, labels, progress)
    if call.json:
        output.write_json(proof.model_dump(mode="json"))
    else:
        _tell_proof(proof)
    if not proof.passed:
        raise typer.Exit(1)


def _require_one(*given: bool) -> None:
    if sum(given) != 1:
        raise InputError("One thing at a time.", "Give a file of labels, or one of the flags in its place.")


def _tell_proof(proof: Proof) -> None:
    m = proof.measures
    heads = ("criterion", "labels", "yes", "right", "95 % bounds", "more frequent", "balanced", "log loss")
    output.write_table(heads, [(id, *_criterion(c)) for id, c in m["criteria"].items()])
    output.write_pairs(
        {
            "proof": proof.id,
            "verdict": "passed" if proof.passed else "falls short",
            "why": " ".join(proof.why),
            "images": f"{m['images']}, {m['answers']} labels",
            "criteria right": f"{m['mean']:.4f}, more frequent answer {m['majority_mean']:.4f}",
            "balanced": "-" if m["balanced"] is None else f"{m['balanced']:.4f}",
            "calibration error": f"{m['ece']:.4f} ({m['calibration']})",
            "outcome right": _rate(m["outcome"]),
        }
    )


def _criterion(c: dict[str, Any]) -> tuple[str, ...]:
    share = c["accuracy"]
    bounds = f"{share['low']:.3f} to {share['high']:.3f}"
    balanced = "-" if c["balanced"] is None else f"{c['balanced']:.3f}"
    counts = str(c["n"]), str(c["yes"])
    return (*counts, f"{share['rate']:.3f}", bounds, f"{c['majority']:.3f}", balanced, f"{c['log_loss']:.3f}")


def _rate(share: dict[str, Any]) -> str:
    if not share["n"]:
        return "no image has every criterion labelled"
    return f"{share['k']} of {share['n']}, {share['rate']:.3f} ({share['low']:.3f} to {share['high']:.3f})"


def calibrate(
    call: Call,
    pack: PackName,
    labels: Labels = None,
    corrected: Corrected = False,
    versions: Annotated[bool, typer.Option("--versions", help="Show the calibrations so far.")] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Put the calibration before into force again.")
    ] = False,
    by: By = None,
) -> None:
    """Fit the probabilities of criteria that have labels enough, and put the fit into force where images held out do not speak against it.

    A criterion is fitted on at least 20 yes and 20 no, and checked on at least 5 of each. A running server takes the fit up by itself.
    """
    from ..loop import prove_eye as loop

    _require_one(labels is not None, corrected, versions, rollback)
    with call.house() as house, call.progress() as progress:
        if versions:
            _tell_versions(call, loop.versions(house, pack))
        elif rollback:
            _tell_rollback(call, loop.rollback(house, pack, name_of(by)))
        else:
            _tell_fit(call, loop.calibrate(house, pack, labels, name_of(by), progress))


def _tell_rollback(call: Call, found: Calibrated) -> None:
    # Before the first version stands what the eye came with.
    serves = "the eye's own" if found.method == "none" else found.version
    call.result(found, {"in force": serves, "took the place of": found.previous or "the eye's own"})


def _tell_fit(call: Call, found: EyeCalibrated) -> None:
    m = found.record.measures
    told = {
        "version": found.record.version,
        "fitted": " ".join(found.fitted),
        "labels fitted on": found.record.rows,
        "labels held out": f"{m['n']:.0f}",
        "log loss held out": f"{m['nll_before']:.4f} before, {m['nll_after']:.4f} after",
        "calibration error held out": f"{m['ece15_before']:.4f} before, {m['ece15_after']:.4f} after",
    }
    for why in sorted({*found.left.values()}):
        told[f"as it was: {why}"] = " ".join(id for id, w in found.left.items() if w == why)
    call.result(found, told)


def _tell_versions(call: Call, found: list[Calibrated]) -> None:
    if call.json:
        output.write_json([v.model_dump(mode="json") for v in found])
        return
    names = ("nll_before", "nll_after", "ece15_before", "ece15_after")
    rows = [
        (
            "the eye's own" if v.method == "none" else v.version,
            v.at,
            v.by,
            str(v.rows),
            *(f"{v.measures[n]:.4f}" if n in v.measures else "-" for n in names),
        )
        for v in found
    ]
    heads = ("version", "at", "by", "labels", "NLL before", "NLL after", "ECE before", "ECE after")
    output.write_table(heads, rows)
