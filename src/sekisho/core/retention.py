"""How long content is kept: days for everything, and exceptions by class."""

from __future__ import annotations

import math
from collections.abc import Mapping

ALL = "all"
"""The class of whatever no exception names."""
CLASSES = ("gate", "nli", "question", "chat", "rubric", "corrected")
"""Tasks, and `corrected`: content somebody has corrected, which training needs. Of several classes the longest time counts."""
_MOST = 36_500.0


def retention_days(text: str) -> Mapping[str, float]:
    """Read `7,chat=1,corrected=365` as days by class, `all` among them.

    Raises:
        ValueError: saying what was expected.
    """
    days: dict[str, float] = {}
    for part in text.split(","):
        name, named, number = part.partition("=")
        name = name.strip() if named else ALL
        if (named and name not in CLASSES) or name in days:
            raise ValueError(f"expected days, then CLASS=days for any of {', '.join(CLASSES)}, each once")
        days[name] = _days(number if named else part)
    if ALL not in days:
        raise ValueError("expected days for everything first, as in `7,chat=1`")
    return days


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not 0 <= days <= _MOST:
        raise ValueError(f"expected days from 0 to {_MOST:g}")
    return days
