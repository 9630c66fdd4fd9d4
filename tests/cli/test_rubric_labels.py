from __future__ import annotations

import json
import re

import pytest

from seeing_eye import PACK, label_file, seeing
from sekisho.proof.labelled import LEAST, LEAST_HELD


@pytest.fixture(autouse=True)
def eye(monkeypatch):
    return seeing(monkeypatch)


def test_prove_tells_figures_and_keeps_them(cli, tmp_path):
    file = str(label_file(tmp_path, 30))
    told = cli("rubric", "prove", "--pack", "intake", file)
    assert told.code == 0
    assert re.search(r"L01 +30 ", told.out)
    assert "passed" in told.out
    assert re.search(r"outcome right +\d+ of 30", told.out)
    found = cli("rubric", "prove", "--pack", "intake", file, "--json").document
    shown = cli("audit", "show", found["id"], "--json").document
    assert shown["record"] == found


def test_prove_ends_with_1_when_it_falls_short(cli, tmp_path):
    file = label_file(tmp_path, 30, ("L01",))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("\n".join(json.dumps({**r, "answers": {"L01": 0}}) for r in rows))
    told = cli("rubric", "prove", "--pack", "intake", str(file))
    assert told.code == 1
    assert "falls short" in told.out
    assert "no image has every criterion labelled" in told.out


def test_calibrate_puts_into_force_shows_and_takes_back(cli, tmp_path):
    few = PACK.ids[:2]
    made = ("rubric", "calibrate", "--pack", "intake")
    told = cli(*made, str(label_file(tmp_path, 160, few)), "--by", "Sato")
    assert told.code == 0
    assert " ".join(few) in told.out
    assert "as it was: few_labels" in told.out
    assert "Sato" in cli(*made, "--versions").out
    assert cli(*made, "--versions", "--json").document[0]["scales"].keys() == set(PACK.ids)
    assert "calibrated" in cli("audit", "show").out
    assert cli(*made, "--rollback", "--json").document["method"] == "none"
    assert cli(*made, "--rollback").code == 2


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no json",
        '{"image": "none.png", "answers": {"L01": 1}}',
        '{"image": "0.png", "answers": {"Z99": 1}}',
        '{"image": "0.png", "answers": {"L01": 2}}',
        '{"image": "0.png", "answers": {"L01": 1}}\n{"image": "0.png", "answers": {"L01": 1}}',
    ],
)
@pytest.mark.parametrize("verb", ["prove", "calibrate"])
def test_a_mistake_is_one_message(cli, tmp_path, verb, line, eye):
    file = label_file(tmp_path, 1)
    file.write_text(line)
    ended = cli("rubric", verb, "--pack", "intake", str(file), "--json")
    assert (ended.code, ended.out) == (2, "")
    assert json.loads(ended.err.splitlines()[-1] if ended.err.startswith("check") else ended.err)["error"]
    assert eye.looks == 0


def test_one_thing_at_a_time(cli, tmp_path):
    file = str(label_file(tmp_path, 1))
    assert cli("rubric", "prove", "--pack", "intake").code == 2
    assert cli("rubric", "prove", "--pack", "intake", file, "--corrected").code == 2
    assert cli("rubric", "calibrate", "--pack", "intake", "--versions", "--rollback").code == 2
    assert "Nobody has spoken" in cli("rubric", "prove", "--pack", "intake", "--corrected").err


def test_help_says_how_many_labels_it_takes(cli):
    told = " ".join(cli("rubric", "calibrate", "--help").out.split())
    assert f"{LEAST} yes" in told
    assert f"{LEAST_HELD} of" in told
