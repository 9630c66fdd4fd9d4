"""Progress on stderr: bars on a terminal, sparse plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..core.progress import Progress, Quiet

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_SHARE, _SECONDS = 0.1, 15.0
"""A plain line is written when a tenth more is done, or after this long."""


class PlainLines:
    """One line when a step begins, ends, and now and then between."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._name, self._share, self._at = "", -1.0, 0.0

    def step(self, name: str, done: int, total: int, note: str = "") -> None:
        """Write a line if it is due."""
        share, now = done / total if total > 0 else 0.0, self._clock()
        ended = share >= 1.0 > self._share
        due = share - self._share >= _SHARE or now - self._at >= _SECONDS
        if name == self._name and not (ended or due):
            return
        self._name, self._share, self._at = name, share, now
        percent = f" {100 * share:3.0f} %" if total > 0 else ""
        self._write(f"{name}:{percent} {note}".rstrip())


class RichBars:
    """One bar a step."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def step(self, name: str, done: int, total: int, note: str = "") -> None:
        """Move the bar of that step."""
        task = self._tasks.get(name)
        if task is None:
            task = self._tasks[name] = self._bars.add_task(name, total=total or None, note="")
        self._bars.update(task, completed=done, total=total or None, note=note)


@contextmanager
def shown(quiet: bool = False) -> Iterator[Progress]:
    """Give a progress that shows itself on stderr until the block ends."""
    if quiet:
        yield Quiet()
    elif not sys.stderr.isatty():
        yield PlainLines(lambda line: print(line, file=sys.stderr, flush=True))
    else:
        with _bars() as bars:
            yield RichBars(bars)


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )
