from __future__ import annotations

import json
from pathlib import Path

import pytest

from sekisho.core.errors import DataError, InputError, MalformedError
from sekisho.loop.rubric import Wording, lint_packs, read_answers, score, watch

SHARE = Path(__file__).parents[2]
IDS = [c for one in lint_packs("kotaro", SHARE) for c in one.census.all_one.fired]


def answers(**fired: int) -> dict[str, int]:
    return {**dict.fromkeys(IDS, 0), **fired}


def written(tmp_path, text: str | bytes) -> Path:
    file = tmp_path / "answers"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([answers(A01=1), answers(A02=1)]),
        json.dumps([answers(A01=1), answers(A02=1)], indent=2),
        json.dumps(answers(A01=1)) + "\n" + json.dumps(answers(A02=1)),
        json.dumps(answers(A01=1)) + "\r\n\r\n" + json.dumps(answers(A02=1)) + "\n",
        "\ufeff" + json.dumps(answers(A01=1)) + "\n" + json.dumps(answers(A02=1)) + "\n",
    ],
)
def test_json_and_json_lines_are_the_same(tmp_path, text):
    assert read_answers(written(tmp_path, text)) == [answers(A01=1), answers(A02=1)]


def test_one_object_is_one_image(tmp_path):
    assert read_answers(written(tmp_path, json.dumps(answers(), indent=1))) == [answers()]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", InputError),
        ("[]", InputError),
        ("7", MalformedError),
        ("[1]", MalformedError),
        ('{"A01": 0}\n{"A01": ', MalformedError),
        ('{"A01": 0, "A01": 1}', MalformedError),
        ("[" * 100_000, MalformedError),
        (b"\xff\xfe{", MalformedError),
    ],
    ids=repr,
)
def test_what_is_no_set_of_answers_is_refused(tmp_path, text, error):
    with pytest.raises(error):
        read_answers(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        read_answers(tmp_path / "nowhere")


def test_one_wrong_image_stops_the_batch_and_is_named():
    with pytest.raises(InputError, match=r"Image 2: .*missing: A01"):
        score("kotaro", SHARE, [answers(), dict.fromkeys(IDS[1:], 0)], None, Wording())


def test_an_outcome_comes_with_its_title_its_words_and_what_to_do():
    found = score(
        "kotaro", SHARE, [answers(B01=1, B02=1, B06=1)], None, Wording(count=2, lang="ja", name="花子")
    )[0]
    assert (found.pattern, found.title.en, found.next) == ("P02", "expression", None)
    assert len(found.comments) == 2
    assert all("花子" in c for c in found.comments)
    blank = score("kotaro", SHARE, [answers()], None, Wording(count=2))[0]
    assert (blank.state, blank.pattern, blank.title, blank.comments) == ("all_zero", None, None, ())


def test_a_run_of_the_same_answers_is_alarming():
    assert {a.code for a in watch("kotaro", SHARE, [answers(B01=1)] * 30).alarms} >= {"few_vectors"}
