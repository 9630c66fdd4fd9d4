"""Making: the steps that train and build. One process at a time makes anything in a home; reading, serving and promoting go on beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from ..host.lock import alone
from .parts import Parts

P = ParamSpec("P")
R = TypeVar("R")


def making(verb: Callable[Concatenate[Parts, P], R]) -> Callable[Concatenate[Parts, P], R]:
    """Run a verb while no other process makes anything in the same home; what a killed one left half built is swept away first.

    Raises:
        ConflictError: when another process is making something there.
    """

    @functools.wraps(verb)
    def lonely(parts: Parts, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with alone(parts.settings.home / "making.lock") as first:
            if first:
                parts.shelf.sweep()
            return verb(parts, *args, **kwargs)

    return lonely
