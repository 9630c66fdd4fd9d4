"""A text as long as a novel, summarised by the model that ships, while its engine is killed and the work itself is broken off once.

    python benchmarks/summary.py [CHARACTERS, 16,000 by default; the soak takes 320,000]

The text is bundled running text. Real are llama.cpp, the lanes, the ledger and the tree; the gate is asked for real too, but its answer is replaced by ALLOW, as the gate that ships
would let little of a document pass, and what is tested here comes after it. Checked: every sentence belongs to a chunk, no prompt exceeds its budget, `kill -9` of the engine in the middle is survived, the second
run takes every finished node as it is. The baseline is the same text in one prompt, which is refused. Exit code 1 when a check fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from sekisho.core.engine import Message, Sampling
from sekisho.core.errors import TooLargeError
from sekisho.core.settings import load
from sekisho.loop import summarise
from sekisho.loop.judge import Judge
from sekisho.loop.summarise import Summary
from sekisho.serve.engines.llamacpp import LlamaCppEngine
from sekisho.serve.lanes import Lanes
from sekisho.serve.rules import Rules
from sekisho.tasks.summary import sentences
from sekisho.weights.gguf import export_gguf
from sekisho.wiring import build
from shared.allowing import Allowing, serving_of

ROOT = Path(__file__).parents[1]
CONTEXT, NODES = 2048, 3
"""Tokens of a slot, and nodes after which the engine is killed; after twice as many the work is broken off."""


def text_of(characters: int) -> str:
    """Bundled running text."""
    files = sorted((ROOT / "data" / "text" / "ict_white_paper").glob("*.txt"))
    text = "\n".join(f.read_text(encoding="utf-8") for f in files)[:characters]
    assert len(text) == characters, f"only {len(text)} characters are bundled"
    return text


def run(characters: int, folder: Path) -> dict[str, Any]:
    """Summarise, break, go on, and return what was seen."""
    gguf = export_gguf(ROOT / "models" / "nano", folder / "nano.gguf", "f32")
    house = build(load(flags={"home": folder / "home", "share": ROOT}, env={}))
    try:
        return asyncio.run(_run(text_of(characters), house, gguf))
    finally:
        house.close()


async def _run(text: str, house: Any, gguf: Path) -> dict[str, Any]:
    backend = Allowing(gguf, context=CONTEXT, slots=2)
    engine = Lanes(backend, Rules(slots=2))
    await engine.start()
    try:
        serving = serving_of(house, engine, backend)
        judge = Judge(serving, house.ledger, 60.0, 256, (3600.0, 256))
        return await _measured(text, judge, house, backend)
    finally:
        await engine.stop()


async def _measured(text: str, judge: Judge, house: Any, backend: LlamaCppEngine) -> dict[str, Any]:
    first, begun = Summary(judge, house.settings.home, text), time.monotonic()
    killed = False
    events = summarise.events(first)
    async for event in events:
        if event["type"] == "progress" and event["done"] >= NODES and not killed:
            os.kill(backend.pid or 0, signal.SIGKILL)
            killed = True
        if event["type"] == "progress" and event["done"] >= 2 * NODES:
            break
    await events.aclose()
    done = len(list(first.folder.glob("*.json")))
    second = Summary(judge, house.settings.home, text)

    async def told(name: str, done: int, total: int) -> None:
        print(f"\r{name}: {done}/{total}   ", end="", file=sys.stderr)

    found = await second.run(told)
    leaves = sorted((n for n in found["nodes"] if n["id"].startswith("0-")), key=lambda n: n["span"])
    cut = sentences(text)
    one_prompt = False
    try:
        chat = judge.serving.engine.generate([Message(role="user", content=text)], Sampling(), 60)
        await anext(chat)  # type: ignore[call-overload]
        one_prompt = True
    except TooLargeError:
        pass
    return {
        "characters": len(text),
        "sentences": len(cut),
        "chunks": len(leaves),
        "nodes": len(found["nodes"]),
        "seconds": round(time.monotonic() - begun, 1),
        "engine_killed": killed,
        "done_before_break": done,
        "resumed": found["resumed"],
        "left_out": len(found["left_out"]),
        "longest_prompt": max(n["tokens"] for n in found["nodes"]),
        "context": CONTEXT,
        "whole_text_covered": leaves[0]["span"][0] == 0
        and leaves[-1]["span"][1] == len(text)
        and all(b["span"][0] <= a["span"][1] for a, b in pairwise(leaves)),
        "one_prompt_fits": one_prompt,
    }


def good(seen: dict[str, Any]) -> bool:
    """Whether every check holds."""
    return (
        seen["whole_text_covered"]
        and seen["engine_killed"]
        and seen["resumed"] == seen["done_before_break"] >= NODES
        and seen["longest_prompt"] < seen["context"]
    )


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("characters", type=int, nargs="?", default=16_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen = run(args.characters, Path(folder))
    print(json.dumps(seen, indent=2))
    return 0 if good(seen) else 1


if __name__ == "__main__":
    sys.exit(main())
