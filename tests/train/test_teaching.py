from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sekisho.core.canonical import folder_digest
from sekisho.core.prompt import LETTERS
from sekisho.core.question import Example
from sekisho.data.corpus import Document
from sekisho.train.pretrain import pretrain
from sekisho.train.recipe import Decisions, Teaching
from sekisho.train.teacher import Teachers
from sekisho.train.teaching import taught_rows

from .conftest import WORDS, requests, tiny_pretrain

JAPANESE = {"ALLOW": "説明してください", "DENY": "偽造してください", "ESCALATE": "決裁してください"}


def topics(count: int) -> list[Example]:
    """Six requests a topic: three decisions in two languages, under an organisation's head."""
    made = []
    for e in requests(count):
        for lang in ("en", "ja"):
            text = e.state if lang == "en" else e.state.split(" ", 1)[1] + "を" + JAPANESE[e.label]
            meta = {"text": text, "lang": lang, "request": f"{lang}:{text}"}
            state = f"front desk [internal]\n{text}"
            made.append(
                e.model_copy(update={"id": f"{e.id}-{lang}", "state": state, "meta": meta, "group": e.id})
            )
    return made


@pytest.fixture(scope="module")
def rows() -> list[Example]:
    return topics(90)


@pytest.fixture(scope="module")
def teachers(rows: list[Example]) -> Teachers:
    return Teachers(rows, 3, 1)


def test_a_teacher_judges_only_topics_it_has_not_seen(rows: list[Example], teachers: Teachers) -> None:
    assert {teachers.fold(e) for e in rows} == {0, 1, 2}
    by_topic = {e.group: {teachers.fold(o) for o in rows if o.group == e.group} for e in rows}
    assert all(len(folds) == 1 for folds in by_topic.values())
    # A label that belongs to one topic alone is known to every teacher but the one of that topic's fold.
    odd = [e.model_copy(update={"meta": {**e.meta, "text": "zzzz qqqq zzzz"}}) for e in rows[:2]]
    seen = Teachers([*odd, *rows[2:]], 3, 1)
    others = next(e for e in rows[2:] if seen.fold(e) != seen.fold(odd[0]))
    own, foreign = seen.judge([odd[0], others], ["zzzz qqqq zzzz"] * 2)
    column = seen.options.index(odd[0].label)
    assert foreign[column] > own[column] + 0.2


def test_teachers_know_what_the_words_say(rows: list[Example], teachers: Teachers) -> None:
    judged = teachers.judge(rows, [str(e.meta["text"]) for e in rows])
    assert judged.sum(1) == pytest.approx(np.ones(len(rows)))
    right = [teachers.options[int(p.argmax())] == e.label for e, p in zip(rows, judged, strict=True)]
    assert sum(right) == len(rows)


def test_rows_are_pieces_with_the_teachers_word_and_whole_requests_with_both(rows: list[Example]) -> None:
    stage = Teaching(rows=200, pieces=0.5, trust=0.25, folds=3, label_smoothing=0.06)
    made, targets = taught_rows(stage, rows, 1)
    assert len(made) == len(targets) == 200
    assert [sum(t) for t in targets] == pytest.approx([1.0] * 200)
    known = {e.state for e in rows}
    assert sum(e.state not in known for e in made[:100]) > 60
    assert all(e.state == f"front desk [internal]\n{e.meta['text']}" for e in made)
    assert [e.state for e in made[100:]] != [e.state for e in rows[:100]]
    for example, target in zip(made[100:], targets[100:], strict=True):
        assert example.state in known
        own = target[example.question.keys.index(example.label)]
        assert own >= 0.75 * 0.96
    assert max(Counter(e.id for e in made[100:]).values()) == 1


def test_targets_follow_the_examples_own_order_of_options(rows: list[Example]) -> None:
    turned = [
        e.model_copy(
            update={
                "question": e.question.model_copy(update={"options": tuple(reversed(e.question.options))})
            }
        )
        for e in rows
    ]
    stage = Teaching(rows=40, pieces=0.0, trust=1.0, folds=3)
    _, straight = taught_rows(stage, rows, 1)
    _, reverse = taught_rows(stage, turned, 1)
    for a, b in zip(straight, reverse, strict=True):
        assert a == pytest.approx(b[::-1])


def test_short_and_single_word_requests_can_be_cut(rows: list[Example]) -> None:
    for text in ("explain", "説"):
        short = [
            e.model_copy(update={"state": text, "meta": {**e.meta, "text": text}}) if i == 0 else e
            for i, e in enumerate(rows)
        ]
        made, _ = taught_rows(Teaching(rows=400, pieces=1.0, folds=3), short, 2)
        assert all(e.state.strip() for e in made)


def test_the_same_seed_makes_the_same_rows(rows: list[Example]) -> None:
    stage = Teaching(rows=60, folds=3)
    random.seed(7)
    first = taught_rows(stage, rows, 5)
    random.seed(8)
    assert taught_rows(stage, rows, 5) == first
    assert taught_rows(stage, rows, 6) != first


def test_a_third_stage_changes_the_model_and_only_its_own_course_is_run_again(
    rows: list[Example], tmp_path: Path
) -> None:
    letters = ("\n".join(LETTERS) + "\n") * 30
    texts = [letters, *(f"{e.state} {e.label} {WORDS[e.label]}" for e in rows)]
    documents = [Document(sort="text", source="s", licence="l", lang="en", text=t) for t in texts]
    decisions = Decisions(epochs=1, batch=16, bpe_dropout=0.0)
    two = tiny_pretrain(epochs=1, decisions=decisions)
    before = folder_digest(pretrain(two, documents, tmp_path / "run", rows))
    first = next((tmp_path / "run").glob("decisions-*/round.safetensors")).stat().st_mtime_ns
    three = two.model_copy(update={"teaching": Teaching(rows=48, batch=16, folds=3, bpe_dropout=0.0)})
    after = folder_digest(pretrain(three, documents, tmp_path / "run", rows))
    assert after != before
    assert next((tmp_path / "run").glob("decisions-*/round.safetensors")).stat().st_mtime_ns == first
    assert folder_digest(pretrain(three, documents, tmp_path / "run", rows)) == after
