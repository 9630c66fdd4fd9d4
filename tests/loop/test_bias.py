"""The bias watch of a server: collapse is told once, also after a restart, and costs a request nothing."""

from __future__ import annotations

import contextlib
import logging
import random

import pytest

from sekisho import metrics
from sekisho.core.canonical import digest_text, new_id, utc_now
from sekisho.core.records import Judgement, Stamp
from sekisho.core.settings import load
from sekisho.ledger.store import Ledger
from sekisho.loop.bias import WINDOW, BiasWatch
from sekisho.tasks.rubric.lint import read_pack
from sekisho.wiring import build
from small_eye import ROOT

PACK = read_pack("intake", ROOT)


@contextlib.contextmanager
def house(home):
    opened = build(load(flags={"home": home, "share": ROOT, "engine": "fake"}, env={}))
    try:
        yield opened
    finally:
        opened.close()


def judgement(parts, image, fired, outcome, eye="sha256:eye"):
    """An image's judgement in the ledger, as recognition writes it."""
    sealed = Ledger.seal({"image": image})
    record = Judgement(
        id=new_id("jdg"),
        at=utc_now(),
        task="rubric",
        type="noul",
        name=PACK.name,
        probabilities=dict.fromkeys(PACK.ids, 0.5),
        raw={},
        answer=outcome,
        decision=outcome or "all_zero",
        reasons=("scored", *fired),
        stamp=Stamp(
            engine="e", model="eye", model_digest=eye, calibration="uncalibrated", policy=PACK.digest()
        ),
        content=sealed.digest,
    )
    parts.ledger.append([record], [sealed])
    return record


def shown(watch, parts, images, fired, outcome, eye="sha256:eye"):
    for image in images:
        name = digest_text(str(image))
        watch.take(judgement(parts, name, fired(image), outcome(image), eye), PACK, name)
    watch.pump()


def looking(image):
    return random.Random(image).sample(PACK.ids, 20)


def any_outcome(image):
    return PACK.patterns[image % len(PACK.patterns)].id


def stuck(image):
    return PACK.ids[:3]


def one(image):
    return PACK.patterns[0].id


def incidents(parts):
    return [e.body for e in parts.ledger.entries(kind="incident")]


def gauge(metric, *more):
    return metric.labels(PACK.name, "eye", *more)._value.get()


def test_an_eye_that_looks_is_measured_and_nothing_is_told(tmp_path):
    with house(tmp_path) as parts:
        shown(BiasWatch(parts), parts, range(40), looking, any_outcome)
        assert incidents(parts) == []
    assert gauge(metrics.RUBRIC_IMAGES) == gauge(metrics.RUBRIC_DISTINCT) == 40
    assert 0 < gauge(metrics.RUBRIC_PREVALENCE, PACK.ids[0]) < 1
    assert gauge(metrics.RUBRIC_ENTROPY) > 3
    assert gauge(metrics.RUBRIC_ALARM, "few_vectors") == 0


def test_a_collapse_is_told_once_and_not_again_after_a_restart(tmp_path, caplog):
    with house(tmp_path) as parts, caplog.at_level(logging.ERROR):
        watch = BiasWatch(parts)
        for n in range(30):
            shown(watch, parts, [n], stuck, one)
        told = incidents(parts)
        assert {t["what"].partition(":")[0] for t in told} == {"few_vectors", "one_outcome", "stuck_criteria"}
        assert len(told) == 3
        assert {t["sort"] for t in told} == {"bias"}
        assert gauge(metrics.RUBRIC_ALARM, "few_vectors") == 1
        assert caplog.text.count("may have stopped looking") == 3
    with house(tmp_path) as parts:
        shown(BiasWatch(parts), parts, [30], stuck, one)
        assert len(incidents(parts)) == 3
        assert gauge(metrics.RUBRIC_IMAGES) == 31


def test_an_alarm_that_goes_on_is_told_once_however_many_come_at_once_and_however_long_ago(tmp_path):
    with house(tmp_path) as parts:
        watch = BiasWatch(parts)
        for n in range(0, WINDOW + 75, 25):
            shown(watch, parts, range(n, n + 25), stuck, one)
        assert len(incidents(parts)) == 3
    with house(tmp_path) as parts:
        shown(BiasWatch(parts), parts, [1000], stuck, one)
        assert len(incidents(parts)) == 3


def test_what_came_before_a_restart_counts_towards_an_alarm(tmp_path):
    with house(tmp_path) as parts:
        shown(BiasWatch(parts), parts, range(19), stuck, one)
        assert incidents(parts) == []
    with house(tmp_path) as parts:
        shown(BiasWatch(parts), parts, [19], stuck, one)
        assert len(incidents(parts)) == 3


def test_an_alarm_that_went_away_for_a_while_is_told_again(tmp_path):
    with house(tmp_path) as parts:
        watch = BiasWatch(parts)
        shown(watch, parts, range(WINDOW), stuck, one)
        shown(watch, parts, range(WINDOW, 2 * WINDOW), looking, any_outcome)
        shown(watch, parts, range(2 * WINDOW, 3 * WINDOW), stuck, one)
        assert len(incidents(parts)) == 6


def test_the_same_image_counts_once_and_other_weights_count_apart(tmp_path):
    with house(tmp_path) as parts:
        watch = BiasWatch(parts)
        shown(watch, parts, [7] * 40, stuck, one)
        shown(watch, parts, range(15), stuck, one, eye="sha256:one")
        shown(watch, parts, range(15), stuck, one, eye="sha256:two")
        assert incidents(parts) == []


def test_an_alarm_that_could_not_be_written_is_told_later(tmp_path, monkeypatch):
    with house(tmp_path) as parts:
        watch = BiasWatch(parts)
        with monkeypatch.context() as broken:
            broken.setattr("sekisho.loop.bias.note", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                shown(watch, parts, range(20), stuck, one)
        shown(watch, parts, [20], stuck, one)
        assert len(incidents(parts)) == 3
