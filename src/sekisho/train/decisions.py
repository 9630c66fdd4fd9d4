"""The second stage of a base: all its weights learn to decide, from the project's own requests and other typed questions.

A language model of a few million parameters cannot learn in minutes, through an adapter, what deciding means. So the base learns it once, here;
the adapter then learns an organisation's own data. Only training topics of the authored set are used, and no row of any other gate source:
leaving such a source out of the adapter's training leaves it out altogether.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PrinterCallback, TrainingArguments

from ..core.canonical import digest_json
from ..core.disk import write_whole
from ..core.prompt import END
from ..core.question import Example
from .batches import Collator, DecisionRows, half_precision, option_logits
from .checkpoints import Saves, resume_from
from .losses import decision_loss, taught_loss
from .recipe import Course, Pretrain, turned
from .tokenizer import special_id
from .trainer import OrderedTrainer

LONGEST = 192
"""Tokens; longer rows are left out."""
_DONE = "round.safetensors"


class DecisionTrainer(OrderedTrainer):
    """The trainer with the decision loss over options, on all weights; rows with a teacher's targets learn those."""

    def __init__(self, smoothing: float, group: int, **kwargs: Any) -> None:
        self._smoothing = smoothing
        super().__init__(group, **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch."""
        with half_precision(inputs["input_ids"], self.args.bf16):
            logits, _hidden = option_logits(model, inputs)
        if "targets" in inputs:
            loss = taught_loss(logits, inputs["targets"])
        else:
            loss = decision_loss(logits, inputs["labels"], self._smoothing)
        return (loss, {"logits": logits}) if return_outputs else loss


def learn_to_decide(
    recipe: Pretrain,
    model: Any,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    out: Path,
    callbacks: Sequence[Any] = (),
) -> None:
    """Train all weights of `model` on the decisions, in place; a stopped run goes on from its newest whole checkpoint.

    Rows are cut to tokens anew each time with BPE dropout (Provilkov et al. 2020), so that no row looks twice the same; see `recipe.Course` for what that costs in reproducibility.
    """
    stage = recipe.decisions
    rows = DecisionRows(examples, tokenizer, LONGEST, bpe_dropout=stage.bpe_dropout)
    for number in range(stage.rounds):
        folder = out / f"decisions-{_key(recipe, examples)}-{number + 1}"
        run_course(recipe, stage, model, rows, special_id(tokenizer, END), folder, callbacks)


def run_course(
    recipe: Pretrain,
    stage: Course,
    model: Any,
    rows: DecisionRows,
    pad: int,
    out: Path,
    callbacks: Sequence[Any],
) -> None:
    """One course of all weights over the rows, in place. Its weights are stored at the end, so that a run stopped later does not start it again.

    Args:
        pad: token that fills short rows.
        out: folder of the course's checkpoints.
    """
    done = out / _DONE
    if done.is_file():
        model.load_state_dict(load_file(done))
        return
    _make_ready(model, stage.dropout)
    saves = Saves(recipe.checkpoint_seconds)
    trainer = DecisionTrainer(
        stage.label_smoothing,
        stage.batch,
        model=model,
        args=_arguments(recipe, stage, out),
        train_dataset=rows,
        data_collator=Collator(pad),
        callbacks=[saves, *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    with saves:
        trainer.train(resume_from_checkpoint=resume_from(out))
    saves.require_finished(trainer.state)
    write_whole(done, save({n: t.clone() for n, t in model.state_dict().items()}))


def _make_ready(model: Any, dropout: float) -> None:
    model.set_attn_implementation("eager")  # on short rows on a CPU half again as fast as the fused kernel
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout


def _key(recipe: Pretrain, examples: Sequence[Example]) -> str:
    """What decides how a round goes: another recipe or other rows never go on from these checkpoints."""
    rows = [[e.id, e.state, e.label] for e in examples]
    course = recipe.model_copy(update={"decisions": recipe.decisions.model_copy(update={"rounds": 1})})
    return digest_json({"recipe": turned(course, ("teaching", "blend")), "rows": rows})[7:19]


def _arguments(recipe: Pretrain, stage: Course, out: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(out),
        num_train_epochs=stage.epochs,
        per_device_train_batch_size=stage.batch,
        learning_rate=stage.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_steps=0.05,
        lr_scheduler_type="cosine",
        adam_beta2=0.98,
        bf16=recipe.bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        save_strategy="no",
        save_total_limit=recipe.keep,
        logging_steps=20,
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
    )
