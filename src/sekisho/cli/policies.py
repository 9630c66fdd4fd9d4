"""`policy`: versions of policy and contracts in the ledger, what changed, and whether a file would be taken."""

from __future__ import annotations

from typing import Annotated

import typer

from . import output
from .options import Call, SettingsGroup, command


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        cls=SettingsGroup, help="Versions of the policy.", no_args_is_help=True, rich_markup_mode="markdown"
    )
    for function in (history, diff, check, schema):
        command(group)(function)
    app.add_typer(group, name="policy", rich_help_panel="Judge and audit")


def history(call: Call) -> None:
    """List every version of policy and contracts that was in force, with what changed from the one before."""
    from ..loop import policies as loop

    with call.house("read") as house:
        found = list(loop.versions(house.ledger))
    if call.json:
        shown = [
            {
                "kind": v.kind,
                "id": v.record.id,
                "at": v.record.at,
                "name": v.record.name,
                "digest": v.record.digest,
            }
            | {"changed": None if v.changed is None else [d._asdict() for d in v.changed]}
            for v in found
        ]
        output.write_json(shown)
        return
    for v in found:
        output.write_lines([f"{v.record.at}  {v.kind} {v.record.name}  {v.record.id}  {v.record.digest}"])
        output.write_lines([f"    {d.told()}" for d in v.changed or []])


def diff(
    call: Call,
    before: Annotated[str, typer.Argument(help="The earlier version, `pol_…` or `ctr_…`.")],
    after: Annotated[str, typer.Argument(help="The later version.")],
) -> None:
    """Show what differs between two versions in the ledger."""
    from ..loop import policies as loop

    with call.house("read") as house:
        found = loop.difference(house.ledger, before, after)
    if call.json:
        output.write_json([d._asdict() for d in found])
    else:
        output.write_lines([d.told() for d in found] or ["They are the same."])


def check(
    call: Call,
    name: Annotated[str, typer.Argument(help="A policy's path, or its name under `share`/policies.")],
) -> None:
    """Check a policy file as a start would, and show how it differs from the policy that is set. Nothing is written."""
    from ..loop import policies as loop

    with call.house("read") as house:
        told, found = loop.check(house, name)
    if call.json:
        output.write_json(told | {"changed": [d._asdict() for d in found]})
        return
    output.write_pairs(told)
    output.write_lines([d.told() for d in found])


def schema(call: Call) -> None:
    """Write the JSON Schema of policies and of identity contracts."""
    from ..loop import policies as loop

    output.write_json(loop.schema())
