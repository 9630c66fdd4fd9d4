"""`escalations`: what the gate handed to people, listed, taken, decided, handed back."""

from __future__ import annotations

from typing import Annotated

import typer

from . import output
from .options import Call, SettingsGroup, command
from .people import By, name_of

Id = Annotated[str, typer.Argument(help="The escalated judgement, `jdg_…`.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        cls=SettingsGroup,
        help="What the gate handed to people.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    command(group, name="list")(list_escalations)
    for function in (show, take, decide, hand_back, expire):
        command(group)(function)
    app.add_typer(group, name="escalations", rich_help_panel="Judge and audit")


def list_escalations(
    call: Call,
    state: Annotated[str | None, typer.Option(help="open, taken or expired.")] = None,
    after: Annotated[int, typer.Option(help="`next` of the page before.")] = 0,
    limit: Annotated[int, typer.Option(help="Most escalations shown.")] = 100,
) -> None:
    """Show escalations nobody has decided on, oldest first."""
    from ..loop import escalations as loop

    with call.house() as house:
        found, following = loop.listed(house, state, after, limit)
    if call.json:
        output.write_json({"escalations": found, "next": following})
        return
    heads = ("judgement", "at", "state", "by", "expires", "who is asked")
    columns = ("judgement", "at", "state", "by", "expires", "target")
    output.write_table(heads, [[str(e[c] or "-") for c in columns] for e in found])


def show(call: Call, id: Id) -> None:
    """Show one escalation: where it stands, its steps, what was asked. As JSON."""
    from ..loop import escalations as loop

    with call.house() as house:
        output.write_json(loop.show(house, id))


def take(call: Call, id: Id, by: By = None) -> None:
    """Take an escalation; nobody else may decide on it until the lease is over."""
    from ..loop import escalations as loop

    with call.house() as house:
        call.result(loop.take(house, id, name_of(by)))


def decide(
    call: Call,
    id: Id,
    outcome: Annotated[str, typer.Option(help="ALLOW or DENY.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    by: By = None,
) -> None:
    """Decide on an escalation you have taken. Final; who asked can read it."""
    from ..loop import escalations as loop

    with call.house() as house:
        call.result(loop.decide(house, id, outcome, reason, name_of(by)))


def hand_back(
    call: Call,
    id: Id,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    by: By = None,
) -> None:
    """Give an escalation you have taken back to the others."""
    from ..loop import escalations as loop

    with call.house() as house:
        call.result(loop.hand_back(house, id, reason, name_of(by)))


def expire(call: Call) -> None:
    """Write down which escalations expired. A running server does it once a minute."""
    from ..loop import escalations as loop

    with call.house() as house:
        done = loop.expire(house)
    output.write_json({"expired": done}) if call.json else output.write_pairs({"expired": len(done)})
