from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from .makers import page, pixels

pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'sekisho[ocr]'")

from sekisho.tasks.ocr.cleanup import clean, even_light, without_specks


def specked(image: Image.Image, share: float) -> np.ndarray:
    spoilt = pixels(image).copy()
    chance = np.random.default_rng(1).random(spoilt.shape)
    spoilt[chance < share / 2], spoilt[chance > 1 - share / 2] = 0, 255
    return spoilt


@pytest.mark.parametrize("downwards", [False, True])
@pytest.mark.parametrize("angle", [-7, -2.5, 0, 3, 6])
def test_tilt_is_found_and_the_way_lines_run(angle, downwards):
    tilted = page(downwards=downwards).rotate(
        angle, expand=True, fillcolor=255, resample=Image.Resampling.BICUBIC
    )
    found = clean(pixels(tilted))
    assert found.angle == pytest.approx(-angle, abs=0.4)
    assert (found.vertical > 1) is downwards


@pytest.mark.parametrize("downwards", [False, True])
def test_specks_do_not_hide_the_way_lines_run(downwards):
    assert (clean(specked(page(downwards=downwards), 0.06)).vertical > 1) is downwards


@pytest.mark.parametrize(("size", "scale"), [(10, 3.4), (17, 2.0), (34, 1.0), (60, 1.0)])
def test_small_letters_are_enlarged_and_large_ones_left(size, scale):
    assert clean(pixels(page(size=size))).scale == pytest.approx(scale, rel=0.15)


def test_a_shadow_is_lifted():
    shadow = np.linspace(1.0, 0.2, page().width)[None, :]
    lit = even_light((pixels(page()) * shadow).astype(np.uint8))
    true = pixels(page())
    assert lit[true == 255].mean() > 235
    assert lit[true == 0].mean() < 40


def test_specks_go_and_a_clean_page_stays():
    spoilt = specked(page(), 0.05)
    assert (without_specks(spoilt)[:20] < 128).mean() < 0.1 * (spoilt[:20] < 128).mean()
    assert np.array_equal(without_specks(pixels(page())), pixels(page()))


def test_grain_is_smoothed():
    grain = np.random.default_rng(2).normal(0, 30, pixels(page()).shape)
    spoilt = np.clip(pixels(page()) * 0.6 + 50 + grain, 0, 255).astype(np.uint8)
    assert without_specks(spoilt)[:20].std() < 0.5 * spoilt[:20].std()


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_page_without_ink_stays_empty(shade):
    found = clean(np.full((200, 300), shade, np.uint8))
    assert (found.angle, found.scale) == (0.0, 1.0)
    assert np.ptp(found.image[60:140, 60:240]) == 0


def test_boxes_lead_back_to_the_original():
    spoilt = page().rotate(5, expand=True, fillcolor=255)
    found = clean(pixels(spoilt))
    ys, xs = np.nonzero(found.image < 128)
    box = found.box(xs.min(), ys.min(), np.ptp(xs), np.ptp(ys))
    ink = np.nonzero(pixels(spoilt) < 128)
    left, top = ink[1].min(), ink[0].min()
    assert box[0] <= left + 3
    assert box[1] <= top + 3
    assert box[0] + box[2] >= ink[1].max() - 3
    assert box[1] + box[3] >= ink[0].max() - 3
