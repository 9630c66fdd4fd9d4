"""The second look at an image whose two likeliest outcomes tie: the eye is asked once more, or its evidence weighed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from ..core.errors import EngineError, EngineTimeoutError, SekishoError
from ..core.sight import Seen, Sight
from ..tasks.rubric.pack import Pack
from ..tasks.rubric.patterns import Score, Scorer
from ..tasks.rubric.second import KEY, Pair, SecondLook, answered, failed, pair, question, weighed


async def looked_again(
    sight: Sight,
    scorer: Scorer,
    first: Score,
    chances: Mapping[str, float],
    seen: Seen,
    png: bytes,
    until: float,
) -> tuple[Score, SecondLook | None, Seen]:
    """Look again where two patterns tie; where that does not decide, the first score stays as the pack's own rule ended it.

    Args:
        until: monotonic time by which the eye must have answered.

    Returns:
        The score, the look that was taken, and what the eye did in all.
    """
    between = pair(first)
    if between is None:
        return first, None, seen
    # An eye that has learnt one pack answers its questions and no others.
    if sight.pack is not None:
        second = weighed(scorer.pack, between, first, chances)
    else:
        second, seen = await _asked(sight, scorer.pack, between, seen, png, until)
    if second.chosen is None:
        return first, second, seen
    chosen = second.chosen
    return scorer.score(scorer.bits_of(chances), choose=lambda _: chosen), second, seen


async def _asked(
    sight: Sight, pack: Pack, between: Pair, seen: Seen, png: bytes, until: float
) -> tuple[SecondLook, Seen]:
    """Ask the eye. Its failure loses nothing but the second look: the first one is whole."""
    left = until - time.monotonic()
    try:
        if left <= 0:
            raise EngineTimeoutError("No time is left for a second look.")
        again = await sight.eye.look(png, {KEY: question(pack, between)}, left)
        if again.log_odds.keys() != {KEY} or not math.isfinite(again.log_odds[KEY]):
            raise EngineError("The eye did not answer the question.")
    except SekishoError as e:
        return failed(pack, between, e.code), seen
    both = Seen(
        log_odds=seen.log_odds,
        input_tokens=seen.input_tokens + again.input_tokens,
        tries=seen.tries + again.tries,
    )
    return answered(pack, between, again.log_odds[KEY]), both
