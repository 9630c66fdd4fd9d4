"""The page on rubrics says what the linter and the monitor say, and its example is a pack that holds together."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

from sekisho.tasks.images import Bounds
from sekisho.tasks.rubric import lint, monitor
from sekisho.tasks.rubric.pack import load_pack, parse_pack
from sekisho.tasks.rubric.patterns import Score, Scorer

PAGE = (Path(__file__).parents[2] / "docs" / "rubrics.md").read_text(encoding="utf-8")


def test_the_example_is_a_sound_pack():
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1]
    pack = parse_pack(tomllib.loads(example), "docs/rubrics.md")
    assert lint.lint(pack) == ()
    assert Scorer(pack).score(1).pattern == "again"


def test_the_same_example_in_yaml_is_the_same_pack(tmp_path):
    for kind in ("toml", "yaml"):
        text = re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[1]
        (tmp_path / f"mine.{kind}").write_text(text, encoding="utf-8")
    one, two = (load_pack(str(tmp_path / f"mine.{kind}"), tmp_path) for kind in ("toml", "yaml"))
    assert one.digest() == two.digest()


def test_every_finding_is_documented():
    codes = set(re.findall(r'_error\("(\w+)"|code="(\w+)"', inspect.getsource(lint)))
    codes = {a or b for a, b in codes}
    assert len(codes) >= 12
    assert {c for c in codes if f"`{c}`" not in PAGE} == set()


def test_every_alarm_and_field_is_documented():
    codes = re.findall(r"`(\w+)`", monitor.Alarm.__doc__)
    assert len(codes) == 5
    for name in (*codes, *Score.model_fields, "title", "next", "comments"):
        assert f"`{name}`" in PAGE


def test_the_bounds_of_images_are_documented():
    page = (Path(__file__).parents[2] / "docs" / "images.md").read_text(encoding="utf-8")
    bounds = Bounds()
    told = f"{bounds.bytes >> 20} MiB", f"{bounds.pixels // 10**6} million", f"{bounds.side:,} pixels"
    for text in (*told, f"| {bounds.least} pixels |", f"| {bounds.scans}, {bounds.tiles:,} |"):
        assert text in page
