"""The bias watch of a server: what its eye answered of late, looked at together, so that an eye that stopped looking is heard of unasked.

A request only leaves its answers here. They are looked at twice a second at most, in a thread of their own, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Collection, Sequence

from .. import metrics
from ..core.records import Judgement
from ..ledger.store import MAX_PAGE, Ledger
from ..tasks.rubric.monitor import CODES, Alarm, Bias, Bounds, alarms, measure
from ..tasks.rubric.pack import Pack
from .attend import note
from .parts import Parts

WINDOW = 200
"""Latest different images that are looked at together, by pack and eye."""
SORT = "bias"
_EARLIER = 2000
"""Newest rubric judgements among which those of a pack and an eye are looked for at their first image after a start."""
_WAITING = 10_000
_PAUSE = 0.5
_QUIET = Bounds().least_images
"""Images after which an alarm that rings anew is told anew; one that hovers about its bound is told once."""
_log = logging.getLogger("sekisho.bias")


class _Window:
    """The latest images of one pack and one eye. The same image again counts once: it says nothing new about the eye."""

    def __init__(self, pack: Pack, first: Judgement) -> None:
        self.pack, self.eye = pack, first.stamp.model
        self.tail = f"(pack {first.stamp.policy}, eye {first.stamp.model_digest})"
        self._answers: OrderedDict[str, tuple[int, str | None]] = OrderedDict()
        self._seen = 0
        self._rang: dict[str, int] = {}
        self._ringing: frozenset[str] = frozenset()

    def add(self, image: str, reasons: Collection[str], outcome: str | None) -> None:
        fired = set(reasons)
        bits = sum((id in fired) << i for i, id in enumerate(self.pack.ids))
        self._answers.pop(image, None)
        self._answers[image] = bits, outcome
        self._seen += 1
        if len(self._answers) > WINDOW:
            self._answers.popitem(last=False)

    def look(self) -> tuple[Bias, tuple[Alarm, ...]]:
        bits, outcomes = zip(*self._answers.values(), strict=True)
        bias = measure(bits, outcomes, self.pack.ids, len(self.pack.patterns))
        return bias, alarms(bias)

    def fresh(self, ringing: Sequence[Alarm]) -> list[Alarm]:
        """Those that began to ring."""
        begun = [a for a in ringing if a.code not in self._ringing]
        return [a for a in begun if self._seen - self._rang.get(a.code, -_QUIET - 1) > _QUIET]

    def heard(self, codes: Collection[str]) -> None:
        """Remember that these ring and were told, and no others."""
        self._rang |= dict.fromkeys(codes, self._seen)
        self._ringing = frozenset(codes)


class BiasWatch:
    """Watches the answers of the eye of one server, by pack and weights; shows them as metrics and tells alarms when they begin.

    A window begins with what the ledger has of that pack and eye, so that a restart forgets nothing.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._fresh: deque[tuple[Judgement, Pack, str]] = deque(maxlen=_WAITING)
        self._windows: dict[tuple[str | None, str], _Window] = {}

    def take(self, judgement: Judgement, pack: Pack, image: str) -> None:
        """Leave the answers about an image, by the digest of its file, to be looked at. Costs nothing; any thread may call it."""
        self._fresh.append((judgement, pack, image))

    async def run(self) -> None:
        """Look at what was left, until cancelled."""
        while True:
            await asyncio.sleep(_PAUSE)
            try:
                if self._fresh:
                    await asyncio.to_thread(self.pump)
            except Exception as e:  # must outlive a full disk
                _log.warning("the eye's answers cannot be watched: %s", e)

    def pump(self) -> None:
        """Look at what was left. Raises LedgerError when an alarm could not be written down; it is then told with the next image."""
        touched: dict[int, _Window] = {}
        while self._fresh:
            judgement, pack, image = self._fresh.popleft()
            window = self._window(judgement, pack)
            window.add(image, judgement.reasons, judgement.answer)
            touched[id(window)] = window
        for window in touched.values():
            self._look(window)

    def _look(self, window: _Window) -> None:
        bias, ringing = window.look()
        _show(window, bias, ringing)
        told = [(a.code, _words(window, a, bias.images)) for a in window.fresh(ringing)]
        if told:
            note(self._parts, [(SORT, words) for _, words in told])
        for _, words in told:
            _log.error("the eye may have stopped looking: %s", words)
        window.heard([a.code for a in ringing])

    def _window(self, judgement: Judgement, pack: Pack) -> _Window:
        key = judgement.stamp.policy, judgement.stamp.model_digest
        if key not in self._windows:
            window = _Window(pack, judgement)
            _fill(self._parts.ledger, window, judgement)
            self._windows[key] = window
        return self._windows[key]


def _fill(ledger: Ledger, window: _Window, like: Judgement) -> None:
    """Take up what the ledger has, and which alarms were told of these very images."""
    page = ledger.entries(kind="judgement", task=like.task, limit=_EARLIER, newest_first=True)
    stamp = like.stamp.policy, like.stamp.model_digest
    found = [e for e in page if (e.body["stamp"]["policy"], e.body["stamp"]["model_digest"]) == stamp]
    for entry in reversed(found[:WINDOW]):
        content = ledger.content(entry.body["content"]) if entry.body.get("content") else None
        image = content["image"] if isinstance(content, dict) and "image" in content else entry.id
        window.add(str(image), entry.body["reasons"], entry.body.get("answer"))
    if found:
        told = _told(ledger, window.tail)
        window.heard([a.code for a in window.look()[1] if a.code in told])


def _told(ledger: Ledger, tail: str) -> set[str]:
    """Which alarms were ever told of a pack and an eye: one that still rings was told when it began, however long ago."""
    page = ledger.entries(kind="incident", limit=MAX_PAGE, newest_first=True)
    words = [str(e.body["what"]) for e in page if e.body["sort"] == SORT]
    return {what.partition(":")[0] for what in words if what.endswith(tail)}


def _words(window: _Window, alarm: Alarm, images: int) -> str:
    figures = f"{alarm.found:.2f}, bound {alarm.bound:.2f}, over {images} images"
    return f"{alarm.code}: {window.pack.name} by {window.eye}: {alarm.what} {figures} {window.tail}"


def _show(window: _Window, bias: Bias, ringing: Sequence[Alarm]) -> None:
    labels = window.pack.name, window.eye
    metrics.RUBRIC_IMAGES.labels(*labels).set(bias.images)
    metrics.RUBRIC_DISTINCT.labels(*labels).set(bias.distinct)
    metrics.RUBRIC_ENTROPY.labels(*labels).set(bias.entropy)
    for criterion, share in bias.prevalence.items():
        metrics.RUBRIC_PREVALENCE.labels(*labels, criterion).set(share)
    rings = {a.code for a in ringing}
    for code in CODES:
        metrics.RUBRIC_ALARM.labels(*labels, code).set(code in rings)
