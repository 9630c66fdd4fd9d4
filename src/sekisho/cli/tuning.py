"""`tune`: an adapter for any base, without the gate's loop around it. `recover`: where trainings go on after a power cut"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .options import Call, command

PANEL = "The loop"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for function in (tune, recover):
        command(app, panel=PANEL)(function)


def tune(
    call: Call,
    file: Annotated[
        Path,
        typer.Argument(help="A recipe (TOML), or a `train.*.json` of the documents.", metavar="RECIPE"),
    ],
    base: Annotated[Path, typer.Option(help="Folder of the base model.", metavar="PATH")],
    rows: Annotated[
        Path,
        typer.Option(help="JSON lines: whole examples, or `text` and `label`.", metavar="PATH"),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the run; a run that was stopped goes on there.", metavar="PATH")
    ],
    bake: Annotated[
        bool, typer.Option("--bake", help="Fold the adapter in afterwards and export it to GGUF.")
    ] = False,
    gauge: Annotated[
        bool, typer.Option("--gauge", help="Turn values and output projection before export.")
    ] = False,
) -> None:
    """Train an adapter on any base; a run that has ended is not trained again, only baked. Under `torchrun -m sekisho tune …` several processes train one adapter."""
    from ..loop import tuner as loop

    exports = call.settings().exports.split(",")
    with call.progress() as progress:
        tuner = loop.Tuner(
            base,
            file,
            out,
            lambda d: progress.step("tune", int(d["step"]), int(d["steps"]), _note(d)),
            exports=exports,
        )
        result = tuner.finish(rows, bake, gauge)
    if int(os.environ.get("RANK", "0")) == 0:
        call.result(result)


def recover(call: Call) -> None:
    """After a power cut: find the newest whole checkpoint of every unfinished run, and sweep away what is not whole. `finetune` goes on from there."""
    from ..loop import recover as loop

    with call.house() as house:
        found = loop.recover(house)
    pairs = {
        r.run: ("starts anew" if r.step is None else f"goes on from step {r.step}")
        + (f"; swept away: {', '.join(r.swept)}" if r.swept else "")
        for r in found.runs
    }
    call.result(found, pairs or {"runs": "nothing was interrupted"})


def _note(numbers: dict[str, float]) -> str:
    return f"loss {numbers['loss']:.3f}" if "loss" in numbers else ""
