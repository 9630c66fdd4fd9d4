"""`audit checkpoint`, `prove`, `export`: evidence for others. `audit retain`, `erase`, `hold`: what is kept of people's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from . import output
from .options import Call, command
from .people import By, name_of

Reason = Annotated[str, typer.Option(help="Why.")]


def register(group: typer.Typer) -> None:
    """Add the commands of this module to `audit`."""
    for function in (checkpoint, prove, consistency, export, backup, report, retain, erase, hold):
        command(group)(function)


def checkpoint(
    call: Call,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Also write the checkpoint as a PDF to print, with a QR code.", metavar="PATH"),
    ] = None,
) -> None:
    """Sign everything in the ledger (Ed25519), and write the checkpoint to the ledger and to the witness that is set.

    The key is made on first use, under `home`/keys. Write its public half down where nobody who may change the ledger can change it.
    """
    from ..loop import evidence as loop
    from ..loop import sheet as printed
    from ..loop.audit import witnesses

    with call.house("write") as house:
        made = loop.checkpoint(house)
        if sheet is not None:
            printed.write(made, sheet, house.settings.pdf_font)
        witness = witnesses(house) or "none is set; see the settings `witness` and `witness_url`"
    fields = ("id", "size", "root", "head", "key")
    call.result(made, {name: getattr(made, name) for name in fields} | {"witness": witness})


def prove(
    call: Call,
    id: Annotated[str, typer.Argument(help="The record.")],
    compact: Annotated[
        bool, typer.Option("--compact", help="At most 1 KB; for one who has the checkpoint.")
    ] = False,
) -> None:
    """Prove that a record stands in the ledger that the newest checkpoint speaks of, as JSON.

    `tools/verify_ledger.py` checks the proof without the ledger.
    """
    from ..loop import evidence as loop

    with call.house("read") as house:
        found = loop.prove_entry(house, id, compact)
    if compact and not call.json:
        output.write_lines([json.dumps(found, separators=(",", ":"))])
    else:
        output.write_json(found)


def consistency(
    call: Call,
    since: Annotated[
        str | None,
        typer.Option(help="The earlier checkpoint, `chk_…`; the one before the newest by default."),
    ] = None,
) -> None:
    """Prove that the ledger of the newest checkpoint begins with that of an earlier one (RFC 6962), as JSON.

    Whoever kept the earlier checkpoint sees that nothing in it was changed, removed or put between. `tools/verify_ledger.py` checks the proof
    without the ledger.
    """
    from ..loop import evidence as loop

    with call.house() as house:
        output.write_json(loop.prove_consistency(house, since))


def export(call: Call, file: Annotated[Path, typer.Argument(help="The new file, JSON lines.")]) -> None:
    """Write every entry to a file that `tools/verify_ledger.py` checks. Content is not in it, only its digests."""
    from ..loop import evidence as loop

    with call.house("read") as house:
        _result(call, loop.export(house, file))


def backup(call: Call, file: Annotated[Path, typer.Argument(help="The new file.")]) -> None:
    """Copy the whole ledger, content too, while it is in use, and audit the copy. To restore it, stop the server and put it in the ledger's place.

    A copy keeps content that is erased later; an export has none.
    """
    from ..loop import evidence as loop

    with call.house("read") as house:
        _result(call, loop.backup(house, file))


def report(
    call: Call,
    first: Annotated[str, typer.Option("--from", help="First UTC day, as 2026-11-01.")],
    last: Annotated[str, typer.Option("--to", help="Last UTC day.")],
    out: Annotated[
        Path | None, typer.Option(help="The page; under `home`/reports by default.", metavar="PATH")
    ] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Also as a PDF beside the page; needs a font with Japanese letters.")
    ] = False,
) -> None:
    """Write a compliance report, in Japanese and English: decisions, consistency, overrides, escalations, certificates, policy changes, incidents, access, verification.

    With `--json` its facts are written out too.
    """
    from ..loop import compliance as loop

    with call.house() as house:
        files, facts = loop.write(house, first, last, out, pdf)
    if call.json:
        output.write_json({"file": str(files[0]), "files": [str(f) for f in files], "report": facts})
    else:
        told = {
            "file": ", ".join(map(str, files)),
            "ledger": "whole" if facts["verification"]["ok"] else "NOT WHOLE",
        }
        output.write_pairs(told | facts["decisions"])


def retain(call: Call, by: By = None) -> None:
    """Erase content past its days (setting `retention`) from every byte of the ledger's files, unless it is held.

    The chain stays whole, and the erasure is an entry of it. Run it once a day.
    """
    from ..loop import retain as loop

    with call.house("write") as house:
        _result(call, loop.retain(house, name_of(by)))


def erase(
    call: Call,
    id: Annotated[str, typer.Argument(help="The record.")],
    reason: Reason,
    by: By = None,
) -> None:
    """Erase the content of one record now, and of those that share it. What was decided stays in the chain."""
    from ..loop import retain as loop

    with call.house("write") as house:
        _result(call, loop.erase(house.ledger, id, reason, name_of(by)))


def hold(
    call: Call,
    id: Annotated[str, typer.Argument(help="The record, or `*` for all content.")],
    reason: Reason,
    release: Annotated[bool, typer.Option("--release", help="End the hold.")] = False,
    by: By = None,
) -> None:
    """Put content under a legal hold, so that neither `retain` nor `erase` takes it."""
    from ..loop import retain as loop

    with call.house("write") as house:
        call.result(loop.hold(house.ledger, id, not release, reason, name_of(by)))


def _result(call: Call, document: dict[str, object]) -> None:
    if call.json:
        output.write_json(document)
        return
    pairs = {k: ", ".join(v) or "-" if isinstance(v, list) else v for k, v in document.items()}
    output.write_pairs(pairs)
