"""The trainer of adapters: transformers' own, with our losses, our order of rows and checkpoints that hold what is trained and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback

from ..core.errors import DeviceError, TrainingError
from ..weights.gates import gate_parameters
from ..weights.shards import head_weight, sharded_names
from .batches import half_precision
from .board import Speed
from .checkpoints import WholeTrainer, not_a_number
from .losses import decision_loss, language_loss, pet_loss, pet_weight, smoothed_places
from .recipe import Finetune
from .sampling import LengthGroups
from .steering import set_weights, trained_weights
from .together import replicated, weight_of

_TRAINED = "trained.safetensors"


class Keeps(Protocol):
    """Something whose state belongs into a checkpoint."""

    def save(self, folder: Path) -> None:
        """Write it."""

    def load(self, folder: Path) -> None:
        """Read it back."""


class OrderedTrainer(WholeTrainer):
    """A trainer that sees rows by `LengthGroups`, so that a resumed run sees them as an undisturbed one does.

    Args:
        group: rows of an optimiser step, over all processes and parts.
        mixed: whether batches are seen in any order, not longest first.
    """

    def __init__(self, group: int, mixed: bool = False, **kwargs: Any) -> None:
        self._group, self._mixed = group, mixed
        super().__init__(**kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroups:
        rows: Any = train_dataset or self.train_dataset
        lengths = [len(r["input_ids"]) for r in rows.rows]
        order = LengthGroups(lengths, self._group, self.args.seed, self._mixed)
        self.add_callback(_Epochs(order))
        return order


class _Epochs(TrainerCallback):
    """Tells the order of rows which epoch begins."""

    def __init__(self, order: LengthGroups) -> None:
        self._order = order

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer; a resumed epoch begins with its share that is done."""
        self._order.epoch = int((state.epoch or 0.0) + 1e-6)


class GateTrainer(OrderedTrainer):
    """The trainer with the decision loss over options, PET and, if asked, the next token; and an own learning rate for the gates.

    Args:
        recipe: every knob.
        keeps: what else goes into checkpoints.
    """

    def __init__(self, recipe: Finetune, keeps: Sequence[Keeps] = (), **kwargs: Any) -> None:
        self._recipe, self._keeps = recipe, keeps
        self._parts: dict[str, Tensor] = {}
        self._counted, self._speed = 0, Speed()
        super().__init__(group=recipe.batch, mixed=recipe.mixed_batches, **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """The weighed sum of the losses of a batch."""
        recipe = self._recipe
        with half_precision(inputs["input_ids"], self.args.bf16):
            logits, last, inner = model(inputs["input_ids"], inputs["attention_mask"], inputs["options"])
        parts = {"decision": decision_loss(logits, inputs["labels"], recipe.label_smoothing)}
        loss = recipe.decision_weight * parts["decision"]
        smooth = pet_weight(recipe.pet, self.state.global_step, self.state.max_steps)
        if smooth:
            parts["pet"] = self._pet(inner, inputs["attention_mask"])
            loss = loss + smooth * parts["pet"]
        if recipe.language_weight:
            parts["language"] = self._language(last, inputs)
            loss = loss + recipe.language_weight * parts["language"]
        if not torch.isfinite(loss):
            raise not_a_number("The loss", self.args.output_dir)
        self._count(parts, smooth, inputs["attention_mask"])
        return (loss, {"logits": logits}) if return_outputs else loss

    def _pet(self, inner: Sequence[Tensor], mask: Tensor) -> Tensor:
        mean = torch.stack([pet_loss(hidden, mask, self._recipe.pet.huber) for hidden in inner]).mean()
        return mean * weight_of(smoothed_places(mask).sum())

    def _language(self, last: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        head = head_weight(self.model.plain)
        mask = inputs["attention_mask"]
        with half_precision(last, self.args.bf16):
            mean = language_loss(
                last, head, inputs["input_ids"], mask=mask, smoothing=self._recipe.label_smoothing
            )
        return mean * weight_of((mask[:, 1:] * mask[:, :-1]).sum())

    def _count(self, parts: dict[str, Tensor], smooth: float, mask: Tensor) -> None:
        for name, value in parts.items():
            self._parts[name] = self._parts.get(name, torch.zeros(())) + value.detach().float().cpu()
        self._parts["lambda"] = torch.tensor(smooth) * (self._counted + 1)
        self._counted += 1
        self._speed.add(int(mask.sum()))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the parts of the loss since the last time, λ and the speed."""
        if "loss" in logs and self._counted:
            logs |= {name: float(total) / self._counted for name, total in self._parts.items()}
            logs["tokens_per_second"] = self._speed.read()
            self._parts, self._counted = {}, 0
        super().log(logs, start_time)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW over two groups: LoRA, and the gates' generators without weight decay."""
        gates = list(gate_parameters(self.model))
        own = {id(p) for p in gates}
        rest = [p for p in self.model.parameters() if p.requires_grad and id(p) not in own]
        groups = [
            {"params": rest, "lr": self._recipe.learning_rate, "weight_decay": self._recipe.weight_decay},
            {"params": gates, "lr": self._recipe.gate_learning_rate, "weight_decay": 0.0},
        ]
        made: torch.optim.Optimizer = _adam(self._recipe.optimizer)([g for g in groups if g["params"]])
        self.optimizer = made
        return made

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        """Average gradients over processes; around a base in shards by ourselves."""
        apart = sharded_names(self.model)
        if not apart or model is not self.model:
            return super()._wrap_model(model, training, dataloader)
        # Prepared as if for evaluation: half precision as ever, but not wrapped.
        return replicated(self.accelerator.prepare_model(model, evaluation_mode=True), apart)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Checkpoint what is trained, gates included, and what steers; the frozen base is not copied."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {n: p.detach().contiguous() for n, p in trained_weights(self.model).items()}, folder / _TRAINED
        )
        for kept in self._keeps:
            kept.save(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load what was trained; every trainable tensor must be there, in its shape."""
        folder = Path(resume_from_checkpoint)
        saved = load_file(folder / _TRAINED)
        if _shapes(saved) != _shapes(trained_weights(self.model)):
            raise TrainingError(f"{resume_from_checkpoint} is of another recipe.", "Start a new run folder.")
        set_weights(self.model, saved)
        for kept in self._keeps:
            kept.load(folder)


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}


def _adam(name: str) -> Any:
    if name == "adamw":
        return torch.optim.AdamW
    if not torch.cuda.is_available():
        raise DeviceError(
            "The paged 8-bit AdamW moves its state between GPU and memory, and there is no CUDA GPU here.",
            "Set optimizer to adamw; nothing falls back by itself.",
        )
    from bitsandbytes.optim import PagedAdamW8bit

    return PagedAdamW8bit
