from __future__ import annotations

import pytest

from sekisho import wiring
from sekisho.loop.making import making


def test_what_a_killed_process_left_is_swept_and_what_is_being_built_stays(house: wiring.House) -> None:
    left = house.shelf.root / "adapters" / ".building-b_1"
    left.mkdir(parents=True)

    @making
    def inner(parts: wiring.House) -> None:
        assert list((parts.shelf.root / "releases").glob(".building-*"))

    @making
    def outer(parts: wiring.House) -> None:
        assert not left.exists()
        with parts.shelf.building("releases"):
            inner(parts)

    outer(house)


def test_an_error_lets_go(house: wiring.House) -> None:
    @making
    def fails(parts: wiring.House) -> None:
        raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            fails(house)
