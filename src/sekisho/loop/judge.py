"""Judge: ask the engine, calibrate, decide, write down, and only then release."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain

from .. import metrics
from ..core.canonical import new_id
from ..core.engine import Lane, Message, Piece, Sampling
from ..core.errors import EngineError, EngineTimeoutError, OverloadedError, SekishoError, TooLargeError
from ..core.gate_prompt import DEFAULT_LEVEL
from ..core.question import OptionScores, Question
from ..core.records import Judgement
from ..host.awake import Awake
from ..ledger.store import Ledger
from ..tasks import gate
from ..tasks.gate import Reading
from .entries import Asked, Serving, check_scores, gate_entry, kept, question_entry, raw_probabilities
from .keeping import Keeper, Sealing
from .queues import place
from .writing import Asking, Writer

_GRACE_SECONDS = 0.25
"""Engines keep the deadline themselves; one that does not is cut off so much later."""
_COMMIT_SECONDS = 1.0
"""The end of a deadline, kept for the ledger: an answer counts when it is durable. Of a short deadline, an eighth; the ledger then has a little more."""
_WRITING_SECONDS = 120.0
"""A free-text answer may take so long."""

_log = logging.getLogger("sekisho.judge")


Desk = tuple[str, str | None]
"""The identity contract under which the gate judges, and the level of secrecy; None is the default level."""


@dataclass
class Chat:
    """The outcome of a chat request. `text` is set when it was refused or escalated, else `pieces` writes the answer."""

    judgement: Judgement
    text: str | None
    pieces: AsyncGenerator[Piece] | None


class Judge:
    """Every judgement of the house is made here.

    Args:
        serving: what serves now; replaced as a whole by a promotion.
        ledger: where judgements become durable before anything is released.
        deadline: seconds for a decision and its commit. The engine has all but the last of them; later is ESCALATE.
        queue: requests that may wait in a lane; one more is OverloadedError.
        batch: deadline and queue of the batch lane; the same as above when None. Its texts may take as long as its decisions.
        awake: keeps cores awake while real-time requests are open; None lets them sleep.
    """

    def __init__(
        self,
        serving: Serving,
        ledger: Ledger,
        deadline: float,
        queue: int,
        batch: tuple[float, int] | None = None,
        awake: Awake | None = None,
    ) -> None:
        self.serving = serving
        self._keeper, self._awake = Keeper(ledger), awake or Awake(None)
        self._writer = Writer(ledger, self._keeper)
        late, many = batch or (deadline, queue)
        self._deadlines: dict[Lane, float] = {"rt": deadline, "be": late}
        self._writing: dict[Lane, float] = {"rt": _WRITING_SECONDS, "be": max(_WRITING_SECONDS, late)}
        self._queues: dict[Lane, int] = {"rt": queue, "be": many}
        self._open: dict[Lane, int] = {"rt": 0, "be": 0}

    def close(self) -> None:
        """Let the cores sleep; what serves is stopped by whoever started it."""
        self._awake.close()

    @property
    def longest_seconds(self) -> float:
        """The longest time a request may hold what serves: a decision and a text after it, in the slower lane."""
        return max(self._deadlines.values()) + max(self._writing.values())

    async def gate(
        self,
        request: str,
        contract: str = "general",
        links: Mapping[str, str] | None = None,
        lane: Lane = "rt",
        level: str | None = None,
    ) -> Judgement:
        """Judge one request, at a level of secrecy or the default one. A missing, late or unreadable answer is recorded as ESCALATE.

        Raises:
            InputError: for an empty request.
            OverloadedError: when the lane's queue is full; nothing is recorded then.
            LedgerError: when the judgement could not be made durable in time; nothing may be released then.
        """
        with self.serving.used() as serving:
            return await self._gated(serving, [request], (contract, level), links or {}, lane)

    async def _gated(
        self,
        serving: Serving,
        requests: Sequence[str],
        desk: Desk,
        links: Mapping[str, str],
        lane: Lane,
    ) -> Judgement:
        """Judge several texts of one conversation by the strictest of their readings.

        They are also read joined, as one text: a request may be split so that no part of it says anything.
        """
        with self._place("gate", lane):
            start, until = time.monotonic(), self._until(lane)
            whole = ["\n".join(requests)] if len(requests) > 1 else []
            readings, scored = await self._read(serving, [*requests, *whole], desk, lane, until)
            reading = gate.strictest(readings)
            record = gate_entry(serving, reading, requests, desk, links)
            usage: dict[str, float] = {"milliseconds": round(1000 * (time.monotonic() - start), 3)}
            if (found := scored.get(readings.index(reading))) is not None:
                raw, scores = found
                usage["input_tokens"] = scores.input_tokens
                stamp = serving.stamp_for("gate", scores.by)
                record = record.model_copy(update={"raw": raw, "stamp": stamp})
            record = record.model_copy(update={"usage": usage})
            content = {"requests": list(requests), "contract": desk[0]}
            content |= {"level": desk[1]} if desk[1] else {}
            return (await self._keeper.keep([record], content, until + _COMMIT_SECONDS, self._alone))[0]

    async def _read(
        self, serving: Serving, requests: Sequence[str], desk: Desk, lane: Lane, until: float
    ) -> tuple[list[Reading], dict[int, tuple[dict[str, float], OptionScores]]]:
        """One reading a text, and the raw probabilities and scores of those the engine answered.

        Once the time is up, one ESCALATE stands for every text that is left: the engine has others to answer.
        """
        readings: list[Reading] = []
        scored: dict[int, tuple[dict[str, float], OptionScores]] = {}
        for i, request in enumerate(requests):
            if i and time.monotonic() >= until:
                readings.append(gate.unread(EngineTimeoutError.code))
                break
            state, question = gate.ask(request, desk[0], desk[1] or DEFAULT_LEVEL)
            try:
                left = until - time.monotonic()
                scores = (await self._scores(serving, state, [question], left, lane))[0]
            except OverloadedError:
                raise
            except SekishoError as e:
                readings.append(gate.unread(e.code))
                continue
            scores = serving.pooled(request, scores)
            probabilities = serving.calibrated(question, scores)
            found = serving.guards(request)
            readings.append(gate.read(probabilities, serving.threshold, found))
            scored[i] = (raw_probabilities(question, scores), scores)
        return readings, scored

    async def ask(
        self,
        state: str,
        asked: Sequence[Asked],
        links: Mapping[str, str] | None = None,
        lane: Lane = "rt",
        level: str | None = None,
    ) -> list[Judgement]:
        """Answer typed questions over one state; the gate is the question named `gate`. All are recorded together.

        Raises:
            TooLargeError, EngineError: no question is answered then; what concerns the gate is recorded as ESCALATE.
            OverloadedError, LedgerError: as `gate`.
        """
        with self._place("question", lane), self.serving.used() as serving:
            until = self._until(lane)
            shared = {"request": new_id("req"), **(links or {})}
            content = Sealing(lambda: {"state": state, "questions": [kept(a) for a in asked]})
            try:
                scores = await self._all_scores(serving, state, asked, lane, until, level)
            except (TooLargeError, EngineError) as e:
                gates = [a for a in asked if gate.is_gate(a.name, a.question)]
                unread = [
                    gate_entry(serving, gate.unread(e.code), [state], ("general", level), shared)
                    for _ in gates
                ]
                if unread:
                    await self._keeper.keep(unread, {"state": state}, until + _COMMIT_SECONDS)
                raise
            records = [
                question_entry(serving, state, a, s, shared, level)
                for a, s in zip(asked, scores, strict=True)
            ]
            return await self._keeper.keep(records, content, until + _COMMIT_SECONDS, self._alone)

    @property
    def _alone(self) -> bool:
        """Whether one request is open, which is the one that asks."""
        return sum(self._open.values()) == 1

    def _until(self, lane: Lane) -> float:
        """The time at which the engine must have answered a request that came now; its commit has `_COMMIT_SECONDS` from then."""
        seconds = self._deadlines[lane]
        return time.monotonic() + seconds - min(_COMMIT_SECONDS, seconds / 8)

    async def _all_scores(
        self,
        serving: Serving,
        state: str,
        asked: Sequence[Asked],
        lane: Lane,
        until: float,
        level: str | None,
    ) -> list[OptionScores]:
        """Scores in the order asked. The gate, by name, is asked in its own words over its own state."""
        plain = [a.question for a in asked if not gate.is_gate(a.name, a.question)]
        left = until - time.monotonic()
        rest = iter(await self._scores(serving, state, plain, left, lane) if plain else [])
        scores: list[OptionScores] = []
        for a in asked:
            if gate.is_gate(a.name, a.question):
                own, question = gate.ask(state, level=level or DEFAULT_LEVEL)
                scores += await self._scores(serving, own, [question], until - time.monotonic(), lane)
            else:
                scores.append(next(rest))
        return scores

    async def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        contract: str = "general",
        lane: Lane = "rt",
        links: Mapping[str, str] | None = None,
        level: str | None = None,
        streamed: bool = False,
    ) -> Chat:
        """Judge the tools and every message, then answer, or say why not; all of it by what serves now, also when a promotion comes between.

        When `streamed`, each piece is durable before it leaves.

        An assistant's message is passed over only when this server wrote it: a client may put anything under that name.
        """
        said = (m.texts for m in messages if not self._writer.wrote(m))
        texts = [*sampling.texts, *chain.from_iterable(said)]
        with ExitStack() as use:
            serving = use.enter_context(self.serving.used())
            judgement = await self._gated(serving, texts or [""], (contract, level), links or {}, lane)
            if judgement.decision != "ALLOW":
                text = gate.words(serving.policy, judgement, texts[-1], contract)
                return Chat(judgement, text, None)
            asked = Asking(messages, sampling, lane, self._writing[lane], streamed)
            held = (use.pop_all(), self._place("chat", lane))
            return Chat(judgement, None, self._writer.write(serving, held, judgement, asked))

    async def _scores(
        self, serving: Serving, state: str, questions: Sequence[Question], seconds: float, lane: Lane
    ) -> list[OptionScores]:
        """Ask the engine. Whatever it does wrong, also a fault of its code, is an EngineError; nothing else gets out of here."""
        seconds, began = max(seconds, 0.001), time.monotonic()
        try:
            async with asyncio.timeout(seconds + _GRACE_SECONDS):
                scores = await serving.lane(lane).ask(state, questions, timeout=seconds)
        except SekishoError:
            raise
        except TimeoutError as e:
            raise EngineTimeoutError(f"The engine took longer than {seconds:.3g} s.", "Try again.") from e
        except Exception as e:
            _log.exception("the engine failed")
            raise EngineError(f"The engine failed: {type(e).__name__}.", "See the server's log.") from e
        finally:
            metrics.soon(metrics.ENGINE_SECONDS.observe, time.monotonic() - began)
        check_scores(questions, scores)
        return scores

    @contextmanager
    def _place(self, task: str, lane: Lane) -> Iterator[None]:
        kept = self._awake.held() if lane == "rt" else nullcontext()
        with place(task, lane, self._queues[lane], self._open, self.serving.retry_after), kept:
            yield
