"""The garbage collector of a server that stays up."""

from __future__ import annotations

import gc


def settle() -> None:
    """Tell the collector that what is there by now will stay.

    It would look through all of it for every few hundred new objects, and after many of them in one go, which with a model in memory stops everything for half a second.
    """
    gc.collect()
    gc.freeze()
