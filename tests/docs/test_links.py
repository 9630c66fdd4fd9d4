"""What the documents point at exists, and what they promise is in the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def test_there_are_pages():
    assert len(PAGES) >= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} points at {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_make_targets_that_are_named_exist(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"setup", "up", "test", "lint", "report", "bench", "docs"} <= targets
    named = re.findall(r"`make ([a-z]+)`", page.read_text(encoding="utf-8"))
    assert set(named) <= targets


def test_the_japanese_readme_follows_the_english_one():
    tree = re.compile(r"<!-- begin tree -->.*<!-- end tree -->", re.DOTALL)  # English only, and generated
    english, japanese = (
        tree.sub("", (ROOT / n).read_text(encoding="utf-8")) for n in ("README.md", "README.ja.md")
    )

    def sections(text: str) -> int:
        return len(re.findall(r"^## ", text, re.MULTILINE))

    assert sections(english) == sections(japanese)
    code = re.compile(r"sekisho (?:up|judge gate|audit show|audit verify|correct)|make \w+|docs/[\w.-]+")
    assert sorted(code.findall(english)) == sorted(code.findall(japanese))
    rooms = {p.name for p in (ROOT / "src" / "sekisho").iterdir() if (p / "__init__.py").exists()}
    assert set(re.findall(r"^\| `(\w+)` \|", japanese, re.MULTILINE)) == rooms


def test_every_bundled_data_folder_is_in_the_notice():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    folders = [p for p in (ROOT / "data").iterdir() if p.is_dir()]
    assert len(folders) >= 6
    for folder in folders:
        assert f"data/{folder.name}\n" in notice
        for entry in folder.iterdir():
            if not re.match(r"LICENSE|README", entry.name):
                assert entry.name in notice, f"{entry} has no attribution"


def test_the_changelog_keeps_its_form():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text
    assert set(re.findall(r"^### (\w+)", text, re.MULTILINE)) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }
