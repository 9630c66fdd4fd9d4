from __future__ import annotations

import json

import pytest

from sekisho.core.errors import ConflictError, DataError, InputError, NotFoundError
from sekisho.core.records import Correction
from sekisho.ledger import erasure
from sekisho.loop.feedback import Word, dump, export_words, feedback, import_words, read_lines, word_of

from . import nli_house as made
from . import nli_makers as makers


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return makers.tiny(tmp_path_factory.mktemp("nli") / "tiny")


@pytest.fixture
def home(tmp_path, model):
    with made.house(tmp_path / "home", model) as opened:
        yield opened


def test_correcting_again_keeps_what_the_machine_said(home, model):
    id = made.judged(home, model, "supports")
    for label in ("refutes", "neutral", "supports"):
        filed = feedback(home, Word(judgement=id, label=label, reason="x"), "hana")
        assert isinstance(filed, Correction)
        assert (filed.was, filed.label) == ("supports", label)
    (row,) = export_words(home)
    assert (row["was"], row["label"], row["action"]) == ("supports", "supports", "right")
    assert row["content"] == {"premise": "p", "hypothesis": "h", "source": None}
    assert row["probabilities"]["supports"] == 0.8
    assert row["model"].startswith("sha256:")


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ({"label": "ALLOW"}, InputError),
        ({}, InputError),
        ({"action": "reject"}, InputError),
        ({"level": "claim", "action": "correct"}, InputError),
        ({"level": "source", "action": "reject"}, InputError),
        ({"action": "right", "label": "refutes"}, InputError),
    ],
)
def test_wrong_words(home, model, word, error):
    id = made.judged(home, model, "supports")
    with pytest.raises(error):
        feedback(home, Word(judgement=id, reason="x", **word), "hana")
    assert home.ledger.count("correction") + home.ledger.count("feedback") == 0


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"judgement": 3, "reason": "x"},
        {"judgement": "j", "reason": ""},
        {"judgement": "j", "reason": "x", "level": "all"},
        {"judgement": "j", "reason": "x", "more": 1},
    ],
)
def test_what_is_no_word(value):
    with pytest.raises(InputError):
        word_of(value)


def test_an_unknown_answer_and_one_of_another_task(home):
    with pytest.raises(NotFoundError):
        feedback(home, Word(judgement="jdg_x", label="refutes", reason="x"), "hana")


def test_a_claim_whose_content_is_gone_cannot_be_named(home, model):
    id = made.judged(home, model)
    erasure.erase(home.ledger, [home.ledger.get(id).body["content"]], "asked", "hana")
    with pytest.raises(ConflictError, match="erased"):
        feedback(home, Word(judgement=id, level="claim", action="reject", reason="x"), "hana")


def test_words_travel_by_file(home, model, tmp_path):
    ids = [made.judged(home, model, premise=str(i)) for i in range(20)]
    lines = [
        json.dumps({"judgement": id, "label": "refutes", "reason": "読んだ", "by": "ken"}, ensure_ascii=False)
        for id in ids
    ]
    assert import_words(home, [*lines, "", " "], "hana").filed == 20
    (tmp_path / "x.jsonl").write_text(dump(export_words(home)), encoding="utf-8")
    assert import_words(home, read_lines(tmp_path / "x.jsonl"), "hana").filed == 20
    rows = list(export_words(home))
    assert len(rows) == 20
    assert {(r["label"], r["by"], r["was"]) for r in rows} == {("refutes", "ken", "supports")}


def test_a_file_with_a_wrong_line_files_nothing(home, model):
    id = made.judged(home, model)
    good = json.dumps({"judgement": id, "label": "refutes", "reason": "x"})
    for bad in (
        "{",
        "[]",
        "3",
        '{"judgement": "jdg_x", "label": "refutes", "reason": "x"}',
        good.replace("refutes", "maybe"),
        good.replace('"x"', '""'),
        good.replace('"x"', '"  "'),
        json.dumps({"judgement": id, "level": "source", "action": "reject", "reason": "no source"}),
        json.dumps({"judgement": id, "level": "claim", "action": "reject", "reason": "  "}),
        json.dumps({"judgement": id, "level": "claim", "action": "reject", "reason": "x", "label": "banana"}),
    ):
        with pytest.raises(DataError, match="line 2"):
            import_words(home, [good, bad, good], "hana")
    assert home.ledger.count("correction") == home.ledger.count("feedback") == 0
    with pytest.raises(DataError):
        read_lines(home.settings.home / "absent.jsonl")
