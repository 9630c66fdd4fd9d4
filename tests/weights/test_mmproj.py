"""Vision-language models as two GGUF files, before a real llama.cpp that is given both."""

from __future__ import annotations

import asyncio
import io
import json
from functools import partial

import gguf
import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import (
    AutoModelForImageTextToText,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from sekisho.core.errors import BakeError, InputError, ShelfError
from sekisho.data.pixels import patches
from sekisho.loop.exporting import VISION_FILE, export_all
from sekisho.serve.eyes.remote import RemoteEye
from sekisho.weights.decision import DecisionMeta
from sekisho.weights.gguf import export_gguf, verify_gguf
from sekisho.weights.mmproj import export_mmproj, pixels_of, verify_mmproj
from serve.far import llama_process

from .makers import SENTENCES, save_folder, trained_size

MARKS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
SIZE = (96, 128)
TOLERANCE = 0.003
"""Of log-odds: llama.cpp has GELU from a table in half precision."""
PIXELS = {
    "image_mean": [0.75, 0.7, 0.65],
    "image_std": [0.25, 0.3, 0.35],
    "min_pixels": SIZE[0] * SIZE[1],
    "max_pixels": SIZE[0] * SIZE[1],
}


@pytest.fixture(scope="module")
def seeing_tokenizer(tokenizer):
    own = Tokenizer.from_str(tokenizer.to_str())
    own.add_special_tokens(list(MARKS))
    return own


def seeing(tokenizer, folder, times=2, **vision):
    """A folder of a small Qwen2-VL that reads `times` images of a moment."""
    text = {
        "vocab_size": 1024,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 4,
    }
    seen = {
        "depth": 2,
        "embed_dim": 64,
        "hidden_size": 64,
        "num_heads": 2,
        "patch_size": 16,
        "temporal_patch_size": times,
        **vision,
    }
    start, end, image = (tokenizer.token_to_id(t) for t in MARKS)
    ids = {"vision_start_token_id": start, "vision_end_token_id": end, "image_token_id": image}
    config = Qwen2VLConfig(text_config=text, vision_config=seen, tie_word_embeddings=times == 1, **ids)
    model = trained_size(Qwen2VLForConditionalGeneration(config), times)
    save_folder(model, tokenizer, folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PIXELS))
    return folder


