"""`ocr`: the text of images and PDF pages, and a summary of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import DataError, SekishoError, ToolError
from ..core.gate_prompt import DEFAULT_CONTRACT
from . import output
from .options import Call, command

if TYPE_CHECKING:
    from ..loop.ocr import Read


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, panel="Judge and audit")(ocr)


def ocr(
    call: Call,
    images: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG, WebP, TIFF or PDF files.", metavar="IMAGE…")
    ],
    languages: Annotated[
        str, typer.Option(help="Tesseract's names of the languages, the likelier first, joined by `+`.")
    ] = "jpn+eng",
    seconds: Annotated[float, typer.Option(help="Deadline of one page.", min=0.1)] = 60.0,
    summary: Annotated[
        bool,
        typer.Option(
            "--summary", help="Also summarise each file's text, through the gate, in the batch lane."
        ),
    ] = False,
) -> None:
    """Read the text of images and PDFs, on this machine alone. With `--json`, one object a page: text, boxes, confidence, digest.

    Pages are cleaned up first: light, specks, tilt, quarter turns, lines that run downwards. Needs OpenCV (`pip install 'sekisho[ocr]'`) and Tesseract.
    Only text reaches the model of a summary. A file that cannot be read is named and keeps no other from it; the exit code is 1 then.
    """
    from ..loop import ocr as loop

    names, threads = loop.languages_of(languages), call.settings().threads
    for image in images:
        if not image.exists():
            raise DataError(f"There is no {image}.", "Give image or PDF files.")
    failed = 0
    for image in images:
        try:
            found = loop.read_file(image, names, seconds, threads)
        except ToolError:
            raise
        except SekishoError as e:
            failed += 1
            _tell_failed(call, image, e)
            continue
        text = loop.whole_text(found)
        _tell(call, image, found, _summarised(call, text) if summary and text else None)
    if failed:
        raise typer.Exit(1)


def _tell_failed(call: Call, image: Path, error: SekishoError) -> None:
    if call.json:
        output.write_json_lines([{"file": str(image), "error": str(error)}])
    else:
        output.write_lines([f"{image}: {error}", ""])


def _tell(call: Call, image: Path, found: list[Read], summary: dict[str, Any] | None) -> None:
    if call.json:
        output.write_json_lines([one.model_dump(mode="json") for one in found])
        if summary is not None:
            output.write_json_lines([{"digest": found[0].digest, "summary": summary}])
        return
    for one in found:
        where = f"{image}, page {one.page}" if len(found) > 1 else str(image)
        output.write_lines([f"{where}  ({one.lang}, confidence {one.confidence:.2f})", one.text, ""])
    if summary is not None:
        output.write_lines(["Summary:", *(line["text"] for line in summary["lines"]), ""])


def _summarised(call: Call, text: str) -> dict[str, Any]:
    """The summary, made by a server that is up on the set host and port, otherwise here."""
    from . import remote
    from .summarise import here

    with call.house() as house, call.progress() as progress:
        if remote.serves(house):
            return remote.summary(house.settings, text, DEFAULT_CONTRACT, progress)
        return asyncio.run(here(house, text, DEFAULT_CONTRACT, progress))
