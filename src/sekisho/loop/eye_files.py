"""An eye as files for others' servers: the two GGUF files of a Qwen2-VL model, read back, that a stock llama.cpp serves."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InputError
from ..core.prompt import EYE_CHAT_TEMPLATE, EYE_DECISION_TEMPLATE
from ..core.question import Frozen
from ..data.pixels import AREA, MEAN, SPREAD
from ..weights.decision import DecisionMeta
from ..weights.gguf import export_gguf, verify_gguf
from ..weights.hf import sees
from ..weights.mmproj import Pixels, VisionKind, export_mmproj, verify_mmproj
from ..weights.quantise import FILE_TYPES, Kind

_WORDS = ("yes", "no")
_PIXELS = Pixels(mean=(MEAN,) * 3, spread=(SPREAD,) * 3, least=AREA // 2, most=AREA)
"""How eyes of the house want images. llama.cpp scales by a rule of its own; between these bounds, where every picture of `data.pixels` lies, not at all."""


class EyeFiles(Frozen):
    """What was written.

    Attributes:
        language, vision: the files; llama.cpp takes them as `--model` and `--mmproj`.
        tensors: weights in both.
        relative_error: what the number type cost the language part, see `ReadBack`.
    """

    language: str
    vision: str
    tensors: int
    relative_error: float


def export_eye(folder: Path, out: Path, kind: Kind = "f16") -> EyeFiles:
    """Write an eye as GGUF: the language part in a number type, the vision part in it or, where that has fewer bits, in f16.

    An eye of the house keeps its own prompt and its own words for yes and no, so that llama.cpp's System One gives the eye's probabilities, uncalibrated. Any other
    Qwen2-VL is asked as the house asks, in letters.

    Args:
        folder: an eye of the house, or a Hugging Face folder with chat template and `preprocessor_config.json`.
        out: folder the files go to, named by type.

    Raises:
        InputError: when the model sees nothing, or cannot be carried over.
        ShelfError: when a file of the folder is missing or unreadable.
        BakeError: when a file read back is not the model.
    """
    if kind not in FILE_TYPES:
        raise InputError(f"There is no number type {kind!r}.", f"Use one of {', '.join(FILE_TYPES)}.")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file.", "Name a folder for the files to go to.")
    if not sees(folder):
        raise InputError(f"The model of {folder} sees nothing.", "Give the folder of a Qwen2-VL model.")
    own = (folder / "made.json").is_file()
    meta = DecisionMeta(words=_WORDS, template=EYE_DECISION_TEMPLATE) if own else DecisionMeta()
    language = export_gguf(folder, out / f"eye-{kind}.gguf", kind, meta, EYE_CHAT_TEMPLATE if own else None)
    found = verify_gguf(language, folder, meta)
    seeing: VisionKind = kind if kind in ("f32", "bf16") else "f16"
    vision = export_mmproj(folder, out / f"mmproj-{seeing}.gguf", seeing, _PIXELS if own else None)
    return EyeFiles(
        language=str(language),
        vision=str(vision),
        tensors=found.tensors + verify_mmproj(vision, folder),
        relative_error=found.relative_error,
    )
