"""From bundled text to a base model: tokenizer, packed rows, language, decisions, teachers, weights on disk."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset
from transformers import (
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
)

from ..core.canonical import new_id
from ..core.disk import sync, write_whole
from ..core.progress import Progress
from ..core.prompt import CHAT_TEMPLATE, CLOSE, END, LETTERS
from ..core.question import Example
from ..data.corpus import Document
from .batches import half_precision
from .checkpoints import Saves, WholeTrainer, resume_from
from .cooldown import EndOfCooldown, learning_rate_factor
from .decisions import learn_to_decide
from .losses import language_loss
from .memory import kept_memory
from .recipe import Pretrain
from .teaching import learn_from_teachers
from .tokenizer import decision_ids, dialogue_ids, encode_plain, special_id, train_tokenizer


class Rows(Dataset[dict[str, Tensor]]):
    """Token ids packed end to end and cut to rows `[sequence]`; the short rest is dropped."""

    def __init__(self, ids: Sequence[int], sequence: int) -> None:
        count = len(ids) // sequence
        self._rows = torch.tensor(ids[: count * sequence], dtype=torch.long).view(count, sequence)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input_ids": self._rows[i]}


class Told(TrainerCallback):
    """Passes optimiser steps and the loss on to a progress display."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Called by the trainer every few steps."""
        note = f"loss {float(logs['loss']):.3f}" if logs and "loss" in logs else ""
        self._progress.step("pretrain", state.global_step, state.max_steps, note)


def document_text(document: Document) -> str:
    """All text of a document, for training a tokenizer."""
    return "\n".join([document.text, *(text for _, text in document.turns)])


def document_ids(tokenizer: Tokenizer, document: Document) -> list[int]:
    """Token ids of one document, closed by the end-of-text token."""
    end = special_id(tokenizer, END)
    if document.sort == "dialogue":
        return [*dialogue_ids(tokenizer, document.turns), end]
    if document.question is not None and document.label is not None:
        answer = LETTERS[document.question.keys.index(document.label)]
        prompt = decision_ids(tokenizer, document.text, document.question)
        return [*prompt, *tokenizer.encode(answer).ids, special_id(tokenizer, CLOSE), end]
    return [*encode_plain(tokenizer, document.text), end]


def pack(tokenizer: Tokenizer, documents: Iterable[Document], recipe: Pretrain) -> Rows:
    """Shuffle documents (seeded), repeat them by `recipe.mix`, and pack them to rows."""
    order = [d for d in documents for _ in range(recipe.mix.get(d.source, 1))]
    random.Random(recipe.seed).shuffle(order)
    return Rows([i for d in order for i in document_ids(tokenizer, d)], recipe.sequence)


def new_model(recipe: Pretrain, tokenizer: Tokenizer) -> Phi3ForCausalLM:
    """A Phi-3 model with random weights and tied embeddings."""
    end = special_id(tokenizer, END)
    config = Phi3Config(
        **recipe.architecture.model_dump(),
        original_max_position_embeddings=recipe.architecture.max_position_embeddings,
        tie_word_embeddings=True,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=special_id(tokenizer, CLOSE),
    )
    torch.manual_seed(recipe.seed)
    model = Phi3ForCausalLM(config)
    model.set_attn_implementation("eager")  # on short rows on a CPU faster than the fused kernel
    return model


def fast_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Wrap a tokenizer for transformers, with the chat template."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=CLOSE, pad_token=END, bos_token=END, padding_side="left"
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


