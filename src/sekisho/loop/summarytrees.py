"""Trees of summaries on disk: one file a node, which lives no longer than the content of the judgement it came through."""

from __future__ import annotations

import json
import time
from pathlib import Path

from ..ledger.store import Ledger

_BEING_WRITTEN = 3600.0
"""Seconds for which a file without a node's name may be one that a server is writing just now."""


def folder_of(home: Path) -> Path:
    """Where the trees lie."""
    return home / "summaries"


def sweep(ledger: Ledger) -> int:
    """Remove, beside a ledger, every node whose judgement's content is erased, and what is no node at all; return how many files went."""
    gone, latest = 0, time.time() - _BEING_WRITTEN
    for file in sorted(folder_of(ledger.path.parent).glob("*/*")):
        if not _stands(ledger, file) and (file.suffix == ".json" or file.stat().st_mtime < latest):
            file.unlink(missing_ok=True)
            gone += 1
    return gone


def _stands(ledger: Ledger, file: Path) -> bool:
    try:
        entry = ledger.get(str(json.loads(file.read_bytes())["judgement"]))
    except (OSError, ValueError, KeyError, TypeError):
        return False
    digest = entry.body.get("content") if entry else None
    return digest is not None and ledger.content(digest) is not None
