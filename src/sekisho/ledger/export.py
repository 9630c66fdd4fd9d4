"""The ledger as a file of JSON lines that anyone can check without this program: `tools/verify_ledger.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sekisho.core.canonical import canonical_json
from sekisho.core.errors import InputError, LedgerError

from .chain import START, Head
from .store import Ledger

_ROWS = "SELECT seq, kind, id, at, body, prev, digest FROM entries ORDER BY seq"


def export(ledger: Ledger, path: Path) -> Head:
    """Write every entry, one canonical JSON object a line, oldest first, from one snapshot; return the last one written.

    A line holds the fields an entry's digest is made of (`at`, `body`, `id`, `kind`, `prev`, `seq`) and the `digest` itself. Content is
    not exported, only its digests. The file appears under its name when it is whole.

    Raises:
        InputError: the file exists already, or its folder does not.
        LedgerError: an entry cannot be read.
    """
    if path.exists():
        raise InputError(f"{path} exists already.", "Name another file.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent}.", "Make it first, or name another file.")
    part = path.with_name(f".{path.name}-{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            head = START
            for written, line in _lines(ledger):
                file.write(line)
                head = written
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return head


def _lines(ledger: Ledger) -> Iterator[tuple[Head, bytes]]:
    with ledger.snapshot() as db:
        for seq, kind, id, at, body, prev, digest in db.execute(_ROWS):
            if "\n" in body:
                raise LedgerError(f"Entry {seq} is not on one line.", "Run `sekisho audit verify`.")
            # The stored text itself, as in the digest: an export must not heal a body that was rewritten.
            head = canonical_json({"at": at})[:-1] + b',"body":' + body.encode() + b","
            tail = canonical_json({"digest": digest, "id": id, "kind": kind, "prev": prev, "seq": seq})[1:]
            yield Head(seq, digest), head + tail + b"\n"
