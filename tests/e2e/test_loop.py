from __future__ import annotations

import shutil
import time
from pathlib import Path

import httpx
import pytest

from sekisho.core.question import Example
from sekisho.data.format import read_split

from .conftest import quick_recipe
from .running import sekisho, server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def decisions(address: str, texts: list[str]) -> list[tuple[str, str]]:
    with httpx.Client(base_url=address, timeout=60) as client:
        answers = [client.post("/v1/gate", json={"text": t}).json() for t in texts]
    return [(a["id"], a["decision"]) for a in answers]


def new_text(example: Example) -> str:
    """A text nobody gathered: a gathered one would stay in its own split, and none of these would be trained on."""
    return ("窓口の方へ。" if example.meta["lang"] == "ja" else "To the desk: ") + str(example.meta["text"])


def mistakes(address: str, labelled: list[tuple[str, str]], wanted: int) -> list[tuple[str, str, str, str]]:
    """(judgement, text, decision, right label) of the first answers an expert would correct."""
    found = []
    for start in range(0, len(labelled), 50):
        piece = labelled[start : start + 50]
        answers = decisions(address, [text for text, _ in piece])
        found += [(j, t, d, label) for (j, d), (t, label) in zip(answers, piece, strict=True) if d != label]
    assert len(found) >= wanted
    return found[:wanted]


def first_that_passes(home: Path, folder: Path) -> int:
    """Train with one seed after another until a candidate is proved no worse than what serves; return how many it took.

    A gate trained for a minute is a noisy one, and the proof is there to refuse the bad draws.
    """
    for tried, seed in enumerate((20261121, 1, 2), 1):
        candidate = sekisho(home, "finetune", "--recipe", str(quick_recipe(folder, seed=seed)))
        assert len(candidate["corrections"]) >= 40
        others = ("calibration", "held_out", "too_long")
        assert len(candidate["corrections"]) + sum(candidate[k] for k in others) == 100
        if sekisho(home, "prove", fails=True)["passed"]:
            return tried
    raise AssertionError("no candidate passed its proof")


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
    rows = [e for e in read_split(home / "data" / "gate", "calibration") if e.meta["source"] == "authored"]
    with server(home) as (_, address):
        wrong = mistakes(address, [(new_text(e), e.label) for e in rows], 100)
        texts = [text for _, text, _, _ in wrong]
        before = [(judgement, decision) for judgement, _, decision, _ in wrong]
        with httpx.Client(base_url=address, timeout=60) as client:
            for judgement, _, _, label in wrong:
                body = {"judgement": judgement, "label": label, "reason": "規程のとおり", "by": "担当"}
                assert client.post("/v1/corrections", json=body).status_code in (200, 201)
        first = sekisho(home, "audit", "show", "--kind", "promotion")
        proved = first_that_passes(home, tmp_path)
        baked = sekisho(home, "bake")
        sekisho(home, "promote", baked["release"])
        wait_for(address, baked["release"])
        after = decisions(address, texts)
        changed = sum(a != b for (_, a), (_, b) in zip(before, after, strict=True))
        assert changed >= 15
        back = sekisho(home, "rollback")
        wait_for(address, back["release"])
        again = decisions(address, texts)
    assert [d for _, d in again] == [d for _, d in before]
    kinds = {
        kind: sekisho(home, "audit", "show", "--kind", kind, "--limit", "1000")
        for kind in ("correction", "proof", "promotion")
    }
    assert [len(entries(k)) for k in kinds.values()] == [100, 1 + proved, 3]
    assert len(entries(first)) == 1
    assert sekisho(home, "audit", "verify")["ok"]


def entries(shown: object) -> list:
    return shown if isinstance(shown, list) else shown["entries"]  # type: ignore[index]
