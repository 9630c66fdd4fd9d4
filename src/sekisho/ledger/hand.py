"""One hand of the crew: `python -m sekisho.ledger.hand`, a process that only reads. See `crew` for the other side.

One line of JSON comes in on stdin (the ledger's path, the digest before entry 1, who asks), then one a job; one goes out on stdout for each:

    {"certify": [after, until]}  ->  [[before, last, root in hex, named] or null, …], one a block
    {"pages": true}              ->  whether SQLite's check finds nothing
    {"contents": true}           ->  whether every content has its digest and agrees with the entries

It ends with stdin, and stops in the middle of a job when whoever asks is gone.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from . import kept, schema
from .certify import certificates

_STEPS = 1_000_000
"""SQLite's own instructions between two looks at who asks: some ten milliseconds."""

_MAPPED = 1 << 31
"""Bytes of the file that are mapped, not copied page by page: a quarter off the time. A disk that fails then ends the hand, not the audit."""


def work(db: sqlite3.Connection, job: Mapping[str, Any], genesis: str) -> Any:
    """Do one job and return what goes out."""
    if "pages" in job:
        return not kept.page_problems(db)
    if "contents" in job:
        return kept.altered(db, searchable=False) is None and kept.missing(db) is None
    after, until = job["certify"]
    db.text_factory = bytes  # as it lies there: text need not be UTF-8, and nothing is made of it
    try:
        found = list(certificates(db, after, until, genesis))
    finally:
        db.text_factory = str
    return [c and [c.before, c.last, c.root.hex(), c.named] for c in found]


def main() -> int:
    """Serve one crew, on one snapshot of the ledger."""
    told = json.loads(sys.stdin.readline())
    with closing(schema.connect(Path(told["path"]), "ro")) as db:
        db.set_progress_handler(lambda: os.getppid() != told["parent"], _STEPS)
        db.execute(f"PRAGMA mmap_size = {_MAPPED}")
        db.execute("BEGIN")
        for line in sys.stdin:
            print(json.dumps(work(db, json.loads(line), told["genesis"])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
