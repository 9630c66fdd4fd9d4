"""Two lanes on two slots under an endless batch load, beside the same engine behind one FIFO queue and beside the bare llama.cpp server.

    python benchmarks/lanes.py [REQUESTS in real time, 120 by default] [--gap SECONDS between them] [--seed N]

Real are llama.cpp and the model that ships, in F32. The same real-time requests (Poisson arrivals) and the same batch texts go, one after another,

- idle: to the lanes, without any batch work;
- lanes: to the lanes, with `BACKLOG` batch texts waiting at every moment;
- fifo: to the same engine, whoever came first is served first;
- bare: to a llama.cpp server with two slots and nothing before it, over HTTP, which keeps its own queue.

Time to first token is from the arrival to the first text. Batch throughput is all batch tokens by the time from the first real-time token to the end of the last
real-time request: behind a queue the first ones wait many seconds in which batch work has the engine for itself, and counted from the first arrival a queue would be given
that time as its merit. So every window holds the same real-time work (`window s` is its length). What a text that made room loses (the rest of its stretch, a prompt read
again) is time in which nothing is counted. Every batch text that made room is compared with the same text written alone: text, number of tokens, and token ids but for those of its last stretch. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sekisho import metrics
from sekisho.core.engine import Message, Piece, Sampling
from sekisho.serve import prompts
from sekisho.serve.engines import wire
from sekisho.serve.engines.llamacpp import LlamaCppEngine
from sekisho.serve.engines.process import Launch
from sekisho.serve.engines.supervisor import Supervisor
from sekisho.serve.lanes import Lanes
from sekisho.serve.rules import Rules
from sekisho.weights.gguf import export_gguf

ROOT = Path(__file__).parents[1]
CONTEXT, SLOTS, BACKLOG = 2048, 2, 16
RT_CHARACTERS, RT_TOKENS = 700, 24
BE_CHARACTERS, BE_TOKENS = 1400, 160
LATE = 600.0
TARGETS = {
    "RT p99 / idle p99": ("<=", 1.5),
    "FIFO p99 / RT p99": (">=", 10.0),
    "BE throughput / FIFO": (">=", 0.9),
    "texts that differ": ("<=", 0),
}


@dataclass
class Seen:
    """What one way of serving showed."""

    firsts: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    texts: dict[int, tuple[str, int]] = field(default_factory=dict)

    @property
    def throughput(self) -> float:
        """Batch tokens a second."""
        return self.tokens / self.seconds if self.seconds else 0.0

    def p(self, share: float) -> float:
        """The nearest-rank percentile of the times to first token, in milliseconds."""
        ordered = sorted(self.firsts)
        return 1000 * ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


@dataclass(frozen=True)
class Load:
    """What is asked: arrivals and prompts in real time, and an endless row of batch prompts."""

    gaps: tuple[float, ...]
    rt: tuple[str, ...]
    be: tuple[str, ...]

    @classmethod
    def drawn(cls, count: int, gap: float, seed: int) -> Load:
        """Cuttings of the bundled text; no two begin alike, so no prompt is in a cache by another's doing."""
        draw = random.Random(seed)
        files = sorted((ROOT / "data" / "text" / "ict_white_paper").glob("*.txt"))
        text = "".join(f.read_text(encoding="utf-8") for f in files)

        def cutting(size: int) -> str:
            at = draw.randrange(len(text) - size)
            return text[at : at + size]

        rt = tuple(cutting(draw.randint(RT_CHARACTERS // 2, RT_CHARACTERS)) for _ in range(count))
        return cls(
            tuple(draw.expovariate(1 / gap) for _ in rt), rt, tuple(cutting(BE_CHARACTERS) for _ in range(64))
        )


Write = Callable[[str, Sampling, str], AsyncIterator[Piece]]
"""From a prompt, how to write, and a lane to the pieces of a text."""


def sampling_of(lane: str, number: int) -> Sampling:
    """Real time is greedy; batch texts are drawn, half of them, each with a seed of its own."""
    if lane == "rt":
        return Sampling(max_tokens=RT_TOKENS, temperature=0)
    return Sampling(max_tokens=BE_TOKENS, temperature=0.3 * (number % 2), seed=number)


async def loaded(write: Write, load: Load, batch: bool) -> Seen:
    """Send the load and return what was seen; batch texts go on until every real-time request has ended."""
    seen, loop = Seen(), asyncio.get_running_loop()
    row, window = iter(range(1 << 30)), dict[str, tuple[float, int]]()

    async def one_batch() -> None:
        for number in row:
            text = ""
            async for piece in write(load.be[number % len(load.be)], sampling_of("be", number), "be"):
                text += piece.text
                if piece.finish:
                    seen.tokens += piece.output_tokens
                    seen.texts[number] = (text, piece.output_tokens)

    async def one_answer(prompt: str) -> None:
        began, waits = loop.time(), True
        async for piece in write(prompt, sampling_of("rt", 0), "rt"):
            if waits and (piece.text or piece.finish):
                window.setdefault("began", (loop.time(), seen.tokens))
                seen.firsts.append(loop.time() - began)
                waits = False

    beside = [asyncio.create_task(one_batch()) for _ in range(BACKLOG if batch else 0)]
    if batch:
        await asyncio.sleep(2.0)
    answers = []
    for gap, prompt in zip(load.gaps, load.rt, strict=True):
        await asyncio.sleep(gap)
        answers.append(asyncio.create_task(one_answer(prompt)))
    await asyncio.gather(*answers)
    began, before = window["began"]
    seen.seconds, seen.tokens = loop.time() - began, seen.tokens - before
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    return seen


class Noting(LlamaCppEngine):
    """Notes the tokens of every text that can be taken up again, and which were taken up."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.noted: dict[tuple[str, int | None], tuple[int, ...]] = {}
        self.again: set[tuple[str, int | None]] = set()

    async def generate(self, messages, sampling, timeout, slot=None, written=None):  # type: ignore[no-untyped-def]
        """As `LlamaCppEngine.generate`."""
        key, tokens = ("".join(m.content for m in messages), sampling.seed), list(written or ())
        if key in self.noted:
            self.again.add(key)
        if written is not None:
            self.noted[key] = tuple(tokens)
        async with aclosing(super().generate(messages, sampling, timeout, slot, written)) as pieces:
            async for piece in pieces:
                tokens += piece.tokens
                if written is not None:
                    self.noted[key] = tuple(tokens)
                yield piece


def asked(prompt: str) -> list[Message]:
    """The conversation of a prompt."""
    return [Message(role="user", content=prompt)]


async def behind_lanes(engine: Noting, load: Load) -> tuple[Seen, Seen, dict[str, float]]:
    """Idle, and with batch work; and what the lanes counted meanwhile."""
    lanes = Lanes(engine, Rules(slots=SLOTS, spare=engine_spare(engine), kept=1, be_queue=BACKLOG))

    def write(prompt: str, sampling: Sampling, lane: Any) -> AsyncIterator[Piece]:
        return lanes.generate(asked(prompt), sampling, LATE, lane)

    idle = await loaded(write, load, batch=False)
    before = counted()
    full = await loaded(write, load, batch=True)
    return idle, full, {name: value - before[name] for name, value in counted().items()}


def engine_spare(engine: LlamaCppEngine) -> int:
    """Places the engine has beyond the slots and the one for decisions."""
    return engine._launch.slots - SLOTS - 1


def counted() -> dict[str, float]:
    """What the lanes have counted so far."""
    found = (metrics.LANE_PREEMPTIONS, metrics.LANE_RESUMED_TOKENS, metrics.LANE_AGED)
    return {c.describe()[0].name: c.collect()[0].samples[0].value for c in found}


async def behind_fifo(engine: LlamaCppEngine, load: Load) -> Seen:
    """The same engine; two at once, in the order in which they came."""
    slots = asyncio.Semaphore(SLOTS)

    async def write(prompt: str, sampling: Sampling, lane: str) -> AsyncIterator[Piece]:
        async with slots, aclosing(engine.generate(asked(prompt), sampling, LATE)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield piece

    return await loaded(write, load, batch=True)


async def bare(gguf: Path, load: Load, engine: LlamaCppEngine) -> Seen:
    """A llama.cpp server with two slots; the prompts go over as the same token ids."""
    supervisor = Supervisor(Launch(str(gguf), CONTEXT, SLOTS, 1))
    await supervisor.start()
    try:
        exchange = supervisor.exchange

        async def write(prompt: str, sampling: Sampling, lane: str) -> AsyncIterator[Piece]:
            pieces = prompts.chat_pieces(asked(prompt), engine._tongue.special)
            body = {"content": pieces, "add_special": False, "parse_special": False}
            ids = json.loads((await exchange.post("/tokenize", body)).text)["tokens"]
            until = asyncio.get_running_loop().time() + LATE
            async with aclosing(wire.events(exchange, engine._completion(ids, sampling), until)) as events:
                async for event in events:
                    ended = event.get("stop")
                    yield wire.last_piece(event, len(ids)) if ended else Piece(text=event["content"])

        return await loaded(write, load, batch=True)
    finally:
        await supervisor.stop()


async def differing(engine: Noting, load: Load, seen: Seen, most: int) -> tuple[int, int]:
    """How many batch texts that made room were written again alone, and how many of those came out otherwise."""
    keys = {n: (load.be[n % len(load.be)], sampling_of("be", n).seed) for n in seen.texts}
    interrupted = [n for n, key in keys.items() if key in engine.again][:most]
    noted, different = dict(engine.noted), 0
    for number in interrupted:
        key, text = keys[number], ""
        async for piece in engine.generate(asked(key[0]), sampling_of("be", number), LATE, 0, ()):
            text += piece.text
            last = piece
        same = (text, last.output_tokens) == seen.texts[number] and engine.noted[key] == noted[key]
        different += not same
    return len(interrupted), different


async def measured(
    count: int, gap: float, seed: int, folder: Path, spare: int, gguf: Path | None = None
) -> dict[str, Any]:
    """Run all four and return the figures."""
    gguf = gguf or export_gguf(ROOT / "models" / "nano", folder / "nano.gguf", "f32")
    load = Load.drawn(count, gap, seed)
    engine = Noting(gguf, "nano", context=CONTEXT, slots=SLOTS + spare, threads=1)
    await engine.start()
    try:
        idle, full, counts = await behind_lanes(engine, load)
        compared, different = await differing(engine, load, full, 24)
        fifo = await behind_fifo(engine, load)
        alone = await bare(gguf, load, engine)
    finally:
        await engine.stop()
    ways = {"idle": idle, "lanes": full, "fifo": fifo, "bare": alone}
    figures: dict[str, Any] = {}
    for name, seen in ways.items():
        figures |= {
            f"{name} RT p50 ms": seen.p(0.5),
            f"{name} RT p99 ms": seen.p(0.99),
            f"{name} RT max ms": seen.p(1.0),
        }
        if name != "idle":
            figures[f"{name} BE tokens/s"] = seen.throughput
            figures[f"{name} window s"] = seen.seconds
    return {
        **figures,
        **counts,
        "texts compared": compared,
        "texts that differ": different,
        "RT p99 / idle p99": full.p(0.99) / idle.p(0.99),
        "FIFO p99 / RT p99": fifo.p(0.99) / full.p(0.99),
        "bare p99 / RT p99": alone.p(0.99) / full.p(0.99),
        "BE throughput / FIFO": full.throughput / fifo.throughput,
        "BE throughput / bare": full.throughput / alone.throughput,
    }


def missed(figures: dict[str, Any]) -> list[str]:
    """The targets that do not hold; so many comparisons must have been made, too."""
    failed = [
        name
        for name, (sign, limit) in TARGETS.items()
        if not (figures[name] <= limit if sign == "<=" else figures[name] >= limit)
    ]
    return failed + ([] if figures["texts compared"] else ["texts compared"])


def show(figures: dict[str, Any], targets: dict[str, tuple[str, float]], title: str) -> None:
    """Print the figures beside their targets."""
    table = Table("measure", "value", "target", title=title)
    for name, value in figures.items():
        told = f"{value:.3f}" if isinstance(value, float) else str(value)
        table.add_row(name, told, " ".join(map(str, targets.get(name, ()))))
    Console(width=100).print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("requests", type=int, nargs="?", default=120)
    parser.add_argument("--gap", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--spare", type=int, default=2, help="the setting `spare_slots`")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measured(args.requests, args.gap, args.seed, Path(folder), args.spare))
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        show(figures, TARGETS, "Two lanes on two slots, batch work without end")
    if failed := missed(figures):
        print("Missed: " + "; ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
