"""Recognise: an image through the guard, the eye, calibration and the scorer, written down before anything is told."""

from __future__ import annotations

import asyncio
import base64
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..core.canonical import new_id, utc_now
from ..core.errors import (
    ConflictError,
    EngineError,
    EngineTimeoutError,
    OverloadedError,
)
from ..core.question import Frozen
from ..core.records import Judgement, Stamp
from ..core.sight import Seen, Sight, chance_of
from ..tasks.images import Bounds, Picture, look
from ..tasks.rubric.lint import read_pack
from ..tasks.rubric.pack import Pack
from ..tasks.rubric.patterns import Scorer
from ..tasks.rubric.second import SecondLook
from .bias import BiasWatch
from .eye_calibration import in_force
from .keeping import Keeper
from .parts import Parts
from .rubric import Scored, Wording, require_words, worded
from .second_look import looked_again

TASK = "rubric"
_COMMIT_SECONDS = 5.0
_LONGEST = 2048
"""Pixels of the longer side of what an eye is shown: no vision model looks at more, and a far one need not be sent more."""


class Check(Frozen):
    """One criterion: the calibrated probability of yes, and whether it counts as yes."""

    id: str
    probability: float
    yes: bool
    ja: str
    en: str


class Recognised(Scored):
    """A score with what it came from.

    Attributes:
        judgement: `jdg_…`, to be corrected by criterion.
        image: digest of the file as it came.
        second_look: what was made of a tie of two; None when there was none, or the setting is off.
        checks: every criterion in the pack's order.
    """

    judgement: str
    pack: str
    image: str
    model: str
    calibration: str
    milliseconds: float
    second_look: SecondLook | None = None
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Look:
    """One image looked at, and by whom.

    Attributes:
        sight: with the calibration that is in force for the pack.
        png: what was shown.
        until: monotonic time by which all is to be answered.
    """

    scorer: Scorer
    sight: Sight
    picture: Picture
    seen: Seen
    png: bytes
    until: float


class Eyes:
    """The eye of a house, opened when it is first needed, and everything between an image and its judgement.

    Args:
        sight: the eye that is to be used; None takes what the settings ask for.
        bias: is left every answer, to be looked at beside the others; None where nobody watches.
    """

    def __init__(self, parts: Parts, sight: Sight | None = None, bias: BiasWatch | None = None) -> None:
        self._parts, self._sight, self._bias = parts, sight, bias
        self._started = False
        self._opening = asyncio.Lock()
        self._packs: dict[str, Scorer] = {}
        self._waiting = 0

    async def recognise(
        self, data: bytes, pack: str, wording: Wording | None = None, links: Mapping[str, str] | None = None
    ) -> Recognised:
        """Judge one image by a rubric pack, by name or path.

        Raises:
            UnsupportedEncodingError, TooLargeError, InputError: as the guard on images does.
            DataError: for a pack there is none of. ConflictError: for one that the eye has not learnt.
            EngineError, EngineTimeoutError: when the eye gives no whole answer in time; nothing is made up for it.
            OverloadedError: when too many images wait.
            LedgerError: when the judgement could not be made durable.
        """
        if self._waiting >= self._parts.settings.queue:
            raise OverloadedError("Too many images wait.", "Try again in some seconds.", 5)
        self._waiting += 1
        try:
            return await self._recognised(data, pack, wording or Wording(), links or {})
        finally:
            self._waiting -= 1

    async def ready(self, pack: str) -> Scorer:
        """Open the eye and the pack, and see that they fit. Raises as `recognise` does."""
        sight, scorer = await self._opened(), self._scorer(pack)
        require_learnt(sight, scorer.pack)
        return scorer

    async def look(self, data: bytes, pack: str) -> Look:
        """Look at one image with a pack's questions; nothing is judged and nothing written down. Raises as `recognise` does."""
        # Before the clock starts: the first image waits for the model, and that is no fault of the image.
        scorer, sight = await self.ready(pack), await self.sight(pack)
        until = time.monotonic() + self._parts.settings.eye_seconds
        picture = await _guarded(data, until)
        questions = {c.id: c.question.en for c in scorer.pack.criteria}
        png = await asyncio.to_thread(picture.png, _LONGEST)
        seen = await sight.eye.look(png, questions, max(0.01, until - time.monotonic()))
        require_whole(scorer.pack, seen)
        if seen.observed:
            sight = replace(sight, scales={}, calibration="uncalibrated")
        return Look(scorer, sight, picture, seen, png, until)

    async def sight(self, pack: str) -> Sight:
        """The eye with the calibration that is in force for a pack. The ledger is asked each time, so that a new one needs no restart."""
        sight, scorer = await self._opened(), self._scorer(pack)
        return await asyncio.to_thread(in_force, self._parts.ledger, sight, scorer.pack)

    async def close(self) -> None:
        """Stop the eye, if it was opened."""
        if self._sight is not None and self._started:
            await self._sight.eye.stop()
            self._started = False

    async def _recognised(
        self, data: bytes, name: str, wording: Wording, links: Mapping[str, str]
    ) -> Recognised:
        require_words((await self.ready(name)).pack, wording)
        start = time.monotonic()
        looked = await self.look(data, name)
        scorer, sight, picture, seen = looked.scorer, looked.sight, looked.picture, looked.seen
        chances = calibrated(sight, scorer.pack, seen)
        score, second = scorer.score(scorer.bits_of(chances), picture.digest), None
        if self._parts.settings.rubric_second_look == "on":
            score, second, seen = await looked_again(
                sight, scorer, score, chances, seen, looked.png, looked.until
            )
        scored = worded(scorer.pack, score, picture.digest, wording)
        took = round(1000 * (time.monotonic() - start), 3)
        record = _entry(
            sight,
            scorer.pack,
            scored,
            second,
            chances,
            seen,
            {**links, **{"request": links.get("request") or new_id("req")}},
            took,
        )
        content = _content(
            scorer.pack, picture, scored, second, data if self._parts.settings.keep_images == "on" else None
        )
        kept = (await Keeper(self._parts.ledger).keep([record], content, time.monotonic() + _COMMIT_SECONDS))[
            0
        ]
        if self._bias is not None:
            self._bias.take(kept, scorer.pack, picture.digest)
        return _told(scorer.pack, scored, second, chances, kept, picture, took)

    async def _opened(self) -> Sight:
        async with self._opening:
            if self._sight is None:
                self._sight = self._parts.sight()
            if not self._started:
                await self._sight.eye.start()
                self._started = True
            return self._sight

    def _scorer(self, name: str) -> Scorer:
        if name not in self._packs:
            self._packs[name] = Scorer(read_pack(name, self._parts.settings.share))
        return self._packs[name]


