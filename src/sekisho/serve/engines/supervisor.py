"""Keeps one llama.cpp child alive: starts it, learns its address, restarts it when it dies, ends it. See `child` for the other side."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import ssl
import sys
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import httpx

from ... import metrics
from ...core.errors import DeviceError, EngineError, SekishoError
from ...core.table import ENV_PREFIX
from ..loads import loading

KvType = Literal["F32", "F16", "Q8_0", "Q4_0"]
"""Number types of the key-value cache; a quantised one needs flash attention."""
_LOG_LINES = 40
_PATIENCE = 3.0
"""Seconds a child may take to follow SIGTERM."""
_LONGEST_PAUSE = 10.0
_IDLE = 2.0
"""Seconds an idle connection is kept; the server closes its own after 5, and a request must never meet that moment."""

_log = logging.getLogger("sekisho.llamacpp")


@dataclass(frozen=True)
class Launch:
    """What a child is started with.

    Attributes:
        model: GGUF file.
        context: tokens of one slot.
        slots: requests worked on at once.
        threads: threads for computing.
        device: cpu or cuda; cuda that is absent is refused.
        flash_attention: faster on a GPU; off gives the numbers nearest to transformers.
        kv_type: number type of the key-value cache; F32 is the most faithful.
        http_threads: connections served at once; with few, keep-alive clients stall each other.
    """

    model: str
    context: int
    slots: int
    threads: int
    device: Literal["cpu", "cuda"] = "cpu"
    flash_attention: bool = False
    kv_type: KvType = "F32"
    http_threads: int = 64


class CrashError(EngineError):
    """The child ended without a word; another try may go well."""


class Child:
    """One running child process and the connections to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._client: httpx.AsyncClient | None = None
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._reader = asyncio.create_task(self._read_log())

    @property
    def client(self) -> httpx.AsyncClient:
        """Connections to the child, which must be up."""
        assert self._client is not None
        return self._client

    @classmethod
    async def launch(cls, launch: Launch, seconds: float) -> Child:
        """Start a child and wait until its model is loaded.

        Raises:
            CrashError: when it died, was not ready after `seconds`, could not be started for want of memory or files, or did not say where it serves.
            DeviceError: when it has no GPU and one was asked for.
            EngineError: when it said why it cannot serve; trying again would not help.
        """
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", f"{__package__}.child"),
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                env=_environment(),
            )
        except OSError as e:
            raise CrashError(f"llama.cpp could not be started: {e}.", "Look at memory and open files.") from e
        child = cls(process)
        try:
            await child._shake_hands(launch, seconds)
        except OSError as e:
            await child.close()
            raise CrashError(f"llama.cpp could not be spoken to: {e}.", "Look at memory and disk.") from e
        except (ValueError, KeyError, TypeError, httpx.InvalidURL) as e:
            await child.close()
            raise CrashError(f"llama.cpp's first line cannot be read: {e!r}.", "Install it anew.") from e
        except BaseException:
            await child.close()
            raise
        return child

    async def _shake_hands(self, launch: Launch, seconds: float) -> None:
        """Send the launch on stdin (a key on the command line could be read by anyone) and read the address."""
        key = secrets.token_hex(16)
        message = json.dumps({**asdict(launch), "key": key, "parent": os.getpid()})
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(message.encode() + b"\n")
        try:
            async with asyncio.timeout(seconds):
                line = await self.process.stdout.readline()
        except TimeoutError:
            raise CrashError(
                f"llama.cpp was not ready after {seconds:g} s.", "Use a smaller model."
            ) from None
        if not line:
            await self._reader
            raise CrashError(f"llama.cpp ended while it loaded {Path(launch.model).name}. {self.said()}")
        answer = json.loads(line)
        if "no_device" in answer:
            raise DeviceError(
                answer["no_device"], "Install its GPU build and the driver, or set device to cpu."
            )
        if "error" in answer:
            await self._reader
            raise EngineError(
                f"llama.cpp cannot serve {Path(launch.model).name}: {answer['error']} {self.said(first=True)}",
                "Check the GGUF file and the settings `context` and `device`.",
            )
        self._client = self._connect(answer["address"], key, launch.slots)

    @staticmethod
    def _connect(address: str, key: str, slots: int) -> httpx.AsyncClient:
        """A client for the child; without limits of its own on time, as every call has a deadline, and deaf to proxies.

        Only plain HTTP over loopback is spoken, so the TLS side trusts nobody; loading the usual certificates takes 50 ms.
        """
        width = 2 * slots + 8
        return httpx.AsyncClient(
            base_url=address,
            headers={"Authorization": f"Bearer {key}"},
            timeout=None,  # noqa: S113
            trust_env=False,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            limits=httpx.Limits(
                max_connections=width, max_keepalive_connections=width, keepalive_expiry=_IDLE
            ),
        )

    async def _read_log(self) -> None:
        """Keep the last lines llama.cpp wrote; reading them all keeps the pipe from filling up."""
        assert self.process.stderr
        with suppress(ValueError):  # a line longer than the reader's limit
            async for line in self.process.stderr:
                self._log.append(line.decode("utf-8", "replace").strip())

    def said(self, first: bool = False) -> str:
        """What llama.cpp wrote last; or first, where a failed load names its cause."""
        lines = list(self._log)
        return " | ".join(lines[:3] if first else lines[-3:])

    async def close(self) -> None:
        """End the process, by SIGTERM and then by force, and close the connections."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), _PATIENCE)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    self.process.kill()
                await self.process.wait()
        self._reader.cancel()
        if self._client is not None:
            await self._client.aclose()


def _environment() -> dict[str, str]:
    """What the child gets of this process's environment: none of our settings, as it needs no token."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}


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
