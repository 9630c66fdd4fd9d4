"""What durability costs: group commit beside one commit a row, verification, the size of proofs, what an entry adds to a judgement.

    python benchmarks/ledger.py [--rows N] [--entries N] [--content-entries N] [--proof-entries N]

All in one run on one disk, every commit with `synchronous=FULL`, the same 32 writers and the same records, a judgement each, again and again,
and each goes on when it is durable. **Group commit**: as a server's requests append (`loop.together`), 32 coroutines; and as 32 threads do.
**Single rows**: every record is a transaction of its own, what a ledger without group commit does: 32 writers each with a connection of its
own, kept apart by SQLite's lock; and, better than that, 32 threads behind one lock around one connection. **Verification** is the full audit of
`sekisho audit verify` beside a bare walk of the chain: of a million entries, so that the start of the audit's processes does not count, and
of entries each of which has content, as a server's have. Proof sizes are of the compact form. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path

from sekisho.core.canonical import new_id, utc_now
from sekisho.core.records import Judgement, Stamp
from sekisho.ledger import checkpoint
from sekisho.ledger.chain import Head, entry_digest
from sekisho.ledger.signing import Signer
from sekisho.ledger.store import Ledger
from sekisho.loop.evidence import compact_form
from sekisho.loop.together import Together

WRITERS = 32
_STAMP = Stamp(engine="bench", model="none", model_digest="sha256:0")
_PAGE = 10_000
_CONTENT = {"requests": ["May I show a patient's record to her employer?"]}


def record() -> Judgement:
    """A judgement of ordinary size."""
    p = {"ALLOW": 0.91, "DENY": 0.02, "ESCALATE": 0.07}
    return Judgement(
        id=new_id("jdg"),
        at=utc_now(),
        task="gate",
        type="choice",
        probabilities=p,
        raw=p,
        decision="ALLOW",
        stamp=_STAMP,
    )


def append_rate(path: Path, rows: int, alone: bool, connections: int = 1) -> float:
    """Records a second of 32 threads; `alone` gives each record a transaction of its own. With more than one connection it has one in any case."""
    guard = threading.Lock() if alone else nullcontext()

    def work(ledger: Ledger) -> None:
        for _ in range(rows // WRITERS):
            made = record()
            with guard:
                ledger.append([made])

    with ExitStack() as stack:
        ledgers = [stack.enter_context(Ledger.open(path)) for _ in range(connections)]
        threads = [threading.Thread(target=work, args=(ledgers[i % connections],)) for i in range(WRITERS)]
        start = time.perf_counter()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return rows // WRITERS * WRITERS / (time.perf_counter() - start)


def together_rate(path: Path, rows: int) -> float:
    """Records a second of 32 coroutines."""

    async def work(together: Together) -> None:
        for _ in range(rows // WRITERS):
            await together.append([record()])

    async def all_of_them(together: Together) -> None:
        await asyncio.gather(*(work(together) for _ in range(WRITERS)))

    with Ledger.open(path) as ledger:
        return rows // WRITERS * WRITERS / timed(lambda: asyncio.run(all_of_them(Together(ledger))))


def fill(ledger: Ledger, entries: int, with_content: bool = False) -> None:
    """Append many records, a page a transaction."""
    while (have := ledger.count()) < entries:
        count = min(_PAGE, entries - have)
        sealed = [ledger.seal(_CONTENT) for _ in range(count if with_content else 0)]
        contents = [s.digest for s in sealed] or [None] * count
        ledger.append([record().model_copy(update={"content": c}) for c in contents], sealed)


def timed(work: Callable[[], object]) -> float:
    """Seconds that work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def bare_walk(ledger: Ledger) -> None:
    """Only digests and links, as a plain hash chain is verified."""
    head = Head(0, "sha256:" + "0" * 64)
    with ledger.snapshot() as db:
        for seq, kind, id, at, body, prev, tag in db.execute(
            "SELECT seq, kind, id, at, body, prev, digest FROM entries ORDER BY seq"
        ):
            if prev != head.digest or entry_digest(seq, kind, id, at, body.encode(), prev) != tag:
                raise SystemExit(f"entry {seq} is wrong")
            head = Head(seq, tag)


