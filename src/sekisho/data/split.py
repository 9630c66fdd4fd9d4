"""Which split a group belongs to. Only the group's name decides, so a topic or duplicate cluster never crosses a border."""

from __future__ import annotations

from typing import Literal

from ..core.canonical import digest_text

Split = Literal["train", "calibration", "holdout"]
SPLITS: tuple[Split, ...] = ("train", "calibration", "holdout")


def split_of(group: str) -> Split:
    """Return the split of a group: 60 % train, 15 % calibration, 25 % holdout, by digest."""
    place = int(digest_text("split-1:" + group)[-8:], 16) % 100
    if place < 60:
        return "train"
    return "calibration" if place < 75 else "holdout"
