from __future__ import annotations

import json
from pathlib import Path

import pytest

from serve.far import llama_process
from small_eye import eye_folder, picture_file

SHARE = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path) -> Path:
    """Two images' answers: a smile, and two patterns that nothing tells apart."""
    lines = (SHARE / "tests/tasks/rubric/fixtures/kotaro_v2_3_cases.jsonl").read_text().splitlines()
    cases = [json.loads(line) for line in lines]
    ids = [f"{group}{n:02}" for group in "ABCD" for n in range(1, 16)]
    chosen = [next(c for c in cases if c["winner"] == "P02"), next(c for c in cases if len(c["tie"]) == 2)]
    path = tmp_path / "answers.jsonl"
    rows = [dict(zip(ids, map(int, c["answers"]), strict=True)) for c in chosen]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_score_writes_one_object_a_line(cli, file):
    ended = cli("rubric", "score", "--pack", "kotaro", "--answers", str(file), "--json")
    assert ended.code == 0
    first, second = map(json.loads, ended.out.splitlines())
    assert first["pattern"] == "P02"
    assert first["residual_tie"] == []
    assert len(first["pattern_scores"]) == 12
    assert second["pattern"] is None
    assert len(second["residual_tie"]) == 2


def test_the_images_digest_ends_a_tie(cli, file):
    call = ("rubric", "score", "--pack", "kotaro", "--answers", str(file), "--json", "--seed", "sha256:1")
    found = json.loads(cli(*call).out.splitlines()[1])
    assert found["pattern"] in found["residual_tie"]
    assert found["tie_break"] == {"rule": "seed", "seed": "sha256:1"}


def test_people_see_a_table_and_comments(cli, file):
    ended = cli(
        "rubric", "score", "--pack", "kotaro", "--answers", str(file), "--comments", "1", "--name", "Hanako"
    )
    assert "P02 expression" in ended.out
    assert "Hanako" in ended.out
    assert cli("rubric", "score", "--pack", "kotaro", "--answers", str(file), "--lang", "fr").code == 2


def test_a_mistake_is_told_without_a_traceback(cli, file, tmp_path):
    (tmp_path / "short.json").write_text('{"A01": 1}')
    for wrong in (
        ("--pack", "nowhere", "--answers", str(file)),
        ("--pack", "kotaro", "--answers", str(tmp_path / "short.json")),
        ("--pack", "kotaro", "--answers", str(tmp_path / "none.json")),
    ):
        ended = cli("rubric", "score", *wrong, "--json")
        assert (ended.code, ended.out) == (2, "")
        assert json.loads(ended.err)["error"]["do"]


@pytest.mark.parametrize(
    ("put", "named"),
    [
        ('"A01": NaN', "not the number 0 or 1: A01"),
        ('"A01": 1e999', "not the number 0 or 1: A01"),
        ('"A01": 0, "\\ud800": 1', "unknown: \ud800"),
    ],
)
def test_numbers_and_keys_that_have_no_digest_are_refused_in_words(cli, tmp_path, put, named):
    ids = [f"{group}{n:02}" for group in "ABCD" for n in range(1, 16)]
    odd = tmp_path / "odd.json"
    odd.write_text(json.dumps(dict.fromkeys(ids, 0)).replace('"A01": 0', put))
    ended = cli("rubric", "score", "--pack", "kotaro", "--answers", str(odd), "--json")
    assert (ended.code, ended.out) == (2, "")
    assert named in json.loads(ended.err)["error"]["what"]


def test_lint_says_what_holds_and_what_does_not(cli, tmp_path):
    whole = cli("rubric", "lint")
    assert whole.code == 0
    assert "60 criteria, 12 patterns" in whole.out
    text = (SHARE / "policies/rubrics/kotaro.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace('patterns = ["P01", "P03"]', "patterns = []", 1), encoding="utf-8")
    broken = cli("rubric", "lint", "--pack", str(mine), "--json")
    assert broken.code == 1
    assert [f["code"] for f in broken.document[0]["findings"]] == ["unused_criterion"]
    assert broken.document[0]["census"] is None


def test_watch_ends_with_1_when_a_model_stopped_looking(cli, file, tmp_path):
    first = file.read_text().splitlines()[0]
    many = tmp_path / "many.jsonl"
    many.write_text("\n".join([first] * 25))
    ended = cli("rubric", "watch", "--pack", "kotaro", "--answers", str(many))
    assert ended.code == 1
    assert "ALARM few_vectors" in ended.out
    assert cli("rubric", "watch", "--pack", "kotaro", "--answers", str(file), "--json").code == 0


def test_images_are_judged_one_by_one_and_a_broken_one_is_told(cli, tmp_path):
    eye = eye_folder(tmp_path / "eye")
    inside = tmp_path / "images"
    inside.mkdir()
    (inside / "a.png").write_bytes(picture_file(1))
    (inside / "b.png").write_bytes(b"no image")
    call = (
        "rubric",
        "run",
        "--pack",
        "intake",
        str(inside),
        "--json",
        "--eye-model",
        str(eye),
        "--threads",
        "1",
    )
    ended = cli(*call)
    first, second = map(json.loads, ended.out.splitlines())
    assert ended.code == 1
    assert len(first["found"]["checks"]) == 60
    assert first["found"]["judgement"].startswith("jdg_")
    assert "no image" in second["error"]
    assert cli("audit", "verify").code == 0


def test_a_run_with_nothing_to_look_at_or_nobody_to_look(cli, tmp_path):
    assert cli("rubric", "run", "--pack", "intake", str(tmp_path)).code == 2
    (tmp_path / "a.png").write_bytes(picture_file())
    assert cli("rubric", "run", "--pack", "intake", str(tmp_path), "--eye-model", str(tmp_path)).code == 2
    assert cli("rubric", "run", "--pack", "intake", str(tmp_path), "--eye", "remote").code == 2


def test_the_eye_is_exported_and_a_bare_llama_cpp_sees_with_it(cli, tmp_path):
    files = cli("rubric", "export", str(tmp_path / "eye"), "--type", "f32", "--json").document
    (tmp_path / "a.png").write_bytes(picture_file(1))
    run = (
        "rubric",
        "run",
        "--pack",
        "intake",
        str(tmp_path / "a.png"),
        "--json",
        "--eye",
        "remote",
        "--eye-url",
    )
    with llama_process(Path(files["language"]), 4096, vision=Path(files["vision"])) as (url, process):
        ended = cli(*run, url)
        process.kill()
        gone = cli(*run, url)
    assert ended.code == 0
    (seen,) = map(json.loads, ended.out.splitlines())
    assert len(seen["found"]["checks"]) == 60
    assert seen["found"]["judgement"].startswith("jdg_")
    assert gone.code != 0
    assert "found" not in gone.out


def test_what_cannot_be_exported_is_said(cli, tmp_path):
    nano = str(SHARE / "models" / "nano")
    blind = cli("rubric", "export", str(tmp_path), "--eye-model", nano)
    assert blind.code == 2
    assert "sees nothing" in blind.err
    assert cli("rubric", "export", str(tmp_path), "--type", "q3").code == 2
