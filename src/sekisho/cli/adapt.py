"""`adapt`: corrections to adapters of the NLI service. `nli train`: its classifier. `feedback`: words on answers, one by one and by file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.disk import write_whole
from . import output
from .options import Call, SettingsGroup, command
from .people import By, name_of

PANEL = "The loop"
Adapter = Annotated[
    str | None, typer.Argument(help="Digest of an adapter or its beginning; the newest by default.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        cls=SettingsGroup,
        help="Corrections to adapters of the NLI service.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    for function in (status, sample, train, prove, promote, load, unload, rollback, plot):
        command(group)(function)
    command(group, name="list")(list_adapters)
    app.add_typer(group, name="adapt", rich_help_panel=PANEL)
    models = typer.Typer(
        cls=SettingsGroup, help="The NLI classifier.", no_args_is_help=True, rich_markup_mode="markdown"
    )
    models.callback()(_models)
    command(models, name="train")(train_classifier)
    app.add_typer(models, name="nli", rich_help_panel=PANEL)
    words = typer.Typer(
        cls=SettingsGroup,
        help="Words on answers of the NLI service.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    command(words, name="file")(file_word)
    command(words, name="import")(import_words)
    command(words, name="export")(export_words)
    app.add_typer(words, name="feedback", rich_help_panel="Judge and audit")


def _models() -> None:
    """The NLI classifier."""


def status(call: Call) -> None:
    """Say which condition of the trigger holds. Trains nothing."""
    from ..loop import adapt as loop

    with call.house() as house:
        found = loop.status(house)
        limits = house.settings
    t = found.trigger
    needed = {
        "corrections": limits.nli_corrections,
        "rate": limits.nli_correction_rate,
        "days": limits.nli_days,
    }
    values = {
        "corrections": t.corrections,
        "rate": round(t.rate, 4),
        "days": None if t.days is None else round(t.days, 2),
    }
    told = {
        k: f"{values[k]} of {needed[k]:g}: {'holds' if ok else 'does not hold'}" for k, ok in t.holds.items()
    }
    pairs = {
        "training due": "yes" if t.due else "no",
        **told,
        "reviewed answers to learn from": found.learnable,
        "held out of them": found.held_out,
        "adapters": ", ".join(found.adapters) or "none",
    }
    if call.json:
        output.write_json({**found.model_dump(mode="json"), "due": t.due})
    else:
        output.write_pairs(pairs)


def sample(
    call: Call,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="Most answers to list.")] = 20,
) -> None:
    """List answers that were drawn for review and on which nobody has spoken, the oldest first. Adapters are proved on what was drawn; say of right answers, too, that they are right."""
    from ..loop import adapt as loop

    with call.house() as house:
        found = loop.sample(house, most)
    if call.json:
        output.write_json(found)
    else:
        heads = ["judgement", "answer", "source", "premise", "hypothesis"]
        output.write_table(heads, [[str(row[h] or "") for h in heads] for row in found])


def train(
    call: Call,
    if_due: Annotated[
        bool, typer.Option("--if-due", help="Only when the trigger holds; else exit code 2.")
    ] = False,
) -> None:
    """Train an adapter from reviewed answers. Nothing is proved or promoted."""
    from ..loop import adapt as loop

    with call.house() as house, call.progress() as progress:
        call.result(loop.train(house, if_due, progress))


def prove(call: Call, adapter: Adapter = None) -> None:
    """Compare an adapter with what serves, on reviewed answers it never saw and on the guard set. Exit code 1 when it falls short."""
    from ..loop import adapt_prove as loop

    with call.house() as house, call.progress() as progress:
        proof = loop.prove(house, adapter, progress)
    verdict = "passed" if proof.passed else "falls short"
    why = {f"why {i}": reason for i, reason in enumerate(proof.why, start=1)}
    call.result(proof, {"proof": proof.id, "candidate": proof.candidate, "verdict": verdict, **why})
    if not proof.passed:
        raise typer.Exit(1)


def promote(call: Call, adapter: Adapter = None, by: By = None) -> None:
    """Let a proved adapter answer, if its proof compared it with what serves now. A running server takes it up by itself."""
    from ..loop import adapt as making
    from ..loop import adapters as loop

    with call.house() as house:
        name = adapter or making.newest(house)
        call.result(loop.load(house, name, name_of(by), "promote"))


def load(
    call: Call,
    adapter: Annotated[str, typer.Argument(help="Digest of an adapter or its beginning.")],
    by: By = None,
) -> None:
    """Let any adapter with a passing proof answer."""
    from ..loop import adapters as loop

    with call.house() as house:
        call.result(loop.load(house, adapter, name_of(by)))


def unload(call: Call, by: By = None) -> None:
    """Let the base alone answer."""
    from ..loop import adapters as loop

    with call.house() as house:
        call.result(loop.unload(house, name_of(by)))


def rollback(call: Call, by: By = None) -> None:
    """Let answer what answered when the present adapter first came into force."""
    from ..loop import adapters as loop

    with call.house() as house:
        call.result(loop.rollback(house, name_of(by)))


def list_adapters(call: Call) -> None:
    """Show the adapters on the shelf, and every step that changed what answers."""
    from ..loop import adapt as loop

    with call.house() as house:
        found = loop.listed(house)
    if call.json:
        output.write_json(found)
        return
    output.write_table(
        ["adapter", "made", "rows", "proof"],
        [[a["adapter"], a["at"], str(a["rows"]), a["proof"]] for a in found["adapters"]],
    )
    output.write_table(
        ["at", "step", "adapter", "by", "why"],
        [[a["at"], a["step"], a["adapter"] or "base", a["by"], a["why"]] for a in found["steps"]],
    )


def plot(
    call: Call,
    out: Annotated[Path, typer.Option("--out", help="SVG file to write.", metavar="PATH")],
    days: Annotated[int, typer.Option(help="Days back.", min=1, max=3650)] = 365,
) -> None:
    """Draw accuracy, correction rate, Brier score and calibration error of reviewed answers over time, one line an adapter."""
    from ..loop import adapt_plot as loop

    with call.house() as house:
        points = loop.plot(house, out, days)
    found = {"file": str(out), "points": points}
    output.write_json(found) if call.json else output.write_pairs(found)


def train_classifier(
    call: Call,
    recipe: Annotated[str, typer.Argument(help="Recipe: a path, or a name under `share`/recipes.")] = "nli",
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder; under `home`/runs by default.", metavar="PATH")
    ] = None,
) -> None:
    """Train the NLI classifier from the bundled sets, measure it beside two baselines, and write its card."""
    from ..loop import nli_train as loop

    with call.house() as house, call.progress() as progress:
        found = loop.train_nli(house, recipe, out, progress)
    told: dict[str, Any] = {
        s: ", ".join(f"{k} {v:g}" for k, v in f.items()) for s, f in found.figures.items()
    }
    call.result(found, {"folder": found.folder, "weights": found.weights, **told})


def file_word(
    call: Call,
    judgement: Annotated[str, typer.Argument(help="The answer, `jdg_…`.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    level: Annotated[str, typer.Option(help="edge, claim or source.")] = "edge",
    action: Annotated[
        str, typer.Option(help="correct or right; on a claim or source reject or restore.")
    ] = "correct",
    label: Annotated[str | None, typer.Option(help="The right label, for `correct`.")] = None,
    by: By = None,
) -> None:
    """Say something of an answer, its claim or its source."""
    from ..loop import feedback as loop

    with call.house() as house:
        word = loop.word_of(
            {"judgement": judgement, "level": level, "action": action, "label": label, "reason": reason}
        )
        call.result(loop.feedback(house, word, name_of(by)))


def import_words(
    call: Call,
    file: Annotated[Path, typer.Argument(help="JSON lines, one word a line.", metavar="FILE")],
    by: By = None,
) -> None:
    """File every word of a file, or none when a line of it is wrong."""
    from ..loop import feedback as loop

    with call.house() as house:
        call.result(loop.import_words(house, loop.read_lines(file), name_of(by)))


def export_words(
    call: Call,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; standard output by default.", metavar="PATH")
    ] = None,
) -> None:
    """Write the latest word on every reviewed answer, with what was asked and what the machine had said, as JSON lines."""
    from ..loop import feedback as loop

    with call.house() as house:
        found = list(loop.export_words(house))
    if out is None:
        output.write_json_lines(found)
        return
    write_whole(out, loop.dump(found).encode("utf-8"))
    told = {"file": str(out), "rows": len(found)}
    output.write_json(told) if call.json else output.write_pairs(told)
