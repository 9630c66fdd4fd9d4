"""What the gateway costs: the same requests to Sekisho and to the bare llama.cpp server, in one run.

    python benchmarks/gateway.py [REQUESTS, 400 by default] [--clients 32] [--characters 600]

Real are the HTTP server, the judge, the ledger on this disk with `synchronous=FULL`, the lanes and llama.cpp with the model that ships; the bare side is a second
llama.cpp server with two slots and the same file, asked in its own System One. Two kinds of requests:

- decision: one typed question over a state, `POST /v1/systemone` on both sides, one ledger entry on ours;
- chat: a text of `TOKENS` tokens; ours judges first and writes two ledger entries, so the bare side is asked the gate's question, over the same state, and then for the text.
  The gate is asked for real, and its answer is replaced by ALLOW, as the gate that ships would let few of these cuttings pass.

One at a time, each short request (`SHORT` characters: what a gateway costs does not grow with the prompt, what the engine varies does) goes to both sides, first to the
one, then to the other; the cost is the median of the differences. Then `--clients` clients ask without a pause,
each side four times in turn; throughput is the requests of its turns by their time. Cores are kept awake as a server keeps them (`keep_awake`; the
environment variable SEKISHO_KEEP_AWAKE=off measures without), which lasts over the bare side's turns between ours and serves it as well. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import uvicorn
from rich.console import Console
from rich.table import Table

from sekisho.core.garbage import settle
from sekisho.core.gate_prompt import gate_state
from sekisho.core.question import gate_question
from sekisho.core.settings import load
from sekisho.host.awake import Awake
from sekisho.host.cores import keep_to
from sekisho.loop.judge import Judge
from sekisho.serve.engines.process import Launch
from sekisho.serve.engines.supervisor import Supervisor
from sekisho.serve.lanes import Lanes
from sekisho.serve.rules import KEPT, Rules
from sekisho.tasks.disguise import disguises
from sekisho.web.app import bind, create_app
from sekisho.web.connections import Crowd, configured
from sekisho.weights.decision import DecisionMeta
from sekisho.weights.gguf import export_gguf
from sekisho.wiring import build, cores_apart
from shared.allowing import Allowing, serving_of

ROOT = Path(__file__).parents[1]
CONTEXT, SLOTS, TOKENS, SHORT = 2048, 2, 24, 100
KINDS = ("decision", "chat")
TURNS = ("bare", "ours", "ours", "bare", "ours", "bare", "bare", "ours")
"""Who is asked by the crowd when; a machine that grows slower or faster meanwhile favours neither."""
TARGETS = {
    "decision: cost at p50, ms": ("<=", 3.0),
    "decision: throughput / bare": (">=", 0.95),
    "chat: throughput / bare": (">=", 0.95),
}


def _environment() -> dict[str, str]:
    """The settings that a run may be told."""
    return {k: v for k, v in os.environ.items() if k in ("SEKISHO_KEEP_AWAKE", "SEKISHO_CORES")}


def serve(gguf: Path, home: Path, setting: str = "") -> None:
    """The whole application over the file, with a setting of its own (`name=value`), until it is ended; its address is the first line it prints."""
    flags: dict[str, Any] = {"home": home, "share": ROOT, "log_level": "error", "threads": 1}
    flags |= dict([setting.split("=", 1)] if setting else [])
    house = build(load(flags=flags, env=_environment()))
    apart = cores_apart(house.settings)
    backend = Allowing(gguf, context=CONTEXT, slots=SLOTS, cores=tuple(apart.engine) if apart else ())
    engine = Lanes(backend, Rules(slots=SLOTS, kept=KEPT))
    listener = bind("127.0.0.1", 0)

    async def run() -> None:
        await engine.start()
        if apart is not None:
            keep_to(apart.server)
        serving = serving_of(house, engine, backend)
        awake = Awake() if house.settings.keep_awake == "on" else None
        app = create_app(house, Judge(serving, house.ledger, 60.0, 256, awake=awake))
        settle()
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await uvicorn.Server(configured(app, Crowd(1024))).serve(sockets=[listener])

    try:
        asyncio.run(run())
    finally:
        house.close()


@contextmanager
def served(gguf: Path, home: Path, setting: str = "") -> Iterator[tuple[str, int]]:
    """The application as a process of its own; yields its address and process id."""
    command = [sys.executable, __file__, "--serve", str(gguf), str(home), setting]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Caller:
    """One connection over which requests go one after another; it costs as little as it can, so that what is measured is the far side."""

    def __init__(self, address: str, key: str = "") -> None:
        self._host, self._port = urlsplit(address).hostname, urlsplit(address).port
        self._head = f"Host: 127.0.0.1:{self._port}\r\nContent-Type: application/json\r\n"
        self._head += f"Authorization: Bearer {key}\r\n" if key else ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> bytes:
        """Post JSON and return the answer's body. A connection that the server had closed is opened again."""
        for _ in range(2):
            try:
                return await self._once(path, body)
            except (ConnectionError, asyncio.IncompleteReadError):
                self._streams = None
        raise RuntimeError(f"{path} was not answered")

    async def _once(self, path: str, body: bytes) -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(
            f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        told = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        answer = await reader.readexactly(int(told["content-length"]))
        if " 200 " not in head.partition("\r\n")[0]:
            raise RuntimeError(f"{path}: {head.partition(chr(13))[0]} {answer[:300]!r}")
        if told.get("connection") == "close":
            writer.close()
            self._streams = None
        return answer


Ask = Callable[[Caller, str], Awaitable[None]]


def _systemone(state: str, questions: dict[str, Any]) -> bytes:
    return json.dumps({"model": "nano", "state": state, "questions": questions}).encode()


_CHAT = {"model": "nano", "max_tokens": TOKENS, "temperature": 0}


async def decide(caller: Caller, state: str) -> None:
    """A decision; both sides answer it in the same form."""
    question = {"type": "noul", "instructions": "Is this about communication?"}
    answer = json.loads(await caller.post("/v1/systemone", _systemone(state, {"q": question})))
    assert 0 <= answer["answers"]["q"]["noul"] <= 1


async def write(caller: Caller, state: str) -> None:
    """A text from Sekisho, which judges first."""
    _check(await caller.post("/v1/chat/completions", _chat(state)))


async def gate_and_write(caller: Caller, state: str) -> None:
    """The same work on the bare server: the gate's question, then the text."""
    options = {o.key: o.description for o in gate_question().options}
    question = {"type": "choice", "instructions": gate_question().instructions, "criteria": options}
    await caller.post("/v1/systemone", _systemone(gate_state(state), {"gate": question}))
    _check(await caller.post("/v1/chat/completions", _chat(state)))


def _chat(state: str) -> bytes:
    return json.dumps({**_CHAT, "messages": [{"role": "user", "content": state}]}).encode()


def _check(answer: bytes) -> None:
    assert json.loads(answer)["usage"]["completion_tokens"] > 0, answer[:300]


def states(count: int, characters: int, seed: int) -> list[str]:
    """Cuttings of the bundled text, no two alike, and none that the gate would hold back for its form (a line of option letters in a table)."""
    draw = random.Random(seed)
    files = sorted((ROOT / "data" / "text" / "ict_white_paper").glob("*.txt"))
    text = "".join(f.read_text(encoding="utf-8") for f in files)
    places = (draw.randrange(len(text) - characters) for _ in itertools.count())
    plain = (cut for at in places if not disguises(cut := text[at : at + characters]))
    return [f"{i}: {cut}" for i, cut in enumerate(itertools.islice(plain, count))]


async def one_at_a_time(sides: dict[str, tuple[Caller, Ask]], texts: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of every request, by side; the sides take turns at being first."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for i, text in enumerate(texts):
        for name in sorted(sides, reverse=bool(i % 2)):
            caller, ask = sides[name]
            began = time.perf_counter()
            await ask(caller, text)
            found[name].append(1000 * (time.perf_counter() - began))
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has taken, its children's left out; what else runs on the machine changes it little."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def crowd(callers: Sequence[Caller], ask: Ask, texts: Sequence[str]) -> float:
    """Seconds that the texts took when every caller asks without a pause."""
    row = iter(texts)

    async def one(caller: Caller) -> None:
        for text in row:
            await ask(caller, text)

    began = time.perf_counter()
    await asyncio.gather(*(one(c) for c in callers))
    return time.perf_counter() - began


async def measured(
    count: int, clients: int, characters: int, folder: Path, gguf: Path | None = None
) -> dict[str, float]:
    """Run everything and return the figures."""
    gguf = gguf or export_gguf(
        ROOT / "models" / "nano", folder / "nano.gguf", "f32", DecisionMeta(temperature={})
    )
    bare = Supervisor(Launch(str(gguf), CONTEXT, SLOTS, 1))
    with served(gguf, folder / "home") as (address, pid):
        await bare.start()
        try:
            key = bare.client.headers["authorization"].partition(" ")[2]
            there = {"bare": (str(bare.client.base_url), key), "ours": (address, "")}
            figures: dict[str, float] = {}
            for kind in KINDS:
                asks = {
                    "bare": decide if kind == "decision" else gate_and_write,
                    "ours": decide if kind == "decision" else write,
                }
                figures |= await _kind(kind, there, asks, count, clients, characters, pid)
            return figures
        finally:
            await bare.stop()


async def _kind(
    kind: str,
    there: dict[str, tuple[str, str]],
    asks: dict[str, Ask],
    count: int,
    clients: int,
    characters: int,
    pid: int,
) -> dict[str, float]:
    """The figures of one kind of request."""
    number = count if kind == "decision" else max(clients, count // 4)
    some = max(clients, number // 2)
    short, texts = states(20 + number, SHORT, 2), states(len(TURNS) * some, characters, 1)
    sides = {name: (Caller(*there[name]), asks[name]) for name in there}
    await one_at_a_time(sides, short[:20])  # first requests load code
    found = await one_at_a_time(sides, short[20:])
    callers = {name: [Caller(*there[name]) for _ in range(clients)] for name in there}
    seconds, spent = dict.fromkeys(there, 0.0), cpu_seconds(pid)
    for turn, name in enumerate(TURNS):
        seconds[name] += await crowd(callers[name], asks[name], texts[some * turn : some * (turn + 1)])
    p50 = {name: statistics.median(values) for name, values in found.items()}
    costs = [ours - bare for ours, bare in zip(found["ours"], found["bare"], strict=True)]
    answered = some * TURNS.count("ours")
    rate = {name: answered / seconds[name] for name in there}
    return {
        f"{kind}: bare p50, ms": p50["bare"],
        f"{kind}: ours p50, ms": p50["ours"],
        f"{kind}: cost at p50, ms": statistics.median(costs),
        f"{kind}: middle half of the costs, ms": statistics.quantiles(costs, n=4)[2]
        - statistics.quantiles(costs, n=4)[0],
        f"{kind}: bare requests/s": rate["bare"],
        f"{kind}: ours requests/s": rate["ours"],
        f"{kind}: throughput / bare": rate["ours"] / rate["bare"],
        f"{kind}: gateway CPU a request, ms": 1000 * (cpu_seconds(pid) - spent) / answered,
    }


def missed(figures: dict[str, float]) -> list[str]:
    """The targets that do not hold."""
    return [
        name
        for name, (sign, limit) in TARGETS.items()
        if not (figures[name] <= limit if sign == "<=" else figures[name] >= limit)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("requests", type=int, nargs="?", default=400)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--characters", type=int, default=600)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.serve:
        gguf, home, setting = args.serve
        serve(Path(gguf), Path(home), setting)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measured(args.requests, args.clients, args.characters, Path(folder)))
    table = Table("measure", "value", "target", title="What the gateway costs")
    for name, value in figures.items():
        table.add_row(name, f"{value:.3f}", " ".join(map(str, TARGETS.get(name, ()))))
    Console(width=100).print(table)
    if failed := missed(figures):
        print("Missed: " + "; ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