def picture(shade):
    """Noise around a shade, with a dark bar, so that pictures of two shades have little in common."""
    drawn = np.random.default_rng(shade).integers(shade, shade + 40, (*SIZE[::-1], 3), dtype=np.uint8)
    drawn[20:50, 10 + shade // 4 : 60 + shade // 8] = (0, 255 - shade, shade)
    return drawn


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def windowed(tokenizer, folder):
    """A folder of a small Qwen2.5-VL whose first block sees windows of the image and whose second sees all of it."""
    plain = seeing(tokenizer, folder)
    text = json.loads((plain / "config.json").read_text())["text_config"]
    start, end, image = (tokenizer.token_to_id(t) for t in MARKS)
    seen = {
        "depth": 2,
        "hidden_size": 64,
        "out_hidden_size": 64,
        "intermediate_size": 96,
        "num_heads": 2,
        "patch_size": 16,
    }
    config = Qwen2_5_VLConfig(
        text_config=text | {"model_type": "qwen2_5_vl_text"},
        vision_config=seen | {"fullatt_block_indexes": [1], "window_size": 112},
        vision_start_token_id=start,
        vision_end_token_id=end,
        image_token_id=image,
    )
    trained_size(Qwen2_5_VLForConditionalGeneration(config), 3).save_pretrained(folder)
    return folder


def moments(pixels, times):
    """The picture in flattened patches, as often as the model reads a moment's images."""
    flat, grid = patches(pixels)
    colours = (flat * 0.25 + 0.75).reshape(len(flat), 3, 1, 256)
    mean, spread = (np.array(PIXELS[k], np.float32).reshape(1, 3, 1, 1) for k in ("image_mean", "image_std"))
    seen = np.repeat((colours - mean) / spread, times, axis=2).reshape(len(flat), -1)
    return torch.from_numpy(seen.astype(np.float32)), torch.tensor([[1, *grid]])


def expected(folder, tokenizer, pixels, question):
    """transformers' log-odds of A over B after the house's decision prompt with the image in it."""
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    seen, grid = moments(pixels, model.config.vision_config.temporal_patch_size)
    image = tokenizer.token_to_id("<|image_pad|>")
    ids = [
        *tokenizer.encode("<|user|><|vision_start|>").ids,
        *[image] * (len(seen) // 4),
        *tokenizer.encode(f"<|vision_end|>An image.\n{question}\nA true\nB false\n<|end|><|assistant|>").ids,
    ]
    row = torch.tensor([ids])
    kinds = {"mm_token_type_ids": (row == image).int(), "attention_mask": torch.ones_like(row)}
    with torch.no_grad():
        logits = model(input_ids=row, pixel_values=seen, image_grid_thw=grid, **kinds).logits[0, -1]
    return float(logits[tokenizer.token_to_id("A")] - logits[tokenizer.token_to_id("B")])


def looked(url, images, questions):
    async def work():
        eye = RemoteEye(url)
        await eye.start()
        try:
            return [await eye.look(image, questions, 60.0) for image in images]
        finally:
            await eye.stop()

    return asyncio.run(work())


@pytest.mark.parametrize("make", [partial(seeing, times=1), seeing, windowed], ids=["one", "two", "windowed"])
def test_llama_cpp_sees_what_transformers_sees(seeing_tokenizer, tmp_path, make):
    """One kernel beside a zero one, or two; tied embeddings and a head of its own; grouped queries; Qwen2.5-VL."""
    folder = make(seeing_tokenizer, tmp_path / "hf")
    language = export_gguf(folder, tmp_path / "m.gguf", "f32", DecisionMeta())
    vision = export_mmproj(folder, tmp_path / "v.gguf", "f32")
    assert verify_gguf(language, folder).decision
    assert verify_mmproj(vision, folder) >= 2 + 16 * 2 + 1 + 4
    pictures, questions = [picture(10), picture(200)], {"a": SENTENCES[1], "b": "Is it urgent?"}
    with llama_process(language, 1024, vision=vision) as (url, _):
        found = looked(url, map(png, pictures), questions)
    wanted = [{i: expected(folder, seeing_tokenizer, p, q) for i, q in questions.items()} for p in pictures]
    for seen, odds in zip(found, wanted, strict=True):
        assert seen.log_odds == pytest.approx(odds, abs=TOLERANCE)
    assert all(abs(wanted[0][i] - wanted[1][i]) > 10 * TOLERANCE for i in questions)


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0"])
def test_every_kind_of_vision_part_reads_back(seeing_tokenizer, tmp_path, kind):
    folder = seeing(seeing_tokenizer, tmp_path / "hf")
    out = export_mmproj(folder, tmp_path / "v.gguf", kind)
    verify_mmproj(out, folder)
    types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(out).tensors}
    assert types["v.patch_embd.weight"] == types["v.blk.0.ln1.weight"] == "F32"
    assert types["v.blk.0.attn_q.weight"].lower() == kind
    other = seeing(seeing_tokenizer, tmp_path / "other", 1)
    with pytest.raises(BakeError, match="vision part"):
        verify_mmproj(out, other)


def test_a_baked_model_that_sees_is_exported_whole(seeing_tokenizer, tmp_path):
    folder = seeing(seeing_tokenizer, tmp_path / "model")
    plain = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    prompts = [seeing_tokenizer.encode(s).ids for s in SENTENCES]
    found = export_all(tmp_path, plain, prompts, 1.0, ("f16", "q8_0"))
    assert found["files"][VISION_FILE]["tensors"] == 2 + 16 * 2 + 2 + 4
    assert found["files"]["model-f16.gguf"]["mean_kl"] < 1e-4
    text = (tmp_path / "Modelfile").read_text()
    assert "FROM ./model-q8_0.gguf" in text
    assert f"FROM ./{VISION_FILE}" in text


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda v: v.update(hidden_act="gelu"), "hidden_act"),
        (lambda v: v.update(spatial_merge_size=4), "spatial_merge_size"),
        (lambda v: v.update(temporal_patch_size=3), "3 images at once"),
        (lambda v: v.update(hidden_size=32), "32 numbers"),
        (lambda v: v.update(rope_parameters={"rope_theta": 5.0}), "rope_theta"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(seeing_tokenizer, tmp_path, change, match):
    folder = seeing(seeing_tokenizer, tmp_path / "hf")
    edit(folder / "config.json", lambda c: change(c["vision_config"]))
    with pytest.raises(InputError, match=match):
        export_mmproj(folder, tmp_path / "v.gguf")
    assert not list(tmp_path.glob("*.gguf"))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda v: v.update(window_size=64), "window_size"),
        (lambda v: v.update(fullatt_block_indexes=[]), "whole image"),
        (lambda v: v.update(fullatt_block_indexes=[0]), "whole image"),
    ],
)
def test_windows_of_another_kind_are_refused(seeing_tokenizer, tmp_path, change, match):
    folder = windowed(seeing_tokenizer, tmp_path / "hf")
    edit(folder / "config.json", lambda c: change(c["vision_config"]))
    with pytest.raises(InputError, match=match):
        export_mmproj(folder, tmp_path / "v.gguf")


def test_folders_of_before_are_read_alike(seeing_tokenizer, tmp_path):
    """Older folders have the language part's settings on top, and name the kind of rotation elsewhere."""
    folder = seeing(seeing_tokenizer, tmp_path / "hf")
    new = export_gguf(folder, tmp_path / "m.gguf", "f16").read_bytes()

    def older(config):
        text = config.pop("text_config")
        rope = text.pop("rope_parameters")
        config.update(text | {"model_type": "qwen2_vl", "rope_theta": rope["rope_theta"]})
        config["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}

    edit(folder / "config.json", older)
    assert export_gguf(folder, tmp_path / "m.gguf", "f16").read_bytes() == new


def test_a_model_without_eyes_or_without_word_on_pixels_is_refused(seeing_tokenizer, tmp_path):
    folder = seeing(seeing_tokenizer, tmp_path / "hf")
    edit(folder / "preprocessor_config.json", lambda c: c.pop("image_mean"))
    with pytest.raises(InputError, match="image_mean"):
        pixels_of(folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ShelfError, match="preprocessor_config"):
        export_mmproj(folder, tmp_path / "v.gguf")
    edit(folder / "config.json", lambda c: c.update(model_type="qwen2"))
    with pytest.raises(InputError, match="sees nothing"):
        export_mmproj(folder, tmp_path / "v.gguf")
