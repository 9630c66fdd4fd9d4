"""Cores that do not fall asleep while somebody waits: Linux's quality of service for power management (kernel documentation, power/pm_qos_interface).

Between a question and its answer a server sleeps and is woken several times, and a core that has gone to sleep deeply takes its time and has lost its caches. A program
that may write to the device says how many microseconds a core may take to wake; 0 keeps all of them awake, which costs power. So it is said only while
real-time requests are open and for a moment after the last of them.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DEVICE = Path("/dev/cpu_dma_latency")
LINGER = 1.0
"""Seconds after the last request: the next one often comes soon."""
_NOW, _WHENEVER = struct.pack("i", 0), struct.pack("i", 2_000_000_000)


class Awake:
    """Keeps cores awake, where this process may; elsewhere it does nothing.

    Args:
        device: the device to say it to; None says it to nobody.

    Attributes:
        problem: why it cannot; None when it can.
    """

    def __init__(self, device: Path | None = DEVICE) -> None:
        self.problem: str | None = None
        self._file: int | None = None
        self._open, self._loop = 0, None  # type: int, asyncio.AbstractEventLoop | None
        self._latest = 0.0
        if device is None:
            return
        try:
            self._file = os.open(device, os.O_WRONLY)
            self._say(_WHENEVER)
        except OSError as e:
            self.problem = f"{device}: {e.strerror}"
            self.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the cores awake for this block and a moment after it; any number of blocks may be open."""
        if self._file is None:
            yield
            return
        self._open += 1
        if self._loop is not asyncio.get_running_loop():  # one that was closed takes its timer with it
            self._say(_NOW)
            self._look_after(LINGER)
        try:
            yield
        finally:
            self._open -= 1
            self._latest = time.monotonic()

    def close(self) -> None:
        """Let the cores sleep; the kernel forgets what a closed file had said. Safe to call twice."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _look_after(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Let the cores sleep when nothing is open and has not been for a while; one timer does, however many requests come."""
        left = LINGER if self._open else self._latest + LINGER - time.monotonic()
        if left > 0:
            self._look_after(left)
        else:
            self._loop = None
            self._say(_WHENEVER)

    def _say(self, microseconds: bytes) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.write(self._file, microseconds)
