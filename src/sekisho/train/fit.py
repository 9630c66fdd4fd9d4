"""Fit: a base and examples in, an adapter (SO(8) gates and LoRA) out, by the transformers trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from ..core.canonical import model_digest
from ..core.errors import ShelfError, TrainingError
from ..core.prompt import END
from ..core.question import Example
from ..weights.adapter import load_adapter
from ..weights.families import load_model, lora_targets
from ..weights.gates import GateForm, gate_parameters, install_gates
from .batches import Collator, DecisionRows, half_precision, option_logits
from .checkpoints import WallClockSaves, newest_checkpoint
from .losses import decision_loss, pet_loss, pet_weight
from .recipe import Finetune
from .tokenizer import special_id

_TRAINED = "trained.safetensors"
Report = Callable[[dict[str, float]], None]


def load_base(folder: Path) -> tuple[Any, Tokenizer]:
    """Load a base model in float32 and its tokenizer from disk, without any remote code.

    Raises:
        ShelfError: when the folder holds no such model.
    """
    return load_model(folder), load_tokenizer(folder)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load a base model's tokenizer. Raises ShelfError when there is none."""
    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as e:  # the tokenizer library raises nothing narrower
        raise ShelfError(f"{folder} holds no tokenizer: {e}.", "Check `gate_model`.") from e


def load_adapted(base: Path, adapter: Path) -> tuple[Any, Tokenizer]:
    """Load a base with a saved adapter on it, in evaluation mode, gates unfolded. Raises ShelfError when they do not fit."""
    model, tokenizer = load_base(base)
    return load_adapter(model, adapter, model_digest(base)).eval(), tokenizer


def attach(model: Any, recipe: Finetune) -> Any:
    """Freeze the base and attach LoRA and, if asked, rotation gates, both starting as the identity."""
    torch.manual_seed(recipe.seed)
    model.set_attn_implementation("eager")  # on short rows on a CPU half again as fast as the fused kernel
    lora = recipe.lora
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=lora.r,
            lora_alpha=int(lora.alpha),
            lora_dropout=lora.dropout,
            target_modules=lora_targets(model, lora.targets),
            task_type="CAUSAL_LM",
        ),
    )
    if recipe.gates:
        form = GateForm(triality=recipe.triality, shared=recipe.shared_gates)
        install_gates(adapted, form, recipe.grouped_gates)
    return adapted


class GateTrainer(Trainer):
    """The trainer with the decision loss over options plus PET, and an own learning rate for the gates."""

    def __init__(self, recipe: Finetune, **kwargs: Any) -> None:
        self._recipe = recipe
        super().__init__(**kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Decision loss of a batch, and λ times its PET."""
        with half_precision(inputs["input_ids"], self.args.bf16):
            logits, hidden = option_logits(model, inputs)
        loss = decision_loss(logits, inputs["labels"], self._recipe.label_smoothing)
        progress = self.state.global_step / max(self.state.max_steps, 1)
        weight = pet_weight(self._recipe.pet, progress)
        if weight:
            loss = loss + weight * pet_loss(hidden, inputs["attention_mask"], self._recipe.pet.huber)
        if not torch.isfinite(loss):
            raise TrainingError(
                "The loss is not a number.", "Lower learning_rate; the last checkpoint is intact."
            )
        return (loss, {"logits": logits}) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW over two groups: LoRA, and the gates' generators without weight decay."""
        gates = list(gate_parameters(self.model))
        own = {id(p) for p in gates}
        rest = [p for p in self.model.parameters() if p.requires_grad and id(p) not in own]
        groups = [
            {"params": rest, "lr": self._recipe.learning_rate, "weight_decay": self._recipe.weight_decay},
            {"params": gates, "lr": self._recipe.gate_learning_rate, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]])
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Checkpoint what is trained, gates included; the frozen base is not copied."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        trained = {n: p.detach().contiguous() for n, p in self.model.named_parameters() if p.requires_grad}
        save_file(trained, folder / _TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load what was trained; every trainable tensor must be there."""
        saved = load_file(Path(resume_from_checkpoint) / _TRAINED)
        wanted = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        if saved.keys() != wanted.keys():
            raise TrainingError(f"{resume_from_checkpoint} is of another recipe.", "Start a new run folder.")
        with torch.no_grad():
            for name, parameter in wanted.items():
                parameter.copy_(saved[name])


class _Watch(TrainerCallback):
    """Passes the trainer's logs on, for a progress bar and curves."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Called by the trainer every few steps."""
        numbers = {k: float(v) for k, v in (logs or {}).items() if isinstance(v, int | float)}
        self._report({"step": state.global_step, "steps": state.max_steps, **numbers})


def arguments(recipe: Finetune, out: Path) -> TrainingArguments:
    """Trainer settings of a recipe; steps are optimiser steps."""
    return TrainingArguments(
        output_dir=str(out / "checkpoints"),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,
        lr_scheduler_type="cosine",
        max_grad_norm=recipe.clip,
        bf16=recipe.bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        save_strategy="no",
        save_total_limit=recipe.keep,
        logging_steps=10,
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
    )


def fit(
    recipe: Finetune, base: Path, examples: Sequence[Example], out: Path, report: Report
) -> tuple[Any, Tokenizer]:
    """Train an adapter over a frozen base; a run that was stopped goes on from its newest whole checkpoint.

    Returns:
        The adapted model in evaluation mode, and its tokenizer.

    Raises:
        TrainingError: for a loss that is no number, or rows that are all too long.
    """
    torch.set_num_threads(recipe.threads)
    model, tokenizer = load_base(base)
    repeated = [e for e in examples for _ in range(recipe.repeats(e))]
    rows = DecisionRows(repeated, tokenizer, recipe.max_tokens)
    if not len(rows):
        raise TrainingError("There is no example to train on.", "Gather data first, or raise max_tokens.")
    trainer = GateTrainer(
        recipe,
        model=attach(model, recipe),
        args=arguments(recipe, out),
        train_dataset=rows,
        data_collator=Collator(special_id(tokenizer, END)),
        callbacks=[WallClockSaves(recipe.checkpoint_seconds), _Watch(report)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=newest_checkpoint(out / "checkpoints"))
    return trainer.model.eval(), tokenizer