async def _guarded(data: bytes, until: float) -> Picture:
    """The guard, in a thread, under the deadline. A decoder that goes on longer is left to end by itself: its bounds end it."""
    try:
        async with asyncio.timeout(max(0.01, until - time.monotonic())):
            return await asyncio.to_thread(look, data, Bounds())
    except TimeoutError:
        raise EngineTimeoutError("The image was not decoded in time.", "Send a smaller one.") from None


def require_learnt(sight: Sight, pack: Pack) -> None:
    """Raise ConflictError for a pack that the eye cannot answer: its answers would look like answers."""
    if sight.pack is not None and sight.pack != pack.digest():
        raise ConflictError(
            f"The eye {sight.eye.info.model} has not learnt the rubric pack {pack.name} in this version.",
            "Ask a larger vision model (`eye` = remote), or train one: `sekisho rubric train`.",
        )


def require_whole(pack: Pack, seen: Seen) -> None:
    """Raise EngineError when an answer is missing, not asked for, or no number."""
    if seen.log_odds.keys() != set(pack.ids) or not all(map(math.isfinite, seen.log_odds.values())):
        raise EngineError("The eye did not answer every criterion.", "Try again; see the server's log.")


def calibrated(sight: Sight, pack: Pack, seen: Seen) -> dict[str, float]:
    """Calibrated probability of yes by criterion, in the pack's order, of answers that are whole."""
    found = {}
    for id in pack.ids:
        slope, offset = sight.scales.get(id, (1.0, 0.0))
        found[id] = chance_of(slope * seen.log_odds[id] + offset)
    return found


def _entry(
    sight: Sight,
    pack: Pack,
    scored: Scored,
    second: SecondLook | None,
    chances: Mapping[str, float],
    seen: Seen,
    links: Mapping[str, str],
    took: float,
) -> Judgement:
    info = sight.eye.info
    # Words of `patterns.RESERVED`, so that none can be mistaken for a criterion that fired.
    broken = (f"tie_{scored.tie_break.rule}",) if scored.tie_break else ()
    again = (second.reason,) if second else ()
    return Judgement(
        id=new_id("jdg"),
        at=utc_now(),
        task=TASK,
        type="noul",
        name=pack.name,
        probabilities=chances,
        raw={i: chance_of(x) for i, x in seen.log_odds.items()},
        answer=scored.pattern,
        decision=scored.pattern or scored.state,
        reasons=(scored.state, *broken, *again, *scored.fired),
        stamp=Stamp(
            engine=info.engine,
            model=info.model,
            model_digest=info.model_digest,
            calibration=sight.calibration,
            policy=pack.digest(),
        ),
        links=dict(links),
        usage={"milliseconds": took, "input_tokens": float(seen.input_tokens), "tries": float(seen.tries)},
    )


def _content(
    pack: Pack, picture: Picture, scored: Scored, second: SecondLook | None, data: bytes | None
) -> dict[str, Any]:
    """What is kept beside the judgement: which image it was, never the image itself unless a setting says so."""
    found: dict[str, Any] = {
        "image": picture.digest,
        "kind": picture.kind,
        "size": [picture.image.width, picture.image.height],
        "pack": {"name": pack.name, "version": pack.version, "digest": pack.digest()},
        "pattern_scores": dict(scored.pattern_scores),
        **({"second_look": second.model_dump(mode="json")} if second else {}),
    }
    return found if data is None else found | {"file": base64.b64encode(data).decode("ascii")}


def _told(
    pack: Pack,
    scored: Scored,
    second: SecondLook | None,
    chances: Mapping[str, float],
    kept: Judgement,
    picture: Picture,
    took: float,
) -> Recognised:
    fired = set(scored.fired)
    checks = tuple(
        Check(id=c.id, probability=chances[c.id], yes=c.id in fired, ja=c.question.ja, en=c.question.en)
        for c in pack.criteria
    )
    return Recognised(
        **dict(scored),
        judgement=kept.id,
        pack=pack.name,
        image=picture.digest,
        model=kept.stamp.model,
        calibration=kept.stamp.calibration,
        milliseconds=took,
        second_look=second,
        checks=checks,
    )
