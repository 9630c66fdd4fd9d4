"""A process that appends and prints each id only after `append` returned: `appender.py LEDGER THREADS [HOW_MANY]`."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from sekisho.core.canonical import new_id
from sekisho.core.records import Judgement, Stamp
from sekisho.ledger.store import Ledger


def work(ledger: Ledger, how_many: int) -> None:
    """Append one judgement with content after another."""
    stamp = Stamp(engine="fake", model="nano", model_digest="sha256:00")
    for _ in range(how_many):
        sealed = ledger.seal("text " * 50)
        record = Judgement(
            id=new_id("jdg"), at="now", task="gate", decision="ALLOW", content=sealed.digest, stamp=stamp
        )
        (entry,) = ledger.append([record], [sealed])
        os.write(1, f"{entry.seq} {entry.id} {entry.digest}\n".encode())


def main() -> None:
    """Run the threads to the end, or until killed."""
    path, threads, how_many = Path(sys.argv[1]), int(sys.argv[2]), int((sys.argv[3:] or ["1000000"])[0])
    with Ledger.open(path) as ledger:
        running = [threading.Thread(target=work, args=(ledger, how_many)) for _ in range(threads)]
        for t in running:
            t.start()
        for t in running:
            t.join()


if __name__ == "__main__":
    main()
