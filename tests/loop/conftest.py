from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho import wiring
from sekisho.core import settings
from sekisho.core.canonical import new_id, utc_now
from sekisho.core.records import Judgement, Stamp
from train.conftest import base, tokenizer  # noqa: F401

from .makers import small_house

STAMP = Stamp(engine="fake", model="m", model_digest="sha256:0")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[wiring.House]:
    built = wiring.build(settings.load({"home": str(tmp_path / "home"), "engine": "fake"}))
    yield built
    built.close()


@pytest.fixture
def small(tmp_path: Path, base: Path) -> Iterator[wiring.House]:  # noqa: F811
    built = small_house(tmp_path / "home", base)
    yield built
    built.close()


def judged(house: wiring.House, text: str, decision: str = "ALLOW", contract: str = "general") -> Judgement:
    sealed = house.ledger.seal({"requests": [text], "contract": contract})
    record = Judgement(
        id=new_id("jdg"),
        at=utc_now(),
        task="gate",
        type="choice",
        name="gate",
        probabilities={"ALLOW": 0.9, "DENY": 0.05, "ESCALATE": 0.05},
        answer="ALLOW",
        decision=decision,
        content=sealed.digest,
        stamp=STAMP,
    )
    house.ledger.append([record], [sealed])
    return record
