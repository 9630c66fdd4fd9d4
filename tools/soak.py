"""Mixed load on a whole server, with clients that hang up and an engine that is killed; then every answer is looked for in the ledger.

    python tools/soak.py [MINUTES, 20 by default] [--plot FILE.png] [--keep FOLDER] [--seed N]

The server is a process of its own (`benchmarks/gateway.py --serve`: HTTP, judge, ledger on disk, lanes, llama.cpp with the model that ships; the gate is asked for real and its answer
replaced by ALLOW, so that texts are written). `CLIENTS` clients send decisions, chats, streams and Ollama's requests in both lanes; a quarter hangs up at a random moment.
About every 75 seconds the engine's process gets SIGKILL. Watched from outside: files, memory, slots. Exit code 1 unless

- every request whose client stayed was answered, whatever the status;
- every answer is in the ledger, word for word, and of an answer that was broken off every word that arrived; `audit verify` finds the ledger whole;
- in the end all slots are free and nobody waits, and slots always added up;
- files and memory do not grow: the median of the last quarter lies within `FILES` files and `MIB` MiB of that of the second one. Slopes are printed beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

CLIENTS = 10
KILL_SECONDS = 75.0
SAMPLE_SECONDS = 2.0
PATIENCE = 120.0
FILES, MIB = 6, 12


@dataclass
class Seen:
    """What the run showed.

    Attributes:
        samples: seconds, files, memory in MiB, slots in all, slots not free, requests so far.
        answers: what arrived, by gate judgement: the words, and whether that was all of them.
        judgements: ids of judgements that answers named.
    """

    samples: list[tuple[float, int, float, int, int, int]] = field(default_factory=list)
    answers: dict[str, tuple[str, bool]] = field(default_factory=dict)
    judgements: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)
    unanswered: list[str] = field(default_factory=list)
    kills: int = 0
    hung_up: int = 0

    @property
    def requests(self) -> int:
        """Requests that came to an end, one way or the other."""
        return sum(self.statuses.values()) + self.hung_up + len(self.unanswered)


class Client:
    """Somebody who asks without end."""

    def __init__(self, seen: Seen, http: httpx.AsyncClient, texts: Sequence[str], seed: int) -> None:
        self._seen, self._http, self._texts, self._draw = seen, http, texts, random.Random(seed)

    async def ask(self, until: float) -> None:
        """Send requests until then; the last one is waited for."""
        while time.monotonic() < until:
            kind = self._draw.choice((self._decision, self._chat, self._stream, self._stream, self._ollama))
            leaves = self._draw.random() < 0.25
            patience = self._draw.expovariate(1 / 0.4) if leaves else PATIENCE
            try:
                async with asyncio.timeout(patience):
                    await kind()
            except TimeoutError:
                if leaves:
                    self._seen.hung_up += 1
                else:
                    self._seen.unanswered.append(f"{kind.__name__}: nothing within {PATIENCE:.0f} s")
            except Exception as e:  # whatever happens to a client is the server's to explain
                self._seen.unanswered.append(f"{kind.__name__}: {type(e).__name__}: {e}")

    def _text(self) -> str:
        return self._draw.choice(self._texts)

    def _lane(self) -> dict[str, str]:
        return {"x-sekisho-lane": self._draw.choice(("rt", "be"))}

    async def _decision(self) -> None:
        question = {"type": "noul", "instructions": "Is this about communication?"}
        body = {"model": "nano", "state": self._text(), "questions": {"q": question, "r": question}}
        reply = await self._http.post("/v1/systemone", json=body, headers=self._lane())
        self._seen.statuses[f"decision {reply.status_code}"] += 1
        if reply.status_code == 200:
            self._seen.judgements |= {a["x_judgement"] for a in reply.json()["answers"].values()}

    def _asked(self, stream: bool) -> dict[str, Any]:
        turns = [{"role": "user", "content": self._text()}]
        tokens = self._draw.choice((8, 48, 200))
        return {
            "model": "nano",
            "messages": turns,
            "max_tokens": tokens,
            "stream": stream,
            "temperature": 0.5,
        }

    async def _chat(self) -> None:
        reply = await self._http.post("/v1/chat/completions", json=self._asked(False), headers=self._lane())
        self._seen.statuses[f"chat {reply.status_code}"] += 1
        if reply.status_code == 200:
            told = reply.json()
            self._note(told["x_sekisho"], told["choices"][0]["message"]["content"], True)

    async def _stream(self) -> None:
        asked = self._http.stream(
            "POST", "/v1/chat/completions", json=self._asked(True), headers=self._lane()
        )
        verdict: dict[str, Any] | None = None
        text, whole, ended = "", False, ""
        try:
            async with asked as reply:
                ended = str(reply.status_code)
                async for line in reply.aiter_lines():
                    told = line.removeprefix("data: ")
                    if told == "[DONE]":
                        whole = True
                    elif line.startswith("data: "):
                        event = json.loads(told)
                        verdict = event.get("x_sekisho", verdict)
                        ended = f"{ended} error" if "error" in event else ended
                        for choice in event.get("choices", ()):
                            text += choice["delta"].get("content") or ""
                if ended == "200" and not whole:
                    raise RuntimeError("the stream ended without a word")
            self._seen.statuses[f"stream {ended}"] += 1
        finally:
            if verdict is not None:
                self._note(verdict, text, whole)

    async def _ollama(self) -> None:
        body = {"model": "nano", "prompt": self._text(), "stream": False, "options": {"num_predict": 24}}
        reply = await self._http.post("/api/generate", json=body, headers=self._lane())
        self._seen.statuses[f"ollama {reply.status_code}"] += 1
        if reply.status_code == 200:
            self._note(reply.json()["x_sekisho"], reply.json()["response"], True)

    def _note(self, verdict: dict[str, Any], text: str, whole: bool) -> None:
        self._seen.judgements.add(verdict["judgement"])
        if verdict["decision"] == "ALLOW":
            self._seen.answers[verdict["judgement"]] = (text, whole)


async def watch(seen: Seen, process: psutil.Process, http: httpx.AsyncClient, began: float) -> None:
    """Take a sample every `SAMPLE_SECONDS`, until cancelled."""
    while True:
        lanes = (await http.get("/v1/lanes")).json()["slots"]
        files, memory = process.num_fds(), process.memory_info().rss / 2**20
        busy = sum(lanes.values()) - lanes["free"]
        seen.samples.append(
            (time.monotonic() - began, files, memory, sum(lanes.values()), busy, seen.requests)
        )
        await asyncio.sleep(SAMPLE_SECONDS)


async def kill(seen: Seen, process: psutil.Process, draw: random.Random) -> None:
    """Kill the engine now and then, until cancelled. It gets a minute of calm, as one that dies at once is not started for ever."""
    while True:
        await asyncio.sleep(KILL_SECONDS * draw.uniform(0.85, 1.15))
        for child in process.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGKILL)
                seen.kills += 1


async def loaded(
    address: str, process: psutil.Process, minutes: float, seed: int
) -> tuple[Seen, dict[str, Any]]:
    """Run the load, then wait until all is quiet; what was seen, and the lanes in the end."""
    from gateway import states

    seen, began = Seen(), time.monotonic()
    texts = states(300, 300, seed)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=address, timeout=None, limits=limits, trust_env=False) as http:
        beside = [
            asyncio.create_task(watch(seen, process, http, began)),
            asyncio.create_task(kill(seen, process, random.Random(seed))),
        ]
        clients = [Client(seen, http, texts, seed + i) for i in range(CLIENTS)]
        await asyncio.gather(*(c.ask(began + 60 * minutes) for c in clients))
        beside[1].cancel()
        await asyncio.sleep(5)
        beside[0].cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        return seen, (await http.get("/v1/lanes")).json()


def unaudited(seen: Seen, ledger: Path) -> list[str]:
    """Answers that the ledger does not have as they arrived."""
    from sekisho.ledger.store import Ledger

    wrong: list[str] = []
    with Ledger.open(ledger, read_only=True) as book:
        verification = book.verify()
        if not verification.ok:
            wrong.append(f"the ledger: {verification}")
        known: set[str] = set()
        written: dict[str, str] = {}
        stretches: dict[str, dict[int, str]] = {}
        after = 0
        while page := book.entries(after=after, limit=5000):
            after = page[-1].seq
            for entry in page:
                known.add(entry.id)
                if entry.kind == "stretch":
                    kept = book.content(entry.body["content"])["answer"]
                    stretches.setdefault(entry.body["judgement"], {})[entry.body["place"]] = kept
                elif entry.kind == "judgement" and entry.body["task"] == "chat":
                    written[entry.body["links"]["gate"]] = book.content(entry.body["content"])["answer"]
    wrong += [f"{id} is not in the ledger" for id in seen.judgements - known]
    for gate, (text, whole) in seen.answers.items():
        answer = written.get(gate)
        parts = stretches.get(gate, {})
        joined = "".join(parts[i] for i in sorted(parts))
        if answer is None or (answer != text if whole else not answer.startswith(text)):
            wrong.append(f"{gate}: {text[:40]!r} arrived, {str(answer)[:40]!r} is in the ledger")
        elif not whole and not joined.startswith(text):
            wrong.append(f"{gate}: words had left before they were durable")
    return wrong


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """The least-squares slope of y over x."""
    x, y = zip(*samples, strict=True)
    return statistics.linear_regression(x, y).slope if len(set(x)) > 1 else 0.0


def judged(seen: Seen, lanes: dict[str, Any], wrong: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what is not as it must be."""
    rows = seen.samples
    quarter = max(1, len(rows) // 4)
    settled, last = rows[quarter : 2 * quarter] or rows, rows[-quarter:]
    half = rows[len(rows) // 2 :]

    def grown(column: int) -> float:
        return statistics.median(r[column] for r in last) - statistics.median(r[column] for r in settled)

    figures = {
        "requests": seen.requests,
        "hung up": seen.hung_up,
        "engine kills": seen.kills,
        "answers": dict(sorted(seen.statuses.items())),
        "unanswered": len(seen.unanswered),
        "answers looked for in the ledger": len(seen.judgements),
        "not in the ledger as they arrived": len(wrong),
        "files grown": grown(1),
        "memory grown, MiB": round(grown(2), 2),
        "files per hour (second half)": round(3600 * slope([(r[0], r[1]) for r in half]), 2),
        "MiB per hour (second half)": round(3600 * slope([(r[0], r[2]) for r in half]), 2),
        "KiB per request (second half)": round(1024 * slope([(r[5], r[2]) for r in half]), 3),
        "slots in all": sorted({r[3] for r in rows}),
        "busy slots per hour (second half)": round(3600 * slope([(r[0], r[4]) for r in half]), 2),
        "lanes in the end": lanes,
    }
    problems = [*seen.unanswered[:5], *wrong[:5]]
    problems += [f"files grew by {grown(1)}"] if grown(1) > FILES else []
    problems += [f"memory grew by {grown(2):.1f} MiB"] if grown(2) > MIB else []
    slots = lanes["slots"]
    if slots["free"] != sum(slots.values()) or lanes["line"] or len(figures["slots in all"]) != 1:
        problems.append(f"slots: {lanes}")
    if not seen.judgements or not seen.answers:
        problems.append("nothing was answered at all")
    return figures, problems


def plot(seen: Seen, file: Path) -> None:
    """Files, memory and busy slots over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(8, 7))
    minutes = [r[0] / 60 for r in seen.samples]
    for axis, column, name in zip(axes, (1, 2, 4), ("open files", "memory, MiB", "busy slots"), strict=True):
        axis.plot(minutes, [r[column] for r in seen.samples], linewidth=0.8)
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and return the exit code."""
    from gateway import DecisionMeta, export_gguf, served

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("minutes", type=float, nargs="?", default=20.0)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--keep", type=Path, help="an empty folder for the state, which then stays")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        gguf = export_gguf(ROOT / "models" / "nano", folder / "nano.gguf", "f32", DecisionMeta())
        with served(gguf, folder / "home") as (address, pid):
            server = psutil.Process(pid)
            seen, lanes = asyncio.run(loaded(address, server, args.minutes, args.seed))
        figures, problems = judged(seen, lanes, unaudited(seen, folder / "home" / "ledger.sqlite"))
    print(json.dumps(figures, indent=1))
    if args.plot:
        plot(seen, args.plot)
    for problem in problems:
        print(f"WRONG: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
