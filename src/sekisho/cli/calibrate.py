"""`calibrate`: calibration error and temperature of saved probabilities, or of a task's ground truth in the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import InputError
from . import output
from .options import Call, command
from .people import By, name_of

_SHOWN = ("accuracy", "nll", "ece15", "ece15_equal_mass", "smooth_ece", "brier")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, panel="Judge and audit")(calibrate)


def calibrate(
    call: Call,
    probs: Annotated[
        Path | None,
        typer.Option(
            "--probs",
            help="NumPy archive with `predictions` (probabilities) or `logits`, [rows, classes], and `ground_truth`, [rows].",
            metavar="FILE",
        ),
    ] = None,
    fit_rows: Annotated[
        int | None,
        typer.Option(
            help="With --probs: fit on so many first rows and measure on the rest; half of them by default."
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="A task's reviewed answers in the ledger: nli, gate or question.")
    ] = None,
    apply: Annotated[
        str | None, typer.Option(help="Put a fit for the NLI service into force: temperature or platt.")
    ] = None,
    versions: Annotated[
        bool, typer.Option("--versions", help="Show the NLI service's calibrations with their measures.")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Put the NLI service's calibration before into force again.")
    ] = False,
    by: By = None,
) -> None:
    """Measure how well probabilities say what they mean, and fit a temperature and Platt scaling. One of --probs, --task, --apply, --versions, --rollback."""
    if sum((probs is not None, task is not None, apply is not None, versions, rollback)) != 1:
        raise InputError(
            "One thing at a time.", "Give one of --probs, --task, --apply, --versions, --rollback."
        )
    if probs is not None:
        from ..loop.calibrate import calibrate_file

        _tell(call, calibrate_file(probs, fit_rows))
        return
    from ..loop import calibrate_task as loop

    with call.house() as house:
        if task is not None:
            _tell(call, loop.measure(house, _one_of(task, "nli", "gate", "question")))
        elif apply is not None:
            call.result(loop.apply(house, _one_of(apply, "temperature", "platt"), name_of(by)))
        elif rollback:
            call.result(loop.rollback(house, name_of(by)))
        else:
            _tell_versions(call, [v.model_dump(mode="json") for v in loop.versions(house)])


def _one_of(word: str, *valid: str) -> Any:
    if word not in valid:
        raise InputError(f"{word!r} is not known.", f"Use one of: {', '.join(valid)}.")
    return word


def _tell_versions(call: Call, found: list[dict[str, Any]]) -> None:
    if call.json:
        output.write_json(found)
        return
    heads = ["version", "at", "method", "rows", "ECE before", "ECE after", "NLL before", "NLL after"]
    names = ("ece15_before", "ece15_after", "nll_before", "nll_after")
    rows = [
        [
            v["version"],
            v["at"],
            v["method"],
            str(v["rows"]),
            *(f"{v['measures'].get(n, float('nan')):.4f}" for n in names),
        ]
        for v in found
    ]
    output.write_table(heads, rows)


def _tell(call: Call, found: dict[str, Any]) -> None:
    if call.json:
        output.write_json(found)
        return
    platt = found["platt"]
    output.write_pairs(
        {
            "rows": found["all"]["n"],
            "classes": found["all"]["classes"],
            "fitted on": found["fitted_on"],
            "temperature": f"{found['temperature']:.6f}"
            + (
                ", at the bound of those tried: the rows are too few, too easy, or say nothing"
                * found["at_bound"]
            ),
            "Platt": f"a {platt['a']:.6f}, b {platt['b']:.6f}",
        }
    )
    sets = {
        "all rows": "all",
        "rest": "before",
        "rest, temperature": "temperature_after",
        "rest, Platt": "platt_after",
    }
    output.write_table(["", *_SHOWN], [[name, *_numbers(found[key])] for name, key in sets.items()])


def _numbers(measures: dict[str, Any]) -> list[str]:
    return [f"{measures[name]:.4f}" for name in _SHOWN]
