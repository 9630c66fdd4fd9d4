"""Adapters on disk: PEFT's LoRA files, the gates, and which base and recipe they belong to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ..core.canonical import canonical_json, folder_digest, new_id, short
from ..core.disk import sync
from ..core.errors import InputError, ShelfError
from ..core.question import Frozen
from .gates import GateForm, gate_form, gate_state, gates, install_gates, load_gate_state
from .shards import is_share

AdapterKind = Literal["lora", "gates", "gates+lora"]

META, GATES, LORA, LORA_CONFIG = (
    "adapter.json",
    "gates.safetensors",
    "adapter_model.safetensors",
    "adapter_config.json",
)


class AdapterMeta(Frozen):
    """`adapter.json`.

    Attributes:
        base: `core.canonical.model_digest` of the base the adapter was trained on.
        recipe: tagged digest of the recipe.
        kind: which parts there are.
        form: how the gates are parametrised; left out of the file for a generator for each block of each layer.
        held: how the base was held in training; left out for float32. An adapter on int8 or nf4 belongs to the rounded weights.
    """

    base: str
    recipe: str
    kind: AdapterKind
    form: GateForm = GateForm()
    held: Literal["float32", "bfloat16", "int8", "nf4"] = "float32"


def save_adapter(model: nn.Module, folder: Path, base: str, recipe: str, held: Any = "float32") -> str:
    """Write the LoRA and gates of a model as an adapter folder: beside, fsync, rename.

    Nothing of this machine goes in: no path of the base, no generated card, sets sorted; equal weights give an equal digest.

    Args:
        folder: must not exist, or be empty.
        held: how the base was held in training.

    Returns:
        The digest of the folder.

    Raises:
        InputError: when the model has neither LoRA nor gates.
        ShelfError: when `folder` holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ShelfError(
            f"{folder} is not empty.", "Give an adapter a new folder; they are never overwritten."
        )
    kind = _kind_of(model)
    meta = AdapterMeta(
        base=base,
        recipe=recipe,
        kind=kind,
        form=GateForm() if kind == "lora" else gate_form(model),
        held=held,
    )
    beside = folder.with_name(f".{folder.name}.{new_id('w')}")
    beside.mkdir(parents=True)
    try:
        if meta.kind != "gates":
            _save_lora(model, beside, base)
        if meta.kind != "lora":
            save_file({f"{n}.params": t.contiguous() for n, t in gate_state(model).items()}, beside / GATES)
        (beside / META).write_bytes(canonical_json(meta.model_dump(exclude_defaults=True)))
        sync([*beside.iterdir(), beside])
        beside.replace(folder)
        sync([folder.parent])
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder_digest(folder)


def read_adapter(folder: Path) -> AdapterMeta:
    """Read `adapter.json` and check that its parts are there. Raises ShelfError naming what is wrong."""
    try:
        meta = AdapterMeta.model_validate_json((folder / META).read_bytes())
    except (OSError, ValidationError) as e:
        raise ShelfError(f"{folder} holds no readable adapter: {e}.", "Train it again.") from e
    needed = [LORA, LORA_CONFIG] * (meta.kind != "gates") + [GATES] * (meta.kind != "lora")
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise ShelfError(f"{folder} lacks {', '.join(missing)}.", "Copy the whole folder again.")
    return meta


def load_adapter(base_model: nn.Module, folder: Path, base: str, trainable: bool = False) -> nn.Module:
    """Put a saved adapter on a base model, which is changed in place.

    Args:
        base_model: the plain causal LM.
        base: `core.canonical.model_digest` of the folder `base_model` was loaded from.
        trainable: whether to go on training the adapter; the base stays frozen either way.

    Returns:
        The gated model: a PEFT model when there is LoRA, else `base_model`.

    Raises:
        ShelfError: when the adapter is for another base, incomplete, unreadable or has tensors that do not fit.
    """
    meta = read_adapter(folder)
    if meta.base != base:
        raise ShelfError(
            f"{folder} is an adapter for base {short(meta.base)}, not {short(base)}.",
            "Load it on its own base.",
        )
    base_model.requires_grad_(False)
    model = base_model
    if meta.kind != "gates":
        model = _load_lora(base_model, folder, trainable)
    if meta.kind != "lora":
        _load_gates(model, folder, meta.form, trainable)
    return model


def _kind_of(model: nn.Module) -> AdapterKind:
    lora, gated = hasattr(model, "peft_config"), bool(gates(model))
    if not (lora or gated):
        raise InputError("The model has neither LoRA nor gates.", "Save an adapter of a trained model.")
    return "gates+lora" if lora and gated else "lora" if lora else "gates"


def _save_lora(model: Any, folder: Path, base: str) -> None:
    if list(model.peft_config) != ["default"]:
        raise InputError(f"The model holds adapters {list(model.peft_config)}.", "Train one, named default.")
    # Shares of a base left out: PEFT would gather them, and wait for processes that do not save.
    whole = {name: t for name, t in model.state_dict().items() if not is_share(t)}
    state = get_peft_model_state_dict(model, whole, save_embedding_layers=False)
    save_file({name: t.detach().cpu().contiguous() for name, t in state.items()}, folder / LORA)
    config = dict(model.peft_config["default"].to_dict())
    config |= {"base_model_name_or_path": base, "inference_mode": True, "revision": None}
    (folder / LORA_CONFIG).write_text(json.dumps(_plain(config), indent=1, sort_keys=True), encoding="utf-8")


def _plain(value: Any) -> Any:
    """JSON values of a PEFT configuration; sets are sorted, or their order would change with every process."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.value if hasattr(value, "value") else value


def _load_lora(base_model: nn.Module, folder: Path, trainable: bool) -> nn.Module:
    try:
        model: Any = PeftModel.from_pretrained(base_model, str(folder), is_trainable=trainable)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as e:
        raise ShelfError(
            f"The LoRA of {folder} does not fit the base: {e}.", "Copy the whole folder again."
        ) from e
    # PEFT only warns about missing tensors and leaves them at their initial values.
    wanted = {
        n: tuple(t.shape) for n, t in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    _check_tensors(folder / LORA, wanted)
    return model  # type: ignore[no-any-return]


def _load_gates(model: nn.Module, folder: Path, form: GateForm, trainable: bool) -> None:
    try:
        stored = {name.removesuffix(".params"): t for name, t in load_file(folder / GATES).items()}
        install_gates(model, form)
        load_gate_state(model, stored)
    except (OSError, SafetensorError, InputError) as e:
        raise ShelfError(f"The gates of {folder} cannot be used: {e}.", "Copy the whole folder again.") from e
    for gate in gates(model).values():
        gate.requires_grad_(trainable)


def _check_tensors(file: Path, wanted: dict[str, tuple[int, ...]]) -> None:
    with safe_open(file, framework="pt") as stored:
        there = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
    wrong = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
    if wrong:
        raise ShelfError(
            f"{file} lacks or has too much of: {', '.join(wrong[:5])} …", "Copy the whole folder again."
        )
