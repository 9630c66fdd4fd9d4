"""A live server over the model that ships; its gate denies one marked text and allows the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sekisho.core.records import Stamp
from sekisho.loop.entries import Serving
from sekisho.loop.judge import Judge
from sekisho.serve.engines.llamacpp import LlamaCppEngine
from sekisho.serve.lanes import Lanes
from sekisho.serve.rules import Rules
from sekisho.tasks.policy import policy_of
from sekisho.weights.gguf import export_gguf
from sekisho.wiring import House
from web import makers

from .scenarios import MODEL, REFUSED


class Marked(LlamaCppEngine):
    """Asks the gate's question for real, and answers by the mark."""

    async def ask(self, state, questions, timeout, slot=None):
        scores = await super().ask(state, questions, timeout, slot)
        gate = ("ALLOW", "ESCALATE", "DENY")
        sure = (-30.0, -30.0, -1e-9) if REFUSED in state else (-1e-9, -30.0, -30.0)
        return [
            s.model_copy(update={"logprobs": tuple(sure[gate.index(k)] for k in q.keys)})
            if set(q.keys) == set(gate)
            else s
            for q, s in zip(questions, scores, strict=True)
        ]


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve; yields the address."""
    gguf = export_gguf(makers.ROOT / "models" / "nano", folder / "nano.gguf", "f32")
    with makers.house(folder / "home", deadline_seconds=20) as house:
        engine = Lanes(
            Marked(gguf, MODEL, context=1024, slots=2, threads=1, model_digest="sha256:0"),
            Rules(slots=2, kept=1),
        )
        with before(house, engine, "llamacpp") as address:
            yield address


@contextlib.contextmanager
def before(house: House, engine: Lanes, name: str) -> Iterator[str]:
    """Sekisho before an engine of that name, where every text is familiar; yields the address."""
    serving = Serving(
        engine=engine,
        stamp=Stamp(engine=name, model=MODEL, model_digest="sha256:0"),
        policy=policy_of(house.policy_document),
        threshold=0.9,
        scope=makers.Familiar(),
        certified=makers.CERTIFIED,
    )
    judge = Judge(serving, house.ledger, 20.0, 256, (60.0, 256))
    with makers.live(house, judge, start=engine.start) as address:
        yield address
