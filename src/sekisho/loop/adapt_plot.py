"""The dashboard's data as a drawing."""

from __future__ import annotations

import base64
from pathlib import Path

from ..core.disk import write_whole
from ..core.errors import DataError
from .adapt_series import series
from .parts import Parts


def plot(parts: Parts, out: Path, days: int = 365) -> int:
    """Draw the series of the last days into an SVG file; return how many points it has.

    Raises:
        DataError: there is nothing to draw.
    """
    from ..proof.plots import course

    found = series(parts, days)
    if not found["days"]:
        raise DataError("No answer of these days was reviewed.", "Review some, or ask for more days.")
    drawn = course(found["days"], found["steps"])
    write_whole(out, base64.b64decode(drawn.partition(",")[2]))
    return len(found["days"])
