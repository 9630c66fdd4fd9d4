"""The guard on the eye: bytes of unknown origin in, plain upright pixels out, or an error that says why not.

The type is read from the content, never from a name or a header. What the file says about its size is checked before a pixel is decoded. What comes out has been
drawn anew: no EXIF (place, camera, owner), no profile, no text, nothing a polyglot file carries behind its image.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image

from ..core.canonical import digest
from ..core.errors import InputError, SekishoError, TooLargeError, UnsupportedEncodingError

ORIENTATION = 0x0112
_MODES = {
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "I;16",
    "I;16B",
    "I",
}
_SIXTEEN = {"I;16", "I;16B", "I"}
_SIGNATURES: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("PNG", lambda head: head.startswith(b"\x89PNG\r\n\x1a\n")),
    ("JPEG", lambda head: head.startswith(b"\xff\xd8\xff")),
    ("WEBP", lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP"),
    ("TIFF", lambda head: head[:4] in (b"II*\0", b"MM\0*")),
)
_OTHERS: Mapping[bytes, str] = {
    b"%PDF": "a PDF",
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"PK\x03\x04": "a ZIP archive",
    b"<svg": "an SVG",
    b"<?xml": "an XML document",
    b"II+\0": "a BigTIFF",
    b"MM\0+": "a BigTIFF",
}
"""What people send by mistake, so that the message can say so."""
_SPOKEN = "Send PNG, JPEG, WebP or TIFF."


@dataclass(frozen=True)
class Bounds:
    """What is still looked at.

    Attributes:
        bytes: of the file.
        pixels: width times height.
        side: of the longer side, in pixels.
        least: of the shorter side, in pixels.
        scans: passes of a progressive JPEG; each goes over every pixel again, so a small file can ask for hours.
        tiles: strips or tiles of a TIFF.
    """

    bytes: int = 20 << 20
    pixels: int = 40_000_000
    side: int = 20_000
    least: int = 8
    scans: int = 24
    tiles: int = 50_000


@dataclass(frozen=True)
class Picture:
    """An image that passed the guard.

    Attributes:
        image: upright RGB pixels; transparent parts are white.
        digest: of the file as it came; names the image in the ledger and seeds draws.
        kind: PNG, JPEG, WEBP or TIFF, by content.
        turned: EXIF orientation that was undone, 1 to 8; 1 for none.
        notes: what was odd and could be passed over: `exif_unreadable`, `orientation_unknown`.
    """

    image: Image.Image
    digest: str
    kind: str
    turned: int
    notes: tuple[str, ...] = ()

    def png(self, most: int | None = None) -> bytes:
        """The pixels as a PNG file without any metadata, scaled down where a side is longer than `most` pixels."""
        out, image = io.BytesIO(), self.image
        if most is not None and max(image.size) > most:
            image = image.copy()
            image.thumbnail((most, most), Image.Resampling.BOX)
        image.save(out, "PNG", compress_level=1)
        return out.getvalue()


def kind_of(data: bytes) -> str:
    """The type of an image, from its first bytes. Raises UnsupportedEncodingError naming what else it is, if known."""
    for kind, fits in _SIGNATURES:
        if fits(data[:16]):
            return kind
    other = next(
        (name for start, name in _OTHERS.items() if data[:64].lstrip().startswith(start)), "no image"
    )
    if data[4:8] == b"ftyp":
        other = "a HEIF, AVIF or video file"
    raise UnsupportedEncodingError(f"This is {other}.", _SPOKEN)


def look(data: bytes, bounds: Bounds | None = None) -> Picture:
    """Decode an image under bounds.

    Raises:
        UnsupportedEncodingError: for anything but PNG, JPEG, WebP and TIFF.
        TooLargeError: for a file, a picture or a decoding effort above the bounds.
        InputError: for a file that is broken, has several pages, or is too small to show anything.
    """
    bounds = bounds or Bounds()
    if len(data) > bounds.bytes:
        raise TooLargeError(
            f"The image has {len(data):,} bytes, and {bounds.bytes:,} are allowed.", "Send a smaller one."
        )
    kind = kind_of(data)
    try:
        return _decoded(data, kind, bounds)
    except SekishoError:
        raise
    except Image.DecompressionBombError as e:
        raise _too_many(bounds) from e
    except Exception as e:  # Decoders raise whatever hostile bytes lead them to.
        raise InputError(
            f"The {kind} image cannot be decoded ({type(e).__name__}).", "Save it again and resend."
        ) from e


def _decoded(data: bytes, kind: str, bounds: Bounds) -> Picture:
    with Image.open(io.BytesIO(data), formats=[kind]) as opened:
        _check_size(opened, bounds)
        _check_effort(opened, data, kind, bounds)
        turned, notes = _orientation(opened)
        opened.load()
        image = _upright(opened, kind, turned)
        return Picture(image=_plain(image), digest=digest(data), kind=kind, turned=turned, notes=notes)


def _check_size(opened: Image.Image, bounds: Bounds) -> None:
    """Everything the header promises, before any pixel is decoded."""
    width, height = opened.size
    if width * height > bounds.pixels or max(width, height) > bounds.side:
        raise _too_many(bounds)
    if min(width, height) < bounds.least:
        raise InputError(
            f"The image is {width} × {height} pixels; nothing can be seen on it.", "Send a larger one."
        )
    if opened.mode not in _MODES:
        raise InputError(
            f"The image has pixels of an unusual kind ({opened.mode}).", "Save it as RGB and resend."
        )


def _too_many(bounds: Bounds) -> TooLargeError:
    what = f"The image has more than {bounds.pixels:,} pixels or a side above {bounds.side:,}."
    return TooLargeError(what, "Scale it down.")


def _check_effort(opened: Image.Image, data: bytes, kind: str, bounds: Bounds) -> None:
    """Small files that cost much: passes of a JPEG, tiles of a TIFF, further pages."""
    # Within coded data a byte FF is never followed by DA, so this counts scans, and at worst finds a few too many.
    if kind == "JPEG" and data.count(b"\xff\xda") > bounds.scans:
        raise TooLargeError(
            f"The JPEG has more than {bounds.scans} scans.", "Save it again without progressive coding."
        )
    if kind == "TIFF" and len(getattr(opened, "tile", ())) > bounds.tiles:
        raise TooLargeError(
            f"The TIFF has more than {bounds.tiles:,} strips.", "Save it again with larger strips."
        )
    # A photo of a phone may carry a second, smaller picture behind the first; the first one is the photo.
    if kind != "JPEG" and _goes_on(opened):
        raise InputError("The image has several pages.", "Send each page as an image of its own.")


def _goes_on(opened: Image.Image) -> bool:
    """Whether there is a second page. Pages are not counted: a chain of millions fits into a small file."""
    try:
        opened.seek(1)
    except EOFError:
        return False
    return True


def _orientation(opened: Image.Image) -> tuple[int, tuple[str, ...]]:
    try:
        value = opened.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1, ("exif_unreadable",)
    return (value, ()) if isinstance(value, int) and 1 <= value <= 8 else (1, ("orientation_unknown",))


_TURNS: Mapping[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(opened: Image.Image, kind: str, turned: int) -> Image.Image:
    """Undo the EXIF orientation. Pillow has done so already when it loaded a TIFF."""
    return opened if turned == 1 or kind == "TIFF" else opened.transpose(_TURNS[turned])


def _plain(image: Image.Image) -> Image.Image:
    """Draw the pixels onto a new white sheet, which knows nothing of the file they come from."""
    sheet = Image.new("RGB", image.size, "white")
    if image.mode in _SIXTEEN:
        image = image.point(lambda v: v / 256).convert("L")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        sheet.paste(layer, mask=layer.getchannel("A"))
    else:
        sheet.paste(image.convert("RGB"))
    return sheet
