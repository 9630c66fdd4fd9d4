"""From the ledger's latest promotion to something that answers, and on to the next one without a gap."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import replace
from pathlib import Path

from .. import metrics
from ..core.canonical import new_id, utc_now
from ..core.engine import EngineInfo
from ..core.errors import ConflictError, SekishoError
from ..core.records import Contract, Policy, Stamp
from ..host.awake import Awake
from ..host.gpu import require_device
from ..ledger import views
from ..shelf import Release, read_release
from ..tasks.policy import document_digest, policy_of
from ..tasks.sidecar import read_sidecar
from .certificate import certified
from .entries import Serving
from .judge import Judge
from .parts import Parts

_POLL_SECONDS = 1.0
_IDLE_POLL_SECONDS = 0.1
_LONGEST_PAUSE = 60.0
"""Most seconds between two tries of a release that cannot be taken up; each try reads all of it."""

_log = logging.getLogger("sekisho.serving")


async def open_judge(parts: Parts) -> Judge:
    """Start what is promoted and return the judge over it.

    Raises:
        DeviceError: when a GPU was asked for and is absent; nothing is read then, and nothing written.
        ConflictError: when nothing was ever promoted.
    """
    require_asked_device(parts)
    record_documents(parts)
    serving = await start_serving(parts)
    settings = parts.settings
    batch = (settings.batch_deadline_seconds, settings.batch_queue)
    awake = Awake() if settings.keep_awake == "on" else None
    return Judge(serving, parts.ledger, settings.deadline_seconds, settings.queue, batch, awake)


def require_asked_device(parts: Parts) -> None:
    """Raise DeviceError when the device that was asked for is absent. A far server has its own."""
    if parts.settings.engine != "remote":
        require_device(parts.settings.device, parts.settings.engine)


def record_documents(parts: Parts) -> None:
    """Write the policy and the contracts in force into the ledger when they differ from the ones there."""
    policy, now = views.active_policy(parts.ledger), document_digest(parts.policy_document)
    if policy is None or policy.digest != now:
        name = policy_of(parts.policy_document).name
        document = dict(parts.policy_document)
        parts.ledger.append(
            [Policy(id=new_id("pol"), at=utc_now(), name=name, digest=now, document=document)]
        )
    known = views.active_contracts(parts.ledger)
    for name, contract in parts.contract_documents.items():
        new = document_digest(contract)
        if name not in known or known[name].digest != new:
            record = Contract(id=new_id("ctr"), at=utc_now(), name=name, digest=new, document=dict(contract))
            parts.ledger.append([record])


def promoted(parts: Parts) -> tuple[Path, Release] | None:
    """Folder and description of the release in force; None when nothing was ever promoted."""
    promotion = views.serving(parts.ledger)
    return None if promotion is None else parts.shelf.release(promotion.release)


async def start_serving(parts: Parts) -> Serving:
    """Start an engine for the release in force and describe it."""
    promotion = views.serving(parts.ledger)
    if promotion is None:
        raise ConflictError(
            "Nothing is promoted yet.", "Run `sekisho up`, or `sekisho promote` after a passing proof."
        )
    # In threads, as every byte of the release is read, and a server may be answering meanwhile.
    folder, release = await asyncio.to_thread(parts.shelf.release, promotion.release)
    beside = await asyncio.to_thread(read_sidecar, folder)
    engine = await asyncio.to_thread(parts.engine_for, folder, release)
    await engine.start()
    shown = await asyncio.to_thread(certified, parts, release)
    return Serving(
        engine=engine,
        stamp=stamp_of(parts, promotion.release, release, engine.info),
        policy=policy_of(parts.policy_document),
        temperatures=release.temperatures,
        threshold=max(release.threshold, shown.threshold),
        scope=beside.scope,
        certified=shown,
        release=promotion.release,
        ngrams=beside.ngrams,
    )


def stamp_of(parts: Parts, tagged: str, release: Release, info: EngineInfo) -> Stamp:
    """The stamp every judgement of this release carries.

    Of a model on another server nobody here has seen the weights: its digest is of its address and name, and no adapter is claimed.
    """
    far = info.device == "remote"
    return Stamp(
        engine=info.engine,
        model=release.name,
        model_digest=info.model_digest if far else tagged,
        adapter_digest=None if far else release.adapter,
        calibration=release.calibration,
        policy=document_digest(parts.policy_document),
        contract=document_digest(dict(parts.contract_documents)),
    )


def _releases(serving: Serving) -> tuple[str, str]:
    """What may name the release that serves; a judge that was not opened from a promotion has it in its stamp alone."""
    return serving.release, serving.stamp.model_digest


class PromotionWatch:
    """Takes up promotions and rollbacks made by any process while the server runs.

    The new engine is started and warm before the judge gets it; requests under way finish on the old one, which is stopped as soon as they have.

    Args:
        drain_seconds: most seconds that the old one may go on; None: as long as a request may take.
    """

    def __init__(self, parts: Parts, judge: Judge, drain_seconds: float | None = None) -> None:
        self._parts, self._judge = parts, judge
        self._drain = judge.longest_seconds if drain_seconds is None else drain_seconds
        self._task: asyncio.Task[None] | None = None
        self._old: set[asyncio.Task[None]] = set()
        self.problem: str | None = None
        self._failed: str | None = None
        self._failures, self._not_before = 0, 0.0
        self._certificate = -1

    def start(self) -> None:
        """Begin to watch, in the running event loop."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching, and stop every engine."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for task in self._old:
            task.cancel()
        await asyncio.gather(*self._old, return_exceptions=True)
        await self._judge.serving.engine.stop()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                await self.look()
            except SekishoError as e:
                self.problem = str(e)
            except Exception as e:  # the watch must outlive whatever a broken release does to it
                _log.exception("a promotion could not be taken up")
                self.problem = f"{type(e).__name__}: {e}"

    async def look(self) -> bool:
        """Take up the latest promotion if it is another one; return whether it was."""
        promotion = await asyncio.to_thread(views.serving, self._parts.ledger)
        if promotion is None or promotion.release in _releases(self._judge.serving):
            self.problem = self._failed = None
            if promotion is not None:
                await self._renew(promotion.release)
            return False
        if promotion.release == self._failed and time.monotonic() < self._not_before:
            return False
        try:
            new = await start_serving(self._parts)
        except Exception:
            self._put_off(promotion.release)
            raise
        old, self._judge.serving = self._judge.serving, new
        self.problem = self._failed = None
        metrics.PROMOTIONS.labels(str(promotion.rollback).lower()).inc()
        task = asyncio.create_task(self._retire(old))
        self._old.add(task)
        task.add_done_callback(self._old.discard)
        return True

    async def _renew(self, tagged: str) -> None:
        """Take up a new certificate of what serves."""
        newest = await asyncio.to_thread(
            self._parts.ledger.entries, kind="certificate", limit=1, newest_first=True
        )
        seq = newest[0].seq if newest else 0
        if seq == self._certificate:
            return
        folder = self._parts.shelf.get("releases", tagged)
        release = await asyncio.to_thread(read_release, folder)
        shown = await asyncio.to_thread(certified, self._parts, release)
        tau = max(release.threshold, shown.threshold)
        self._judge.serving = replace(self._judge.serving, certified=shown, threshold=tau)
        self._certificate = seq

    def _put_off(self, release: str) -> None:
        """Try a release again later, each time twice as late; another release is tried at once."""
        self._failures = self._failures + 1 if release == self._failed else 1
        self._failed = release
        self._not_before = time.monotonic() + min(_POLL_SECONDS * 2**self._failures, _LONGEST_PAUSE)

    async def _retire(self, old: Serving) -> None:
        """Stop an engine once its requests are done, at the latest after the drain time."""
        until = time.monotonic() + self._drain
        try:
            while old.users.count and time.monotonic() < until:
                await asyncio.sleep(_IDLE_POLL_SECONDS)
        finally:
            await old.engine.stop()
