"""The steps of the loop, one command each: gather, pretrain, finetune, prove, bake, promote, rollback, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import output
from .options import Call, command
from .people import By, name_of

PANEL = "The loop"

EvaluationFile = Annotated[
    Path | None,
    typer.Option("--evaluation-file", help="JSON lines that are only ever evaluated on.", metavar="PATH"),
]
Adapter = Annotated[
    str | None, typer.Argument(help="Digest of an adapter or its beginning; the newest by default.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for function in (gather, pretrain, finetune, prove, bake, promote, rollback, certify, report):
        command(app, panel=PANEL)(function)


def gather(call: Call, evaluation_file: EvaluationFile = None) -> None:
    """Collect, clean, deduplicate, compose and split the gate's data."""
    from ..loop import gather as loop

    with call.house() as house, call.progress() as progress:
        manifest = loop.gather(
            house,
            evaluation_file,
            lambda name, done: progress.step("gather", round(100 * done), 100, name),
        )
        folder = loop.data_folder(house)
    rows = {f"{split} rows": file["rows"] for split, file in manifest.files.items()}
    call.result(manifest, {"folder": folder, "digest": manifest.digest, **rows})


def pretrain(
    call: Call,
    recipe: Annotated[str, typer.Argument(help="Recipe: a path, or a name under `share`/recipes.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder; under `home`/runs by default.", metavar="PATH")
    ] = None,
) -> None:
    """Train a base model from bundled text, and measure its held-out bits per character."""
    from ..loop import pretrain as loop

    with call.house() as house, call.progress() as progress:
        result = loop.pretrain(house, recipe, out, progress)
    bits = {f"bits per character, {lang}": _numbers(row) for lang, row in result.bits.items()}
    call.result(result, {"folder": result.folder, "weights": result.weights, **bits})


def _numbers(row: object) -> str:
    return ", ".join(f"{k} {v:g}" for k, v in row.items()) if isinstance(row, dict) else str(row)


def finetune(call: Call) -> None:
    """Train an adapter from the gathered data and the corrections filed so far. `--recipe` chooses the recipe."""
    from ..loop import finetune as loop

    with call.house() as house, call.progress() as progress:
        candidate = loop.finetune(house, progress=progress)
    counts = {"calibration", "held_out", "too_long", "conversations"}
    pairs = candidate.model_dump(exclude={"corrections", *counts})
    call.result(
        candidate,
        {
            **pairs,
            "corrections trained on": len(candidate.corrections),
            "corrections that calibrate": candidate.calibration,
            "corrections held out": candidate.held_out,
            "corrections too long": candidate.too_long,
            "corrections of conversations": candidate.conversations,
        },
    )


def prove(call: Call, adapter: Adapter = None) -> None:
    """Measure an adapter on held-out data and write the verdict into the ledger. Exit code 1 when it falls short."""
    from ..loop import prove as loop

    with call.house() as house, call.progress() as progress:
        proof = loop.prove(house, adapter, progress)
    verdict = "passed" if proof.passed else "falls short"
    why = {f"why {i}": reason for i, reason in enumerate(proof.why, start=1)}
    call.result(proof, {"proof": proof.id, "candidate": proof.candidate, "verdict": verdict, **why})
    if not proof.passed:
        raise typer.Exit(1)


def bake(
    call: Call,
    adapter: Adapter = None,
    gauge: Annotated[
        bool,
        typer.Option("--gauge", help="Turn values and output projection against each other before export."),
    ] = False,
) -> None:
    """Fold a proved adapter into plain weights, verify them, and export GGUF files."""
    from ..loop import bake as loop

    with call.house() as house, call.progress() as progress:
        call.result(loop.bake(house, adapter, progress, gauge))


def promote(
    call: Call,
    release: Annotated[
        str | None, typer.Argument(help="Digest of a release or its beginning; the newest by default.")
    ] = None,
    by: By = None,
) -> None:
    """Make a release with a passing proof serve. A running server takes it up by itself."""
    from ..loop import promote as loop

    with call.house() as house:
        call.result(loop.promote(house, release, name_of(by)))


def rollback(call: Call, by: By = None) -> None:
    """Make the release serve again that served before the present one was first promoted."""
    from ..loop import promote as loop

    with call.house() as house:
        call.result(loop.rollback(house, name_of(by)))


def certify(call: Call) -> None:
    """Certify what serves again: after its certificate expired, or under a new policy. Without a valid one nothing is allowed."""
    from ..loop import certify as loop

    with call.house() as house, call.progress() as progress:
        made = loop.certify(house, progress)
    names = ("id", "feasible", "threshold", "misses", "cases", "expires")
    call.result(
        made,
        {name: getattr(made, name) for name in names}
        | {
            "false allows": f"at most {made.bound:.2%}",
            "escalations": f"{made.escalated:.1%} of calibration rows; {made.minimum:.1%} is the theoretical minimum",
            "strata": f"{len(made.strata)} domains and levels with bounds of their own",
        },
    )


def report(
    call: Call,
    evaluation_file: EvaluationFile = None,
    leave_one_out: Annotated[
        bool, typer.Option(help="Train one more model for each source, without it.")
    ] = True,
) -> None:
    """Write the report card as a page and as JSON."""
    from ..loop import report as loop

    with call.house() as house, call.progress() as progress:
        paths = loop.report(house, evaluation_file, leave_one_out, progress)
    if call.json:
        output.write_json(paths.model_dump(mode="json"))
    else:
        output.write_lines([*paths.short, paths.html, paths.json_file])
