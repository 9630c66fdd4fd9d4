"""Who gives the command, as it is written into the ledger."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

By = Annotated[
    str | None, typer.Option("--by", help="Name written into the ledger; the system's user by default.")
]


def name_of(by: str | None) -> str:
    """Return the name that was given, else the system's name for the user, else `operator`."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "operator"
