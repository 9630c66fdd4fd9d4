from __future__ import annotations

import shutil
import time
from pathlib import Path

import httpx
import pytest

from sekisho.data.format import read_split

from .running import sekisho, server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def decisions(address: str, texts: list[str]) -> list[tuple[str, str]]:
    with httpx.Client(base_url=address, timeout=60) as client:
        answers = [client.post("/v1/gate", json={"text": t}).json() for t in texts]
    return [(a["id"], a["decision"]) for a in answers]


def wait_for(address: str, release: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if release in httpx.get(f"{address}/healthz", timeout=10).text:
            return
        time.sleep(0.2)
    raise AssertionError("the running server did not take up the promotion")


def test_a_hundred_corrections_change_answers_and_rollback_brings_the_old_ones_back(
    promoted: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(promoted, home)
    rows = read_split(home / "data" / "gate", "calibration")
    # Not the gathered texts themselves: those stay in their split, and none of them would be trained on.
    texts = [
        f"窓口の方へ。{e.meta['text']}"
        for e in rows
        if e.label == "ALLOW" and e.meta["source"] == "instruction_ja"
    ][:100]
    assert len(texts) == 100
    with server(home) as (_, address):
        before = decisions(address, texts)
        with httpx.Client(base_url=address, timeout=60) as client:
            for judgement, _ in before:
                body = {
                    "judgement": judgement,
                    "label": "ESCALATE",
                    "reason": "この窓口では担当者が答える",
                    "by": "担当",
                }
                assert client.post("/v1/corrections", json=body).status_code in (200, 201)
        first = sekisho(home, "audit", "show", "--kind", "promotion")
        candidate = sekisho(home, "finetune")
        assert len(candidate["corrections"]) >= 40
        others = ("calibration", "held_out", "too_long")
        assert len(candidate["corrections"]) + sum(candidate[k] for k in others) == 100
        assert sekisho(home, "prove")["passed"]
        baked = sekisho(home, "bake")
        sekisho(home, "promote", baked["release"])
        wait_for(address, baked["release"])
        after = decisions(address, texts)
        changed = sum(a != b for (_, a), (_, b) in zip(before, after, strict=True))
        assert changed >= 30
        back = sekisho(home, "rollback")
        wait_for(address, back["release"])
        again = decisions(address, texts)
    assert [d for _, d in again] == [d for _, d in before]
    kinds = {
        kind: sekisho(home, "audit", "show", "--kind", kind, "--limit", "1000")
        for kind in ("correction", "proof", "promotion")
    }
    assert [len(entries(k)) for k in kinds.values()] == [100, 2, 3]
    assert len(entries(first)) == 1
    assert sekisho(home, "audit", "verify")["ok"]


def entries(shown: object) -> list:
    return shown if isinstance(shown, list) else shown["entries"]  # type: ignore[index]
