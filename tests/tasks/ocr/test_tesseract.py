from __future__ import annotations

import shutil

import pytest

from sekisho.core.errors import EngineError, EngineTimeoutError, ToolError
from sekisho.tasks.ocr import tesseract
from sekisho.tasks.ocr.tesseract import AUTOMATIC, read, require

from ..mutants import saved
from .makers import page

needs_tesseract = pytest.mark.skipif(
    shutil.which("tesseract") is None, reason="Tesseract is not installed: apt-get install tesseract-ocr"
)


def test_a_missing_program_is_named_with_its_packages(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError) as error:
        require(["jpn", "jpn_vert", "eng"])
    for package in ("tesseract-ocr ", "tesseract-ocr-jpn ", "tesseract-ocr-jpn-vert ", "tesseract-ocr-eng"):
        assert package in f"{error.value.do} "
    assert error.value.exit_code == 78


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program called tesseract, a shell script, first on the path."""
    tesseract._known.cache_clear()

    def put(body: str) -> None:
        file = tmp_path / "tesseract"
        file.write_text(f'#!/bin/sh\n[ "$1" = --list-langs ] && printf "List:\\neng\\n" && exit 0\n{body}\n')
        file.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    yield put
    tesseract._known.cache_clear()


def test_a_missing_language_is_named_with_its_package(program):
    program("exit 0")
    with pytest.raises(ToolError, match=r"no language data for jpn_vert\. .*tesseract-ocr-jpn-vert$"):
        require(["eng", "jpn_vert"])


def test_a_program_that_hangs_is_ended_at_the_deadline(program):
    program("exec sleep 60")
    with pytest.raises(EngineTimeoutError, match=r"0\.3 seconds"):
        read(b"x", ["eng"], AUTOMATIC, 0.3)


def test_a_program_that_fails_is_told_with_its_last_word(program):
    program("echo first >&2; echo out of memory >&2; exit 3")
    with pytest.raises(EngineError, match="ended with 3: out of memory"):
        read(b"x", ["eng"], AUTOMATIC, 20)


def test_a_program_that_says_nothing_is_no_empty_page(program):
    program("cat >/dev/null")
    with pytest.raises(EngineError, match="readable table"):
        read(b"x", ["eng"], AUTOMATIC, 20)


@needs_tesseract
@pytest.mark.slow
def test_the_real_program_reads_a_table_and_refuses_what_is_no_image():
    assert isinstance(read(saved(page(), "PNG"), ["eng"], AUTOMATIC, 200), tuple)
    with pytest.raises(EngineError, match="Tesseract ended with"):
        read(b"no image", ["eng"], AUTOMATIC, 200)
