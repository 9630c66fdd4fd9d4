"""Image files that went wrong: cut, flipped, spliced, relabelled, inflated. As a program, throws many at the guard and says how it stood it."""

from __future__ import annotations

import io
import json
import random
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

from sekisho.core.errors import SekishoError
from sekisho.tasks.images import Bounds, look

BOUNDS = Bounds(bytes=1 << 20, pixels=4_000_000)
ADDRESS_SPACE = 1 << 30
"""Bytes the program may ever map: the interpreter, Pillow, and what 4 million pixels need a few times over."""


def drawn(mode: str = "RGB", size: tuple[int, int] = (48, 32)) -> Image.Image:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).rectangle((4, 4, 20, 12), fill="red")
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **how) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    found[0x010F] = "A secret camera"
    return found


def whole() -> list[bytes]:
    """Sound files of every kind the guard takes."""
    return [
        *(saved(drawn(m), "PNG") for m in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")),
        saved(drawn(), "PNG", exif=exif(6)),
        *(saved(drawn(m), "JPEG", exif=exif(8)) for m in ("RGB", "L", "CMYK")),
        saved(drawn(), "JPEG", progressive=True),
        saved(drawn(), "WEBP", lossless=True),
        saved(drawn("RGBA"), "WEBP", exif=exif(3)),
        *(saved(drawn(), "TIFF", compression=c) for c in (None, "tiff_lzw", "tiff_deflate", "jpeg")),
        saved(drawn("1"), "TIFF", compression="group4"),
        saved(drawn(), "TIFF", exif=exif(5)),
    ]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *more: bytes, rows: bytes | None = None) -> bytes:
    """A PNG with any size in its header, whatever it holds."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 100_000 if rows is None else rows)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", head), *more, chunk(b"IDAT", body), chunk(b"IEND", b"")]
    )


def bombs() -> list[bytes]:
    """Small files that promise, or cost, very much."""
    flood = zlib.compress(b"\0" * (64 << 20), 9)
    progressive = saved(drawn(size=(1024, 1024)), "JPEG", progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    return [
        png(2_000_000_000, 2_000_000_000),
        png(30_000, 30_000),
        png(20_000, 200),
        png(1999, 1999, rows=b"\0" * (64 << 20)),
        png(64, 64, chunk(b"zTXt", b"a\0\0" + flood)),
        png(64, 64, chunk(b"iCCP", b"a\0\0" + flood)),
        png(64, 64, *[chunk(b"zTXt", b"k%d\0\0" % i + zlib.compress(b"x" * 1_000_000)) for i in range(200)]),
        progressive[:-2] + scan * 500 + b"\xff\xd9",
        tiles(100_000),
        chained(50_000),
        saved(drawn(size=(16, 16)), "TIFF", save_all=True, append_images=[drawn(size=(16, 16))] * 3),
        saved(drawn(), "GIF"),
        saved(drawn(), "BMP"),
    ]


def tiles(count: int) -> bytes:
    """A TIFF whose strips are all the same few bytes."""
    entries = [(256, 4, 1, 16), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    start = 8 + 2 + 12 * 9 + 4
    entries += [(273, 4, count, start), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, count, start + 4 * count)]
    body = b"".join(struct.pack("<HHII", *e) for e in entries)
    lists = struct.pack("<I", 8) * count + struct.pack("<I", 16) * count
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 9) + body + struct.pack("<I", 0) + lists


def chained(count: int) -> bytes:
    """A TIFF of very many pages."""
    entries = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 16), (279, 4, 1, 256)]
    body = struct.pack("<H", 9) + b"".join(struct.pack("<HHII", *e) for e in entries)
    step = len(body) + 4
    pages = [body + struct.pack("<I", 8 + step * (i + 1)) for i in range(min(count, 8000))]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(pages)


def cut(data: bytearray, source: random.Random) -> bytes:
    return bytes(data[: source.randrange(len(data))])


def flipped(data: bytearray, source: random.Random) -> bytes:
    for _ in range(source.choice((1, 1, 4, 30))):
        data[source.randrange(len(data))] = source.choice((0, 255, 127, 128, source.randrange(256)))
    return bytes(data)


def head_flipped(data: bytearray, source: random.Random) -> bytes:
    """As `flipped`, in the first bytes, where sizes and kinds stand."""
    for _ in range(source.choice((1, 2, 3))):
        data[source.randrange(min(len(data), 64))] = source.randrange(256)
    return bytes(data)


def spliced(data: bytearray, source: random.Random) -> bytes:
    other = source.choice(WHOLE)
    at, till = source.randrange(len(data)), source.randrange(len(other))
    return bytes(data[:at]) + other[till:]


def repeated(data: bytearray, source: random.Random) -> bytes:
    at = source.randrange(len(data))
    piece = data[at : at + source.randrange(1, 200)]
    return bytes(data[:at]) + bytes(piece) * source.randrange(1, 300) + bytes(data[at:])


def polyglot(data: bytearray, source: random.Random) -> bytes:
    tail = source.choice((b"PK\x03\x04 archive", b"<script>alert(1)</script>", b"%PDF-1.7", *WHOLE))
    return bytes(data) + tail if source.random() < 0.7 else tail + bytes(data)


def relabelled(data: bytearray, source: random.Random) -> bytes:
    heads = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"II*\0", b"MM\0*", b"GIF89a", b"BM")
    head = source.choice(heads)
    return head + bytes(data[len(head) :])


WAYS: tuple[Callable[[bytearray, random.Random], bytes], ...] = (
    cut,
    flipped,
    head_flipped,
    spliced,
    repeated,
    polyglot,
    relabelled,
)
WHOLE = whole()


def mutant(seed: int) -> bytes:
    """A broken file; the same for the same seed."""
    source = random.Random(seed)
    data = bytearray(source.choice(WHOLE))
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        data = bytearray(source.choice(WAYS)(bytearray(data or b"\0"), source))
    return bytes(data)


def main() -> None:
    """Look at as many mutants as the first argument says, and at every bomb, under a hard limit on memory."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    ends: Counter[str] = Counter()
    slowest = 0.0
    for data in [*bombs(), *map(mutant, range(int(sys.argv[1])))]:
        start = time.perf_counter()
        try:
            picture = look(data, BOUNDS)
            ends["MemoryError" if picture.image.mode != "RGB" else "seen"] += 1
        except SekishoError as e:
            ends["MemoryError" if "MemoryError" in e.what else type(e).__name__] += 1
        slowest = max(slowest, time.perf_counter() - start)
    print(json.dumps({"ends": ends, "slowest": slowest, "peak_mib": _peak_kib() // 1024}))


def _peak_kib() -> int:
    """Peak of this program's own memory; `ru_maxrss` would also count the parent it was forked from."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
