"""The page in a real browser: upload, bars, a correction, by keyboard alone, in both languages. Skipped where there is no Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from small_eye import eye_folder, picture_file

from . import chromium, makers

PAGE = Path(makers.ROOT / "src/sekisho/web/pages/rubrics.html").read_text(encoding="utf-8")
needs_chromium = pytest.mark.skipif(
    chromium.program() is None, reason=f"Chromium is not installed: {chromium.PACKAGE}"
)


def test_both_languages_say_the_same_things():
    words = [
        set(re.findall(r"(\w+): \"", PAGE[PAGE.index(f"  {lang}: {{") :].split("},")[0]))
        for lang in ("ja", "en")
    ]
    assert words[0] == words[1]
    assert set(re.findall(r'data-t="(\w+)"', PAGE)) <= words[0]
    assert set(re.findall(r"words\(\)\.(\w+)", PAGE)) <= words[0]


def test_every_id_the_script_asks_for_is_on_the_page():
    assert set(re.findall(r'\$\("(\w+)"\)', PAGE)) <= set(re.findall(r'id="(\w+)"', PAGE))


@pytest.mark.skipif(
    shutil.which("node") is None, reason="Node.js is not installed: sudo apt-get install nodejs"
)
def test_the_script_parses(tmp_path):
    script = PAGE.split("<script>")[1].split("</script>")[0]
    (tmp_path / "page.js").write_text(script, encoding="utf-8")
    assert subprocess.run(["node", "--check", tmp_path / "page.js"], capture_output=True).returncode == 0


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize(("lang", "title"), [("ja", "画像の判定"), ("en", "images judged")])
def test_an_image_is_judged_and_corrected_by_keyboard(tmp_path, engine, lang, title):
    picture = tmp_path / "form.png"
    picture.write_bytes(picture_file())
    eye = eye_folder(tmp_path / "eye")
    with makers.house(tmp_path / "home", eye_model=str(eye), threads=1) as house:
        with (
            makers.live(house, makers.judge_over(house, engine)) as address,
            chromium.Browser(tmp_path / "profile", lang) as page,
        ):
            page.call("Page.navigate", url=f"{address}/rubrics")
            page.until("document.querySelectorAll('#pack option').length === 2")
            page.run(
                f"document.querySelector('#lang').value = '{lang}'; document.querySelector('#lang').dispatchEvent(new Event('change'))"
            )
            assert title in page.run("document.querySelector('h1').textContent")
            page.give_file("#file", picture)
            page.until("document.querySelectorAll('.check').length === 60")
            assert page.run(
                "[...document.querySelectorAll('.bar')].every((b) => b.getAttribute('aria-valuenow') >= 0)"
            )
            page.press("Tab", 9)
            assert page.run("document.activeElement.closest('.check').dataset.id") == "L01"
            before = page.run("document.activeElement.textContent")
            page.press("Enter", 13, "\r")
            page.until("document.querySelector('.corrected') !== null")
            assert page.run("document.activeElement.textContent") != before
            page.picture(tmp_path / f"page-{lang}.png")
        assert len(house.ledger.entries(kind="correction", task="rubric")) == 1


@needs_chromium
@pytest.mark.slow
def test_what_is_shown_is_of_the_image_that_is_shown(tmp_path, engine):
    """A correction that is answered late marks no other image, and a refused image leaves no outcome of the one before."""
    for name, data in (("one.png", picture_file(1)), ("two.png", picture_file(2)), ("none.png", b"none")):
        (tmp_path / name).write_bytes(data)
    eye = eye_folder(tmp_path / "eye")
    late = """
        window.real = window.fetch;
        window.fetch = (path, options) => path.endsWith("corrections")
            ? new Promise((done) => { window.release = async () => { done(await window.real(path, options)); await new Promise((on) => setTimeout(on, 300)); }; })
            : window.real(path, options);
    """
    with (
        makers.house(tmp_path / "home", eye_model=str(eye), threads=1) as house,
        makers.live(house, makers.judge_over(house, engine)) as address,
        chromium.Browser(tmp_path / "profile", "en") as page,
    ):
        page.call("Page.navigate", url=f"{address}/rubrics")
        page.until("document.querySelectorAll('#pack option').length === 2")
        page.give_file("#file", tmp_path / "one.png")
        page.until("document.querySelectorAll('.check').length === 60")
        first = page.run("found.judgement")
        page.run(late)
        page.run("document.querySelector('.check button').click()")
        page.give_file("#file", tmp_path / "two.png")
        page.until(f"found.judgement !== '{first}'")
        page.run("window.release()")
        assert page.run("document.querySelector('.corrected') === null && !Object.keys(corrected).length")
        (entry,) = house.ledger.entries(kind="correction", task="rubric")
        assert entry.body["judgement"] == first
        page.give_file("#file", tmp_path / "none.png")
        page.until("document.querySelector('#status').className === 'wrong'")
        assert page.run("document.querySelector('#result').hidden")
