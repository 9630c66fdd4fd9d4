"""Character error rate of `sekisho ocr` beside plain `tesseract -l jpn+eng` in the same run: on pages rendered and spoilt in eight ways, and on real images with their text.

Exit code 1 when the mean rate over the rendered pages is not at least halved. The real images are those in `data/ocr`, or any folder with a `truth.jsonl` of that form (`--real`).

Needs Tesseract with jpn, jpn_vert and eng, and a Japanese font (`--font`; on Debian and Ubuntu: sudo apt-get install fonts-ipafont-gothic). The rate is the edit
distance to the true text divided by its length, without white space, at most 1.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont
from rich.console import Console
from rich.table import Table

from sekisho.core.errors import ToolError
from sekisho.tasks.ocr.reading import read_image
from sekisho.tasks.ocr.tesseract import AUTOMATIC, read, require

ROOT = Path(__file__).resolve().parents[1]
GOTHIC = Path("/usr/share/fonts/opentype/ipafont-gothic/ipag.ttf")
TEXTS = {
    "ja": ["申請書は受付の窓口に提出してください", "記入した内容に誤りがないか確認します", "押印のない書類は受け取れません", "期限は毎月二十日の午後五時です", "不明な点は担当者に問い合わせること"],
    "en": ["Please hand in the form at the desk", "We check that all fields are filled in", "Papers without a seal are sent back", "The office closes at five o'clock", "Ask the person in charge if in doubt"],
}  # fmt: skip


def horizontal(lines: list[str], font: ImageFont.FreeTypeFont) -> Image.Image:
    """Lines that run across."""
    size = font.size
    wide = max(int(font.getlength(line)) for line in lines)
    page = Image.new("L", (wide + 3 * size, int(len(lines) * size * 1.8) + 2 * size), 255)
    for i, line in enumerate(lines):
        ImageDraw.Draw(page).text((1.5 * size, size + i * size * 1.8), line, 0, font)
    return page


def vertical(lines: list[str], font: ImageFont.FreeTypeFont) -> Image.Image:
    """Japanese in columns from right to left; English as a page that lies on its side."""
    if lines == TEXTS["en"]:
        return horizontal(lines, font).transpose(Image.Transpose.ROTATE_90)
    size, step = font.size, int(font.size * 1.1)
    page = Image.new(
        "L", (int(len(lines) * size * 1.9) + 2 * size, max(map(len, lines)) * step + 3 * size), 255
    )
    for i, line in enumerate(lines):
        x = page.width - int((i + 1) * size * 1.9) - size // 2
        for j, letter in enumerate(line):
            ImageDraw.Draw(page).text((x, int(1.5 * size) + j * step), letter, 0, font)
    return page


def noisy(page: Image.Image, source: random.Random, share: float = 0.06) -> Image.Image:
    """Black and white specks."""
    pixels = np.array(page)
    chance = np.random.default_rng(source.randrange(1 << 30)).random(pixels.shape)
    pixels[chance < share / 2], pixels[chance > 1 - share / 2] = 0, 255
    return Image.fromarray(pixels)


def grainy(page: Image.Image, source: random.Random) -> Image.Image:
    """The grain of a dark photo."""
    grain = np.random.default_rng(source.randrange(1 << 30)).normal(0, 45, (page.height, page.width))
    return Image.fromarray(np.clip(np.array(page) * 0.7 + 40 + grain, 0, 255).astype(np.uint8))


def shadowed(page: Image.Image, source: random.Random) -> Image.Image:
    """A shadow that falls across the page."""
    across = np.linspace(1.0, 0.18, page.width)[None, :] * np.linspace(1.0, 0.7, page.height)[:, None]
    return Image.fromarray((np.array(page) * across).astype(np.uint8))


def tilted(page: Image.Image, source: random.Random) -> Image.Image:
    """Laid down at an angle."""
    return page.rotate(
        source.choice((-7, -5, 5, 7)), expand=True, fillcolor=255, resample=Image.Resampling.BICUBIC
    )


def turned(page: Image.Image, source: random.Random) -> Image.Image:
    """Upside down."""
    return page.transpose(Image.Transpose.ROTATE_180)


def small(page: Image.Image, source: random.Random) -> Image.Image:
    """Sent as a thumbnail."""
    return page.resize((int(page.width * 0.4), int(page.height * 0.4)), Image.Resampling.BILINEAR)


def faint(page: Image.Image, source: random.Random) -> Image.Image:
    """Hardly any toner left, on grey paper."""
    return ImageEnhance.Contrast(page).enhance(0.12).point(lambda v: v - 60)


def copied(page: Image.Image, source: random.Random) -> Image.Image:
    """Blurred, tilted a little and saved with little space."""
    soft = page.filter(ImageFilter.GaussianBlur(1.6)).rotate(2.5, expand=True, fillcolor=255)
    out = io.BytesIO()
    soft.save(out, "JPEG", quality=12)
    return Image.open(out).convert("L")


DEGRADATIONS: tuple[Callable[[Image.Image, random.Random], Image.Image], ...] = (
    noisy,
    grainy,
    shadowed,
    tilted,
    turned,
    small,
    faint,
    copied,
)


def distance(a: str, b: str) -> int:
    """Edit distance (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def rate(found: str, true: str) -> float:
    """Character error rate without white space, at most 1."""
    found, true = ("".join(text.split()) for text in (found, true))
    return min(1.0, distance(found, true) / len(true))


def plain(page: Image.Image) -> str:
    """What stock Tesseract reads."""
    out = io.BytesIO()
    page.save(out, "PNG")
    return "".join(line.text for line in read(out.getvalue(), ["jpn", "eng"], AUTOMATIC, 120))


def ours(page: Image.Image) -> str:
    """What `sekisho ocr` reads."""
    return "".join(line.text for line in read_image(page, ["jpn", "eng"], 120).lines)


def missing(font: Path) -> str | None:
    """What this benchmark needs and does not find."""
    try:
        require(["jpn", "jpn_vert", "eng"])
    except ToolError as e:
        return str(e)
    return None if font.is_file() else f"There is no font {font}."


Row = tuple[float, float, float]
"""Character error rates of plain Tesseract and of ours, and the seconds that ours took."""


def compared(page: Image.Image, true: str) -> Row:
    """Read one page both ways."""
    start = time.perf_counter()
    found = ours(page)
    took = time.perf_counter() - start
    return rate(plain(page), true), rate(found, true), took


def rendered(font: ImageFont.FreeTypeFont, only: str | None) -> dict[tuple[str, ...], Row]:
    """A row for every degradation, direction and language."""
    found = {}
    for spoil in [d for d in DEGRADATIONS if only in (None, d.__name__)]:
        for lay in (horizontal, vertical):
            for lang, lines in TEXTS.items():
                page = spoil(lay(lines, font), random.Random(spoil.__name__ + lang))
                found[spoil.__name__, lay.__name__, lang] = compared(page, "".join(lines))
    return found


def real(folder: Path) -> dict[tuple[str, ...], Row]:
    """A row for every image that `truth.jsonl` names."""
    rows = [json.loads(line) for line in (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        (r["image"], r["kind"]): compared(Image.open(folder / r["image"]).convert("RGB"), r["text"])
        for r in rows
    }


def show(title: str, heads: tuple[str, ...], rows: dict[tuple[str, ...], Row]) -> tuple[float, float]:
    """Print a table; returns the mean rates of plain Tesseract and of ours."""
    table = Table(*heads, "plain", "sekisho", "seconds", title=title)
    for key, (stock, mine, took) in rows.items():
        table.add_row(*key, f"{stock:.3f}", f"{mine:.3f}", f"{took:.1f}")
    means = tuple(sum(r[i] for r in rows.values()) / len(rows) for i in (0, 1))
    table.add_row("mean", *[""] * (len(heads) - 1), *(f"{m:.3f}" for m in means), "")
    Console(width=120).print(table)
    return means[0], means[1]


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--font", type=Path, default=GOTHIC)
    parser.add_argument("--only", help="one degradation")
    parser.add_argument("--real", type=Path, default=ROOT / "data" / "ocr")
    given = parser.parse_args()
    if lacking := missing(given.font):
        print(f"Not measured: {lacking}")
        return 0
    font = ImageFont.truetype(given.font, 32)
    stock, mine = show(
        "Character error rate, rendered pages",
        ("degradation", "lines", "language"),
        rendered(font, given.only),
    )
    show("Character error rate, real images", ("image", "kind"), real(given.real))
    return int(mine > stock / 2)


if __name__ == "__main__":
    sys.exit(main())
