from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image, ImageDraw, ImageFont


@pytest.fixture
def image(tmp_path):
    """A page in Pillow's own font."""
    drawn = Image.new("RGB", (620, 130), "white")
    ImageDraw.Draw(drawn).text((30, 40), "Please hand in the form", "black", ImageFont.load_default(44))
    drawn.save(tmp_path / "page.png")
    return tmp_path / "page.png"


def test_what_is_no_image_and_what_is_missing_are_told(cli, image, tmp_path, monkeypatch):
    (tmp_path / "form.png").write_bytes(b"GIF89a")
    (tmp_path / "form.pdf").write_bytes(b"%PDF-1.7")
    pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'sekisho[ocr]'")
    monkeypatch.setenv("PATH", str(tmp_path))
    for file, code, exit_code in (
        ("form.png", "unsupported_encoding", 2),
        ("form.pdf", "invalid_input", 2),
        ("none.png", "data", 2),
        ("page.png", "tool_absent", 78),
    ):
        ended = cli("ocr", str(tmp_path / file), "--json")
        assert (ended.code, ended.out) == (exit_code, "")
        assert json.loads(ended.err)["error"]["code"] == code
    assert cli("ocr", str(image), "--languages", "+").code == 2


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
