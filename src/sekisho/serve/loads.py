"""Loads of a model, counted where they happen: after ready there must be none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from .. import metrics

Cause = Literal["start", "restart"]
"""Somebody started the engine, or its process had ended by itself."""


@contextmanager
def loading(cause: Cause) -> Iterator[None]:
    """Count a load and the seconds it took; one that fails counts too, as it kept the machine as busy."""
    begun = time.monotonic()
    metrics.LOADS.labels(cause).inc()
    try:
        yield
    finally:
        metrics.LOAD_SECONDS.observe(time.monotonic() - begun)


for _cause in ("start", "restart"):
    metrics.LOADS.labels(_cause)