def verified_rate(ledger: Ledger) -> float:
    """Entries a second of a full audit, which must find the ledger whole."""
    start = time.perf_counter()
    found = ledger.verify()
    if not found.ok:
        raise SystemExit(f"an untouched ledger is rejected: {found.problem}")
    return found.entries / (time.perf_counter() - start)


def one_client(path: Path, rows: int) -> list[float]:
    """Milliseconds of each append with content, by one client."""
    found = []
    with Ledger.open(path) as ledger:
        for _ in range(rows):
            start = time.perf_counter()
            sealed = ledger.seal(_CONTENT)
            ledger.append([record().model_copy(update={"content": sealed.digest})], [sealed])
            found.append(1000 * (time.perf_counter() - start))
    return sorted(found)


def proof_bytes(ledger: Ledger, folder: Path) -> int:
    """The largest of some compact proofs."""
    checkpoint.take(ledger, Signer.open(folder / "key.pem"), None)
    size = ledger.count() - 1
    ids = [ledger.entries(after=seq, limit=1)[0].id for seq in {0, size // 2, size // 3, size - 1}]
    return max(len(json.dumps(compact_form(checkpoint.prove(ledger, i)), separators=(",", ":"))) for i in ids)


def measure(
    folder: Path, rows: int, entries: int, content_entries: int, proof_entries: int
) -> dict[str, float]:
    """Every figure by name."""
    few = max(WRITERS, rows // 10)
    found = {
        "single rows/s": append_rate(folder / "apart.sqlite", few, False, WRITERS),
        "single rows/s, one lock": append_rate(folder / "single.sqlite", few, True),
        "group rows/s": together_rate(folder / "together.sqlite", rows),
        "group rows/s, threads": append_rate(folder / "group.sqlite", rows, False),
    }
    found["times faster"] = found["group rows/s"] / found["single rows/s"]
    found["times faster, one lock"] = found["group rows/s"] / found["single rows/s, one lock"]
    with Ledger.open(folder / "many.sqlite") as ledger:
        fill(ledger, entries)
        found["bare walk entries/s"] = entries / timed(lambda: bare_walk(ledger))
        found["verification entries/s"] = verified_rate(ledger)
        fill(ledger, proof_entries)
        found["proof bytes"] = proof_bytes(ledger, folder)
    with Ledger.open(folder / "content.sqlite") as ledger:
        fill(ledger, content_entries, with_content=True)
        found["with content entries/s"] = verified_rate(ledger)
    latencies = one_client(folder / "one.sqlite", max(20, rows // 20))
    found["one client p50 ms"] = statistics.median(latencies)
    found["one client p99 ms"] = latencies[int(len(latencies) * 0.99)]
    return found


TARGETS: dict[str, tuple[str, float]] = {
    "times faster": (">=", 10.0),
    "verification entries/s": (">=", 200_000.0),
    "proof bytes": ("<=", 1024.0),
    "one client p50 ms": ("<=", 2.0),
}


def main(arguments: list[str]) -> int:
    """Print every figure, and beside it the target where there is one; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=6400)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--content-entries", type=int, default=200_000)
    parser.add_argument("--proof-entries", type=int, default=1_000_000)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given.rows, given.entries, given.content_entries, given.proof_entries)
    missed = False
    for name, value in found.items():
        sign, target = TARGETS.get(name, ("", 0.0))
        held = not sign or (value >= target if sign == ">=" else value <= target)
        missed |= not held
        told = f"{sign} {target:g} {'' if held else 'FALLS SHORT'}" if sign else ""
        print(f"{name:<24} {value:>12,.2f}  {told}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
