"""`up` and `serve`: from nothing to a server that answers."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from ..core.settings import Settings
from . import output, remote
from .options import Call, command

PANEL = "Serve"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, panel=PANEL)(up)
    command(app, panel=PANEL)(serve)


def up(
    call: Call,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="Prepare and promote, then stop.")] = False,
) -> None:
    """Make a gate if there is none yet, print its report card, and serve.

    The first start gathers, finetunes, proves, bakes and promotes; later starts serve what is promoted at once.
    """
    from ..loop import up as loop
    from ..loop.keys import require_keys

    settings = call.settings()
    with call.house() as house:
        there = None if no_serve else remote.serves(house)
        if not no_serve and there is None:
            remote.require_port(settings)
            require_keys(house)
        with call.progress() as progress:
            result = loop.up(house, progress=progress)
    document = result.model_dump(mode="json")
    if not call.json:
        output.write_lines(result.card)
    if no_serve or there is not None:
        address = None if no_serve else remote.address_of(settings)
        _ready(call, {**document, "address": address}, "Sekisho serves already at")
    else:
        _serve(call, settings, document)


def serve(call: Call) -> None:
    """Serve what is promoted, over HTTP, until Ctrl-C."""
    _serve(call, call.settings(), {})


def _serve(call: Call, settings: Settings, document: dict[str, Any]) -> None:
    from ..web.app import serve as run

    run(settings, lambda address: _ready(call, {**document, "address": address}, "Sekisho serves at"))
    print("Stopped.", file=sys.stderr)


def _ready(call: Call, document: dict[str, Any], words: str) -> None:
    """Say where the server is, once it answers."""
    if call.json:
        output.write_json(document)
    elif document["address"]:
        output.write_lines([f"{words} {document['address']}"])
