"""The lanes as an officer sees them: who holds the slots, who waits, and for how long about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.engine import Lane
from .rules import LANES
from .schedule import Schedule


def status_of(schedule: Schedule, lane_of: Callable[[int], Lane]) -> dict[str, Any]:
    """Slots by state; for each lane how many wait, and the estimated seconds until one that came now would start; the line in its order."""
    lanes = {
        name: {
            "waiting": schedule.waiting(name),
            "estimated_wait_seconds": round(schedule.estimate(name), 3),
        }
        for name in LANES
    }
    line = [
        {
            "id": id,
            "lane": lane_of(id),
            "estimated_wait_seconds": round(schedule.estimate(lane_of(id), id), 3),
        }
        for id in schedule.line()
    ]
    return {"slots": schedule.counts(), "lanes": lanes, "line": line}
