"""`calibrate`: calibration error and temperature of saved probabilities, or of a task's ground truth in the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import output
from .options import Call, command

_SHOWN = ("accuracy", "nll", "ece15", "ece15_equal_mass", "smooth_ece", "brier")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, panel="Judge and audit")(calibrate)


def calibrate(
    call: Call,
    probs: Annotated[
        Path,
        typer.Option(
            "--probs",
            help="NumPy archive with `predictions` (probabilities) or `logits`, [rows, classes], and `ground_truth`, [rows].",
            metavar="FILE",
        ),
    ],
    fit_rows: Annotated[
        int | None,
        typer.Option(help="Fit on so many first rows and measure on the rest; half of them by default."),
    ] = None,
) -> None:
    """Measure how well probabilities say what they mean, and fit a temperature and Platt scaling."""
    from ..loop.calibrate import calibrate_file

    found = calibrate_file(probs, fit_rows)
    if call.json:
        output.write_json(found)
        return
    platt = found["platt"]
    output.write_pairs(
        {
            "rows": found["all"]["n"],
            "classes": found["all"]["classes"],
            "fitted on": found["fitted_on"],
            "temperature": f"{found['temperature']:.6f}",
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
