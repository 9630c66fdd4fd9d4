"""An eye measured and calibrated on labelled images, by a file and by people's words."""

from __future__ import annotations

import asyncio

import pytest

from seeing_eye import PACK, known, label_file, picture, seeing
from sekisho.core.canonical import digest, digest_file
from sekisho.core.errors import ConflictError, EngineError, InputError, ProofError
from sekisho.data.split import split_of
from sekisho.loop import eye_calibration
from sekisho.loop.correct import correct
from sekisho.loop.labelled import spoken
from sekisho.loop.prove_eye import calibrate, prove, rollback, versions
from sekisho.loop.recognise import Eyes

FEW = PACK.ids[:3]


@pytest.fixture
def eye(monkeypatch):
    return seeing(monkeypatch)


def judged(house, number):
    async def work():
        eyes = Eyes(house)
        try:
            return await eyes.recognise(picture(number), "intake")
        finally:
            await eyes.close()

    return asyncio.run(work())


def test_a_proof_says_what_was_measured_and_stands_in_the_ledger(house, eye, tmp_path):
    file, told = label_file(tmp_path, 40), []

    class Progress:
        def step(self, name, done, total, note=""):
            told.append((name, done, total))

    found = prove(house, "intake", file, Progress())
    m = found.measures
    right = [(o > 0) == bool(t[i]) for t, odds in map(known, range(40)) for i, o in odds.items()]
    assert found.passed
    assert (m["images"], m["answers"], m["outcome"]["n"]) == (40, 40 * 60, 40)
    assert m["mean"] == pytest.approx(sum(right) / len(right))
    assert m["majority_mean"] < 0.8
    assert m["labels_file"] == digest_file(file)
    assert m["pack"]["digest"] == PACK.digest()
    assert m["calibration"] == "uncalibrated"
    assert (found.task, found.candidate) == ("rubric", "sha256:see")
    assert house.ledger.get(found.id).record == found
    assert told[0] == ("check", 1, 40)
    assert told[-1] == ("look", 40, 40)
    assert house.ledger.count("judgement") == 0
    assert house.ledger.verify().ok


def test_outcomes_are_told_only_where_everything_is_labelled(house, eye, tmp_path):
    m = prove(house, "intake", label_file(tmp_path, 12, FEW)).measures
    assert set(m["criteria"]) == set(FEW)
    assert m["outcome"] == {"k": 0, "n": 0, "rate": None, "low": 0.0, "high": 1.0, "upper": 1.0}


def test_a_broken_label_and_an_eye_that_fails_leave_nothing_behind(house, eye, tmp_path, monkeypatch):
    file = label_file(tmp_path, 3, FEW)
    file.write_text(file.read_text() + '{"image": "9.png", "answers": {"L01": 1}}')
    with pytest.raises(Exception, match=r"9\.png"):
        prove(house, "intake", file)
    assert eye.looks == 0

    async def fails(*_):
        raise EngineError("It is down.", "Wait.")

    monkeypatch.setattr(eye, "look", fails)
    with pytest.raises(EngineError, match=r"0\.png: It is down"):
        prove(house, "intake", label_file(tmp_path, 3, FEW))
    assert house.ledger.count() == 0


def test_a_calibration_serves_until_it_is_taken_back(house, eye, tmp_path):
    file = label_file(tmp_path, 160, FEW)
    before = prove(house, "intake", file).measures
    found = calibrate(house, "intake", file, "a test")
    record = found.record
    assert found.fitted == FEW
    assert set(found.left.values()) == {"few_labels"}
    assert set(record.scales) == set(PACK.ids)
    assert record.scales[PACK.ids[5]] == (1.0, 0.0)
    held = [n for n in range(160) if split_of(digest(picture(n))) == "holdout"]
    assert record.rows == 3 * (160 - len(held))
    assert record.measures["nll_after"] < record.measures["nll_before"]

    now = judged(house, 1)
    assert now.calibration == record.version
    assert house.ledger.get(now.judgement).body["stamp"]["calibration"] == record.version
    after = prove(house, "intake", file).measures
    assert after["calibration"] == record.version
    assert after["ece"] < before["ece"]

    with pytest.raises(ProofError, match="3 worse"):  # the same labels teach nothing more
        calibrate(house, "intake", file, "a test")
    second = calibrate(house, "intake", label_file(tmp_path, 240, FEW), "a test").record
    assert second.previous == record.version
    assert rollback(house, "intake", "a test").version == record.version
    assert judged(house, 1).calibration == record.version
    assert rollback(house, "intake", "a test").method == "none"
    assert judged(house, 1).calibration == "uncalibrated"
    with pytest.raises(ConflictError):
        rollback(house, "intake", "a test")
    assert [v.version for v in versions(house, "intake")] == [
        *(record.version, second.version, record.version, "uncalibrated")
    ]
    assert house.ledger.verify().ok


