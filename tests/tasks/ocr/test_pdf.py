"""PDF pages become pictures, under bounds."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageDraw

from sekisho.core.errors import InputError, TooLargeError
from sekisho.tasks.images import Bounds
from sekisho.tasks.ocr.pdf import PAGES, is_pdf, pages

pytest.importorskip("pypdfium2", reason="pypdfium2 is not installed: pip install 'sekisho[ocr]'")


def document(count: int = 2, size: tuple[int, int] = (300, 400)) -> bytes:
    """A PDF of pages with a bar each, further down on every page."""
    drawn = []
    for n in range(count):
        page = Image.new("RGB", size, "white")
        ImageDraw.Draw(page).rectangle((20, 20 + 40 * (n % 8), 200, 40 + 40 * (n % 8)), fill="black")
        drawn.append(page)
    out = io.BytesIO()
    drawn[0].save(out, "PDF", save_all=True, append_images=drawn[1:])
    return out.getvalue()


def test_every_page_is_drawn_and_they_differ():
    found = list(pages(document()))
    assert len(found) == 2
    assert found[0].digest == found[1].digest
    assert found[0].image.tobytes() != found[1].image.tobytes()
    assert found[0].image.mode == "RGB"
    assert found[0].kind == "PDF"


def test_a_pdf_is_known_by_its_content():
    assert is_pdf(document())
    assert is_pdf(b"\r\n%PDF-1.4")
    assert not is_pdf(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("data", [b"%PDF-1.7", document()[:300], b"%PDF-1.7\n" + bytes(2000)])
def test_a_broken_document_is_refused(data):
    with pytest.raises((InputError, TooLargeError)):
        list(pages(data))


def test_bounds_hold_before_a_page_is_drawn():
    with pytest.raises(TooLargeError, match="pages"):
        list(pages(document(PAGES + 1, (20, 20))))
    with pytest.raises(TooLargeError, match="points"):
        list(pages(document(1), Bounds(pixels=1000)))
    with pytest.raises(TooLargeError, match="bytes"):
        list(pages(document(1), Bounds(bytes=10)))


@pytest.mark.parametrize("place", range(0, 1200, 97))
def test_a_changed_byte_never_gets_past_the_errors_of_the_house(place):
    data = bytearray(document(1))
    data[place % len(data)] ^= 0xFF
    try:
        found = list(pages(bytes(data)))
    except (InputError, TooLargeError):
        return
    assert all(p.image.width > 0 for p in found)
