"""What a run is of: digests of recipe, base and rows, kept in its folder, so that nothing goes on from another run's checkpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.canonical import folder_digest, model_digest
from ..core.errors import TrainingError
from ..core.question import Example
from ..shelf import write_json
from .recipe import Finetune, recipe_digest

_FILE = "run.json"
_PARTS = ("recipe", "base", "rows")
_FREE = (
    "threads",
    "checkpoint_seconds",
    "keep",
    "accumulation",
    "checkpointing",
    "shard_base",
    "grouped_gates",
)
"""Knobs that say how a run is computed and kept, not what is learnt: whoever runs out of memory may turn them and go on."""

Identity = dict[str, str]


def identity(recipe: Finetune, base: Path, examples: Sequence[Example]) -> Identity:
    """What a run learns, and from what, by digests."""
    usual = {name: Finetune.model_fields[name].get_default() for name in _FREE}
    learnt = recipe.model_copy(update={**usual, "name": ""})
    return {"recipe": recipe_digest(learnt), "base": model_digest(base), "rows": rows_digest(examples)}


def rows_digest(examples: Sequence[Example]) -> str:
    """Digest of rows in their order, with all that decides how often each is seen and which are set aside."""
    made = hashlib.sha256()
    for example in examples:
        # Plain ASCII: rows from a file may hold NaN or half a surrogate, which canonical JSON refuses.
        made.update(json.dumps(example.model_dump(), sort_keys=True, default=str).encode() + b"\n")
    return f"sha256:{made.hexdigest()}"


def require_same(out: Path, made: Identity) -> None:
    """Refuse to go on from checkpoints of another run. Those from before runs kept what they are of are compared by names and shapes when they are loaded.

    Raises:
        TrainingError: naming what differs.
    """
    kept = read_identity(out)
    other = [part for part in _PARTS if kept.get(part, made[part]) != made[part]]
    if other and _has_checkpoints(out):
        raise TrainingError(
            f"{out} holds checkpoints of another run: other {', '.join(other)}.",
            f"Use another --out, or remove {out / 'checkpoints'} to begin anew.",
        )


def keep_identity(out: Path, made: Identity) -> None:
    """Write down what the run is of; not beside checkpoints of which nobody knows that."""
    if read_identity(out) != made and not _has_checkpoints(out):
        write_json(out / _FILE, made)


def keep_result(out: Path, made: Identity, adapter: str) -> None:
    """Write down which adapter the run ended with, by its digest, when that is on the disk."""
    write_json(out / _FILE, {**made, "adapter": adapter})


def is_finished(out: Path, made: Identity, adapter: Path) -> bool:
    """Whether this very run has ended, and its adapter is there as it was."""
    kept = read_identity(out)
    same = all(kept.get(part) == made[part] for part in _PARTS)
    return same and adapter.is_dir() and kept.get("adapter") == folder_digest(adapter)


def read_identity(out: Path) -> Identity:
    """What a folder's run is of; nothing where that was never written."""
    try:
        found: Any = json.loads((out / _FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _has_checkpoints(out: Path) -> bool:
    return any((out / "checkpoints").glob("checkpoint-*"))
