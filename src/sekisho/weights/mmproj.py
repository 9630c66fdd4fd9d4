"""The vision part of a Qwen2-VL or Qwen2.5-VL model as the second file llama.cpp wants, its `mmproj`: arch `clip`, projector `qwen2vl_merger` or `qwen2.5vl_merger`.

Names and keys are llama.cpp's (tools/mtmd). It has no keys for what is the same in every one of them (rotation base, merging by 2 × 2, the normalisation's
epsilon of the merger), so a model that differs there is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gguf
import numpy as np

from ..core.canonical import new_id
from ..core.errors import BakeError, InputError
from ..core.question import Frozen
from .gguf import add_tensor, write_whole_gguf
from .hf import SEEING, Array, configured, read_config, read_json, stored_tensors, vision_name
from .quantise import FILE_TYPES, rounding

VisionKind = Literal["f32", "f16", "bf16", "q8_0"]
"""Number types of the matrices; the first layer and vectors stay float32."""
_FIRST = "visual.patch_embed.proj.weight"
_EPSILON = 1e-6
_SIDE = 560
"""Pixels; llama.cpp wants a size, and does not use it where sizes are free."""


class Pixels(Frozen):
    """How an image becomes numbers.

    Attributes:
        mean, spread: by colour, of values from 0 to 1; `(value - mean) / spread` is what the model sees.
        least, most: pixels of a scaled image.
    """

    mean: tuple[float, float, float]
    spread: tuple[float, float, float]
    least: int
    most: int


def pixels_of(model_dir: Path) -> Pixels:
    """What `preprocessor_config.json` of a folder says.

    Raises:
        ShelfError: when there is none.
        InputError: when it lacks something.
    """
    told = read_json(model_dir / "preprocessor_config.json")
    size = told.get("size") or {}
    try:
        return Pixels(
            mean=told["image_mean"],
            spread=told["image_std"],
            least=told.get("min_pixels") or size["shortest_edge"],
            most=told.get("max_pixels") or size["longest_edge"],
        )
    except (KeyError, ValueError) as e:
        raise InputError(f"{model_dir}/preprocessor_config.json cannot be used: {e}.") from e


def export_mmproj(model_dir: Path, out: Path, kind: VisionKind = "f16", pixels: Pixels | None = None) -> Path:
    """Write the vision part of a Hugging Face folder as a GGUF file to be given to llama.cpp beside the language part.

    Args:
        model_dir: config.json and safetensors of a Qwen2-VL or Qwen2.5-VL model.
        out: the file; an older one under that name is replaced when the new one is whole.
        pixels: how the model wants images; what the folder says when None.

    Raises:
        InputError: naming what llama.cpp would compute otherwise.
        ShelfError: when a file of the folder is missing or unreadable.
        BakeError: when a weight is not finite in the type asked for.
    """
    shape = shape_of(model_dir)
    taken = pixels or pixels_of(model_dir)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}.{new_id('w')}")
    writer = gguf.GGUFWriter(beside, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.MMPROJ])
    try:
        _add_shape(writer, shape, taken, kind)
        for name, tensor in vision_tensors(model_dir, shape.blocks):
            add_tensor(writer, name, tensor, _type_in(kind, name, tensor))
        write_whole_gguf(writer, beside, out)
    finally:
        writer.close()
        beside.unlink(missing_ok=True)
    return out


class Shape(NamedTuple):
    """The vision part in llama.cpp's terms.

    Attributes:
        projector: llama.cpp's name of the family.
        width, inner, given: numbers of a patch, within a block's feed-forward part, and of a token it gives.
        blocks, heads, patch: how many, and pixels of a patch's side.
        every: each so-many-th block sees the whole image, the others a window; 0 when all see all.
        window: its side in pixels.
    """

    projector: str
    width: int
    inner: int
    given: int
    blocks: int
    heads: int
    patch: int
    every: int = 0
    window: int = 0


def shape_of(model_dir: Path) -> Shape:
    """The vision part's shape. Raises InputError when there is none, or one that cannot be carried over exactly; ShelfError as `read_config`."""
    config = read_config(model_dir)
    with configured(model_dir):
        return _shape(config, model_dir)


def _shape(config: Mapping[str, Any], model_dir: Path) -> Shape:
    kind = config["model_type"]
    if kind not in SEEING:
        raise InputError(f"{model_dir} holds a model of type {kind!r}, which sees nothing.")
    vision = {**_ONLY[kind], "temporal_patch_size": 2, "mlp_ratio": 4, **config.get("vision_config", {})}
    _require_same(vision, _ONLY[kind])
    shape = _windowed(vision) if kind == "qwen2_5_vl" else _plain(vision)
    if shape.given != config["hidden_size"]:
        raise InputError(f"The vision part gives {shape.given} numbers a token, not {config['hidden_size']}.")
    return shape


def _require_same(vision: Mapping[str, Any], only: Mapping[str, Any]) -> None:
    said = {
        **vision,
        "rope_theta": (vision.get("rope_parameters") or {}).get("rope_theta", only["rope_theta"]),
    }
    for key, wanted in only.items():
        if said[key] != wanted:
            raise InputError(f"A vision part with {key} {said[key]!r} is not exported.", f"Use {wanted!r}.")
    if (times := vision["temporal_patch_size"]) not in (1, 2):
        raise InputError(f"A vision part that reads {times} images at once is not exported.")


