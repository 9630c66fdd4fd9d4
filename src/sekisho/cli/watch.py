"""`watch`: the service seen from outside."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from . import output
from .options import Call, command


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    command(app, panel="This machine")(watch)


def watch(
    call: Call,
    pid: Annotated[
        int | None, typer.Option(help="The service; the process on the set port by default.")
    ] = None,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.05)] = 5.0,
    times: Annotated[int | None, typer.Option(help="Looks before it ends; without end by default.")] = None,
) -> None:
    """Watch the service from outside, and write unexpected listeners, connections, children and changed programs into the ledger.

    It compares with what it saw first, tells each difference once, and kills nothing. Linux only.
    """
    from ..loop.watch import Watch

    with call.house() as house:
        watching = Watch(house, pid)
        watching.run(every, lambda found: _tell(found, call.json), times)


def _tell(found: list[tuple[str, str]], as_json: bool) -> None:
    lines = [
        json.dumps({"sort": s, "what": w}, ensure_ascii=False) if as_json else f"{s:<12} {w}"
        for s, w in found
    ]
    output.write_lines(lines)
