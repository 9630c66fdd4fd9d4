"""The short card of a stored proof, without anything heavy."""

from __future__ import annotations

import json

from ..core.errors import ShelfError
from ..proof.report import short_card
from .parts import Parts


def short_of_proof(parts: Parts, proof: str) -> tuple[str, ...]:
    """Lines of the short report card of a stored proof. Raises ShelfError when its file is missing."""
    path = parts.settings.home / "proofs" / f"{proof}.json"
    try:
        return tuple(short_card(json.loads(path.read_bytes())))
    except (OSError, ValueError) as e:
        raise ShelfError(f"{path} cannot be read: {e}.", "Run `sekisho prove` again.") from e
