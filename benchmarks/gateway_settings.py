"""What settings do to the cost of a decision: servers that differ in one setting, and the bare llama.cpp server, asked the same texts in one run.

    python benchmarks/gateway_settings.py [NAME=VALUE ..., cores=apart by default] [--requests 300]

Every text goes to every server, one request at a time, in a random order; the first server has the settings as they come. Told are the median of each server's
differences from the bare one, and from the first; and the mean of the latter without their outer tenths, as a median hides what happens in a minority of requests.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gateway import CONTEXT, ROOT, SHORT, SLOTS, Caller, decide, one_at_a_time, served, states
from sekisho.serve.engines.process import Launch
from sekisho.serve.engines.supervisor import Supervisor
from sekisho.weights.decision import DecisionMeta
from sekisho.weights.gguf import export_gguf

AS_THEY_COME = "as they come"


async def asked(callers: dict[str, Caller], texts: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of every request, by server."""
    found: dict[str, list[float]] = {name: [] for name in callers}
    draw = random.Random(3)
    for text in texts:
        for name in draw.sample(list(callers), len(callers)):
            began = time.perf_counter()
            await decide(callers[name], text)
            found[name].append(1000 * (time.perf_counter() - began))
    return found


async def measured(requests: int, settings: Sequence[str], folder: Path) -> dict[str, list[float]]:
    """Start all servers and ask them."""
    gguf = export_gguf(ROOT / "models" / "nano", folder / "nano.gguf", "f32", DecisionMeta(temperature={}))
    bare = Supervisor(Launch(str(gguf), CONTEXT, SLOTS, 1))
    with ExitStack() as stack:
        callers = {}
        for i, setting in enumerate(("", *settings)):
            address, _ = stack.enter_context(served(gguf, folder / f"home{i}", setting))
            callers[setting or AS_THEY_COME] = Caller(address)
        await bare.start()
        try:
            key = bare.client.headers["authorization"].partition(" ")[2]
            callers["bare"] = Caller(str(bare.client.base_url), key)
            texts = states(20 + requests, SHORT, 2)
            await one_at_a_time({name: (c, decide) for name, c in callers.items()}, texts[:20])
            return await asked(callers, texts[20:])
        finally:
            await bare.stop()


def trimmed(values: Sequence[float]) -> float:
    """Mean without the outer tenths."""
    cut = len(values) // 10
    return statistics.mean(sorted(values)[cut : len(values) - cut])


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; targets are in `gateway.py`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", default=["cores=apart"], metavar="NAME=VALUE")
    parser.add_argument("--requests", type=int, default=300)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measured(args.requests, args.settings, Path(folder)))
    bare = found.pop("bare")
    title = f"A decision, ms; bare p50 {statistics.median(bare):.2f}"
    table = Table("settings", "cost at p50", "against the first", "its trimmed mean", title=title)
    for name, values in found.items():
        cost = [ours - theirs for ours, theirs in zip(values, bare, strict=True)]
        more = [ours - first for ours, first in zip(values, found[AS_THEY_COME], strict=True)]
        table.add_row(
            name, f"{statistics.median(cost):.3f}", f"{statistics.median(more):+.3f}", f"{trimmed(more):+.3f}"
        )
    Console(width=100).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