_MERGE = 2
_SAME: Mapping[str, Any] = {"in_channels": 3, "spatial_merge_size": _MERGE, "rope_theta": 10000.0}
_ONLY: Mapping[str, Mapping[str, Any]] = {
    "qwen2_vl": {**_SAME, "hidden_act": "quick_gelu"},
    "qwen2_5_vl": {**_SAME, "hidden_act": "silu", "window_size": 112},
}
"""What llama.cpp takes for granted; transformers takes it too where a folder is silent."""


def _plain(vision: Mapping[str, Any]) -> Shape:
    width = vision["embed_dim"]
    return Shape(
        gguf.VisionProjectorType.QWEN2VL, width, width * vision["mlp_ratio"], vision["hidden_size"],
        vision["depth"], vision["num_heads"], vision["patch_size"],
    )  # fmt: skip


def _windowed(vision: Mapping[str, Any]) -> Shape:
    whole, depth = vision["fullatt_block_indexes"], vision["depth"]
    every = whole[0] + 1 if whole else depth + 1
    if [i for i in whole if i < depth] != list(range(every - 1, depth, every)) or every > depth:
        raise InputError(
            f"Blocks {whole} of {depth} that see the whole image are not exported.",
            "They must be evenly spaced.",
        )
    return Shape(
        gguf.VisionProjectorType.QWEN25VL, vision["hidden_size"], vision["intermediate_size"], vision["out_hidden_size"],
        depth, vision["num_heads"], vision["patch_size"], every, vision["window_size"],
    )  # fmt: skip


def _add_shape(writer: gguf.GGUFWriter, shape: Shape, pixels: Pixels, kind: VisionKind) -> None:
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_file_type(FILE_TYPES[kind][1])
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(shape.projector)
    writer.add_vision_image_size(_SIDE)
    writer.add_vision_patch_size(shape.patch)
    writer.add_vision_embedding_length(shape.width)
    writer.add_vision_feed_forward_length(shape.inner)
    writer.add_vision_projection_dim(shape.given)
    writer.add_vision_block_count(shape.blocks)
    writer.add_vision_head_count(shape.heads)
    writer.add_vision_attention_layernorm_eps(_EPSILON)
    writer.add_vision_spatial_merge_size(_MERGE)
    writer.add_vision_image_mean(pixels.mean)
    writer.add_vision_image_std(pixels.spread)
    writer.add_vision_min_pixels(pixels.least)
    writer.add_vision_max_pixels(pixels.most)
    if shape.every:
        writer.add_vision_use_silu(True)
        writer.add_vision_n_wa_pattern(shape.every)
        writer.add_vision_window_size(shape.window)


def vision_tensors(model_dir: Path, blocks: int) -> Iterator[tuple[str, Array]]:
    """Yield every weight of the vision part as (llama.cpp's name, float32 array).

    Raises:
        InputError: naming a weight llama.cpp has no place for.
    """
    # Layers of the merger are numbered by the same count as blocks, up to 2.
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, max(blocks, 3))
    for stored, tensor in stored_tensors(model_dir):
        name = vision_name(stored)
        if name is None:
            continue
        mapped = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if mapped is None:
            raise InputError(f"{model_dir} has a tensor {stored} that llama.cpp has no place for.")
        yield from _parts(mapped, name, tensor.float().numpy())


def _parts(mapped: str, name: str, array: Array) -> Iterator[tuple[str, Array]]:
    """A weight in the parts llama.cpp keeps apart: queries, keys and values, and the two images of a moment."""
    if name == _FIRST:
        # llama.cpp shows both kernels the same still image and adds: where a model has learnt one kernel alone, the other is zero.
        yield mapped, np.ascontiguousarray(array[:, :, 0])
        second = array[:, :, 1] if array.shape[2] == 2 else np.zeros_like(array[:, :, 0])
        yield f"{mapped}.1", np.ascontiguousarray(second)
    elif "attn_qkv" in mapped:
        for letter, third in zip("qkv", np.split(array, 3), strict=True):
            yield mapped.replace("attn_qkv", f"attn_{letter}"), third
    else:
        yield mapped, array


def _type_in(kind: VisionKind, name: str, array: Array) -> Any:
    plain = array.ndim == 1 or name.startswith("v.patch_embd")
    return gguf.GGMLQuantizationType.F32 if plain else FILE_TYPES[kind][0]


def verify_mmproj(path: Path, model_dir: Path) -> int:
    """Read a file back and compare it with the folder it was written from, each weight to its type's rounding.

    Returns:
        How many weights there are.

    Raises:
        BakeError: naming what is missing or differs.
    """
    stored = {t.name: t for t in gguf.GGUFReader(path).tensors}
    wrong, expected = [], 0
    for name, want in vision_tensors(model_dir, shape_of(model_dir).blocks):
        expected += 1
        if name not in stored or not _near(stored[name], want):
            wrong.append(name)
    if wrong or len(stored) != expected:
        raise BakeError(
            f"{path} is not the vision part of {model_dir}: {', '.join(wrong[:5]) or f'{len(stored)} weights'}.",
            "Export it again.",
        )
    return expected


def _near(stored: Any, want: Array) -> bool:
    got = gguf.dequantize(stored.data, stored.tensor_type)
    return got.size == want.size and bool(
        (np.abs(got.reshape(want.shape) - want) <= rounding(want, stored.tensor_type)).all()
    )
