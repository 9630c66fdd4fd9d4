from __future__ import annotations

import gc

from sekisho.core.garbage import settle


class Ring:
    """Nothing but itself holds it."""

    def __init__(self) -> None:
        self.own = self


def test_what_is_there_stays_and_what_nobody_holds_goes():
    before = gc.get_freeze_count()
    kept, _ = Ring(), Ring()
    del _
    try:
        settle()
        assert gc.get_freeze_count() > before
        found = [x for x in gc.get_objects() if isinstance(x, Ring)]
        assert found == []  # the one is frozen, the other gone
        assert kept.own is kept
    finally:
        gc.unfreeze()
    assert sum(isinstance(x, Ring) for x in gc.get_objects()) == 1
