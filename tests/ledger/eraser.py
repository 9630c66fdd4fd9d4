"""A process that appends content and erases it, again and again until killed: `eraser.py LEDGER`. Every content begins with MARK."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sekisho.core.canonical import new_id, utc_now
from sekisho.core.records import Judgement, Stamp
from sekisho.ledger import erasure
from sekisho.ledger.store import Ledger

MARK = "kept-for-a-week:"


def main() -> None:
    """Append twenty, erase all, say so."""
    stamp = Stamp(engine="fake", model="nano", model_digest="sha256:00")
    with Ledger.open(Path(sys.argv[1])) as ledger:
        while True:
            sealed = [ledger.seal(MARK + "x" * 50 * i) for i in range(20)]
            records = [
                Judgement(
                    id=new_id("jdg"),
                    at=utc_now(),
                    task="gate",
                    decision="ALLOW",
                    content=s.digest,
                    stamp=stamp,
                )
                for s in sealed
            ]
            ledger.append(records, sealed)
            later = datetime.now(UTC) + timedelta(days=8)
            done = erasure.retain(ledger, {"all": 7.0}, "a test", later)
            os.write(1, f"{done.erased}\n".encode())


if __name__ == "__main__":
    main()
