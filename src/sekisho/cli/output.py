"""What leaves the command line: results on stdout (people's text or one JSON document), errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import InputError, SekishoError, SettingsError

_WIDE = 240
"""Columns assumed when stdout is no terminal: a pipe must not cut ids in two."""


def plain(text: str) -> str:
    """Return `text` without control characters, so that a recorded request cannot drive a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def write_json(document: Any) -> None:
    """Write one JSON document to stdout, in UTF-8 whatever the locale."""
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8") + b"\n")
    sys.stdout.buffer.flush()


def write_json_lines(documents: Sequence[Any]) -> None:
    """Write one JSON document a line to stdout, in UTF-8 whatever the locale."""
    lines = [json.dumps(d, ensure_ascii=False, separators=(",", ":"), allow_nan=False) for d in documents]
    sys.stdout.flush()
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode("utf-8"))
    sys.stdout.buffer.flush()


def write_lines(lines: Sequence[str]) -> None:
    """Write lines of text to stdout."""
    for line in lines:
        print(plain(line))
    sys.stdout.flush()


def write_pairs(pairs: Mapping[str, Any]) -> None:
    """Write names and values in two columns."""
    width = max((len(name) for name in pairs), default=0)
    write_lines([f"{name:<{width}}  {value}" for name, value in pairs.items()])


def write_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table to stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    console.print(table)


def error_object(error: SekishoError) -> dict[str, Any]:
    """Return an error as the object that `--json` writes to stderr."""
    body: dict[str, Any] = {"code": error.code, "what": error.what, "do": error.do}
    if isinstance(error, SettingsError):
        body["problems"] = error.problems
    if isinstance(error, InputError) and error.loc:
        body["loc"] = list(error.loc)
    return {"error": body}


def write_error(error: SekishoError, as_json: bool) -> None:
    """Write what happened and what to do to stderr."""
    if as_json:
        print(json.dumps(error_object(error), ensure_ascii=False), file=sys.stderr)
        return
    print(plain(f"sekisho: {error.what}"), file=sys.stderr)
    if error.do:
        print(plain(f"  {error.do}"), file=sys.stderr)
