"""Fit: a base and examples in, an adapter (SO(8) gates and LoRA) out, by the transformers trainer."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
)

from ..core.canonical import model_digest
from ..core.errors import RecipeError, ShelfError, TrainingError
from ..core.prompt import END
from ..core.question import Example
from ..shelf import write_json
from ..weights.adapter import load_adapter, read_adapter
from ..weights.families import lora_targets
from ..weights.gates import GateForm, install_gates
from ..weights.held import QUANTISED, load_held
from ..weights.shards import join, sharded_names
from .batches import Collator, DecisionRows, score_examples
from .board import Board
from .chat import require_own_form
from .checkpoints import Saves, require_finite, require_processes, resume_from
from .decider import Decider
from .memory import returned_memory
from .plan import MemoryPlan, peak, plan, require, shape_of
from .recipe import BaseType, Finetune
from .steering import GradientNoise, LateMean, RefuseWatch, set_aside
from .tokenizer import special_id
from .trainer import GateTrainer

_log = logging.getLogger("sekisho.train")
Report = Callable[[dict[str, float]], None]


def load_base(folder: Path, held: BaseType = "float32") -> tuple[Any, Tokenizer]:
    """Load a base model in float32 and its tokenizer from disk, without any remote code.

    Args:
        held: as int8 or nf4, the weights are those of the rounded base, written out.

    Raises:
        ShelfError: when the folder holds no such model.
    """
    return load_held(folder, held, plain=True), load_tokenizer(folder)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load a base model's tokenizer. Raises ShelfError when there is none."""
    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as e:  # the tokenizer library raises nothing narrower
        raise ShelfError(f"{folder} holds no tokenizer: {e}.", "Check `gate_model`.") from e


def load_adapted(base: Path, adapter: Path) -> tuple[Any, Tokenizer]:
    """Load a base, held as it was in training, with a saved adapter on it, in evaluation mode, gates unfolded. Raises ShelfError when they do not fit."""
    model, tokenizer = load_base(base, read_adapter(adapter).held)
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
    layers = int(getattr(model.config, "text_config", model.config).num_hidden_layers)
    wrong = [i for i in recipe.pet.layers if not -layers <= i < layers]
    if wrong:
        raise RecipeError(f"There are no layers {wrong} to smooth.", f"The base has {layers}.")
    if recipe.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return adapted


class _Watch(TrainerCallback):
    """Passes the trainer's logs on, for a progress bar and curves."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Called by the trainer every few steps."""
        if not state.is_world_process_zero:
            return
        numbers = {k: float(v) for k, v in (logs or {}).items() if isinstance(v, int | float)}
        self._report({"step": state.global_step, "steps": state.max_steps, **numbers})


def arguments(recipe: Finetune, out: Path) -> TrainingArguments:
    """Trainer settings of a recipe; steps are optimiser steps.

    Raises:
        RecipeError: when a batch cannot be shared out evenly.
    """
    args = TrainingArguments(
        output_dir=str(out / "checkpoints"),
        num_train_epochs=recipe.epochs,
        max_steps=recipe.steps or -1,
        # Of several processes each takes its share of such a part.
        per_device_train_batch_size=recipe.batch // recipe.accumulation,
        accelerator_config={"split_batches": True},
        gradient_accumulation_steps=recipe.accumulation,
        ddp_backend=_backend(),
        ddp_find_unused_parameters=False,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,
        lr_scheduler_type="cosine",
        max_grad_norm=recipe.clip,
        bf16=recipe.bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        save_strategy="no",
        save_total_limit=recipe.keep,
        logging_steps=10,
        logging_nan_inf_filter=False,
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
    )
    shares = recipe.accumulation * args.world_size
    if recipe.batch % shares:
        raise RecipeError(
            f"A batch of {recipe.batch} cannot be shared out among {args.world_size} processes in {recipe.accumulation} parts.",
            f"Take a multiple of {shares}.",
        )
    return args


