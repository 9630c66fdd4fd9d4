"""A font with Japanese letters that a PDF may embed: the one that is set, or the first of those that systems ship."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..core.errors import ToolError

NAME = "sekisho-text"
PLACES = (
    "/usr/share/fonts/opentype/ipaexfont-gothic/ipaexg.ttf",
    "/usr/share/fonts/opentype/ipafont-gothic/ipagp.ttf",
    "/usr/share/fonts/truetype/fonts-japanese-gothic.ttf",
    "/usr/share/fonts/truetype/takao-gothic/TakaoPGothic.ttf",
    "/usr/share/fonts/truetype/vlgothic/VL-PGothic-Regular.ttf",
    "/usr/share/fonts/ipa-pgothic-fonts/ipagp.ttf",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "C:/Windows/Fonts/BIZ-UDGothicR.ttc",
    "C:/Windows/Fonts/YuGothM.ttc",
    "C:/Windows/Fonts/meiryo.ttc",
    "C:/Windows/Fonts/msgothic.ttc",
    "/System/Library/Fonts/Supplemental/Arial Unicode.ttf",
)
"""TrueType fonts; those with PostScript outlines (Noto CJK) cannot be embedded by the library in use."""
_LETTERS = "監査ア"


def find_font(given: Path | None = None) -> Any:
    """Return the font, not yet registered: the one at `given`, or the first found of `PLACES`.

    The licence bits of the font are kept to: one that forbids embedding or a subset of its letters is not taken.

    Raises:
        ToolError: there is none, or the given one is no such font; with which package has one.
    """
    if given is not None:
        font, why = _read(str(given))
        if font is None:
            raise ToolError(
                f"The font {given} cannot be put into a PDF: {why}.",
                "Set `pdf_font` to a TrueType font with Japanese letters.",
            )
        return font
    for place in PLACES:
        if os.path.exists(place):  # noqa: PTH110 - as text: these are paths of several systems
            font, _ = _read(place)
            if font is not None:
                return font
    raise ToolError(
        "No font with Japanese letters was found that a PDF may embed.",
        "Install one (Debian and Ubuntu: fonts-ipafont-gothic), or set `pdf_font` to a TrueType font.",
    )


def _read(path: str) -> tuple[Any, str]:
    """The font, or None and why not."""
    from reportlab.pdfbase.ttfonts import TTFError, TTFont

    try:
        font = TTFont(NAME, path)
    except (TTFError, OSError) as e:
        return None, str(e)
    if not all(ord(c) in font.face.charToGlyph for c in _LETTERS):
        return None, "it has no Japanese letters"
    return font, ""
