"""A checkpoint on paper: a witness that nobody changes from afar. The signed note as text and as a QR code, and the key beside it."""

from __future__ import annotations

from pathlib import Path

from ..core.disk import write_whole
from ..core.records import Checkpoint
from .pages import Pages

TITLE = "関所 台帳の検査点 / Sekisho checkpoint of the ledger"


def write(made: Checkpoint, path: Path, font: Path | None = None) -> Path:
    """Write the sheet as a PDF.

    Raises:
        ToolError: there is no font for it.
    """
    pages = Pages(TITLE, font)
    pages.text(
        "印刷して鍵のかかる場所に保管してください。 / Print this and keep it under lock and key, away from the machine of the ledger."
    )
    pages.pairs({"at": made.at, "entries": made.size, "root": made.root, "head": made.head, "key": made.key})
    pages.heading("署名された文 / The signed note")
    pages.qr(made.note)
    for line in made.note.splitlines():
        pages.text(line or " ")
    pages.heading("検証のしかた / How to check")
    pages.text(
        "QRコードを読み取り、そのまま note.txt に保存します。 / Scan the code and save its text as note.txt, then:"
    )
    pages.text(f"python tools/verify_ledger.py ledger.sqlite --note note.txt --key {made.key}")
    write_whole(path, pages.bytes())
    return path
