"""A real eye that has learnt nothing: random weights of the right shape, for what does not depend on being right."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from sekisho.tasks.rubric.lint import read_pack
from sekisho.train.eyes_model import Sight as Shape
from sekisho.train.eyes_model import new_model
from sekisho.train.eyes_tokens import SPECIAL, train_tokenizer

ROOT = Path(__file__).resolve().parents[1]
PACK = read_pack("intake", ROOT)


def eye_folder(folder: Path, digest: str | None = None) -> Path:
    """Write a small model folder that says it has learnt `intake`."""
    tokenizer = train_tokenizer([c.question.en for c in PACK.criteria], 400)
    shape = Shape(
        vocab_size=400,
        hidden_size=64,
        intermediate_size=96,
        layers=1,
        heads=2,
        vision_size=64,
        vision_layers=1,
        vision_heads=2,
    )
    model = new_model(shape, {t: tokenizer.token_to_id(t) for t in SPECIAL}, 3)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "made.json").write_text(json.dumps({"pack": "intake", "pack_digest": digest or PACK.digest()}))
    (folder / "calibration.json").write_text(json.dumps({"criteria": {i: [1.0, 0.0] for i in PACK.ids}}))
    return folder


def picture_file(seed: int = 0, size: tuple[int, int] = (288, 384)) -> bytes:
    """A picture of a few dark bars as a PNG; needs no font."""
    image = Image.new("RGB", size, "white")
    for i in range(12):
        ImageDraw.Draw(image).rectangle(
            (30, 30 + 28 * i, 60 + (seed * 37 + i * 53) % 200, 40 + 28 * i), fill="black"
        )
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
