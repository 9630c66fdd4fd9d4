"""Recipes in other hands' words: the JSON files of the requirement documents (`model.*.json`, `train.qlora.json`), read as a recipe and written out as one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..core.errors import RecipeError
from .recipe import Finetune, read_recipe

_SAYS_NOTHING = {
    "model_name",
    "hidden_size",
    "num_attention_heads",
    "bias",
    "task_type",
    "save_strategy",
    "effective_batch_size",
    "llm_int8_threshold",
    "llm_int8_has_fp16_weight",
    "bnb_4bit_compute_dtype",
    "rotation",
    "format",
    "max_norm_type",
}
"""Keys that are taken and change no recipe: what the base says itself, or what is always so here."""
_GROUPS = (
    "lora_config",
    "quantization_config",
    "batch_config",
    "gradient_config",
    "swa_config",
    "pet_config",
    "checkpoint_config",
    "lr_scheduler",
    "dropout_config",
)
"""Parts of the documents whose keys may stand in a group of their own."""

Place = tuple[str, ...]
_PLACES: Mapping[str, Place] = {
    "learning_rate": ("learning_rate",),
    "lora_rank": ("lora", "r"),
    "r": ("lora", "r"),
    "lora_alpha": ("lora", "alpha"),
    "lora_dropout": ("lora", "dropout"),
    "target_modules": ("lora", "targets"),
    "gradient_accumulation_steps": ("accumulation",),
    "weight_decay": ("weight_decay",),
    "warmup_ratio": ("warmup",),
    "num_train_epochs": ("epochs",),
    "num_epochs": ("epochs",),
    "max_steps": ("steps",),
    "max_length": ("max_tokens",),
    "max_seq_length": ("max_tokens",),
    "max_grad_norm": ("clip",),
    "gradient_noise_std": ("gradient_noise",),
    "gradient_checkpointing": ("checkpointing",),
    "label_smoothing": ("label_smoothing",),
    "swa_start": ("swa_start",),
    "seed": ("seed",),
    "bf16": ("bf16",),
    "save_interval": ("checkpoint_seconds",),
    "save_total_limit": ("keep",),
    "rotation_gate_enabled": ("gates",),
    "huber_delta": ("pet", "huber"),
}
"""Keys that are a knob of ours under another name."""


def read_any(path: Path, base: Path | None = None) -> Finetune:
    """Read a recipe: TOML of ours, or a JSON file of the documents. Of `train.*.json`, a `model.*.json` in the same folder is read as well if it is the only one.

    Raises:
        RecipeError: naming every unknown or impossible key.
    """
    if path.suffix != ".json":
        return read_recipe(path, Finetune)
    beside = [p for p in sorted(path.parent.glob("model.*.json")) if p != path]
    return from_documents([_read(p) for p in [*(beside if len(beside) == 1 else []), path]], path.stem, base)


def from_documents(documents: list[dict[str, Any]], name: str, base: Path | None = None) -> Finetune:
    """Make a recipe of documents; later ones win. Without another word the base is held as int8, which is what the documents ask for.

    Args:
        base: if given, its configuration must agree with what a document says of the model.

    Raises:
        RecipeError: naming every unknown or impossible key.
    """
    given = {k: v for document in documents for k, v in _flat(document).items()}
    made: dict[str, Any] = {"name": name, "base_type": "int8"}
    unknown = [key for key in given if not _take(made, key, given)]
    if unknown:
        known = sorted({*_PLACES, *_SPECIAL, *_SAYS_NOTHING})
        raise RecipeError(f"Unknown keys: {', '.join(sorted(unknown))}.", f"Known keys: {', '.join(known)}.")
    _agree(given, base)
    try:
        return Finetune.model_validate(made)
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in e.errors())
        raise RecipeError(f"The recipe has wrong values: {wrong}.", "Mend the file.") from e


def as_toml(recipe: Finetune) -> str:
    """A recipe as a TOML file that reads back as the same recipe."""
    lines: list[str] = []
    _table(lines, (), recipe.model_dump(mode="json"))
    return "\n".join(lines).strip() + "\n"


def _table(lines: list[str], path: Place, table: Mapping[str, Any]) -> None:
    plain = {k: v for k, v in table.items() if not isinstance(v, dict) and v is not None}
    if path and (plain or not table):
        lines += ["", f"[{'.'.join(path)}]"]
    # JSON writes texts, numbers, booleans and lists of them as TOML does.
    lines += [f"{_key(k)} = {json.dumps(v, ensure_ascii=False)}" for k, v in plain.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            _table(lines, (*path, _key(key)), value)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise RecipeError(f"{path} cannot be read: {e}.", "Mend the file; it must be JSON in UTF-8.") from e
    if not isinstance(document, dict):
        raise RecipeError(f"{path} holds no object.", "Write keys and values.")
    return document


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= value if key in _GROUPS and isinstance(value, dict) else {key: value}
    return flat


def _take(made: dict[str, Any], key: str, given: Mapping[str, Any]) -> bool:
    """Put one key where it belongs; return whether it is known."""
    if key in _PLACES:
        _put(made, _PLACES[key], given[key])
    elif key in _SPECIAL:
        _SPECIAL[key](made, given[key], given)
    return key in _PLACES or key in _SPECIAL or key in _SAYS_NOTHING


def _put(made: dict[str, Any], place: Place, value: Any) -> None:
    for name in place[:-1]:
        made = made.setdefault(name, {})
    made[place[-1]] = value


def _batch(made: dict[str, Any], value: Any, given: Mapping[str, Any]) -> None:
    """The documents count the rows of a part; a recipe of ours those of an optimiser step."""
    parts = given.get("gradient_accumulation_steps", 1)
    whole = isinstance(value, int) and isinstance(parts, int)
    made["batch"] = value * parts if whole else value


def _by_steps(made: dict[str, Any], value: Any, _given: Mapping[str, Any]) -> None:
    names = {
        "max_lambda": "maximum",
        "warmup_steps": "warmup",
        "main_steps": "main",
        "anneal_steps": "anneal",
    }
    if not isinstance(value, dict) or value.keys() - names.keys():
        raise RecipeError(
            f"pet_lambda_schedule has other keys than {', '.join(names)}: {value!r}.", "Mend the file."
        )
    _put(made, ("pet", "steps"), {names[k]: v for k, v in value.items()})


def _pet_enabled(made: dict[str, Any], value: Any, given: Mapping[str, Any]) -> None:
    if value is False:
        made["pet"] = {"weights": (0.0, 0.0, 0.0)}


def _phases(made: dict[str, Any], _value: Any, given: Mapping[str, Any]) -> None:
    first, second = given.get("phase1_ratio", 0.2), given.get("phase2_ratio", 0.4)
    weights = [given.get(f"lambda_phase{i}", w) for i, w in ((1, 0.01), (2, 0.05), (3, 0.1))]
    _put(made, ("pet", "weights"), weights)
    _put(made, ("pet", "starts"), (0.0, first, first + second))


def _bits(held: str) -> Callable[[dict[str, Any], Any, Mapping[str, Any]], None]:
    def take(made: dict[str, Any], value: Any, _given: Mapping[str, Any]) -> None:
        if value is True:
            made["base_type"] = held
        elif made["base_type"] == held:
            made["base_type"] = "bfloat16"

    return take


def _optimizer(made: dict[str, Any], value: Any, _given: Mapping[str, Any]) -> None:
    if isinstance(value, dict):
        made["optimizer"] = value.get("type", "adamw")
        for key in value.keys() - {"type", "betas", "eps"}:
            _take(made, key, value)
    else:
        made["optimizer"] = value


_SPECIAL: Mapping[str, Callable[[dict[str, Any], Any, Mapping[str, Any]], None]] = {
    "batch_size": _batch,
    "per_device_train_batch_size": _batch,
    "pet_lambda_schedule": _by_steps,
    "pet_loss_enabled": _pet_enabled,
    **dict.fromkeys(
        ("phase1_ratio", "phase2_ratio", "lambda_phase1", "lambda_phase2", "lambda_phase3"), _phases
    ),
    "load_in_8bit": _bits("int8"),
    "load_in_4bit": _bits("nf4"),
    "optimizer": _optimizer,
    "optim": _optimizer,
}


def _agree(given: Mapping[str, Any], base: Path | None) -> None:
    """What a document says of the model must be so."""
    if base is None:
        return
    try:
        config = json.loads((base / "config.json").read_bytes())
    except (OSError, ValueError) as e:
        raise RecipeError(f"{base} has no readable config.json: {e}.", "Give a model folder.") from e
    config |= config.get("text_config") or {}
    for key in ("hidden_size", "num_attention_heads"):
        if key in given and given[key] != config.get(key):
            raise RecipeError(
                f"The recipe is for a model with {key} {given[key]}, and {base} has {config.get(key)}.",
                "Take the model it was written for, or leave the key out.",
            )
