"""How a verb tells how far it has come. The verb names its steps and never knows what shows them."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of a verb."""

    def step(self, name: str, done: int, total: int, note: str = "") -> None:
        """Take one report.

        Args:
            name: what is being done; the same name goes on with the same bar.
            done: units done so far, from 0 to `total`.
            total: units in all; 0 when it is not known.
            note: a short remark, such as the loss.
        """
        ...


class Quiet:
    """A progress that says nothing."""

    def step(self, name: str, done: int, total: int, note: str = "") -> None:
        """Say nothing."""
