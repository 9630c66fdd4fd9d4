"""`summarize`: a text of any length, summarised part by part"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import InputError, MalformedError
from ..core.gate_prompt import DEFAULT_CONTRACT
from ..core.progress import Progress
from . import output, remote
from .options import Call, command

if TYPE_CHECKING:
    from ..wiring import House


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, panel="Judge and audit")(summarize)


def summarize(
    call: Call,
    file: Annotated[Path, typer.Argument(help="A text file in UTF-8.", metavar="FILE")],
    contract: Annotated[
        str, typer.Option(help="Identity contract the text is read under.")
    ] = DEFAULT_CONTRACT,
) -> None:
    """Summarise a text of any length, in the batch lane. With `--json`, also the whole tree.

    Each line tells the characters it came from; parts the gate did not let pass are listed with their judgements. Stopped and given again, it goes on from the parts
    that were done. A server that is up on the set host and port does the work; otherwise the model is loaded here.
    """
    text = _read(file)
    with call.house() as house, call.progress() as progress:
        if remote.serves(house):
            found = remote.summary(house.settings, text, contract, progress)
        else:
            found = asyncio.run(here(house, text, contract, progress))
    if call.json:
        output.write_json(found)
    else:
        output.write_lines(_told(found))


async def here(house: House, text: str, contract: str, progress: Progress) -> dict[str, Any]:
    """Summarise in this process: the promoted model is loaded and stopped again."""
    from ..loop.serving import open_judge
    from ..loop.summarise import Summary

    async def tell(name: str, done: int, total: int) -> None:
        progress.step(name, done, total)

    judge = await open_judge(house)
    try:
        return await Summary(judge, house.settings.home, text, contract, house.settings.slots).run(tell)
    finally:
        await judge.serving.engine.stop()


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as e:
        raise MalformedError(f"{file} is not UTF-8: byte {e.start}.", "Convert it first.") from None
    except IsADirectoryError:
        raise InputError(f"{file} is a folder.", "Give a text file.") from None


def _told(found: dict[str, Any]) -> list[str]:
    """Lines for people: each with the characters it came from, then what was left out."""
    lines = [f"{line['text']}  [{_spans(line['sources'])}]" for line in found["lines"]]
    out = [f"  {_spans([p['span']])}: {p['decision']} ({p['judgement']})" for p in found["left_out"]]
    read = sum(n["id"].startswith("0-") for n in found["nodes"])
    head = f"{len(out)} of {len(found['nodes'])} parts of the work wrote nothing ({read} parts of the text):"
    return [*lines, *([head, *out] if out else [])]


def _spans(spans: list[list[int]]) -> str:
    return ", ".join(f"{begin}–{end}" for begin, end in spans)
