"""`rubric`: packs linted, answers scored, images looked at, a run of answers watched, an eye proved, calibrated and trained."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import InputError
from ..core.gate_prompt import Lang
from . import output, rubric_labels
from .options import Call, SettingsGroup, command
from .rubric_labels import PackName

if TYPE_CHECKING:
    from ..loop.looking import Told
    from ..loop.rubric import Linted, Scored, Watched

Answers = Annotated[
    Path,
    typer.Option(
        help="JSON or JSON lines, one `{id: 0 or 1}` object an image; `-` reads standard input.",
        metavar="FILE",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        cls=SettingsGroup, help="Rubrics on images.", no_args_is_help=True, rich_markup_mode="markdown"
    )
    command(group)(lint)
    command(group)(score)
    command(group)(watch)
    command(group)(run)
    rubric_labels.register(group)
    command(group)(train)
    command(group)(export)
    app.add_typer(group, name="rubric", rich_help_panel="Judge and audit")


def lint(
    call: Call,
    pack: Annotated[
        str | None, typer.Option(help="Name or path of a pack; every pack that ships when left out.")
    ] = None,
) -> None:
    """Check rubric packs: every answer gets one outcome, every criterion is of use, the words fit. Exit code 1 when not.

    Also tells what all-no, all-yes and random answers give.
    """
    from ..loop import rubric as loop

    found = loop.lint_packs(pack, call.settings().share)
    if call.json:
        output.write_json([one.model_dump(mode="json") for one in found])
    else:
        for one in found:
            _tell_lint(one)
    if not all(one.sound for one in found):
        raise typer.Exit(1)


def _tell_lint(found: Linted) -> None:
    told = {
        "pack": f"{found.pack} {found.version}",
        "holds together": "yes" if found.sound else "NO",
        "size": f"{found.criteria} criteria, {found.patterns} patterns",
    }
    told |= {f"{f.level} {f.where}": f"{f.what} ({f.code})" for f in found.findings}
    if found.census:
        told |= {"all no": found.census.all_zero.state, "all yes": found.census.all_one.pattern or "a tie"}
        for t in found.census.random:
            most = max(t.winners, key=lambda p: t.winners[p])
            told[f"random, {t.chance:.0%} yes"] = (
                f"{most} leads in {t.winners[most]:.0%}, equal counts {t.equal_counts:.0%}, residual ties {t.residual:.1%}"
            )
    output.write_pairs(told)


def score(
    call: Call,
    pack: PackName,
    answers: Answers,
    seed: Annotated[
        str | None, typer.Option(help="Digest of the image: ends residual ties, which stay open without it.")
    ] = None,
    comments: Annotated[int, typer.Option(help="Comments to draw for each image.")] = 0,
    lang: Annotated[str, typer.Option(help="Language of comments: ja or en.")] = "en",
    name: Annotated[str | None, typer.Option(help="Name put into comments.")] = None,
    length: Annotated[
        int | None, typer.Option(help="Most characters of a comment, the name included.", min=1)
    ] = None,
) -> None:
    """Score answers with a rubric pack: pattern, scores, ties, the criteria that spoke for it. With `--json`, one object a line."""
    from ..loop import rubric as loop

    wording = loop.Wording(count=comments, lang=_lang(lang), name=name, most=length)
    found = loop.score(pack, call.settings().share, loop.read_answers(answers), seed, wording)
    if call.json:
        output.write_json_lines([one.model_dump(mode="json") for one in found])
        return
    output.write_table(("image", "pattern", "state", "score", "tie", "why"), _rows(found, wording.lang))
    output.write_lines([comment for one in found for comment in one.comments])


def _lang(given: str) -> Lang:
    if given == "ja":
        return "ja"
    if given == "en":
        return "en"
    raise InputError(f"There is no language {given!r}.", "Use ja or en.")


def _rows(found: list[Scored], lang: Lang) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for number, one in enumerate(found, start=1):
        title = f"{one.pattern} {one.title.of(lang)}" if one.title else "-"
        highest = str(max(one.pattern_scores.values()))
        tie, why = " ".join(one.residual_tie) or "-", " ".join(one.because) or "-"
        rows.append((str(number), title, one.state, highest, tie, why))
    return rows


def watch(call: Call, pack: PackName, answers: Answers) -> None:
    """Look for a model that stopped looking, over many images' answers. Exit code 1 when something is alarming."""
    from ..loop import rubric as loop

    found = loop.watch(pack, call.settings().share, loop.read_answers(answers))
    if call.json:
        output.write_json(found.model_dump(mode="json"))
    else:
        output.write_pairs(_told(found))
    if found.alarms:
        raise typer.Exit(1)


