"""The real engine behind a gate that lets everything pass, so that what comes after the gate can be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sekisho.core.question import OptionScores
from sekisho.core.records import Stamp
from sekisho.loop.certificate import Certified
from sekisho.loop.entries import Serving
from sekisho.serve.engines.llamacpp import LlamaCppEngine
from sekisho.serve.lanes import Lanes
from sekisho.tasks.policy import policy_of
from sekisho.wiring import House

MODEL = "nano"
GATE = 3
"""Options of the gate's question."""


class Allowing(LlamaCppEngine):
    """Asks the gate's question for real and answers ALLOW; every other question is left as it is."""

    def __init__(self, gguf: Path, **more: Any) -> None:
        super().__init__(gguf, MODEL, threads=1, **more)

    async def ask(self, *args: Any, **more: Any) -> list[OptionScores]:
        """As `LlamaCppEngine.ask`."""
        return [_allowed(s) if len(s.logprobs) == GATE else s for s in await super().ask(*args, **more)]


def _allowed(scores: OptionScores) -> OptionScores:
    return scores.model_copy(update={"logprobs": (-1e-9, -30.0, -30.0)})


class Familiar:
    """A scope in which every text lies."""

    def unfamiliar(self, text: str) -> bool:
        """Never."""
        return False


def serving_of(house: House, engine: Lanes, backend: Allowing) -> Serving:
    """The started engine, with the house's policy and nothing that stands in a text's way."""
    return Serving(
        engine=engine,
        stamp=Stamp(engine="llamacpp", model=MODEL, model_digest=backend.info.model_digest),
        policy=policy_of(house.policy_document),
        threshold=0.5,
        scope=Familiar(),  # type: ignore[arg-type]
        certified=Certified(None, "9999", 0.0),
    )
