"""`audit verify` and `show`: is the ledger whole, and what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from . import evidence, output
from .options import Call, SettingsGroup, command


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        cls=SettingsGroup,
        help="Verify and read the ledger.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    command(group)(verify)
    command(group)(show)
    evidence.register(group)
    app.add_typer(group, name="audit", rich_help_panel="Judge and audit")


def verify(call: Call) -> None:
    """Recompute every digest and link of the ledger. Exit code 1 when something was changed.

    The chain cannot show that its newest entries were cut off, or that all of it was written anew: the witness can, where one is set.
    """
    from ..loop import audit as loop

    with call.house("read") as house:
        found = loop.verify_all(house)
        witness = loop.witnesses(house)
    document: dict[str, Any] = {
        "ok": found.ok,
        "entries": found.entries,
        "head": {"seq": found.head.seq, "digest": found.head.digest},
        "first_bad_seq": found.first_bad_seq,
        "problem": found.problem,
        "witness": witness,
    }
    if call.json:
        output.write_json(document)
    else:
        output.write_pairs(_told(document))
    if not found.ok:
        raise typer.Exit(1)


def _told(found: Mapping[str, Any]) -> dict[str, Any]:
    head = found["head"]
    told = {
        "ledger": "whole" if found["ok"] else "NOT WHOLE",
        "entries": found["entries"],
        "head": f"{head['seq']} {head['digest']}",
        "witness": found["witness"] or "none is set: a cut tail would not show",
    }
    if not found["ok"]:
        told |= {"first bad": found["first_bad_seq"] or "-", "problem": found["problem"]}
    return told


def show(
    call: Call,
    id: Annotated[
        str | None, typer.Argument(help="One record, with its content and the corrections filed on it.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="judgement, stretch, correction, proof, promotion, policy, contract, checkpoint, hold, erasure, key, escalation, certificate or incident."
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="gate, question or chat.")] = None,
    decision: Annotated[str | None, typer.Option(help="ALLOW, ESCALATE, DENY, or another answer.")] = None,
    after: Annotated[int, typer.Option(help="`seq` of the last entry of the page before.")] = 0,
    limit: Annotated[int, typer.Option(help="Most entries shown.")] = 20,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Begin with the oldest.")] = False,
) -> None:
    """Show entries of the ledger, newest first, or one record whole."""
    from ..loop import audit as loop

    with call.house("read") as house:
        found = loop.show(house.ledger, kind, task, decision, after, limit, id, not oldest_first)
    if call.json or id is not None:
        output.write_json(found if id is None else found[0])
        return
    output.write_table(("seq", "at", "kind", "id", "what"), [_row(entry) for entry in found])


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    what = _SUMMARIES[entry["kind"]](entry["record"])
    return str(entry["seq"]), entry["at"], entry["kind"], entry["id"], what


_SUMMARIES = {
    "judgement": lambda r: f"{r['task']} {r['decision']} ({', '.join(r['reasons'])})",
    "stretch": lambda r: f"stretch {r['place']} of the stream that {r['judgement']} let pass",
    "correction": lambda r: f"{r['was']} → {r['label']} on {r['judgement']} by {r['by']}",
    "proof": lambda r: f"{'passed' if r['passed'] else 'falls short'} {r['candidate']}",
    "promotion": lambda r: f"{'rollback to' if r['rollback'] else 'serves'} {r['release']} by {r['by']}",
    "policy": lambda r: f"{r['name']} {r['digest']}",
    "contract": lambda r: f"{r['name']} {r['digest']}",
    "checkpoint": lambda r: f"{r['size']} entries {r['root']}",
    "hold": lambda r: f"{'hold on' if r['active'] else 'end of the hold on'} {r['subject']} by {r['by']}",
    "key": lambda r: (
        f"{r['name']} ({' '.join(r['scopes'])}) {'active' if r['active'] else 'revoked'} by {r['by']}"
    ),
    "escalation": lambda r: f"{r['step']} {r['outcome'] or ''} {r['judgement']} by {r['by']}",
    "certificate": lambda r: (
        f"at most {r['bound']:.2%} until {r['expires']}" if r["feasible"] else "infeasible"
    ),
    "activation": lambda r: f"{r['step']} {r['adapter'] or 'the base alone'} by {r['by']}",
    "feedback": lambda r: f"{r['action']} {r['level']} of {r['judgement']} by {r['by']}",
    "calibrated": lambda r: (
        f"{r['task']} {'back to ' if r['rollback'] else ''}{r['version']} ({r['method']}) by {r['by']}"
    ),
    "incident": lambda r: f"{r['sort']}: {r['what']}",
    "erasure": lambda r: f"{len(r['digests'])} contents ({r['rule']}) by {r['by']}",
}
