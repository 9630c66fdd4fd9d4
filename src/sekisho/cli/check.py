"""`settings` and `doctor`: what is set, and whether this machine is fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ..core.settings import Settings
from ..core.spec import Spec
from ..core.table import TABLE
from . import output
from .options import Call, command, flag_of

PANEL = "This machine"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, panel=PANEL)(settings)
    command(app, panel=PANEL)(doctor)


def settings(call: Call) -> None:
    """Show every setting: its value, where the value comes from, its flag, variable and default."""
    settled = call.settings()
    _write([_row(spec, settled) for spec in TABLE], call.json)


def _write(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        output.write_json(rows)
        return
    cells = [(r["name"], _shown(r["value"]), r["source"], _shown(r["default"]), r["help"]) for r in rows]
    output.write_table(("setting", "value", "from", "default", "meaning"), cells)


def _row(spec: Spec, settled: Settings) -> dict[str, Any]:
    value = settled.values[spec.name]
    return {
        "name": spec.name,
        "value": "(set)" if spec.secret and value else _plain(value),
        "source": settled.sources[spec.name],
        "default": _plain(spec.value_of_default()),
        "flag": flag_of(spec),
        "env": spec.env,
        "help": spec.help,
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)


def doctor(call: Call) -> None:
    """Check Python, packages, bundled files, home and its rights, disk, port, device, ledger, memory and engine. Exit code 1 when one fails."""
    from .doctor import examine

    checks = list(examine(call.settings()))
    if call.json:
        output.write_json({"ok": all(c.ok for c in checks), "checks": [c._asdict() for c in checks]})
    else:
        rows = [("ok" if c.ok else "FAIL", c.name, c.found, "" if c.ok else c.do) for c in checks]
        output.write_table(("", "check", "found", "to do"), rows)
    if not all(c.ok for c in checks):
        raise typer.Exit(1)
