"""Quantisation of matrices for GGUF: which type each one gets, and llama.cpp's own quantiser to make it.

The gguf package reads the K types but cannot write them; the llama.cpp that serves the project can. Its `ggml_quantize_chunk` is called as it stands in
the library, so a file holds what `llama-quantize` without an importance matrix would have written.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

import gguf
import numpy as np

from ..core.errors import BakeError, InputError, ToolError

Array = np.ndarray[Any, np.dtype[Any]]
Type = gguf.GGMLQuantizationType
Kind = Literal["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m"]

FILE_TYPES: Mapping[str, tuple[Any, Any]] = {
    "f32": (Type.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (Type.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bf16": (Type.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (Type.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q6_k": (Type.Q6_K, gguf.LlamaFileType.MOSTLY_Q6_K),
    "q5_k_m": (Type.Q5_K, gguf.LlamaFileType.MOSTLY_Q5_K_M),
    "q4_k_m": (Type.Q4_K, gguf.LlamaFileType.MOSTLY_Q4_K_M),
}
"""The type of an ordinary matrix, and what the file calls itself."""
_SHORT_ROWS: Mapping[Any, Any] = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}
"""What llama.cpp takes instead when rows are no multiple of 256."""
LARGEST_ERROR: Mapping[Any, float] = {
    Type.Q8_0: 0.02,
    Type.Q6_K: 0.05,
    Type.Q5_K: 0.1,
    Type.Q5_1: 0.1,
    Type.Q5_0: 0.1,
    Type.Q4_K: 0.2,
}
"""Root mean square error of a whole matrix over its own root mean square, beyond which something else than rounding happened. Of normally
distributed weights it is 0.006, 0.018, 0.036, 0.038, 0.043 and 0.071."""


def type_of(kind: Kind, name: str, shape: tuple[int, ...], layers: int, tied: bool) -> Any:
    """The type of one tensor in a file of a kind; the mixture is that of `llama-quantize`.

    Vectors stay float32. In Q4_K_M and Q5_K_M, values and down projections have more bits in the first and last eighth of the layers and in every
    third between; a fused `attn_qkv` one type more; the output head, or tied embeddings, always Q6_K.

    Args:
        name: as GGUF has it.
        shape: `[out, in]`.
        layers: of the whole model.
        tied: whether the embeddings are the output head too.

    Raises:
        InputError: when rows are no multiple of 32 and the kind has blocks.
    """
    if len(shape) < 2:
        return Type.F32
    chosen = FILE_TYPES[kind][0]
    if kind in ("q4_k_m", "q5_k_m", "q6_k"):
        chosen = _mixed(kind, chosen, name, layers, tied)
        if shape[-1] % gguf.QK_K:
            chosen = _SHORT_ROWS[chosen]
    if shape[-1] % gguf.GGML_QUANT_SIZES[chosen][0]:
        raise InputError(f"{name} has rows of {shape[-1]}, not a multiple of 32.", "Export f16 or f32.")
    return chosen


def _mixed(kind: Kind, usual: Any, name: str, layers: int, tied: bool) -> Any:
    part = name.split(".")[-2]
    if part == "output" or (part == "token_embd" and tied):
        return Type.Q6_K
    if kind == "q6_k":
        return usual
    if part == "attn_qkv":
        return Type.Q5_K if kind == "q4_k_m" else Type.Q6_K
    if part in ("attn_v", "ffn_down") and _more_bits(int(name.split(".")[1]), layers):
        return Type.Q6_K
    return usual


def _more_bits(layer: int, layers: int) -> bool:
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def quantise(array: Array, kind: Any) -> Array:
    """Make the bytes (or floats) of a tensor in a type.

    Args:
        array: float32, `[..., in]`.
        kind: a `gguf.GGMLQuantizationType`.

    Raises:
        BakeError: when the tensor is not finite, or is not in that type.
        ToolError: when llama.cpp's quantiser cannot be reached.
    """
    if not np.isfinite(array).all():
        raise BakeError("A weight is not finite.", "Bake again from an older checkpoint.")
    if kind in (Type.Q8_0, Type.F16, Type.BF16, Type.F32):
        with np.errstate(over="ignore"):
            stored: Array = gguf.quantize(array, kind)
    else:
        stored = _by_llama_cpp(np.ascontiguousarray(array, dtype=np.float32), kind)
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise BakeError(f"A weight is not finite as {kind.name}.", "Export bf16 or f32.")
    return stored


def _by_llama_cpp(array: Array, kind: Any) -> Array:
    rows, columns = array.reshape(-1, array.shape[-1]).shape
    block, size = gguf.GGML_QUANT_SIZES[kind]
    stored = np.zeros((*array.shape[:-1], columns // block * size), np.uint8)
    written = quantiser()(int(kind), array.ctypes.data, stored.ctypes.data, 0, rows, columns, None)
    if written != stored.nbytes:
        raise BakeError(f"llama.cpp wrote {written} bytes of {kind.name}, not {stored.nbytes}.")
    return stored


@cache
def quantiser() -> Callable[..., int]:
    """`ggml_quantize_chunk` of the llama.cpp that serves the project.

    Raises:
        ToolError: when this build of it does not show the function.
    """
    import xllamacpp

    try:
        found = ctypes.CDLL(xllamacpp.xllamacpp.__file__).ggml_quantize_chunk
    except (OSError, AttributeError) as e:
        raise ToolError(
            "This build of xllamacpp does not show llama.cpp's quantiser.",
            "Export f16, bf16 or q8_0 here, and the K types on Linux.",
        ) from e
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    found.restype = ctypes.c_size_t
    found.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]
    return found


def rounding(want: Array, kind: Any) -> Array:
    """Largest rounding error of each element: half a unit in the last place, or half a step of a Q8_0 block."""
    size = np.abs(want)
    if kind == Type.F16:
        return np.maximum(size * 2.0**-11, 2.0**-25)
    if kind == Type.BF16:
        return size * 2.0**-8
    if kind == Type.Q8_0:
        step = size.reshape(-1, 32).max(axis=1, keepdims=True) / 127
        # The step itself is kept in float16, so up to 127 times its rounding comes on top.
        bound = step / 2 + 127 * np.maximum(step * 2.0**-11, 2.0**-25)
        return np.broadcast_to(bound * (1 + 1e-6), (len(step), 32)).reshape(want.shape)
    return np.zeros_like(size)
