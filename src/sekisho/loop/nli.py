"""The NLI service: pairs in, judgements out. What answers is what the ledger's latest step says; a swap is one assignment."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from .. import metrics
from ..core.adapting import Activation
from ..core.canonical import new_id, utc_now
from ..core.errors import (
    ConflictError,
    EngineError,
    SekishoError,
)
from ..core.garbage import settle
from ..core.nli_labels import KEYS, house_row
from ..core.records import Judgement, Stamp
from ..ledger.store import Ledger
from ..proof.row import calibrated_row, softmax
from ..tasks.adapting import before
from ..tasks.nli import Claim, claim_of, is_nli
from . import adapters
from .nli_answers import Answer
from .nli_line import Line, Reader, Serves, Which
from .parts import Parts
from .reviewed import TASK

CHUNK = 64
"""Pairs of one request that stand in line at once, so that a long request does not keep others waiting."""
_POLL_SECONDS = 1.0
_SICK = "See `sekisho adapt list`; roll back, or unload."
__all__ = ["Claim", "Nli", "Which", "claim_of", "is_nli"]
_log = logging.getLogger("sekisho.nli")


class Nli:
    """Judges pairs. Models are loaded when they are first asked for."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lines: dict[Which, Line] = {}
        self._opening: dict[Which, asyncio.Lock] = {"fast": asyncio.Lock(), "slow": asyncio.Lock()}
        self._watch: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """Why an open classifier cannot answer; None when all can, or none has been asked yet."""
        return next((line.problem for line in self._lines.values() if line.problem), None)

    async def line(self, which: Which = "fast") -> Line:
        """The open line of a model.

        Raises:
            NotFoundError, ShelfError: there is no such model, or it is no classifier.
        """
        async with self._opening[which]:
            if which not in self._lines:
                self._lines[which] = await asyncio.to_thread(Line, self._parts, which)
                settle()
            if self._watch is None:
                self._watch = asyncio.create_task(self._follow())
            return self._lines[which]

    async def judge(
        self,
        claims: Sequence[Claim | SekishoError],
        links: Mapping[str, str] | None = None,
        which: Which = "fast",
    ) -> tuple[Line, Serves, list[Answer]]:
        """Judge pairs; all of them by what serves now, also when a swap comes between. Each answer is durable before this returns.

        Args:
            claims: a pair, or what is wrong with it, which becomes its answer.

        Raises:
            ConflictError: the adapter that ought to serve cannot be loaded.
            OverloadedError, EngineError, LedgerError: nothing is answered; pairs before those that failed are in the ledger.
        """
        line = await self.line(which)
        if line.problem is not None:
            raise ConflictError(
                f"The adapter that ought to serve cannot: {line.problem}", "Mend it, roll back, or unload."
            )
        serves, found = line.serves, list[Answer]()
        shared = {"request": new_id("req"), **(links or {})}
        with metrics.JUDGE_SECONDS.labels(TASK).time():
            for start in range(0, len(claims), CHUNK):
                found += await self._chunk(line, serves, claims[start : start + CHUNK], shared)
        return line, serves, found

    async def _chunk(
        self, line: Line, serves: Serves, claims: Sequence[Claim | SekishoError], links: Mapping[str, str]
    ) -> list[Answer]:
        start = time.monotonic()
        tokens = _encoded(line.reader, claims)
        good = [i for i, t in enumerate(tokens) if not isinstance(t, SekishoError)]
        rows = await asyncio.wrap_future(line.batcher.submit(serves.variant, [tokens[i] for i in good]))
        spent = round(1000 * (time.monotonic() - start), 3)
        answers = [Answer(error=t if isinstance(t, SekishoError) else None) for t in tokens]
        for i, row in zip(good, rows, strict=True):
            if not all(map(math.isfinite, row)):
                answers[i] = Answer(error=EngineError("The classifier gave no numbers.", _SICK))
        whole = [(i, row) for i, row in zip(good, rows, strict=True) if answers[i].error is None]
        good = [i for i, _ in whole]
        records = [
            _record(line.reader, serves, cast(Claim, claims[i]), row, len(tokens[i].ids), spent, links)
            for i, row in whole
        ]
        kept = await self._keep(records, [cast(Claim, claims[i]) for i in good])
        for i, record in zip(good, kept, strict=True):
            answers[i] = Answer(record, _raw_label(line.reader, record), tokens[i].cut)
        return answers

    async def _keep(self, records: Sequence[Judgement], claims: Sequence[Claim]) -> list[Judgement]:
        """Seal each pair by itself, so that one can be erased and the others stay; one commit for all."""
        sealed = [Ledger.seal(c.model_dump()) for c in claims]
        kept = [r.model_copy(update={"content": s.digest}) for r, s in zip(records, sealed, strict=True)]
        if kept:
            with metrics.LEDGER_SECONDS.time():
                await asyncio.to_thread(self._parts.ledger.append, kept, sealed)
            metrics.JUDGEMENTS.labels(TASK, "answered").inc(len(kept))
        return kept

    async def swap(self, step: str, name: str | None, by: str) -> Activation:
        """Load, unload or roll back, and let it answer before this returns.

        Raises:
            InputError, ShelfError, ConflictError: as `adapters.load`; what served goes on serving then.
        """
        return await asyncio.to_thread(self._swapped, await self.line(), step, name, by)

    def _swapped(self, line: Line, step: str, name: str | None, by: str) -> Activation:
        ready, model = None, line.reader.digest
        if step == "load":
            ready = line.try_on(str(name))
            done = adapters.load(self._parts, ready.adapter, by, model=model)
        elif step == "rollback":
            earlier = before(adapters.history(self._parts, model))
            ready = None if earlier is None else line.try_on(earlier)
            done = adapters.rollback(self._parts, by, model=model)
        else:
            done = adapters.unload(self._parts, by, model=model)
        line.take_up(ready)
        return done

    async def status(self) -> dict[str, Any]:
        """What answers, what is on the shelf, and how it came to be so."""
        line = await self.line()
        serves = line.serves
        past = await asyncio.to_thread(adapters.history, self._parts, line.reader.digest)
        shelf = [p.name for p in self._parts.shelf.all("nli_adapters")]
        return {
            "model": line.reader.name,
            "model_digest": line.reader.digest,
            "labels": dict(zip(line.reader.raw, line.reader.columns, strict=True)),
            "adapter": serves.variant.adapter,
            "calibration": serves.version,
            "activation": line.activation,
            "problem": line.problem,
            "shelf": shelf,
            "history": [a.model_dump(mode="json") for a in past],
            "batches": line.batcher.batches,
            "rows": line.batcher.rows,
        }

    async def _follow(self) -> None:
        """Take up what other processes have done: a step of the command line, a rollback by the house itself, a new calibration."""
        told: dict[Line, str] = {}
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            for line in list(self._lines.values()):
                wrong = ""
                try:
                    await asyncio.to_thread(line.take_up)
                except Exception as e:  # the watch must outlive whatever a broken file does to it
                    wrong = f"{type(e).__name__}: {e}"
                if wrong and told.get(line) != wrong:  # once, not every second
                    _log.error("What ought to serve as the NLI classifier cannot: %s", wrong)
                told[line] = wrong

    async def close(self) -> None:
        """Stop following and reading."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for line in list(self._lines.values()):
            await asyncio.to_thread(line.batcher.close)


def _encoded(reader: Reader, claims: Sequence[Claim | SekishoError]) -> list[Any]:
    """Every pair as tokens, or what is wrong with it."""
    found: list[Any] = list(claims)
    good = [(i, c) for i, c in enumerate(claims) if not isinstance(c, SekishoError)]
    for (i, _), row in zip(good, reader.encoded([(c.premise, c.hypothesis) for _, c in good]), strict=True):
        found[i] = row
    return found


def _record(
    reader: Reader,
    serves: Serves,
    claim: Claim,
    row: Sequence[float],
    tokens: int,
    spent: float,
    links: Mapping[str, str],
) -> Judgement:
    plain, made = softmax(row), serves.calibration
    sure = plain if made is None else calibrated_row(row, made.method, made.temperature, made.a, made.b)
    raw = house_row(plain, reader.columns)
    answer = max(KEYS, key=lambda k: raw[k])
    return Judgement(
        id=new_id("jdg"),
        at=utc_now(),
        task=TASK,
        type="choice",
        name=TASK,
        probabilities=house_row(sure, reader.columns),
        raw=raw,
        answer=answer,
        decision=answer,
        reasons=("model",),
        stamp=Stamp(
            engine="transformers",
            model=reader.name,
            model_digest=reader.digest,
            adapter_digest=serves.variant.adapter,
            calibration=serves.version,
        ),
        links=dict(links),
        usage={"input_tokens": float(tokens), "milliseconds": spent},
    )


def _raw_label(reader: Reader, record: Judgement) -> str:
    return reader.raw[reader.columns.index(str(record.answer))]