def _told(found: Watched) -> dict[str, Any]:
    bias = found.bias
    told = {
        "images": bias.images,
        "answered yes": f"{bias.mean_prevalence:.1%}",
        "different vectors": bias.distinct,
        "entropy of outcomes": f"{bias.entropy:.2f} bits (evenness {bias.evenness:.2f})",
        "outcomes": ", ".join(f"{k} {n}" for k, n in bias.outcomes.items()) or "-",
    }
    return told | {f"ALARM {a.code}": f"{a.what} {a.found:.2f}, bound {a.bound:.2f}" for a in found.alarms}


def run(
    call: Call,
    pack: PackName,
    images: Annotated[
        list[Path],
        typer.Argument(help="PNG, JPEG, WebP or TIFF files, or folders of them.", metavar="IMAGE…"),
    ],
) -> None:
    """Judge images by a rubric: each goes through the guard, the eye and the scorer, and into the ledger. With `--json`, one object an image.

    A folder's images are judged one by one with progress, and looked at together at the end: exit code 1 when the answers look collapsed, or an image could not be judged.
    """
    from ..loop import looking as loop

    files = loop.images_in(images)
    with call.house() as house, call.progress() as progress:
        ran = asyncio.run(loop.run(house, pack, files, lambda told: _image(call, told), progress))
    for alarm in ran.alarms:
        typer.echo(f"{alarm.code}: {alarm.what} {alarm.found:.2f}, bound {alarm.bound:.2f}", err=True)
    if ran.alarms or ran.failed:
        raise typer.Exit(1)


def _image(call: Call, told: Told) -> None:
    if call.json:
        output.write_json_lines([told.model_dump(mode="json", exclude_none=True)])
    elif told.found is None:
        output.write_lines([f"{told.file}: {told.error}"])
    else:
        found = told.found
        title = f"{found.pattern} {found.title.en}" if found.title else found.state
        why = " ".join(found.because) or "-"
        output.write_lines([f"{told.file}: {title}  ({why}; {found.judgement}, {found.milliseconds:.0f} ms)"])


def train(
    call: Call,
    recipe: Annotated[str, typer.Argument(help="Recipe: a path, or a name under `share`/recipes.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder; under `home`/runs by default.", metavar="PATH")
    ] = None,
) -> None:
    """Train a small vision model for a rubric on rendered forms, and measure it on forms of another make. A stopped run goes on."""
    from ..loop import eyes as loop

    with call.house() as house, call.progress() as progress:
        result = loop.train_eyes(house, recipe, out, progress)
    f = result.figures
    told = {
        "criteria right": f"{f.mean:.4f}",
        "always the frequent answer": f"{f.majority_mean:.4f}",
        "worst": f"{f.worst:.3f} ({f.worst_id})",
    }
    told |= {
        "balanced": f"{f.balanced:.4f}",
        "outcome right": f"{f.pattern:.3f}",
        "calibration error": f"{f.ece:.4f}",
    }
    call.result(result, {"folder": result.folder, "weights": result.weights, **told})


def export(
    call: Call,
    out: Annotated[Path, typer.Argument(help="Folder the two files go to.", metavar="OUT")],
    kind: Annotated[
        str, typer.Option("--type", help="Number type: f32, f16, bf16, q8_0, q6_k, q5_k_m or q4_k_m.")
    ] = "f16",
) -> None:
    """Write the eye (`eye_model`: the house's own, or a Qwen2-VL folder) as the two GGUF files a stock llama.cpp serves, and read them back."""
    from ..loop import eye_files as loop

    found = loop.export_eye(call.settings().eye_folder(), out, kind)  # type: ignore[arg-type]
    serve = f"llama-server --model {found.language} --mmproj {found.vision}"
    call.result(found, {**found.model_dump(), "serve with": serve})
