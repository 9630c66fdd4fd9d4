"""An image through guard, eye, calibration, scorer and ledger."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import time

import pytest

from sekisho.core.canonical import digest
from sekisho.core.engine import EngineInfo
from sekisho.core.errors import (
    ConflictError,
    EngineError,
    EngineTimeoutError,
    InputError,
    ShelfError,
    UnsupportedEncodingError,
)
from sekisho.core.settings import load
from sekisho.core.sight import OBSERVED, Seen, Sight
from sekisho.loop import recognise
from sekisho.loop.correct import correct
from sekisho.loop.labelled import last_words
from sekisho.loop.looking import images_in, run
from sekisho.loop.recognise import Eyes
from sekisho.loop.rubric import Wording
from sekisho.serve.eyes import torch as torch_eye
from sekisho.wiring import build, make_sight
from small_eye import PACK, ROOT, eye_folder, picture_file


def settings(home, **flags):
    return load(flags={"home": home, "share": ROOT, "engine": "fake", **flags}, env={})


@contextlib.contextmanager
def house(home, **flags):
    opened = build(settings(home, **flags))
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return eye_folder(tmp_path_factory.mktemp("eye"))


@pytest.fixture
def parts(tmp_path, folder):
    with house(tmp_path, eye_model=str(folder), threads=1) as opened:
        yield opened


def judged(parts, data, pack="intake", **more):
    async def work():
        eyes = Eyes(parts)
        try:
            return await eyes.recognise(data, pack, **more)
        finally:
            await eyes.close()

    return asyncio.run(work())


def test_a_judgement_names_the_image_and_answers_every_criterion(parts):
    data = picture_file()
    found = judged(parts, data)
    assert [c.id for c in found.checks] == list(PACK.ids)
    assert all(0 < c.probability < 1 for c in found.checks)
    assert found.image == digest(data)
    entry = parts.ledger.get(found.judgement)
    body = entry.body
    assert body["task"] == "rubric"
    assert set(body["probabilities"]) == set(PACK.ids)
    assert body["stamp"]["policy"] == PACK.digest()
    assert set(found.fired) <= set(body["reasons"])
    kept = parts.ledger.content(body["content"])
    assert kept["image"] == digest(data)
    assert "file" not in kept


def test_the_same_image_gives_the_same_answers(parts):
    one, two = judged(parts, picture_file(3)), judged(parts, picture_file(3))
    assert one.checks == two.checks
    assert one.pattern == two.pattern
    assert one.judgement != two.judgement


def test_an_image_is_kept_only_where_a_setting_says_so(tmp_path, folder):
    with house(tmp_path, eye_model=str(folder), keep_images="on", threads=1) as parts:
        found = judged(parts, picture_file())
        assert "file" in parts.ledger.content(parts.ledger.get(found.judgement).body["content"])


def test_words_are_drawn_by_the_image(parts):
    found = judged(parts, picture_file(), wording=Wording(count=1, lang="ja", name="申請書"))
    assert len(found.comments) == (1 if found.pattern else 0)


def test_a_pack_that_was_not_learnt_is_refused(parts, tmp_path):
    with pytest.raises(ConflictError, match="kotaro"):
        judged(parts, picture_file(), "kotaro")
    other = eye_folder(tmp_path / "other", "sha256:0")
    with (
        house(tmp_path / "home", eye_model=str(other), threads=1) as changed,
        pytest.raises(ConflictError, match="this version"),
    ):
        judged(changed, picture_file())


def test_a_folder_without_an_eye_is_named(tmp_path):
    with pytest.raises(ShelfError, match="holds no eye"):
        make_sight(settings(tmp_path, eye_model=str(tmp_path)))


@pytest.mark.parametrize(
    "name", ["made.json", "calibration.json", "tokenizer.json", "config.json", "model.safetensors"]
)
@pytest.mark.parametrize("data", [None, b"{}", b"no such thing"])
def test_a_broken_part_of_an_eyes_folder_is_named(tmp_path, folder, name, data):
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / name).unlink()
    if data is not None:
        (broken / name).write_bytes(data)
    with (
        house(tmp_path / "home", eye_model=str(broken), threads=1) as parts,
        pytest.raises(ShelfError, match=name),
    ):
        judged(parts, picture_file())


def test_an_image_named_twice_is_judged_once(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "a.png").write_bytes(picture_file())
    (tmp_path / "other.png").symlink_to(inside / "a.png")
    given = [inside, inside / "a.png", inside / ".." / "in" / "a.png", tmp_path / "other.png"]
    assert images_in(given) == [inside / "a.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(parts, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    heard = []

    class Progress:
        def step(self, name, done, total, note=""):
            """Nobody watches."""

    ran = asyncio.run(run(parts, "intake", images_in([tmp_path / "pipe.png"]), heard.append, Progress()))
    assert ran.failed == 1
    assert "no regular file" in heard[0].error


@pytest.mark.parametrize(
    ("data", "error"), [(b"GIF89a....", UnsupportedEncodingError), (picture_file()[:200], InputError)]
)
def test_what_the_guard_refuses_never_reaches_the_eye_or_the_ledger(parts, data, error):
    before = len(parts.ledger.entries(kind="judgement"))
    with pytest.raises(error):
        judged(parts, data)
    assert len(parts.ledger.entries(kind="judgement")) == before


class Blind:
    """An eye that answers as it is told to: what a far server may do."""

    info = EngineInfo(engine="blind", model="blind", model_digest="sha256:0", context=0, device="none")

    def __init__(self, answer):
        self._answer = answer

    async def start(self):
        """Nothing to load."""

    async def stop(self):
        """Nothing to free."""

    async def look(self, image, questions, timeout):
        return await self._answer(questions, timeout)


async def _one_missing(questions, timeout):
    return Seen(log_odds=dict.fromkeys(list(questions)[1:], 0.0))


async def _no_number(questions, timeout):
    return Seen(log_odds={**dict.fromkeys(questions, 0.0), "L01": float("nan")})


async def _one_more(questions, timeout):
    return Seen(log_odds={**dict.fromkeys(questions, 0.0), "Z99": 0.0})


@pytest.mark.parametrize("answer", [_one_missing, _no_number, _one_more])
def test_an_answer_that_is_not_whole_is_an_error_and_never_a_judgement(parts, answer):
    async def work():
        await Eyes(parts, Sight(Blind(answer))).recognise(picture_file(), "intake")

    with pytest.raises(EngineError, match="every criterion"):
        asyncio.run(work())
    assert not parts.ledger.entries(kind="judgement")


def test_the_deadline_holds(tmp_path, folder):
    async def slow(questions, timeout):
        async with asyncio.timeout(timeout):
            await asyncio.sleep(60)

    async def work(parts):
        try:
            await Eyes(parts, Sight(Blind(slow))).recognise(picture_file(), "intake")
        except TimeoutError:
            raise EngineTimeoutError("late") from None

    with house(tmp_path, eye_seconds=0.3) as parts, pytest.raises(EngineTimeoutError):
        asyncio.run(work(parts))


def test_loading_the_eye_takes_no_time_from_the_first_image(tmp_path):
    class Slow(Blind):
        async def start(self):
            await asyncio.sleep(0.8)

    async def answer(questions, timeout):
        assert timeout > 0.2
        return Seen(log_odds=dict.fromkeys(questions, 1.0))

    with house(tmp_path, eye_seconds=0.5) as parts:
        eyes = Eyes(parts, Sight(Slow(answer)))
        found = asyncio.run(eyes.recognise(picture_file(), "intake"))
    assert found.milliseconds < 800


def test_an_eye_that_is_not_loaded_in_time_is_blamed_and_not_the_image(parts, monkeypatch):
    monkeypatch.setattr(torch_eye, "_LOADING", 0.05)
    monkeypatch.setattr(torch_eye.TorchEye, "_load", lambda _: time.sleep(0.3))
    with pytest.raises(EngineTimeoutError, match=r"eye was not loaded in 0\.05 s"):
        judged(parts, picture_file())


def test_a_criterion_is_corrected_by_itself_and_the_latest_word_counts(parts):
    found = judged(parts, picture_file())
    first = found.checks[0]
    other = "no" if first.yes else "yes"
    filed = correct(parts.ledger, found.judgement, f"{first.id}:{other}", "I looked.")
    assert filed.was == f"{first.id}:{'yes' if first.yes else 'no'}"
    correct(parts.ledger, found.judgement, f"{found.checks[1].id}:yes", "I looked.")
    correct(parts.ledger, found.judgement, f"{first.id}:{'yes' if first.yes else 'no'}", "No, it was right.")
    assert last_words(parts.ledger, "intake") == {
        found.judgement: {first.id: "yes" if first.yes else "no", found.checks[1].id: "yes"}
    }
    with pytest.raises(InputError, match="not an option"):
        correct(parts.ledger, found.judgement, "L01", "Which way?")


def test_a_run_over_a_folder_goes_on_after_a_broken_image(parts, tmp_path):
    inside = tmp_path / "images"
    inside.mkdir()
    for n in range(3):
        (inside / f"{n}.png").write_bytes(picture_file(n))
    (inside / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    told = []

    class Progress:
        def step(self, name, done, total, note=""):
            told.append((done, total))

    heard = []
    ran = asyncio.run(run(parts, "intake", images_in([inside]), heard.append, Progress()))
    assert (ran.images, ran.failed) == (3, 1)
    assert [one.found is None for one in heard] == [False, True, False]
    assert told[-1] == (3, 3)


def test_nothing_to_look_at_is_said(tmp_path):
    with pytest.raises(InputError, match="no image"):
        images_in([tmp_path])


def test_calibration_moves_probabilities(folder):
    seen = Seen(log_odds=dict.fromkeys(PACK.ids, 2.0))
    plain = recognise.calibrated(Sight(Blind(_one_more)), PACK, seen)
    cooled = recognise.calibrated(Sight(Blind(_one_more), scales={"L01": (0.5, -1.0)}), PACK, seen)
    assert plain["L01"] == pytest.approx(0.8808, abs=1e-4)
    assert cooled["L01"] == pytest.approx(0.5)
    assert cooled["L02"] == plain["L02"]
    assert json.loads((folder / "made.json").read_text())["pack"] == "intake"


def test_no_calibration_is_laid_on_answers_without_a_probability(parts):
    said = dict.fromkeys(PACK.ids, -OBSERVED) | {"L01": OBSERVED}
    steep = dict.fromkeys(PACK.ids, (1.0, -3.0))

    async def work():
        async def answer(questions, timeout):
            return Seen(log_odds=said)

        eyes = Eyes(parts, Sight(Blind(answer), PACK.digest(), steep, "cal_1"))
        return await eyes.look(picture_file(), "intake")

    found = asyncio.run(work())
    assert (found.sight.scales, found.sight.calibration) == ({}, "uncalibrated")
    assert found.scorer.bits_of(recognise.calibrated(found.sight, PACK, found.seen)) == 1
