"""LoRA over an NLI classifier: what people corrected and found right, and a share of what the base was taught, learnt in one go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PrinterCallback

from ..core.errors import TrainingError
from ..data.nli import Pair
from .checkpoints import Saves, resume_from
from .nli import NliTrainer, Told, Watch, nli_arguments
from .nli_recipe import NliAdapt
from .nli_rows import PairCollator, PairRows, balanced

_HEADS = ("pooler", "classifier", "score")
"""Names of a classifier's head among its modules."""


def adapted(recipe: NliAdapt, base: Path, name: str) -> Any:
    """The base with LoRA laid over it and, if the recipe says so, a copy of its head to train.

    Args:
        name: what the adapter's file says of its base; never a path of this machine.

    Raises:
        TrainingError: the base has none of the targets.
    """
    torch.manual_seed(recipe.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        str(base), dtype=torch.float32, local_files_only=True
    )
    heads = [n for n, _ in model.named_children() if n in _HEADS] if recipe.head == "train" else None
    lora = recipe.lora
    config = LoraConfig(
        r=lora.r,
        lora_alpha=int(lora.alpha),
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        modules_to_save=heads,
    )
    try:
        model = get_peft_model(model, config)
    except ValueError as e:
        raise TrainingError(
            f"LoRA cannot be laid over this base: {e}.", "Name modules of it in [lora] targets."
        ) from e
    model.peft_config["default"].base_model_name_or_path = name
    return model


def train_adapter(
    recipe: NliAdapt,
    base: Path,
    name: str,
    columns: Sequence[str],
    pairs: Sequence[Pair],
    out: Path,
    told: Told,
) -> Any:
    """Train an adapter; a run that was stopped goes on from its newest whole checkpoint.

    Args:
        columns: the house's label of each column of the base.

    Returns:
        The adapted model, to be saved with `save_adapter`.

    Raises:
        TrainingError: a loss that is no number, or no pair short enough.
    """
    torch.set_num_threads(recipe.threads)
    tokenizer = AutoTokenizer.from_pretrained(str(base), local_files_only=True)
    tokenizer.split_special_tokens = True
    places = {label: i for i, label in enumerate(columns)}
    weights = balanced(pairs) if recipe.balance else None
    saves = Saves(recipe.checkpoint_seconds)
    trainer = NliTrainer(
        0.0,
        False,
        recipe.batch,
        model=adapted(recipe, base, name),
        args=nli_arguments(recipe, out),
        train_dataset=PairRows(pairs, tokenizer, places, recipe.max_tokens, weights),
        data_collator=PairCollator(tokenizer.pad_token_id),
        callbacks=[saves, Watch(told)],
    )
    trainer.remove_callback(PrinterCallback)
    with saves:
        trainer.train(resume_from_checkpoint=resume_from(out / "checkpoints"))
    saves.require_finished(trainer.state)
    return trainer.model.eval()


def save_adapter(model: Any, folder: Path) -> None:
    """Write PEFT's two files, unmerged, and nothing else."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
