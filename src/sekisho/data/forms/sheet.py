"""A sheet of paper: text, boxes and marks are drawn onto it, and it remembers where the evidence of each answer lies."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ...core.errors import ToolError
from .plan import Split

WIDTH, HEIGHT = 576, 768
LEFT, RIGHT = 44, WIDTH - 44
"""Where print begins and ends."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the sheet."""
_IPA = Path("/usr/share/fonts/opentype")
FONTS: dict[Split, tuple[Path, ...]] = {
    "train": (_IPA / "ipafont-gothic/ipag.ttf", _IPA / "ipafont-gothic/ipagp.ttf"),
    "held": (_IPA / "ipafont-mincho/ipam.ttf", _IPA / "ipafont-mincho/ipamp.ttf"),
}
"""Fonts that are learnt from, and those that are only measured on."""
_PACKAGES = "sudo apt-get install fonts-ipafont-gothic fonts-ipafont-mincho"


@lru_cache(maxsize=256)
def font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """A font at a size. Raises ToolError naming the package when it is not installed."""
    try:
        return ImageFont.truetype(str(path), size)
    except OSError as e:
        raise ToolError(f"There is no font {path.name}.", f"On Debian and Ubuntu: {_PACKAGES}") from e


class Sheet:
    """White paper of `WIDTH` × `HEIGHT` pixels.

    Attributes:
        found: boxes of evidence by name: criterion ids, and `seen_…` for what is there and no fault.
    """

    def __init__(self, source: random.Random, split: Split) -> None:
        self.source = source
        self.path = source.choice(FONTS[split])
        shade = source.randint(246, 255)
        self.paper = (shade, shade, shade - source.randint(0, 6))
        self.image = Image.new("RGB", (WIDTH, HEIGHT), self.paper)
        self.pen = ImageDraw.Draw(self.image)
        grey = source.randint(0, 90 if split == "train" else 40)
        self.ink = (grey, grey, grey)
        self.line = source.choice((1, 1, 2))
        self.found: dict[str, list[Box]] = {}

    def note(self, names: str, box: Box) -> None:
        """Remember a box as evidence under each of the names, which are separated by blanks."""
        for name in names.split():
            self.found.setdefault(name, []).append(box)

    def text(
        self, x: float, y: float, text: str, size: int = 20, ink: tuple[int, int, int] | None = None
    ) -> Box:
        """Print text, its top left corner at (x, y); returns the box it takes."""
        f = font(self.path, size)
        self.pen.text((x, y), text, ink or self.ink, f)
        return (x, y, x + f.getlength(text), y + size)

    def width(self, text: str, size: int = 20) -> float:
        """Pixels that printed text takes across."""
        return font(self.path, size).getlength(text)

    def frame(self, box: Box, ink: tuple[int, int, int] | None = None, width: int | None = None) -> None:
        """Draw a rectangle."""
        self.pen.rectangle(box, outline=ink or self.ink, width=width or self.line)

    def stroke(
        self,
        points: list[tuple[float, float]],
        ink: tuple[int, int, int] | None = None,
        width: int | None = None,
    ) -> None:
        """Draw a line through points."""
        self.pen.line(points, fill=ink or self.ink, width=width or self.line, joint="curve")

    def hand(self, x: float, y: float, text: str, size: int, ink: tuple[int, int, int], uneven: bool) -> Box:
        """Write text as a hand does: every letter turned, sized and placed a little differently, more so when `uneven`."""
        s, left, wild = self.source, x, 2.5 if uneven else 1.0
        slant = s.uniform(-0.12, 0.22)
        for letter in text:
            own = max(8, int(size * (1 + s.uniform(-0.09, 0.09) * wild)))
            glyph = _written(letter, self.path, own, slant, s.uniform(-6, 6) * wild)
            self.image.paste(ink, (int(x), int(y + s.uniform(-1.6, 1.6) * wild)), glyph)
            x += own * (0.62 if letter.isascii() else 1.0) * s.uniform(0.86, 1.04)
        return (left, y, x, y + size)

    def tilted(self, x: float, y: float, layer: Image.Image, ink: tuple[int, int, int]) -> None:
        """Press a mask (mode L) onto the paper, as a stamp is."""
        self.image.paste(ink, (int(x), int(y)), layer)


def _written(letter: str, path: Path, size: int, slant: float, turn: float) -> Image.Image:
    mask = Image.new("L", (size + 8, size + 8), 0)
    ImageDraw.Draw(mask).text((4, 3), letter, 255, font(path, size), stroke_width=0)
    mask = mask.transform(
        mask.size, Image.Transform.AFFINE, (1, slant, -slant * size / 2, 0, 1, 0), Image.Resampling.BILINEAR
    )
    return mask.rotate(turn, Image.Resampling.BILINEAR)
