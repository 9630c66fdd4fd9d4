"""Real parts for the web's tests: a house over a real ledger, a fake engine, and a live server on a loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from sekisho.core.canonical import digest_file, new_id, utc_now
from sekisho.core.oversight import Certificate
from sekisho.core.records import Promotion, Proof, Stamp
from sekisho.core.settings import load
from sekisho.loop.certificate import Certified, in_force
from sekisho.loop.entries import Serving
from sekisho.loop.judge import Judge
from sekisho.serve.engines.fake import FakeEngine, Script
from sekisho.shelf import Release, write_json
from sekisho.tasks.policy import policy_of
from sekisho.tasks.scope import fit_scope
from sekisho.web.app import bind, create_app
from sekisho.web.connections import Crowd, configured
from sekisho.wiring import House, build

ROOT = Path(__file__).parents[2]
FAMILIAR = "What are the opening hours of the city library?"
FAMILIAR_JA = "市立図書館の開館時間を教えてください。"
MODEL = "sekisho-test"
CONTEXT = 65536
CERTIFIED = Certified(None, "9999", 0.0)


def settings(home: Path, **flags):
    return load(flags={"home": home, "share": ROOT, "engine": "fake", **flags}, env={})


@contextlib.contextmanager
def house(home: Path, **flags) -> Iterator[House]:
    """A wired house over a new ledger; closed at the end."""
    opened = build(settings(home, **flags))
    try:
        yield opened
    finally:
        opened.close()


def sure_of(decision: str, p: float = 0.995):
    """A script that answers the gate with `decision` at `p`, and every other question by digest."""
    rest = (1 - p) / 2

    def probabilities(state, question):
        if set(question.keys) != {"ALLOW", "ESCALATE", "DENY"}:
            return None
        return {k: p if k == decision else rest for k in question.keys}

    return probabilities


class Familiar:
    """A scope in which every text lies; the real one knows short requests only, and is tested by itself."""

    def unfamiliar(self, text: str) -> bool:
        return False


def judge_over(
    home: House,
    engine: FakeEngine | None = None,
    *,
    threshold: float = 0.9,
    temperatures=None,
    scope: bool = True,
    certified: Certified | None = None,
) -> Judge:
    engine = engine or FakeEngine(Script(), name=MODEL, context=CONTEXT)
    asyncio.run(engine.start())
    known = [FAMILIAR, FAMILIAR_JA]
    serving = Serving(
        engine=engine,
        stamp=Stamp(
            engine="fake", model=MODEL, model_digest=engine.info.model_digest, calibration="cal_test"
        ),
        policy=policy_of(home.policy_document),
        temperatures=temperatures or {},
        threshold=threshold,
        scope=fit_scope(known, known).reader() if scope else None,
        certified=CERTIFIED if certified is None else certified,
    )
    return Judge(serving, home.ledger, home.settings.deadline_seconds, home.settings.queue)


@contextlib.contextmanager
def live(home: House, judge: Judge, crowd: Crowd | None = None, start=None) -> Iterator[str]:
    """A real uvicorn on a free loopback port, in a thread; `start` is awaited first, in its loop."""
    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(configured(create_app(home, judge), crowd or Crowd(1024)))

    async def run() -> None:
        if start is not None:
            await start()
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def promote(home: House, name: str, threshold: float = 0.9) -> str:
    """Put a release without weights on the shelf and promote it, as `loop.promote` would; the fake engine needs no more."""
    known = [FAMILIAR, FAMILIAR_JA]
    with home.shelf.building("releases") as folder:
        (folder / "scope.json").write_text(fit_scope(known, known).model_dump_json())
        release = Release(
            name=name,
            base="sha256:0",
            adapter="sha256:1",
            recipe="sha256:2",
            data="sha256:3",
            files={"scope.json": digest_file(folder / "scope.json")},
            gguf={},
            temperatures={"choice": 2.0},
            calibration=f"cal_{name}",
            threshold=threshold,
            proof="prf_1",
            certificate={},
        )
        write_json(folder / "release.json", release.model_dump(mode="json"))
        tagged = home.shelf.keep("releases", folder)
    record = Promotion(id=new_id("pro"), at=utc_now(), release=tagged, previous=None, proof="prf_1")
    if home.ledger.get("prf_1") is None:
        proof = Proof(
            id="prf_1",
            at=utc_now(),
            task="gate",
            candidate="sha256:1",
            base=None,
            passed=True,
            why=(),
            measures={},
        ).model_copy(update={"data": "sha256:4"})
        home.ledger.append([proof, certificate(home)])
    home.ledger.append([record])
    return tagged


def certificate(home: House, **more) -> Certificate:
    """A certificate of the release that `promote` shelves, under the policy in force."""
    policy, contracts = in_force(home)
    fields = {
        "adapter": "sha256:1",
        "proof": "prf_1",
        "feasible": True,
        "alpha": 0.05,
        "confidence": 0.95,
        "threshold": 0.5,
        "temperature": 2.0,
        "misses": 0,
        "cases": 100,
        "bound": 0.03,
        "policy": policy,
        "contracts": contracts,
        "data": "sha256:4",
        "expires": "9999",
    }
    return Certificate(id=new_id("crt"), at=utc_now(), **(fields | more))
