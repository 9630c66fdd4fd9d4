from __future__ import annotations

import json
import os
import shutil

import pytest
from PIL import Image, ImageDraw, ImageFont

from sekisho.core.errors import InputError
from sekisho.loop.ocr import Read


@pytest.fixture
def image(tmp_path):
    """A page in Pillow's own font."""
    drawn = Image.new("RGB", (620, 130), "white")
    ImageDraw.Draw(drawn).text((30, 40), "Please hand in the form", "black", ImageFont.load_default(44))
    drawn.save(tmp_path / "page.png")
    return tmp_path / "page.png"


def test_what_is_no_image_and_what_is_missing_are_told(cli, image, tmp_path, monkeypatch):
    pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'sekisho[ocr]'")
    monkeypatch.setenv("PATH", str(tmp_path))
    for file, code, exit_code in (
        ("none.png", "data", 2),
        ("page.png", "tool_absent", 78),
    ):
        ended = cli("ocr", str(tmp_path / file), "--json")
        assert (ended.code, ended.out) == (exit_code, "")
        assert json.loads(ended.err)["error"]["code"] == code
    for wrong in ("+", "../x", "eng+/etc"):
        refused = cli("ocr", str(image), "--languages", wrong)
        assert refused.code == 2
        assert "Tesseract's: " in refused.err


def test_a_broken_file_is_named_and_keeps_no_other_from_being_read(cli, image, tmp_path, monkeypatch):
    def read(data, *_):
        if data.startswith((b"GIF", b"%PDF")):
            raise InputError("It is broken.")
        yield Read(
            digest="d", width=1, height=1, lang="en", vertical=False, angle=0, quarters=0, confidence=1,
            text="words", lines=(),
        )  # fmt: skip

    monkeypatch.setattr("sekisho.loop.ocr.read_pages", read)
    bad, pipe = tmp_path / "form.png", tmp_path / "pipe"
    bad.write_bytes(b"GIF89a")
    os.mkfifo(pipe)
    ended = cli("ocr", str(image), str(bad), str(pipe), str(image), "--json")
    told = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 1
    assert [t.get("text") for t in told] == ["words", None, None, "words"]
    assert (told[1]["file"], told[2]["file"]) == (str(bad), str(pipe))
    assert "no regular file" in told[2]["error"]


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("tesseract") is None, reason="Tesseract is not installed: apt-get install tesseract-ocr"
)
def test_a_tilted_page_is_read_with_its_boxes(cli, image):
    pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'sekisho[ocr]'")
    Image.open(image).rotate(4, expand=True, fillcolor="white").save(image)
    ended = cli("ocr", str(image), "--languages", "eng", "--seconds", "200", "--json")
    found = json.loads(ended.out)
    assert found["text"] == "Please hand in the form"
    assert found["lang"] == "en"
    assert found["angle"] == pytest.approx(-4, abs=0.5)
    left, top, width, height = found["lines"][0]["box"]
    assert left >= 0
    assert top >= 0
    assert left + width <= found["width"]
    assert top + height <= found["height"]
