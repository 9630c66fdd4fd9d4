"""Watch: a service seen from outside, and what was not expected of it written into the ledger. Nothing is killed."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..core.errors import NotFoundError, ToolError
from ..core.values import allow_list, host_port
from ..host import watch as room
from .attend import note
from .parts import Parts


class Watch:
    """Compares a process with what it was when the watch began, and reports each difference once.

    Args:
        pid: the service; the process that listens on the set port when None.

    Raises:
        NotFoundError: nothing listens there.
        ToolError: this system has no /proc.
    """

    def __init__(self, parts: Parts, pid: int | None = None) -> None:
        if not (room.PROC / "net").exists():
            raise ToolError("This system has no /proc.", "Watch on Linux.")
        found = pid if pid is not None else room.listener_of(parts.settings.port)
        if found is None:
            raise NotFoundError(
                f"No process of yours listens on port {parts.settings.port}.", "Name it with `--pid`."
            )
        self._parts, self.pid = parts, found
        self._cache: dict[tuple[str, int, int, int], str] = {}
        self._before = self._look()
        self._told: set[tuple[str, str]] = set()

    def _look(self) -> room.Seen:
        try:
            return room.look(self.pid, self._cache)
        except ProcessLookupError:
            raise NotFoundError(
                f"Process {self.pid} is not there.", "Start the server, then the watch."
            ) from None

    def look(self) -> list[tuple[str, str]]:
        """Look once more; write into the ledger, and return, what was not told before. Raises NotFoundError when the service is gone."""
        now = self._look()
        allowed = frozenset(x for x in now.outgoing if _is_listed(x, self._parts.settings.reachable()))
        found = [x for x in room.differences(self._before, now, allowed) if x not in self._told]
        if found:
            note(self._parts, found)
            self._told.update(found)
        return found

    def run(
        self, seconds: float, told: Callable[[list[tuple[str, str]]], None], times: int | None = None
    ) -> None:
        """Look every so many seconds, until the service ends, or so many times."""
        while times is None or times > 0:
            time.sleep(seconds)
            told(self.look())
            times = None if times is None else times - 1


def _is_listed(address: str, listed: str) -> bool:
    host, port = host_port(address)
    return any(host == h and p in (None, port) for h, p in allow_list(listed))
