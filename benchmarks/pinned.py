"""Requests that try to load something: other models, contexts, keep-alives, options and adapters, on every route that writes or judges.

    python benchmarks/pinned.py [REQUESTS, 2,000 by default; the soak sends 100,000] [--seed N]

The whole application runs in this process over a real llama.cpp child with the model that ships. Counted are the loads after ready (there must be none),
the child's process id (it must stay), and answers of status 500 or above (none). Beside it, as the baseline, stands how many of the same requests would have
made a server load that does as it is told: it loads whenever model, context or another option of loading differs from what it has, and after every
`keep_alive` of 0. Exit code 1 when anything was loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from sekisho import metrics
from sekisho.core.records import Stamp
from sekisho.core.settings import load
from sekisho.loop.certificate import Certified
from sekisho.loop.entries import Serving
from sekisho.loop.judge import Judge
from sekisho.serve.engines.llamacpp import LlamaCppEngine
from sekisho.serve.lanes import Lanes
from sekisho.serve.rules import Rules
from sekisho.tasks.policy import policy_of
from sekisho.web.app import create_app
from sekisho.weights.gguf import export_gguf
from sekisho.wiring import build

ROOT = Path(__file__).parents[1]
NAME, CONTEXT = "pinned", 512
CLIENTS = 8
_LOADING = ("num_gpu", "num_thread", "num_batch", "use_mmap", "main_gpu")
_TEXTS = (
    "Hello.",
    "When does the library open?",
    "図書館は何時に開きますか。",
    "Tell me a story about a gate.",
    "",
)


class Fuzz:
    """Draws requests, and knows what a server that does as it is told would have loaded."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._loaded: Any = None
        self.naive = 0

    def request(self) -> tuple[str, dict[str, Any]]:
        """A path and a body."""
        draw = self._random
        make = draw.choice(
            (self._ollama_chat, self._ollama_generate, self._openai, self._systemone, self._show)
        )
        path, body = make()
        if draw.random() < 0.05:
            body[draw.choice(("adapter", "lora", "quantization", "num_ctx", "load", "device"))] = draw.choice(
                (1, "x", None)
            )
        self._obey(body)
        return path, body

    def _obey(self, body: dict[str, Any]) -> None:
        options = body.get("options") or {}
        wanted = (body.get("model"), options.get("num_ctx"), *(options.get(k) for k in _LOADING))
        self.naive += wanted != self._loaded
        self._loaded = None if body.get("keep_alive") in (0, "0", "0s") else wanted

    def _model(self) -> Any:
        names = (
            NAME,
            f"{NAME}:latest",
            f"{NAME}:be",
            "jev-latest",
            "llama3",
            "nano",
            f"{NAME}:q4_0",
            f"hf.co/x/{NAME}",
            "",
            7,
        )
        return self._random.choices(names, (40, 10, 10, 5, 5, 5, 5, 5, 2, 2))[0]

    def _options(self) -> dict[str, Any]:
        draw = self._random
        options: dict[str, Any] = {
            "num_predict": draw.choice((1, 2, 3)),
            "temperature": draw.choice((0, 0.7, 2)),
        }
        if draw.random() < 0.5:
            options["num_ctx"] = draw.choice(
                (1, 128, CONTEXT, CONTEXT, CONTEXT + 1, 8192, 1 << 40, -1, "512", None)
            )
        if draw.random() < 0.3:
            options[draw.choice(_LOADING)] = draw.choice((0, 1, 99, True, None))
        if draw.random() < 0.2:
            options[draw.choice(("top_k", "repeat_penalty", "mirostat", "seed", "stop", "??"))] = draw.choice(
                (0, 1, 1.1, "x")
            )
        return options

    def _ollama(self) -> dict[str, Any]:
        draw = self._random
        body = {"model": self._model(), "options": self._options(), "stream": draw.random() < 0.3}
        if draw.random() < 0.5:
            body["keep_alive"] = draw.choice((0, "0s", -1, "5m", 3600, "24h", "soon", None, True))
        return body

    def _ollama_chat(self) -> tuple[str, dict[str, Any]]:
        text = self._random.choice(_TEXTS)
        messages = [{"role": "user", "content": text}] if text else []
        return "/api/chat", {**self._ollama(), "messages": messages}

    def _ollama_generate(self) -> tuple[str, dict[str, Any]]:
        return "/api/generate", {**self._ollama(), "prompt": self._random.choice(_TEXTS)}

    def _openai(self) -> tuple[str, dict[str, Any]]:
        draw = self._random
        body = {"model": self._model(), "max_tokens": draw.choice((1, 2, 3)), "stream": draw.random() < 0.3}
        if draw.random() < 0.2:
            body["keep_alive"] = draw.choice((0, "5m"))
        return "/v1/chat/completions", {
            **body,
            "messages": [{"role": "user", "content": draw.choice(_TEXTS)}],
        }

    def _systemone(self) -> tuple[str, dict[str, Any]]:
        question = {"type": "noul", "instructions": "Is this a question?"}
        body = {"model": self._model(), "keep_alive": self._random.choice((0, "5m", None))}
        return "/v1/systemone", {**body, "state": self._random.choice(_TEXTS), "questions": {"q": question}}

    def _show(self) -> tuple[str, dict[str, Any]]:
        return self._random.choice(("/api/show", "/api/pull", "/api/create", "/api/delete")), {
            "model": self._model()
        }


def loads() -> dict[str, float]:
    """Loads so far, by cause."""
    return {
        s.labels["cause"]: s.value
        for m in metrics.LOADS.collect()
        for s in m.samples
        if s.name.endswith("_total")
    }


def run(count: int, seed: int, folder: Path, model: Path | None = None) -> dict[str, Any]:
    """Send `count` requests and return what was seen.

    Args:
        folder: an empty folder for the state.
        model: a GGUF file; None exports the model that ships.
    """
    gguf = model or export_gguf(ROOT / "models" / "nano", folder / "nano.gguf", "f32")
    house = build(load(flags={"home": folder / "home", "share": ROOT, "log_level": "error"}, env={}))
    try:
        return asyncio.run(_run(count, seed, house, gguf))
    finally:
        house.close()


async def _run(count: int, seed: int, house: Any, gguf: Path) -> dict[str, Any]:
    backend = LlamaCppEngine(gguf, NAME, context=CONTEXT, slots=2, threads=1)
    engine = Lanes(backend, Rules(slots=2))
    await engine.start()
    stamp = Stamp(engine="llamacpp", model=NAME, model_digest=backend.info.model_digest)
    serving = Serving(
        engine=engine,
        stamp=stamp,
        policy=policy_of(house.policy_document),
        threshold=0.0,
        certified=Certified(None, "9999", 0.0),
    )
    app = create_app(house, Judge(serving, house.ledger, 30.0, 256))
    fuzz, statuses, before, pid = Fuzz(seed), Counter[int](), loads(), backend.pid
    begun = time.monotonic()
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", timeout=None
        ) as client:
            left = iter(range(count))

            async def one_client() -> None:
                for _ in left:
                    path, body = fuzz.request()
                    statuses[(await client.post(path, json=body)).status_code] += 1

            await asyncio.gather(*(one_client() for _ in range(CLIENTS)))
        (running,) = (await _get(transport, "/api/ps"))["models"]
        same = backend.pid == pid
    return {
        "requests": sum(statuses.values()),
        "seconds": round(time.monotonic() - begun, 1),
        "statuses": dict(sorted(statuses.items())),
        "loads": {cause: n - before.get(cause, 0) for cause, n in loads().items()},
        "same_process": same,
        "listed": running["name"],
        "naive_loads": fuzz.naive,
        "judgements": house.ledger.head().seq,
    }


async def _get(transport: httpx.ASGITransport, path: str) -> Any:
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return (await client.get(path)).json()


def good(seen: dict[str, Any]) -> bool:
    """Whether nothing was loaded and nothing broke."""
    return not any(seen["loads"].values()) and seen["same_process"] and all(s < 500 for s in seen["statuses"])


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("requests", type=int, nargs="?", default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen = run(args.requests, args.seed, Path(folder))
    table = Table("measure", "value", title="Requests that try to load something")
    for name, value in seen.items():
        table.add_row(name, json.dumps(value))
    Console(width=110).print(table)
    return 0 if good(seen) else 1


if __name__ == "__main__":
    sys.exit(main())
