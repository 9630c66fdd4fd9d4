"""A tie of two outcomes: looked at again where a setting says so, written down, and never the end of a judgement."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from sekisho.core.engine import EngineInfo
from sekisho.core.errors import EngineError, EngineTimeoutError, OverloadedError
from sekisho.core.settings import load
from sekisho.core.sight import Seen, Sight
from sekisho.loop.correct import correct
from sekisho.loop.recognise import Eyes
from sekisho.tasks.rubric.lint import read_pack
from sekisho.tasks.rubric.patterns import RESERVED, Scorer
from sekisho.tasks.rubric.second import KEY, question
from sekisho.wiring import build
from small_eye import ROOT, picture_file

KOTARO = Scorer(read_pack("kotaro", ROOT))
OWN = {p.id: {c.id for c in KOTARO.pack.criteria if p.id in c.patterns} for p in KOTARO.pack.patterns}


def apart(bits: int) -> bool:
    """Whether exactly two patterns tie, each with a criterion at yes that the other lacks."""
    found = KOTARO.score(bits)
    if len(found.residual_tie) != 2:
        return False
    one, other = (OWN[p] & set(found.fired) for p in found.residual_tie)
    return bool(one - other and other - one)


TIED = next(bits for bits in (1 << a | 1 << b for a in range(60) for b in range(a)) if apart(bits))
PAIR = KOTARO.score(TIED).residual_tie


class Pointing:
    """An eye that sees a tie, and answers a second look as it is told to."""

    info = EngineInfo(engine="fake", model="fake", model_digest="sha256:0", context=0, device="none")

    def __init__(self, second: object, surer: str = "") -> None:
        self.second, self.surer = second, surer
        self.asked: list[dict[str, str]] = []
        self.images: list[bytes] = []

    async def start(self):
        """Nothing to load."""

    async def stop(self):
        """Nothing to free."""

    async def look(self, image, questions, timeout):
        self.asked.append(dict(questions))
        self.images.append(image)
        if KEY not in questions:
            odds = {c: 2.0 if TIED >> i & 1 else -2.0 for i, c in enumerate(KOTARO.pack.ids)}
            return Seen(
                log_odds={c: o + (o > 0 and c == self.surer) for c, o in odds.items()}, input_tokens=7
            )
        if isinstance(self.second, Exception):
            raise self.second
        return Seen(
            log_odds=self.second if isinstance(self.second, dict) else {KEY: self.second}, input_tokens=5
        )


@contextlib.contextmanager
def house(home, **flags):
    opened = build(load(flags={"home": home, "share": ROOT, "engine": "fake", **flags}, env={}))
    try:
        yield opened
    finally:
        opened.close()


def judged(home, eye, learnt=None, setting="on"):
    with house(home, rubric_second_look=setting) as parts:
        found = asyncio.run(Eyes(parts, Sight(eye, learnt)).recognise(picture_file(), "kotaro"))
        body = parts.ledger.get(found.judgement).body
        label = f"{found.checks[0].id}:yes"
        assert correct(parts.ledger, found.judgement, label, "I looked.").was.endswith(
            "yes" if found.checks[0].yes else "no"
        )
        return found, body, parts.ledger.content(body["content"])


def test_by_default_nobody_looks_again(tmp_path):
    eye = Pointing(9.0)
    found, body, content = judged(tmp_path, eye, setting="off")
    assert len(eye.asked) == 1
    assert (found.second_look, found.tie_break.rule) == (None, "seed")
    assert "second_look" not in content
    assert not any(KEY in reason for reason in body["reasons"])


@pytest.mark.parametrize(("odds", "place"), [(1.5, 0), (-1.5, 1)])
def test_a_far_eye_is_asked_once_more_about_the_same_image(tmp_path, odds, place):
    eye = Pointing(odds)
    found, body, content = judged(tmp_path, eye)
    assert eye.asked[1:] == [{KEY: question(KOTARO.pack, PAIR)}]
    assert eye.images[0] == eye.images[1]
    assert found.pattern == body["answer"] == PAIR[place]
    assert (found.tie_break.rule, found.residual_tie) == ("chosen", PAIR)
    assert found.second_look.reason in body["reasons"]
    assert "tie_chosen" in body["reasons"]
    assert content["second_look"] == found.second_look.model_dump(mode="json")
    assert content["second_look"]["asked"] == eye.asked[1][KEY]
    assert body["usage"]["input_tokens"] == 12
    assert (body["usage"]["tries"], set(body["probabilities"])) == (2, set(KOTARO.pack.ids))
    others = {r for r in body["reasons"] if ":" not in r} - set(found.fired)
    assert others <= RESERVED


@pytest.mark.parametrize(
    "second",
    [
        EngineError("down"),
        EngineTimeoutError("late"),
        OverloadedError("busy"),
        {},
        float("nan"),
        {KEY: 1.0, "A01": 1.0},
        0.0,
    ],
    ids=repr,
)
def test_a_second_look_that_fails_or_does_not_decide_leaves_the_packs_own_rule(tmp_path, second):
    plain, _, _ = judged(tmp_path / "off", Pointing(second), setting="off")
    found, body, content = judged(tmp_path / "on", Pointing(second))
    assert (found.pattern, found.tie_break) == (plain.pattern, plain.tie_break)
    assert content["second_look"]["chosen"] is None
    assert found.second_look.reason in body["reasons"]
    assert ("failed" in found.second_look.reason) == (second != 0.0)


def test_an_eye_that_has_learnt_one_pack_is_asked_nothing_new(tmp_path):
    for place in (0, 1):
        surer = next(c for c in KOTARO.score(TIED).fired if c in OWN[PAIR[place]] - OWN[PAIR[1 - place]])
        eye = Pointing(9.0, surer)
        found, _, content = judged(tmp_path / str(place), eye, KOTARO.pack.digest())
        assert len(eye.asked) == 1
        assert found.pattern == PAIR[place]
        assert content["second_look"]["way"] == "evidence"
        assert surer in content["second_look"]["criteria"]
    found, _, _ = judged(tmp_path / "even", Pointing(9.0), KOTARO.pack.digest())
    assert (found.second_look.margin, found.tie_break.rule) == (0.0, "seed")