class PretrainTrainer(WholeTrainer):
    """The trainer with the recipe's own course of the learning rate."""

    def __init__(self, recipe: Pretrain, **kwargs: Any) -> None:
        self._recipe = recipe
        super().__init__(**kwargs)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """A scheduler that follows `learning_rate_factor`."""
        follow = partial(learning_rate_factor, self._recipe, num_training_steps)
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, follow)
        return self.lr_scheduler

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the next token."""
        ids = inputs["input_ids"]
        with half_precision(ids, self.args.bf16):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
            loss = language_loss(hidden, model.lm_head.weight, ids)
        return (loss, {}) if return_outputs else loss


def training_arguments(recipe: Pretrain, out: Path) -> TrainingArguments:
    """Trainer settings of a pretraining run; steps are optimiser steps."""
    return TrainingArguments(
        output_dir=str(out / "checkpoints"),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        adam_beta2=0.95,
        bf16=recipe.bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        save_strategy="no",
        save_total_limit=recipe.keep,
        logging_steps=20,
        report_to=[],
        remove_unused_columns=False,
        dataloader_drop_last=True,
        disable_tqdm=True,
    )


def pretrain(
    recipe: Pretrain,
    documents: Sequence[Document],
    out: Path,
    decisions: Sequence[Example] = (),
    callbacks: Sequence[Any] = (),
    start: Path | None = None,
) -> Path:
    """Train a base model into `out`/model; a run that was stopped goes on from its newest whole checkpoint.

    Args:
        decisions: examples of the second and third stage, if the recipe has them.
        start: folder of a base that has been through the first stage; None to begin with that.

    Returns:
        The model folder, with weights in bf16 safetensors and the tokenizer.
    """
    torch.set_num_threads(recipe.threads)
    training = [] if start else [d for d in documents if not d.held_out()]
    tokenizer = _tokenizer(recipe, training, (start or out) / "tokenizer.json")
    language = start or out / "language"
    if not (language / "model.safetensors").is_file():
        _save(_learn_language(recipe, training, tokenizer, out, callbacks), tokenizer, language)
    # The second stage starts from the stored weights, so that a run stopped between the stages is the same run.
    model = Phi3ForCausalLM.from_pretrained(str(language), dtype=torch.float32, local_files_only=True)
    if recipe.decisions.epochs and decisions:
        torch.manual_seed(recipe.seed)
        learn_to_decide(recipe, model, tokenizer, decisions, out, callbacks)
    if recipe.teaching.rows and decisions:
        learn_from_teachers(recipe, model, tokenizer, decisions, out, callbacks)
    _blend(model, language, recipe.blend)
    _save(model, tokenizer, out / "model")
    return out / "model"


@torch.no_grad()
def _blend(model: Any, start: Path, share: float) -> None:
    """Move the weights of `model` back towards those it began from, in place: `share` of the way is kept."""
    if share == 1:
        return
    before = Phi3ForCausalLM.from_pretrained(str(start), dtype=torch.float32, local_files_only=True)
    for weight, old in zip(model.parameters(), before.parameters(), strict=True):
        weight.lerp_(old, 1 - share)


def _learn_language(
    recipe: Pretrain, training: Sequence[Document], tokenizer: Tokenizer, out: Path, callbacks: Sequence[Any]
) -> Phi3ForCausalLM:
    model, saves = new_model(recipe, tokenizer), Saves(recipe.checkpoint_seconds)
    trainer = PretrainTrainer(
        recipe,
        model=model,
        args=training_arguments(recipe, out),
        train_dataset=pack(tokenizer, training, recipe),
        callbacks=[saves, EndOfCooldown(recipe), *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    with kept_memory(), saves:
        trainer.train(resume_from_checkpoint=resume_from(out / "checkpoints"))
    saves.require_finished(trainer.state)
    return model


def _save(model: Any, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a model folder beside and rename it, weights in bf16."""
    beside = folder.with_name(f".{folder.name}.{new_id('w')}")
    model.to(torch.bfloat16).save_pretrained(beside)
    fast_tokenizer(tokenizer).save_pretrained(beside)
    sync([*beside.iterdir(), beside])
    shutil.rmtree(folder, ignore_errors=True)
    beside.replace(folder)


def _tokenizer(recipe: Pretrain, documents: Sequence[Document], path: Path) -> Tokenizer:
    """Train the tokenizer once; a resumed run reads the same one back."""
    if path.is_file():
        return Tokenizer.from_file(str(path))
    tokenizer = train_tokenizer((document_text(d) for d in documents), recipe.architecture.vocab_size)
    write_whole(path, tokenizer.to_str().encode())
    return tokenizer
