"""One llama.cpp child as its parent has it: launched, spoken to, ended. See `child` for the other side, `supervisor` for who starts another."""

from __future__ import annotations

import asyncio
import json
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

from ...core.errors import DeviceError, EngineError
from ...core.spec import ENV_PREFIX
from .exchange import IDLE, Exchange

KvType = Literal["F32", "F16", "Q8_0", "Q4_0"]
"""Number types of the key-value cache; a quantised one needs flash attention."""
_LOG_LINES = 40
_PATIENCE = 3.0
"""Seconds a child may take to follow SIGTERM."""


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
        cores: the child keeps to these; empty for all that this process may use.
    """

    model: str
    context: int
    slots: int
    threads: int
    device: Literal["cpu", "cuda"] = "cpu"
    flash_attention: bool = False
    kv_type: KvType = "F32"
    http_threads: int = 64
    cores: tuple[int, ...] = ()


class CrashError(EngineError):
    """The child ended without a word; another try may go well."""


class Child:
    """One running child process and the connections to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._client: httpx.AsyncClient | None = None
        self._exchange: Exchange | None = None
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._reader = asyncio.create_task(self._read_log())

    @property
    def client(self) -> httpx.AsyncClient:
        """Connections to the child, which must be up."""
        assert self._client is not None
        return self._client

    @property
    def exchange(self) -> Exchange:
        """Short exchanges with the child, which must be up."""
        assert self._exchange is not None
        return self._exchange

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
        self._exchange = Exchange(answer["address"], key)

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
                max_connections=width, max_keepalive_connections=width, keepalive_expiry=IDLE
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
        if self._exchange is not None:
            self._exchange.close()
        if self._client is not None:
            await self._client.aclose()


def _environment() -> dict[str, str]:
    """What the child gets of this process's environment: none of our settings, as it needs no token."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
