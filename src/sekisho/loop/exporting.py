"""Exporting: every GGUF file of a release, read back and measured against the float32 model, and Ollama's Modelfile beside them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.disk import write_whole
from ..core.errors import InputError, ToolError
from ..weights.decision import DecisionMeta, write_decision_files
from ..weights.fidelity import check_fidelity, fidelity
from ..weights.gguf import export_gguf, verify_gguf
from ..weights.hf import sees
from ..weights.mmproj import export_mmproj, verify_mmproj
from ..weights.modelfile import modelfile
from ..weights.quantise import Kind, quantiser

KINDS: tuple[Kind, ...] = ("f16", "bf16", "q8_0")
QUANTISED: tuple[Kind, ...] = ("q6_k", "q5_k_m", "q4_k_m")
"""Made by llama.cpp's quantiser, where its build shows it."""
EVERY: tuple[Kind, ...] = KINDS + QUANTISED
_READ = 8
"""Prompts over which a file's loss is measured."""
VISION_FILE = "mmproj-f16.gguf"
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "generation_config.json",
)


def copy_tokenizer(base: Path, folder: Path) -> None:
    """Put a base's tokenizer and chat template beside a model baked from it: an adapter changes no token."""
    for name in _TOKENIZER:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)


def export_all(
    folder: Path,
    plain: Any,
    prompts: Sequence[Sequence[int]],
    temperature: float,
    wanted: Sequence[str] = EVERY,
) -> dict[str, Any]:
    """Write and read back the wanted files of `folder`/model, and the vision part where there is one; the fitted temperature goes in.

    Args:
        wanted: kinds of files; in the order of the largest first, whatever the order given.
        plain: the baked model in float32.
        prompts: token ids of real prompts.

    Returns:
        For the certificate: `files` (what was read back, and the loss in nats, by file name), `kinds` (file name by kind) and
        `not_made` (why, by kind).

    Raises:
        BakeError: when a file is not the model, or its answers differ by more than rounding.
        InputError: when no wanted file can hold the model.
        ToolError: when none of the wanted files can be made here.
    """
    require_kinds(wanted)
    if not wanted:
        raise InputError("No kind of file is wanted.", f"Use some of {', '.join(EVERY)}.")
    meta = DecisionMeta(temperature={"choice": temperature})
    write_decision_files(folder / "model", meta)
    kinds, not_made = _possible(wanted)
    names = {kind: f"model-{kind}.gguf" for kind in kinds}
    files: dict[str, Any] = {}
    seeing = sees(folder / "model")
    for kind, name in list(names.items()):
        try:
            path = export_gguf(folder / "model", folder / name, kind, meta)
        except InputError as e:  # rows that are not made of whole blocks
            if len(names) == 1:
                raise
            not_made[kind] = str(e)
            del names[kind]
            continue
        found = fidelity(path, plain, prompts[:_READ], folder / "model" if seeing else None)
        check_fidelity(kind, found)
        loss = {"mean_kl": found.mean_kl, "max_kl": found.max_kl, "positions": found.positions}
        files[name] = verify_gguf(path, folder / "model").model_dump() | loss
    vision = _vision(folder) if seeing else None
    if vision:
        files[vision] = {"tensors": verify_mmproj(folder / vision, folder / "model")}
    text = modelfile(folder / "model", list(names.values())[-1], vision=vision)
    write_whole(folder / "Modelfile", text.encode())
    return {"files": files, "kinds": names, "not_made": not_made}


def _vision(folder: Path) -> str:
    """Write the vision part beside the language part."""
    return export_mmproj(folder / "model", folder / VISION_FILE).name


def require_kinds(wanted: Sequence[str]) -> None:
    """Raise InputError when one of these is no kind of file."""
    if unknown := sorted(set(wanted) - set(EVERY)):
        raise InputError(f"{', '.join(unknown)} is no kind of file.", f"Use some of {', '.join(EVERY)}.")


def require_kind(kind: str) -> None:
    """Raise ToolError when this kind of file cannot be made here."""
    _possible((kind,))


def quantiser_is_there() -> bool:
    """Whether llama.cpp's quantiser can be reached."""
    return not _possible(EVERY)[1]


def _possible(wanted: Sequence[str]) -> tuple[tuple[Kind, ...], dict[str, str]]:
    """Which of the wanted kinds can be made here, and why the others cannot."""
    plain, quantised = (tuple(k for k in kinds if k in wanted) for kinds in (KINDS, QUANTISED))
    try:
        if quantised:
            quantiser()
    except ToolError as e:
        if not plain:
            raise
        return plain, dict.fromkeys(quantised, str(e))
    return plain + quantised, {}
