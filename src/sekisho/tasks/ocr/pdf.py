"""PDF pages as pictures (PDFium), under bounds: so many pages, so many pixels each, nothing run and nothing fetched."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from ...core.canonical import digest
from ...core.errors import InputError, TooLargeError, ToolError
from ..images import Bounds, Picture

PAGES = 50
"""Most pages of a document."""
_DPI = 200
_PER_INCH = 72
_ONE_AT_A_TIME = threading.Lock()
"""PDFium may not be entered by two threads."""


def is_pdf(data: bytes) -> bool:
    """Whether the content begins like a PDF; some begin with a few stray bytes."""
    return b"%PDF-" in data[:1024]


def pages(data: bytes, bounds: Bounds | None = None) -> Iterator[Picture]:
    """Draw every page, upright and on white, one at a time. Forms are not filled in and no script of the document runs.

    Raises:
        ToolError: when pypdfium2 is not installed.
        TooLargeError: for a file, a number of pages or a page above the bounds.
        InputError: for a document that cannot be read, or that is locked.
    """
    bounds = bounds or Bounds()
    if len(data) > bounds.bytes:
        raise TooLargeError(
            f"The PDF has {len(data):,} bytes, and {bounds.bytes:,} are allowed.", "Split it."
        )
    try:
        import pypdfium2
    except ModuleNotFoundError as e:
        raise ToolError("PDF pages need pypdfium2.", "pip install 'sekisho[ocr]'") from e
    try:
        with _ONE_AT_A_TIME:
            document = pypdfium2.PdfDocument(data)
            count = len(document)
    except pypdfium2.PdfiumError as e:
        raise InputError(f"The PDF cannot be read: {e}", "Save it again without a password.") from e
    try:
        if not 1 <= count <= PAGES:
            raise TooLargeError(f"The PDF has {count} pages, and {PAGES} are allowed.", "Split it.")
        for number in range(count):
            yield _drawn(document, number, data, bounds)
    finally:
        with _ONE_AT_A_TIME:
            document.close()


def _drawn(document: object, number: int, data: bytes, bounds: Bounds) -> Picture:
    with _ONE_AT_A_TIME:
        page = document[number]  # type: ignore[index]
        width, height = page.get_size()
        scale = _DPI / _PER_INCH
        if not (
            width > 0
            and height > 0
            and max(width, height) * scale <= bounds.side
            and width * height * scale**2 <= bounds.pixels
        ):
            raise TooLargeError(f"Page {number + 1} is {width:.0f} × {height:.0f} points.", "Scale it down.")
        image = page.render(scale=scale, may_draw_forms=False).to_pil().convert("RGB")
        page.close()
    return Picture(image=image, digest=digest(data), kind="PDF", turned=1)
