"""`ocr`: the text of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import output
from .options import Call, command


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, panel="Judge and audit")(ocr)


def ocr(
    call: Call,
    images: Annotated[list[Path], typer.Argument(help="PNG, JPEG, WebP or TIFF files.", metavar="IMAGE…")],
    languages: Annotated[
        str, typer.Option(help="Tesseract's names of the languages, the likelier first, joined by `+`.")
    ] = "jpn+eng",
    seconds: Annotated[float, typer.Option(help="Deadline of one image.", min=0.1)] = 60.0,
) -> None:
    """Read the text of images, on this machine alone. With `--json`, one object a line: text, boxes, confidence, digest.

    Pages are cleaned up first: light, specks, tilt, quarter turns, lines that run downwards. Needs OpenCV (`pip install 'sekisho[ocr]'`) and Tesseract.
    """
    from ..loop import ocr as loop

    names = [name for name in languages.split("+") if name]
    threads = call.settings().threads
    for image in images:
        found = loop.read_file(image, names, seconds, threads)
        if call.json:
            output.write_json_lines([found.model_dump(mode="json")])
        else:
            output.write_lines(
                [f"{image}  ({found.lang}, confidence {found.confidence:.2f})", found.text, ""]
            )
