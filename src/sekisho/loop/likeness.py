"""Consistency over what was really asked: of requests in a period that are alike, how many were decided alike."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ..ledger.store import Ledger
from ..proof.consistency import similar

MOST = 2000
"""Requests compared; the newest of a period."""


def consistency(ledger: Ledger, asked: list[tuple[str, str]]) -> dict[str, Any]:
    """Compare the gate's judgements of a period, as far as their content is kept.

    Only requests at one desk (contract and level) are compared: another desk may rightly decide otherwise.

    Args:
        asked: digest of the content and decision of each judgement, oldest first.

    Returns:
        compared: how many requests; alike: pairs of them that are alike; score: share of those pairs that were decided alike, None without any.
    """
    desks: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for digest, decision in asked[-MOST:]:
        kept = ledger.content(digest)
        if kept and kept.get("requests"):
            desk = (str(kept.get("contract", "")), str(kept.get("level", "")))
            desks[desk].append(("\n".join(kept["requests"]), decision))
    pairs = same = 0
    for own in desks.values():
        for i, j in similar([text for text, _ in own]):
            pairs, same = pairs + 1, same + (own[i][1] == own[j][1])
    compared = sum(map(len, desks.values()))
    return {"compared": compared, "alike": pairs, "score": same / pairs if pairs else None}
