"""`keys`: API keys made, listed, rotated and revoked. A running server takes a change up within a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output
from .options import Call, SettingsGroup, command
from .people import By, name_of

if TYPE_CHECKING:
    from ..core.oversight import Key

Id = Annotated[str, typer.Argument(help="The key, `key_…`.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        cls=SettingsGroup, help="API keys.", no_args_is_help=True, rich_markup_mode="markdown"
    )
    command(group)(make)
    command(group, name="list")(list_keys)
    command(group)(rotate)
    command(group)(revoke)
    app.add_typer(group, name="keys", rich_help_panel="Serve")


def make(
    call: Call,
    name: Annotated[str, typer.Argument(help="Whose key it is; written into the ledger with what they do.")],
    scope: Annotated[
        list[str], typer.Option(help="judge, correct, promote, audit or admin; may be given several times.")
    ],
    clearance: Annotated[
        str | None, typer.Option(help="公開, 社内限定, 部外秘 or 極秘: the level at which the gate judges.")
    ] = None,
    per_minute: Annotated[int, typer.Option(help="Requests a minute, on average.")] = 600,
    days: Annotated[int | None, typer.Option(help="Days until it opens nothing; never when absent.")] = None,
    by: By = None,
) -> None:
    """Make an API key and show its secret, this once; only a digest of it is kept, in the ledger.

    From the first key on, every client needs one, also on this machine.
    """
    from ..loop import keys as loop

    with call.house() as house:
        _secret(call, loop.make(house, name, scope, name_of(by), clearance, per_minute, days))


def list_keys(call: Call) -> None:
    """Show every key as it is now, also those that were revoked."""
    from ..loop import keys as loop

    with call.house() as house:
        found = loop.listed(house.ledger)
    if call.json:
        output.write_json(found)
        return
    heads = ("key", "name", "scopes", "clearance", "a minute", "expires", "state")
    output.write_table(heads, [_row(key) for key in found])


def _row(key: dict[str, Any]) -> tuple[str, ...]:
    state = "active" if key["active"] else "revoked"
    told = (key["clearance"] or "-", str(key["per_minute"]), key["expires"] or "never", state)
    return key["key"], key["name"], " ".join(key["scopes"]), *told


def rotate(
    call: Call,
    key: Id,
    grace: Annotated[int, typer.Option(help="Seconds for which the old secret still opens.")] = 0,
    by: By = None,
) -> None:
    """Give a key a new secret and show it, this once."""
    from ..loop import keys as loop

    with call.house() as house:
        _secret(call, loop.rotate(house, key, name_of(by), grace))


def revoke(call: Call, key: Id, by: By = None) -> None:
    """Make a key open nothing any more."""
    from ..loop import keys as loop

    with call.house() as house:
        found = loop.shown(loop.revoke(house, key, name_of(by)))
    output.write_json(found) if call.json else output.write_pairs(found)


def _secret(call: Call, made: tuple[Key, str]) -> None:
    record, secret = made
    document = {"key": record.key, "name": record.name, "scopes": list(record.scopes), "secret": secret}
    if call.json:
        output.write_json(document)
    else:
        output.write_pairs(document | {"scopes": " ".join(record.scopes)})
