"""Rendered forms: the same seed gives the same pixels, and the answers are those of what was drawn."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sekisho.core.errors import ToolError
from sekisho.data.forms import sheet
from sekisho.data.forms.answers import answers
from sekisho.data.forms.make import make
from sekisho.data.forms.plan import THEMES, draw_plan
from sekisho.data.forms.shards import cells, render
from sekisho.tasks.rubric.lint import read_pack
from sekisho.tasks.rubric.patterns import Scorer

ROOT = Path(__file__).resolve().parents[2]
PACK = read_pack("intake", ROOT)
fonts = pytest.mark.skipif(
    not all(p.is_file() for paths in sheet.FONTS.values() for p in paths),
    reason="needs fonts-ipafont-gothic and fonts-ipafont-mincho",
)


def test_every_plan_answers_every_check_of_the_pack_and_no_other():
    for seed in range(200):
        found = answers(draw_plan(random.Random(seed), "train"))
        assert set(found) == set(PACK.ids)
        assert set(found.values()) <= {0, 1}


def test_each_theme_mostly_has_the_outcome_it_is_named_after():
    scorer = Scorer(PACK)
    for theme, pattern in zip(THEMES, (p.id for p in PACK.patterns), strict=True):
        plans = [draw_plan(random.Random(f"{theme}{n}"), "held", theme) for n in range(100)]
        won = sum(scorer.score(scorer.bits(answers(p))).pattern == pattern for p in plans)
        assert won >= 70, (theme, won)


def test_every_check_is_now_and_then_answered_yes_and_mostly_no():
    rows = [answers(draw_plan(random.Random(n), "train")) for n in range(1500)]
    for id in PACK.ids:
        share = sum(r[id] for r in rows) / len(rows)
        assert 0.005 < share < 0.95, (id, share)


def test_a_crowded_form_shows_more_of_what_is_rare():
    def shares(crowded: bool) -> dict[str, float]:
        rows = [answers(draw_plan(random.Random(n), "train", crowded=crowded)) for n in range(1500)]
        return {id: sum(r[id] for r in rows) / len(rows) for id in PACK.ids}

    usual, more = shares(False), shares(True)
    rare = [id for id in PACK.ids if usual[id] < 0.04]
    assert len(rare) > 10
    assert sum(more[id] for id in rare) > 2 * sum(usual[id] for id in rare)
    assert all(more[id] < 0.9 for id in PACK.ids)


def test_a_seal_that_is_taken_away_shows_in_the_answers():
    plan = draw_plan(random.Random(3), "train", "ready")
    assert answers(plan)["C16"] == 1
    bare = answers(replace(plan, seal=False, signature=None, approvals=None))
    assert (bare["C16"], bare["T12"], bare["T14"]) == (0, 1, 1)


@fonts
def test_the_same_seed_gives_the_same_pixels_and_splits_differ():
    one, two, held = make(7, "train"), make(7, "train"), make(7, "held")
    assert one.image.tobytes() == two.image.tobytes()
    assert one.answers == two.answers
    assert one.image.tobytes() != held.image.tobytes()


@fonts
def test_evidence_lies_on_the_image_for_local_checks():
    seen = 0
    for seed in range(60):
        form = make(seed, "train")
        for id in ("T01", "T05", "C06", "C11", "H06", "T12"):
            if form.answers[id] and form.plan.camera.corner is None and not form.plan.camera.cropped:
                left, top, right, bottom = form.found[id][0]
                assert -0.2 < left < right < 1.2
                assert -0.2 < top < bottom < 1.2
                seen += 1
    assert seen > 20


@fonts
def test_shards_are_read_back_as_written_and_not_rendered_twice(tmp_path):
    (shard,) = render(tmp_path, 3, "train", PACK.ids)
    before = [(p.name, p.stat().st_mtime_ns) for p in sorted(tmp_path.iterdir())]
    (again,) = render(tmp_path, 3, "train", PACK.ids)
    assert before == [(p.name, p.stat().st_mtime_ns) for p in sorted(tmp_path.iterdir())]
    assert np.array_equal(shard.answers, again.answers)
    assert shard.picture(0).shape in ((384, 288, 3), (288, 384, 3))
    assert list(shard.answers[1]) == [make(1, "train").answers[i] for i in PACK.ids]
    (crowded,) = render(tmp_path, 3, "train", PACK.ids, crowded=True)
    assert list(crowded.answers[1]) == [make(1, "train", crowded=True).answers[i] for i in PACK.ids]
    assert not np.array_equal(crowded.picture(1), shard.picture(1))


def test_cells_are_those_a_box_touches():
    grid = cells({"a": [(0.0, 0.0, 0.26, 0.5)]}, ["a"], 2, 4).reshape(2, 4)
    assert grid.tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]


def test_a_missing_font_is_named_with_its_package(tmp_path):
    with pytest.raises(ToolError, match="fonts-ipafont"):
        sheet.font(tmp_path / "none.ttf", 12)
