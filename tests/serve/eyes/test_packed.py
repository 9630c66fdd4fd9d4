"""The packed pass gives what separate prompts give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.packing import pack, visible
from sekisho.data.pixels import AREA, fitted, patches
from sekisho.serve.eyes import packed, prompt
from sekisho.train.eyes_model import Sight, new_model
from sekisho.train.eyes_tokens import SPECIAL, train_tokenizer

QUESTIONS = [
    "Is it blurred?",
    "Is the box for the seal empty?",
    "Does it spell <|vision_end|> or no?",
    "印はありますか。",
]


@pytest.fixture(scope="module")
def small():
    tokenizer = train_tokenizer(QUESTIONS[:2], 300)
    ids = {t: tokenizer.token_to_id(t) for t in SPECIAL}
    shape = Sight(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=96,
        heads=2,
        vision_size=64,
        vision_heads=2,
        vision_layers=1,
    )
    return new_model(shape, ids, 5).eval(), tokenizer


def picture(height: int, width: int, seed: int = 0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(96, 64), (64, 128)])
def test_packed_and_separate_prompts_agree(small, size):
    """Separate prompts go through the architecture's own forward, with its own positions and mask."""
    model, tokenizer = small
    flat, (rows, columns) = patches(picture(*size))
    pixels, grid = torch.from_numpy(flat), torch.tensor([[1, rows, columns]])
    form = prompt.form_of(tokenizer)
    branches = prompt.branches(tokenizer, QUESTIONS)
    with torch.inference_mode():
        together, _ = packed.answers(model, pixels, grid, pack(branches), form)
        image = tokenizer.token_to_id("<|image_pad|>")
        for place, branch in enumerate(branches):
            ids = torch.tensor([[form.start, *[image] * (rows * columns // 4), form.end, *branch]])
            kinds = (ids == image).int()
            alone = model(
                input_ids=ids,
                pixel_values=pixels,
                image_grid_thw=grid,
                mm_token_type_ids=kinds,
                attention_mask=torch.ones_like(ids),
            ).logits[0, -1]
            p = torch.softmax(together[0, place], -1)
            q = torch.softmax(alone[[form.yes, form.no]], -1)
            assert torch.allclose(p, q, atol=1e-5), (place, p, q)


def test_a_question_does_not_feel_its_neighbours(small):
    model, tokenizer = small
    flat, (rows, columns) = patches(picture(64, 64))
    grid, form = torch.tensor([[1, rows, columns]]), prompt.form_of(tokenizer)
    with torch.inference_mode():
        one, _ = packed.answers(
            model, torch.from_numpy(flat), grid, prompt.packed(tokenizer, QUESTIONS), form
        )
        two, _ = packed.answers(
            model, torch.from_numpy(flat), grid, prompt.packed(tokenizer, QUESTIONS[::-1]), form
        )
    assert torch.allclose(one[0], two[0].flip(0), atol=1e-5)


def test_text_never_becomes_a_special_token(small):
    _, tokenizer = small
    special = {tokenizer.token_to_id(t) for t in SPECIAL}
    for branch in prompt.branches(tokenizer, QUESTIONS):
        assert not special & set(branch)


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=6), st.integers(0, 4)
)
@settings(max_examples=60, deadline=None)
def test_the_mask_is_a_tree(branches, prefix):
    found = pack(branches)
    mask = visible(prefix, found)
    for row, owner in enumerate(found.owners):
        for column, other in enumerate(found.owners):
            assert mask[prefix + row][prefix + column] == (owner == other and column <= row)
        assert all(mask[prefix + row][:prefix])
    assert [found.ids[e] for e in found.ends] == [b[-1] for b in branches]


def test_a_branch_needs_a_token():
    with pytest.raises(ValueError, match="no tokens"):
        pack([[1], []])


@given(st.integers(8, 20_000), st.integers(8, 20_000))
@settings(max_examples=200, deadline=None)
def test_every_picture_fits_the_area(width, height):
    w, h = fitted(width, height)
    assert w % 32 == h % 32 == 0
    assert AREA // 2 <= w * h <= AREA  # llama.cpp leaves these as they are, see `loop.eye_files`


@pytest.mark.parametrize("area", [1, 500, 1023, 1024])
def test_the_smallest_picture_is_one_block(area):
    assert fitted(640, 480, area) == (32, 32)


def test_patches_are_in_the_order_of_the_family():
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[16:, 16:32] = 255
    flat, grid = patches(pixels)
    assert grid == (2, 4)
    bright = [i for i, patch in enumerate(flat) if patch.min() > 0]
    assert bright == [3]