def test_a_calibration_of_other_weights_or_another_version_of_the_pack_is_not_used(
    house, eye, tmp_path, monkeypatch
):
    calibrate(house, "intake", label_file(tmp_path, 160, FEW), "a test")
    sight = house.sight()
    other = PACK.model_copy(update={"version": "other"})
    assert eye_calibration.in_force(house.ledger, sight, PACK).calibration.startswith("cal_")
    assert eye_calibration.in_force(house.ledger, sight, other) is sight
    monkeypatch.setattr(eye, "info", eye.info.model_copy(update={"model_digest": "sha256:1"}), raising=False)
    assert eye_calibration.in_force(house.ledger, sight, PACK) is sight


def test_what_was_compared_with_an_older_calibration_is_not_put_into_force(house, eye, tmp_path):
    stale = house.sight()
    calibrate(house, "intake", label_file(tmp_path, 160, FEW), "a test")
    with pytest.raises(ConflictError, match="meanwhile"):
        eye_calibration.put(house.ledger, stale, PACK, "a test", version="cal_1", method="platt")


def test_too_few_labels_put_nothing_into_force(house, eye, tmp_path):
    with pytest.raises(ProofError, match="60 few_labels") as caught:
        calibrate(house, "intake", label_file(tmp_path, 30), "a test")
    assert "20 yes and 20 no" in caught.value.do
    assert house.ledger.count("calibrated") == 0


def test_peoples_words_are_labels_without_another_look(house, eye):
    first, second, again = judged(house, 1), judged(house, 2), judged(house, 1)
    looks = eye.looks
    correct(house.ledger, first.judgement, "L01:yes", "I looked.")
    correct(house.ledger, second.judgement, "L02:no", "I looked.")
    correct(house.ledger, again.judgement, "L01:no", "No, the other way.")
    correct(house.ledger, first.judgement, "L03:yes", "I looked.")
    one, two = spoken(house.ledger, PACK, "sha256:see")
    assert (one.image, one.answers) == (first.image, {"L01": 0, "L03": 1})
    assert two.answers == {"L02": 0}
    assert one.odds == pytest.approx(known(1)[1])
    found = prove(house, "intake", None)
    assert eye.looks == looks
    assert (found.measures["images"], found.measures["answers"]) == (2, 3)
    assert found.measures["labels"] == "corrections"
    assert found.measures["labels_file"] is None
    assert "people's words" in found.why[-1]


def test_words_on_another_eye_are_not_this_ones(house, eye, monkeypatch):
    with pytest.raises(InputError, match="Nobody has spoken"):
        prove(house, "intake", None)
    found = judged(house, 1)
    correct(house.ledger, found.judgement, "L01:yes", "I looked.")
    assert spoken(house.ledger, PACK, "sha256:1") == ()
    assert spoken(house.ledger, PACK.model_copy(update={"version": "other"}), "sha256:see") == ()


def test_words_calibrate_too(house, eye):
    for number in range(130):
        found = judged(house, number)
        answer = "yes" if known(number)[0]["L01"] else "no"
        correct(house.ledger, found.judgement, f"L01:{answer}", "I looked.")
    assert calibrate(house, "intake", None, "a test").fitted == ("L01",)
