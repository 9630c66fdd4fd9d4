"""The NLI service: pairs in, judgements out. What answers is what the ledger's latest step says; a swap is one assignment."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from .. import metrics
from ..core.adapting import Activation, Calibrated
from ..core.canonical import new_id, utc_now
from ..core.errors import (
    ConflictError,
    EngineError,
    SekishoError,
    ShelfError,
)
from ..core.garbage import settle
from ..core.nli_labels import KEYS, house_row
from ..core.records import Judgement, Stamp
from ..ledger import adapting
from ..ledger.store import Ledger
from ..proof.row import calibrated_row, softmax
from ..serve.nli_batches import Batcher
from ..tasks.adapting import active, before
from ..tasks.nli import Claim, claim_of, is_nli
from . import adapters
from .nli_answers import Answer, wire
from .parts import Parts
from .reviewed import TASK

Which = Literal["fast", "slow"]
CHUNK = 64
"""Pairs of one request that stand in line at once, so that a long request does not keep others waiting."""
_POLL_SECONDS = 1.0
_SICK = "See `sekisho adapt list`; roll back, or unload."
__all__ = ["Answer", "Claim", "Line", "Nli", "Serves", "claim_of", "is_nli", "truncation", "wire"]
_log = logging.getLogger("sekisho.nli")


class Reader(Protocol):
    """A classifier as this verb needs it; `serve.nli.Classifier` is one."""

    name: str
    digest: str
    columns: tuple[str, ...]
    raw: tuple[str, ...]
    longest: int

    @property
    def base(self) -> Any:
        """What answers without an adapter."""
        ...

    def over(self, folder: Any, digest: str) -> Any:
        """What answers with one."""
        ...

    def encoded(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Any]:
        """Each pair as tokens, or the SekishoError that says why it cannot be read."""
        ...


@dataclass(frozen=True)
class Serves:
    """What answers now. A request takes one snapshot of it and keeps it to its end."""

    variant: Any
    calibration: Calibrated | None

    @property
    def version(self) -> str:
        """Name of the calibration in force."""
        return self.calibration.version if self.calibration else "uncalibrated"


class Line:
    """One classifier with its batches and what is laid over it. Opened in a thread: loading takes seconds."""

    def __init__(self, parts: Parts, which: Which) -> None:
        settings = parts.settings
        self._parts = parts
        reader = parts.nli_reader(adapters.nli_folder(parts, which))
        self.reader: Reader = reader
        self.batcher = Batcher(reader.logits, settings.nli_batch, settings.nli_queue)
        self._swap = threading.Lock()
        self.serves = Serves(reader.base, None)
        self.problem: str | None = None
        self.activation: str | None = None
        try:
            self.take_up()
        except SekishoError:
            if self.problem is None:
                raise
            # Else `problem` says it, and the way back over HTTP stays open.

    def take_up(self, ready: Any = None) -> bool:
        """Let the ledger's latest step come true; return whether anything changed.

        Args:
            ready: a variant that was laid just now, should it be what is wanted.

        Raises:
            SekishoError: the adapter that ought to serve is damaged, or cannot be read. Until it is mended or rolled back, nothing is answered.
        """
        with self._swap:
            past = adapters.history(self._parts, self.reader.digest)
            wanted = active(past)
            calibrations = adapting.calibrations(self._parts.ledger, TASK, self.reader.digest, wanted)
            calibration = calibrations[-1] if calibrations else None
            now = self.serves
            if now.variant.adapter == wanted and now.version == (
                calibration.version if calibration else "uncalibrated"
            ):
                self.problem = None
                self.activation = past[-1].id if past else None
                return False
            try:
                laid = next((v for v in (now.variant, ready) if v and v.adapter == wanted), None)
                variant = laid or self._variant(wanted)
            except Exception as e:  # whatever it is, what answers now is not what ought to
                error = e if isinstance(e, SekishoError) else ShelfError(f"{type(e).__name__}: {e}.")
                self.problem = str(error)
                raise error from e
            self.serves = Serves(variant, calibration)
            self.problem, self.activation = None, past[-1].id if past else None
            return True

    def _variant(self, wanted: str | None) -> Any:
        if wanted is None:
            return self.reader.base
        folder, digest = adapters.adapter_folder(self._parts, wanted)
        return self.reader.over(folder, digest)

    def try_on(self, name: str) -> Any:
        """Load an adapter without letting it answer, so that a damaged one is known before anything is written."""
        return self.reader.over(*adapters.adapter_folder(self._parts, name))


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


def truncation(reader: Reader) -> dict[str, Any]:
    """What is done to a pair that is too long, in the words of the answer."""
    return {
        "max_tokens": reader.longest,
        "policy": "premise_end",
        "meaning": "A pair above max_tokens loses the end of its premise (`cut_tokens` says how much); the hypothesis is never cut.",
    }
