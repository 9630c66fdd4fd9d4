"""Images and PDF pages to text, on this machine: guarded, cleaned up, read. The image is not kept; its digest says which one it was."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..core.errors import DataError, InputError, ToolError
from ..core.gate_prompt import Lang, lang_of
from ..core.question import Frozen
from ..tasks.images import Bounds, Picture, look
from ..tasks.ocr.pdf import is_pdf, pages
from ..tasks.ocr.text import Line, joined

SECONDS = 60.0
"""Deadline of one image when none is given."""
LANGUAGES = ("jpn", "eng")


class Read(Frozen):
    """The text of one image.

    Attributes:
        digest: of the file as it came.
        page: from 1; of a PDF the page, else 1.
        width, height: of the upright image, in pixels; boxes refer to it.
        lang: `ja` when there is any kana or kanji, else `en`.
        vertical: whether the lines run downwards.
        angle: tilt that was undone, in degrees.
        quarters: quarter turns, anticlockwise, that set the page upright beyond its EXIF orientation.
        confidence: Tesseract's own, 0 to 1; it is not calibrated.
        text: a line break after each line, an empty line between blocks; empty when there is none.
    """

    digest: str
    page: int = 1
    width: int
    height: int
    lang: Lang
    vertical: bool
    angle: float
    quarters: int
    confidence: float
    text: str
    lines: tuple[Line, ...]


def read(
    data: bytes, languages: Sequence[str] = LANGUAGES, seconds: float = SECONDS, threads: int = 1
) -> Read:
    """Read the text of an image file.

    Args:
        languages: Tesseract's names, the likelier first.
        seconds: deadline for everything after the guard.

    Raises:
        UnsupportedEncodingError, TooLargeError, InputError: as `tasks.images.look` does.
        ToolError: when OpenCV, Tesseract or a language pack is missing, naming the package.
        EngineTimeoutError, EngineError: when reading takes too long or fails.
    """
    return next(read_pages(data, languages, seconds, threads))


def read_pages(
    data: bytes, languages: Sequence[str] = LANGUAGES, seconds: float = SECONDS, threads: int = 1
) -> Iterator[Read]:
    """Read an image file, or every page of a PDF, one after the other; `seconds` is the deadline of each. Raises as `read` does."""
    if not languages:
        raise InputError("No language was named.", "Name one, for example jpn.")
    pictures = pages(data) if is_pdf(data) else iter([look(data, Bounds())])
    for number, picture in enumerate(pictures, start=1):
        yield _read(picture, languages, seconds, threads).model_copy(update={"page": number})


def _read(picture: Picture, languages: Sequence[str], seconds: float, threads: int) -> Read:
    try:
        from ..tasks.ocr.reading import read_image
    except ModuleNotFoundError as e:
        if e.name != "cv2":
            raise
        raise ToolError("OpenCV is not installed.", "pip install 'sekisho[ocr]'") from e
    found = read_image(picture.image, languages, seconds, threads)
    text = joined(found.lines)
    return Read(
        digest=picture.digest,
        width=picture.image.width,
        height=picture.image.height,
        lang=lang_of(text),
        vertical=found.vertical,
        angle=found.angle,
        quarters=found.quarters,
        confidence=found.confidence,
        text=text,
        lines=found.lines,
    )


def languages_of(given: str, loc: tuple[str | int, ...] = ()) -> list[str]:
    """Tesseract's names in `jpn+eng`. Raises InputError naming what is no such name; a name becomes part of a path there."""
    names = [name for name in given.split("+") if name]
    wrong = [n for n in names if not (n.replace("_", "").isalnum() and n.isascii() and len(n) < 20)]
    if wrong or not names:
        told = f"`languages` has no name of Tesseract's: {wrong[0] if wrong else given!r}."
        raise InputError(told, "Use jpn+eng.", loc)
    return names


def read_file(file: Path, languages: Sequence[str], seconds: float, threads: int) -> list[Read]:
    """Read the text of an image or a PDF on disk. Raises DataError for a file that cannot be opened, else as `read_pages` does."""
    return list(read_pages(read_bytes(file), languages, seconds, threads))


def read_bytes(file: Path) -> bytes:
    """A file's bytes, one more than is allowed at most. Raises DataError for what cannot be opened, and for what is no regular file: reading a pipe may never end."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise DataError(f"{file} is no regular file.", "Give an image file, no folder, pipe or device.")
        with file.open("rb") as stream:
            return stream.read(Bounds().bytes + 1)
    except OSError as e:
        raise DataError(f"{file} cannot be read: {e.strerror}.", "Give an image file.") from e


def whole_text(found: Sequence[Read]) -> str:
    """The text of all pages, an empty line between them; pages without text are left out."""
    return "\n\n".join(one.text for one in found if one.text.strip())