def _backend() -> str | None:
    """How several processes talk on CPUs. Naming it when alone would make transformers look for the others."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return "gloo" if several and not torch.cuda.is_available() else None


def fit(
    recipe: Finetune,
    base: Path,
    examples: Sequence[Example],
    out: Path,
    report: Report,
    free: int | None = None,
) -> tuple[Any, Tokenizer]:
    """Train an adapter over a frozen base; a run that was stopped goes on from its newest whole checkpoint.

    Args:
        free: bytes of memory there are; a plan beyond that is refused. None when nobody knows.

    Returns:
        The adapted model in evaluation mode, and its tokenizer. Of a base in shards the model holds this process's share; what is trained is whole in each.

    Raises:
        BudgetError: when the memory plan does not fit, with what would.
        TrainingError: for a loss or weight that is no number, rows that are all too long, a base that cannot be in shards, a checkpoint of another number of processes, a checkpoint that cannot be written, or a run that SIGTERM or SIGINT
            stopped; it has saved, and goes on when it is started again.
    """
    _require_shardable(recipe)
    torch.set_num_threads(recipe.threads)
    tokenizer = load_tokenizer(base)
    require_own_form(base, tokenizer)
    repeated = [e for e in examples for _ in range(recipe.repeats(e))]
    training, watched = set_aside(repeated, recipe.watch.share) if recipe.watch.every else (repeated, [])
    rows = DecisionRows(training, tokenizer, recipe.max_tokens)
    if not len(rows):
        raise TrainingError("There is no example to train on.", "Gather data first, or raise max_tokens.")
    args = arguments(recipe, out)
    newest = resume_from(out / "checkpoints")
    require_processes(newest, args.world_size)
    planned = _plan(recipe, base, rows, free, args.world_size)
    model = _decider(recipe, base, args.world_size)
    steering = _steering(recipe, model, tokenizer, watched)
    saves = Saves(recipe.checkpoint_seconds)
    trainer = GateTrainer(
        recipe,
        keeps=[s for s in steering if isinstance(s, LateMean | RefuseWatch)],
        model=model,
        args=args,
        train_dataset=rows,
        data_collator=Collator(special_id(tokenizer, END)),
        callbacks=[*steering, saves, _Watch(report), Board(out / "board")],
    )
    trainer.remove_callback(PrinterCallback)
    with saves, returned_memory(bool(sharded_names(model))):
        trainer.train(resume_from_checkpoint=newest)
    saves.require_finished(trainer.state)
    for kept in steering:
        if isinstance(kept, LateMean | RefuseWatch):
            kept.finish(model)
    require_finite(
        model, args.output_dir
    )  # the last step may have spoilt them, with no loss after it to show it
    if args.should_save:
        write_json(
            out / "memory.json", {"planned": planned.model_dump() | {"total": planned.total}, "peak": peak()}
        )
    return model.adapted.eval(), tokenizer


def _require_shardable(recipe: Finetune) -> None:
    if recipe.shard_base and recipe.base_type in QUANTISED:
        raise TrainingError(
            f"A base held as {recipe.base_type} cannot be shared out among processes: its weights lie in blocks with scales beside them.",
            "Set base_type to bfloat16 or float32, or shard_base to false.",
        )


def _decider(recipe: Finetune, base: Path, processes: int) -> Decider:
    """Load the base, whole or this process's share of it, and put on it what is trained."""
    shares = processes if recipe.shard_base else 1
    held = load_held(base, recipe.base_type, processes=shares)
    model = Decider(attach(held, recipe), recipe.pet.layers)
    if shares > 1:
        join(model)
    return model


def _plan(recipe: Finetune, base: Path, rows: DecisionRows, free: int | None, processes: int) -> MemoryPlan:
    """Say what the training will need, and refuse what does not fit."""
    longest = max(len(r["input_ids"]) for r in rows.rows)
    shape = shape_of(base, recipe)
    made = plan(shape, recipe, longest, processes)
    _log.info("memory plan: %s", "; ".join(f"{name} {size}" for name, size in made.rows()))
    require(made, shape, recipe, longest, free, processes)
    return made


def _steering(
    recipe: Finetune, model: Decider, tokenizer: Tokenizer, watched: Sequence[Example]
) -> list[TrainerCallback]:
    """What the recipe asks for beside the loss. The watch comes last: it looks at the weights of the step that just was."""
    found: list[TrainerCallback] = []
    if recipe.gradient_noise:
        found.append(GradientNoise(recipe.gradient_noise, recipe.noise_decay, recipe.seed))
    if recipe.swa_start < 1:
        found.append(LateMean(recipe.swa_start))
    if recipe.watch.every:
        if not watched:
            raise TrainingError(
                "No row could be set aside to watch.", "Raise watch.share, or set watch.every to 0."
            )
        found.append(RefuseWatch(recipe.watch, lambda: refuse_recall(model.adapted, tokenizer, watched)))
    return found


def refuse_recall(model: Any, tokenizer: Tokenizer, examples: Sequence[Example]) -> float:
    """Share of the rows that must not be allowed whose likeliest option is not ALLOW. Training goes on in the mode it was in.

    Raises:
        TrainingError: when there is no such row.
    """
    asked = [e for e in examples if e.label != "ALLOW"]
    if not asked:
        raise TrainingError("No row set aside is one to refuse.", "Raise watch.share.")
    was, refused = model.training, 0
    state = torch.get_rng_state()
    for i, logp in score_examples(model, tokenizer, asked):
        keys = asked[i].question.keys
        refused += keys[max(range(len(keys)), key=lambda k: logp[k])] != "ALLOW"
    model.train(was)
    torch.set_rng_state(state)
    return refused / len(asked)
