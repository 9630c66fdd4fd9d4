"""The lanes at work: carries the schedule's decisions out over a real engine. One event loop, no locks.

A piece of engine work is a task, and its slot comes free in that task's done-callback and nowhere else: whatever is cancelled, at whichever await, a slot
can neither leak nor be given out twice. A BE text that makes room keeps its tokens and goes on after them; its caller sees time pass.
An RT decision that finds a slot free is done by its caller, as nobody ever stops it, and the slot comes free on his way out.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, cast

from .. import metrics
from ..core.engine import Backend, Engine, EngineInfo, Lane, Message, Piece, Sampling
from ..core.errors import EngineError, EngineTimeoutError, OverloadedError
from ..core.question import OptionScores, Question
from .deadline import by, deadline_in
from .jobs import Job, Run
from .lane_metrics import LaneMetrics
from .lane_status import status_of
from .lane_view import LaneView
from .rules import Action, Refuse, Rules, Start, Stop
from .schedule import Schedule
from .speed import Speed, Stopwatch

_TRIES = 4
"""Times a BE request is begun when the engine breaks under it; RT fails at once, as somebody waits."""
_PAUSE = 0.5
"""Seconds before it is begun again, doubled each time."""


class Lanes:
    """An engine behind two lanes. Fulfils `core.engine.Laned`; called by itself it is the real-time lane.

    Args:
        engine: the backend; nobody else may give it work.
        rules: how the slots are shared out. The backend serves `slots + spare + kept` slots.
    """

    def __init__(self, engine: Backend, rules: Rules) -> None:
        self.engine = engine
        self._schedule = Schedule(rules)
        self._jobs: dict[int, Job] = {}
        self._ids = itertools.count(1)
        self._over: list[int] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._stopped = False
        self._metrics = LaneMetrics(self._schedule)
        self._speed = Speed()

    @property
    def info(self) -> EngineInfo:
        """What is being served."""
        return self.engine.info

    async def start(self) -> None:
        """Start the engine; ready when it is warm."""
        self._stopped = False
        await self.engine.start()
        self._speed.warmed(getattr(self.engine, "warm_rate", None))

    async def stop(self) -> None:
        """Stop the engine. Requests in the lanes fail with EngineError."""
        self._stopped = True
        await self.engine.stop()
        for job in [j for j in self._jobs.values() if j.task is not None or not j.started]:
            job.out.put_nowait(EngineError("The engine was stopped.", "Try again in a moment."))
            self._leave(job)
        self._metrics.close()

    async def healthy(self) -> bool:
        """Whether the engine would answer now."""
        return await self.engine.healthy()

    @property
    def problem(self) -> str | None:
        """What is wrong though it answers: it has become much slower than it was after its start."""
        return self._speed.problem

    def lane(self, lane: Lane) -> Engine:
        """The engine as one of the lanes has it."""
        return LaneView(self, lane)

    async def count(self, text: str) -> int:
        """Number of tokens of `text`; needs no slot."""
        return await self.engine.count(text)

    async def ask(
        self, state: str, questions: Sequence[Question], timeout: float, lane: Lane = "rt"
    ) -> list[OptionScores]:
        """As `Engine.ask`. In the BE lane one question at a time, so that those answered stay answered when it makes room.

        Raises:
            OverloadedError: when the lane's queue is full.
        """
        done: list[OptionScores] = []

        async def run(job: Job, slot: int) -> None:
            while len(done) < len(questions):
                some = questions[len(done) : len(done) + 1] if lane == "be" else questions
                began = self._now()
                new = await self.engine.ask(state, some, job.seconds_left(), slot)
                done.extend(new)
                self._metrics.read(lane, sum(s.input_tokens for s in new), self._now() - began)
                self._progressed(job)
            job.done = True
            self._metrics.ended(lane, sum(s.input_tokens for s in done), 0)
            job.out.put_nowait(done)

        if not questions:
            return []
        job = self._enter(lane, timeout, run)
        actions = self._schedule.arrived(job.id, lane, job.arrived, decision=True)
        mine = next((a for a in actions if isinstance(a, Start) and a.id == job.id), None)
        if lane == "rt" and mine is not None:
            self._do([a for a in actions if a is not mine])
            return await self._here(job, state, questions, mine.seat)
        async with aclosing(self._through(job, actions)) as results:
            return cast(list[OptionScores], await anext(results))

    async def _here(
        self, job: Job, state: str, questions: Sequence[Question], slot: int
    ) -> list[OptionScores]:
        """An RT decision on a slot that is free."""
        job.started = True
        try:
            done = await self.engine.ask(state, questions, job.seconds_left(), slot)
            metrics.soon(self._metrics.decided, job.lane, done, self._now() - job.arrived)
            return done
        finally:
            self._over.append(job.id)
            asyncio.get_running_loop().call_soon(self._clear)

    def _clear(self) -> None:
        """Free the slots of decisions that have been made: before anybody else comes, and once their caller has gone on."""
        while self._over:
            id = self._over.pop(0)
            self._jobs.pop(id, None)
            self._do(self._schedule.ended(id, self._now()))

    async def generate(
        self, messages: Sequence[Message], sampling: Sampling, timeout: float, lane: Lane = "rt"
    ) -> AsyncIterator[Piece]:
        """As `Engine.generate`. In the BE lane the text makes room for RT and goes on later, from its tokens; one that can only be written
        whole is begun again, and leaves when it is done.

        Raises:
            OverloadedError: when the lane's queue is full.
        """

        async def run(job: Job, slot: int) -> None:
            written = list(job.tokens) if lane == "be" and not sampling.whole else None
            held: list[Piece] = []
            pieces = self.engine.generate(messages, sampling, job.seconds_left(), slot, written)
            watch = Stopwatch(self._now())
            try:
                async with aclosing(pieces) as text:  # type: ignore[type-var]
                    async for piece in text:
                        job.tokens += piece.tokens
                        watch.piece(self._now(), piece.output_tokens or len(job.tokens) or 1)
                        if piece.text or piece.finish:
                            held.append(piece.model_copy(update={"tokens": ()}))
                        job.done = piece.finish is not None
                        if lane == "be" and sampling.whole and not job.done:
                            continue
                        while held:
                            job.out.put_nowait(held.pop(0))
                        self._progressed(job)
            finally:
                if (rate := watch.rate) is not None:
                    self._speed.note(rate)
                    self._metrics.wrote(lane, rate)
            self._metrics.ended(lane, piece.input_tokens, piece.output_tokens)
            if lane == "rt" and watch.first is not None:
                self._metrics.read(lane, piece.input_tokens, watch.first - watch.began)

        job = self._enter(lane, timeout, run)
        async with aclosing(self._through(job, self._schedule.arrived(job.id, lane, job.arrived))) as pieces:
            async for piece in pieces:
                yield piece
                if piece.finish is not None:
                    return

    def status(self) -> dict[str, Any]:
        """As `status_of`."""
        self._clear()
        return status_of(self._schedule, lambda id: self._jobs[id].lane)

    def retry_after(self, lane: Lane) -> int:
        """Whole seconds after which somebody who is refused now may try again."""
        return max(1, math.ceil(self._schedule.estimate(lane)))

    # A request's way through

    def _enter(self, lane: Lane, timeout: float, run: Run) -> Job:
        self._clear()
        job = Job(next(self._ids), lane, self._now(), deadline_in(timeout), run)
        self._jobs[job.id] = job
        return job

    async def _through(self, job: Job, actions: Sequence[Action]) -> AsyncGenerator[Any]:
        """Carry out what a request's arrival brought, and yield what it gives, until its deadline. Closing this takes it out wherever it is."""
        try:
            self._do(actions)
            while True:
                given = await by(job.deadline, job.out.get())
                if isinstance(given, BaseException):
                    raise given
                yield given
        finally:
            task = None if job.done else job.task
            self._leave(job)
            if task is not None:
                await asyncio.wait({task})

    def _leave(self, job: Job) -> None:
        if job.id in self._jobs and not (job.left or job.done):
            job.left = True
            self._do(self._schedule.left(job.id, self._now()))
            if job.task is None:
                self._jobs.pop(job.id, None)

    def _progressed(self, job: Job) -> None:
        if not job.answered:
            job.answered = True
            self._metrics.answered(job.lane, self._now() - job.arrived)
        self._do(self._schedule.progressed(job.id, self._now()))

    # Actions and what comes of them

    def _do(self, actions: Sequence[Action]) -> None:
        """Carry out what was decided, and set the alarm for the next decision that only time brings."""
        for action in actions:
            if isinstance(action, Start):
                self._start(self._jobs[action.id], action.seat)
            elif isinstance(action, Stop):
                self._stop(self._jobs[action.id])
            elif isinstance(action, Refuse):
                self._refuse(self._jobs.pop(action.id), action.retry_after)
            else:
                metrics.LANE_AGED.inc()
        metrics.soon(self._show)
        self._set_alarm()

    def _show(self) -> None:
        if not self._stopped:
            self._metrics.show()

    def _start(self, job: Job, slot: int) -> None:
        self._metrics.started(job.lane, None if job.started else self._now() - job.arrived, len(job.tokens))
        job.started, job.stopping = True, False
        job.task = asyncio.create_task(self._work(job, slot))
        job.task.add_done_callback(partial(self._finished, job))

    def _stop(self, job: Job) -> None:
        assert job.task is not None
        job.stopping = True
        if not job.left:
            metrics.LANE_PREEMPTIONS.inc()
        job.task.cancel()

    def _refuse(self, job: Job, retry_after: int) -> None:
        metrics.LANE_REFUSED.labels(job.lane).inc()
        metrics.REFUSED.inc()
        waiting = self._schedule.waiting(job.lane)
        job.left = True
        job.out.put_nowait(
            OverloadedError(
                f"{waiting} requests wait in the {job.lane} lane already, and no more may.",
                "Try again after the stated seconds.",
                retry_after,
            )
        )

    async def _work(self, job: Job, slot: int) -> None:
        """Run a job on its slot; BE is begun again when the engine breaks under it."""
        while True:
            try:
                return await job.run(job, slot)
            except EngineTimeoutError:
                raise
            except EngineError:
                if job.lane == "rt" or self._stopped or job.tries >= _TRIES:
                    raise
            await asyncio.sleep(_PAUSE * 2 ** (job.tries - 1))
            job.tries += 1

    def _finished(self, job: Job, task: asyncio.Task[None]) -> None:
        """The engine is done with a job: its slot is free. A job that was told to stop waits again, unless it had come to its end."""
        job.task = None
        failed = task.cancelled() or task.exception() is not None
        if job.stopping and failed and not (job.left or job.done):
            self._do(self._schedule.stopped(job.id, self._now()))
            return
        self._jobs.pop(job.id, None)
        if failed:
            error = None if task.cancelled() else task.exception()
            job.out.put_nowait(error or EngineError("The engine was stopped.", "Try again in a moment."))
        self._do(self._schedule.ended(job.id, self._now()))

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        wake = self._schedule.wake()
        loop = asyncio.get_running_loop()
        self._alarm = None if wake is None else loop.call_at(max(wake, loop.time()), self._tick)

    def _tick(self) -> None:
        self._do(self._schedule.ticked(self._now()))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
