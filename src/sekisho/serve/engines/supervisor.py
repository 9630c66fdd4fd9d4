"""Keeps one llama.cpp child alive: starts it, restarts it when it dies, ends it."""

from __future__ import annotations

import asyncio
import logging

import httpx

from ... import metrics
from ...core.errors import EngineError, SekishoError
from ..loads import loading
from .exchange import Exchange
from .process import Child, CrashError, Launch

_LONGEST_PAUSE = 10.0

_log = logging.getLogger("sekisho.llamacpp")


class Supervisor:
    """Owns the child and starts another when it dies.

    Args:
        launch: what every child is started with.
        load_seconds: longest time one load may take.
        restarts: deaths in a row that are answered with another child; after that the engine stays down.
        pause: seconds before the first restart, doubled each time.
        calm: seconds of service after which deaths are counted anew.
    """

    def __init__(
        self,
        launch: Launch,
        load_seconds: float = 300.0,
        restarts: int = 5,
        pause: float = 0.2,
        calm: float = 60.0,
    ) -> None:
        self._launch = launch
        self._load_seconds = load_seconds
        self._restarts = restarts
        self._pause = pause
        self._calm = calm
        self._child: Child | None = None
        self._guard: asyncio.Task[None] | None = None
        self._why_down = "it was not started"

    @property
    def pid(self) -> int | None:
        """Process id of the child; None while there is none."""
        return self._child.process.pid if self._child else None

    @property
    def client(self) -> httpx.AsyncClient:
        """Connections to the living child.

        Raises:
            EngineError: while there is none; requests fail at once instead of waiting for a restart.
        """
        return self._up().client

    @property
    def exchange(self) -> Exchange:
        """Short exchanges with the living child. Raises EngineError while there is none."""
        return self._up().exchange

    def require_up(self) -> None:
        """Raise EngineError while there is no living child."""
        self._up()

    def _up(self) -> Child:
        if self._child is None or self._child.process.returncode is not None:
            raise EngineError(f"llama.cpp is not running: {self._why_down}.", "Try again in a moment.")
        return self._child

    async def start(self) -> None:
        """Start the first child and guard it. Raises EngineError when none comes up."""
        if self._guard is not None:
            return
        self._child = await self._bring_up(0)
        self._guard = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """End the child and its guard; safe to call twice."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.cancel()
            try:
                await guard
            except asyncio.CancelledError:
                pass
            except Exception:  # the child is ended all the same
                _log.exception("the guard over llama.cpp had failed")
        child, self._child = self._child, None
        self._why_down = "it was stopped"
        if child is not None:
            await child.close()

    async def _watch(self) -> None:
        """Replace the child each time it dies, until it has died too often in a row."""
        deaths = 0
        while self._child is not None:
            born = asyncio.get_running_loop().time()
            code = await self._child.process.wait()
            dead, self._child = self._child, None
            self._why_down = f"its process ended with {code}"
            metrics.ENGINE_DEATHS.inc()
            _log.warning("llama.cpp died: %s. %s", self._why_down, dead.said())
            await dead.close()
            deaths = 1 if asyncio.get_running_loop().time() - born > self._calm else deaths + 1
            try:
                self._child = await self._bring_up(deaths)
                metrics.ENGINE_RESTARTS.inc()
                _log.info("llama.cpp serves again, as process %d", self._child.process.pid)
            except SekishoError as e:
                self._why_down = f"{e.what.rstrip('.')}; it will not be started again"
                _log.error("llama.cpp is down: %s", self._why_down)

    async def _bring_up(self, deaths: int) -> Child:
        """Launch a child after `deaths` deaths in a row, and again while it crashes, with growing pauses between."""
        last = CrashError(
            f"llama.cpp died {deaths} times in a row.", "Look at the model file and the memory."
        )
        while deaths <= self._restarts:
            if deaths:
                await asyncio.sleep(min(self._pause * 2 ** (deaths - 1), _LONGEST_PAUSE))
            try:
                with loading("restart" if deaths else "start"):
                    return await Child.launch(self._launch, self._load_seconds)
            except CrashError as e:
                last, deaths = e, deaths + 1
        raise last
