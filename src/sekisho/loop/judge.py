"""Judge: ask the engine, calibrate, decide, write down, and only then release."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from .. import metrics
from ..core.canonical import digest_text, new_id, utc_now
from ..core.engine import Lane, Message, Piece, Sampling
from ..core.errors import EngineError, EngineTimeoutError, OverloadedError, SekishoError, TooLargeError
from ..core.gate_prompt import DEFAULT_LEVEL
from ..core.question import OptionScores, Question
from ..core.records import Judgement
from ..ledger.store import Ledger
from ..tasks import gate
from ..tasks.gate import Reading
from .entries import Asked, Serving, check_scores, gate_entry, kept, question_entry, raw_probabilities
from .queues import place
from .streams import Stretches

_GRACE_SECONDS = 0.25
"""Engines keep the deadline themselves; one that does not is cut off so much later."""
_WRITING_SECONDS = 120.0
"""A free-text answer may take so long."""

_REMEMBERED = 10_000
"""Answers of its own that a server knows again; older ones are judged like a person's words."""

_log = logging.getLogger("sekisho.judge")


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
        deadline: seconds after which a decision is ESCALATE.
        queue: requests that may wait in a lane; one more is OverloadedError.
        batch: deadline and queue of the batch lane; the same as above when None. Its texts may take as long as its decisions.
    """

    def __init__(
        self,
        serving: Serving,
        ledger: Ledger,
        deadline: float,
        queue: int,
        batch: tuple[float, int] | None = None,
    ) -> None:
        self.serving = serving
        self._ledger = ledger
        late, many = batch or (deadline, queue)
        self._deadlines: dict[Lane, float] = {"rt": deadline, "be": late}
        self._writing: dict[Lane, float] = {"rt": _WRITING_SECONDS, "be": max(_WRITING_SECONDS, late)}
        self._queues: dict[Lane, int] = {"rt": queue, "be": many}
        self._open: dict[Lane, int] = {"rt": 0, "be": 0}
        self._released: OrderedDict[str, None] = OrderedDict()

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
            LedgerError: when the judgement could not be made durable; nothing may be released then.
        """
        return await self._gated([request], (contract, level), links or {}, lane)

    async def _gated(
        self, requests: Sequence[str], desk: tuple[str, str | None], links: Mapping[str, str], lane: Lane
    ) -> Judgement:
        """Judge several texts of one conversation by the strictest of their readings.

        They are also read joined, as one text: a request may be split so that no part of it says anything.
        """
        with self._place("gate", lane):
            serving, start, contract = self.serving, time.monotonic(), desk[0]
            whole = ["\n".join(requests)] if len(requests) > 1 else []
            readings, scored = await self._read(serving, [*requests, *whole], desk, lane)
            reading = gate.strictest(readings)
            record = gate_entry(serving, reading, requests[-1], contract, links)
            raw, tokens = scored.get(readings.index(reading), ({}, 0))
            usage = {"input_tokens": tokens, "milliseconds": round(1000 * (time.monotonic() - start), 3)}
            record = record.model_copy(update={"raw": raw, "usage": usage})
            content = {"requests": list(requests), "contract": contract}
            return await self._keep(record, content | ({"level": desk[1]} if desk[1] else {}))

    async def _read(
        self, serving: Serving, requests: Sequence[str], desk: tuple[str, str | None], lane: Lane
    ) -> tuple[list[Reading], dict[int, tuple[dict[str, float], int]]]:
        """One reading a text, and the raw probabilities and token counts of those the engine answered.

        Once the time is up, one ESCALATE stands for every text that is left: the engine has others to answer.
        """
        readings: list[Reading] = []
        scored: dict[int, tuple[dict[str, float], int]] = {}
        until = time.monotonic() + self._deadlines[lane]
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
            probabilities = serving.calibrated(question, scores)
            found = serving.guards(request)
            readings.append(gate.read(probabilities, serving.threshold, found))
            scored[i] = (raw_probabilities(question, scores), scores.input_tokens)
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
        """
        with self._place("question", lane):
            serving = self.serving
            shared = {"request": new_id("req"), **(links or {})}
            try:
                scores = await self._all_scores(serving, state, asked, lane, level)
            except (TooLargeError, EngineError) as e:
                await self._unanswered(serving, state, asked, shared, e)
                raise
            records = [
                question_entry(serving, state, a, s, shared) for a, s in zip(asked, scores, strict=True)
            ]
            return await self._keep_all(records, {"state": state, "questions": [kept(a) for a in asked]})

    async def _all_scores(
        self, serving: Serving, state: str, asked: Sequence[Asked], lane: Lane, level: str | None
    ) -> list[OptionScores]:
        """Scores in the order asked. The gate, by name, is asked in its own words over its own state."""
        deadline = self._deadlines[lane]
        until = time.monotonic() + deadline
        plain = [a.question for a in asked if not gate.is_gate(a.name, a.question)]
        rest = iter(await self._scores(serving, state, plain, deadline, lane) if plain else [])
        scores: list[OptionScores] = []
        for a in asked:
            if gate.is_gate(a.name, a.question):
                own, question = gate.ask(state, level=level or DEFAULT_LEVEL)
                scores += await self._scores(serving, own, [question], until - time.monotonic(), lane)
            else:
                scores.append(next(rest))
        return scores

    async def _unanswered(
        self,
        serving: Serving,
        state: str,
        asked: Sequence[Asked],
        links: Mapping[str, str],
        error: SekishoError,
    ) -> None:
        gates = [a for a in asked if gate.is_gate(a.name, a.question)]
        records = [gate_entry(serving, gate.unread(error.code), state, "general", links) for _ in gates]
        if records:
            await self._keep_all(records, {"state": state})

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
        """Judge every message, then answer, or say why not. When `streamed`, each piece is durable before it leaves.

        An assistant's message is passed over only when this server wrote it: a client may put anything under that name.
        """
        texts = [m.content for m in messages if m.content.strip() and not self._is_ours(m)]
        judgement = await self._gated(texts or [""], (contract, level), links or {}, lane)
        if judgement.decision != "ALLOW":
            text = gate.words(self.serving.policy, judgement.decision, texts[-1], judgement.id, contract)
            return Chat(judgement, text, None)
        return Chat(judgement, None, self._written(messages, sampling, judgement, lane, streamed))

    async def _written(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        judgement: Judgement,
        lane: Lane,
        streamed: bool,
    ) -> AsyncGenerator[Piece]:
        """Write the answer; its record is durable before the last piece leaves, also when the client goes away."""
        serving, text, last = self.serving, "", Piece(text="")
        stretches = Stretches(self._ledger, judgement.id, serving.stamp_for("chat"))
        with self._place("chat", lane):
            pieces = serving.lane(lane).generate(messages, sampling, timeout=self._writing[lane])
            try:
                async for piece in pieces:
                    text, last = text + piece.text, piece
                    if piece.finish is None:
                        ready = await stretches.take(piece) if streamed else piece
                        if ready is not None:
                            yield ready
            except SekishoError:
                raise
            except Exception as e:
                _log.exception("the engine failed while writing")
                raise EngineError(f"The engine failed: {type(e).__name__}.", "See the server's log.") from e
            finally:
                await pieces.aclose()  # type: ignore[attr-defined]
                await asyncio.shield(self._chat_record(serving, judgement, text, last))
        if last.finish is None:
            raise EngineError("The engine stopped in the middle of its answer.", "Try again.")
        yield stretches.close(last)

    async def _chat_record(self, serving: Serving, judgement: Judgement, text: str, last: Piece) -> None:
        record = Judgement(
            id=new_id("jdg"),
            at=utc_now(),
            task="chat",
            decision="released" if last.finish else "interrupted",
            stamp=serving.stamp_for("chat"),
            links={"gate": judgement.id},
            usage={"input_tokens": last.input_tokens, "output_tokens": last.output_tokens},
        )
        await self._keep(record, {"answer": text})
        self._released[digest_text(text)] = None
        while len(self._released) > _REMEMBERED:
            self._released.popitem(last=False)

    def _is_ours(self, message: Message) -> bool:
        return message.role == "assistant" and digest_text(message.content) in self._released

    async def _scores(
        self, serving: Serving, state: str, questions: Sequence[Question], seconds: float, lane: Lane
    ) -> list[OptionScores]:
        """Ask the engine. Whatever it does wrong, also a fault of its code, is an EngineError; nothing else gets out of here."""
        seconds = max(seconds, 0.001)
        try:
            with metrics.ENGINE_SECONDS.time():
                async with asyncio.timeout(seconds + _GRACE_SECONDS):
                    scores = await serving.lane(lane).ask(state, questions, timeout=seconds)
        except SekishoError:
            raise
        except TimeoutError as e:
            raise EngineTimeoutError(f"The engine took longer than {seconds:.3g} s.", "Try again.") from e
        except Exception as e:
            _log.exception("the engine failed")
            raise EngineError(f"The engine failed: {type(e).__name__}.", "See the server's log.") from e
        check_scores(questions, scores)
        return scores

    async def _keep(self, record: Judgement, content: Any) -> Judgement:
        return (await self._keep_all([record], content))[0]

    async def _keep_all(self, records: Sequence[Judgement], content: Any) -> list[Judgement]:
        """Seal the content, append all records in one transaction, and count them once they are durable."""
        sealed = Ledger.seal(content)
        kept = [r.model_copy(update={"content": sealed.digest}) for r in records]
        with metrics.LEDGER_SECONDS.time():
            await asyncio.to_thread(self._ledger.append, kept, [sealed])
        for record in kept:
            metrics.JUDGEMENTS.labels(
                record.task, record.decision if record.task == "gate" else "answered"
            ).inc()
            for reason in record.reasons if record.task == "gate" else ():
                metrics.REASONS.labels(reason).inc()
        return kept

    def _place(self, task: str, lane: Lane) -> AbstractContextManager[None]:
        return place(task, lane, self._queues[lane], self._open, self.serving.retry_after)
