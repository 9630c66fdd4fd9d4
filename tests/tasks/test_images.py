from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sekisho.core.canonical import digest
from sekisho.core.errors import InputError, SekishoError, TooLargeError, UnsupportedEncodingError
from sekisho.tasks.images import Bounds, Picture, kind_of, look

from . import mutants
from .mutants import BOUNDS, bombs, chained, drawn, exif, mutant, png, saved, tiles, whole

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

RED, WHITE = (255, 0, 0), (255, 255, 255)


def test_every_sound_file_is_seen():
    files = whole()
    assert len(files) >= 18
    assert {kind_of(f) for f in files} == {"PNG", "JPEG", "WEBP", "TIFF"}
    for data in files:
        picture = look(data)
        assert picture.image.mode == "RGB"
        assert sorted(picture.image.size) == [32, 48]
        assert picture.digest == digest(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_stands_upright(kind, orientation):
    """Turn a picture as a camera would have stored it; the guard must show it as it was."""
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Which stored turn the tag stands for.
    inverse = {0: 0, 1: 1, 3: 3, 5: 5, 6: 6, 2: 4, 4: 2}
    shown = drawn()
    turn = undo[orientation]
    stored = shown if turn is None else shown.transpose(inverse[turn])
    how = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    picture = look(saved(stored, kind, exif=exif(orientation), **how))
    assert picture.image.size == (48, 32)
    assert picture.turned == orientation
    for at, colour in (((12, 8), RED), ((40, 24), WHITE), ((12, 26), WHITE), ((40, 8), WHITE)):
        assert max(abs(a - b) for a, b in zip(picture.image.getpixel(at), colour, strict=True)) < 12


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_nothing_about_the_camera_comes_through(kind):
    data = saved(drawn(), kind, exif=exif(1))
    assert b"A secret camera" in data
    picture = look(data)
    assert picture.image.info == {}
    assert dict(picture.image.getexif()) == {}
    clean = picture.png()
    assert b"camera" not in clean
    assert clean[12:16] == b"IHDR"
    assert {name for name in (b"eXIf", b"tEXt", b"iCCP", b"pHYs") if name in clean} == set()


def test_what_hides_behind_an_image_does_not_come_through():
    picture = look(saved(drawn(), "PNG") + b"PK\x03\x04 hidden archive")
    assert b"hidden" not in picture.png()


def test_the_type_is_read_from_the_content():
    for data, told in (
        (b"%PDF-1.7", "PDF"),
        (saved(drawn(), "GIF"), "GIF"),
        (b"<svg xmlns=''/>", "SVG"),
        (b"\0\0\0\x18ftypheic", "HEIF"),
        (b"", "no image"),
        (b"hello", "no image"),
    ):
        with pytest.raises(UnsupportedEncodingError, match=told):
            look(data)


def test_sizes_are_refused_before_a_pixel_is_decoded():
    start = time.perf_counter()
    for data in (png(30_000, 30_000), png(2_000_000_000, 2_000_000_000), png(20_001, 100), png(5000, 5000)):
        with pytest.raises(TooLargeError, match="pixels"):
            look(data, Bounds(pixels=20_000_000))
    assert time.perf_counter() - start < 1
    with pytest.raises(TooLargeError, match="bytes"):
        look(b"\x89PNG\r\n\x1a\n" + b"\0" * 2000, Bounds(bytes=1000))
    with pytest.raises(InputError, match="nothing can be seen"):
        look(saved(drawn(size=(48, 7)), "PNG"))


def test_efforts_are_refused():
    progressive = bombs()[7]
    with pytest.raises(TooLargeError, match="scans"):
        look(progressive)
    with pytest.raises(TooLargeError, match="strips"):
        look(tiles(50_001), Bounds(side=200_000))
    start = time.perf_counter()
    with pytest.raises(InputError, match="several pages"):
        look(chained(8000))
    assert time.perf_counter() - start < 1


def test_a_moving_picture_is_refused():
    for kind in ("PNG", "WEBP", "TIFF"):
        with pytest.raises(InputError, match="several pages"):
            look(saved(drawn(), kind, save_all=True, append_images=[drawn("L").convert("RGB")]))


def test_an_ordinary_progressive_photo_is_seen():
    assert look(saved(drawn(size=(640, 480)), "JPEG", progressive=True)).image.size == (640, 480)


def test_transparent_parts_are_white_and_sixteen_bits_become_eight():
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    assert look(saved(clear, "PNG")).image.getpixel((3, 3)) == WHITE
    deep = Image.new("I;16", (16, 16), 65535)
    assert look(saved(deep, "PNG")).image.getpixel((3, 3)) == WHITE
    half = Image.new("I;16", (16, 16), 32768)
    assert look(saved(half, "PNG")).image.getpixel((3, 3)) == (128, 128, 128)


def test_odd_exif_is_noted_and_the_photo_still_seen():
    picture = look(saved(drawn(), "JPEG", exif=exif(77)))
    assert (picture.turned, picture.notes) == (1, ("orientation_unknown",))
    broken = saved(drawn(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f broken")
    assert look(broken).image.size == (48, 32)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 40))
def test_a_broken_file_ends_in_a_picture_or_an_error_of_ours(seed):
    data = mutant(seed)
    try:
        picture = look(data, BOUNDS)
    except SekishoError as e:
        told = (e.what, e.do)
        assert all(told)
    else:
        assert picture.image.mode == "RGB"
        assert picture.image.width * picture.image.height <= BOUNDS.pixels
        assert Image.open(io.BytesIO(picture.png())).size == picture.image.size


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["", "PNG", "JPEG", "WEBP", "TIFF"]))
def test_noise_is_refused(noise, kind):
    heads = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "WEBP": b"RIFF....WEBP", "TIFF": b"II*\0"}
    with pytest.raises(SekishoError):
        look(heads.get(kind, b"") + noise, BOUNDS)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the limit on memory is POSIX's")
def test_ten_thousand_broken_files_neither_crash_nor_hang_nor_fill_the_memory():
    ended = subprocess.run(
        [sys.executable, Path(mutants.__file__), "10000"], capture_output=True, text=True, timeout=280
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert sum(found["ends"].values()) == 10_000 + len(bombs())
    assert found["ends"]["seen"] > 500
    assert found["ends"]["InputError"] > 1000
    assert "MemoryError" not in found["ends"]
    assert found["slowest"] < 5
    assert found["peak_mib"] < 600


def test_a_large_picture_is_scaled_down_when_asked_for():
    picture = Picture(Image.new("RGB", (300, 100), "red"), "sha256:0", "PNG", 1)
    assert Image.open(io.BytesIO(picture.png(150))).size == (150, 50)
    assert Image.open(io.BytesIO(picture.png())).size == (300, 100)
    assert picture.image.size == (300, 100)
