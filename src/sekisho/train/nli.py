"""The NLI classifier, trained from nothing: a DeBERTa-v2 encoder over the vocabulary of a base of ours."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
)

from ..core.canonical import new_id
from ..core.disk import sync
from ..core.prompt import SPECIAL
from ..data.nli import Pair
from .batches import half_precision
from .checkpoints import Saves, not_a_number, resume_from
from .cooldown import EndOfCooldown, learning_rate_factor
from .nli_recipe import NliTrain
from .nli_rows import PairCollator, PairRows, mirrored
from .trainer import OrderedTrainer

Told = Callable[[int, int, str], None]
"""Is told step, steps and a note."""
RAW = ("contradiction", "entailment", "neutral")
"""The classifier's own labels, in the order of its columns; the order of cross-encoder/nli-deberta-v3."""
COLUMNS = {"refutes": 0, "supports": 1, "neutral": 2}
_PAD, _CLS, _SEP, _UNK, _MASK = "[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"
_RENAMED = dict(zip(SPECIAL, (_PAD, _CLS, _SEP, _UNK, _MASK), strict=True))


def nli_tokenizer(base: Path, longest: int) -> PreTrainedTokenizerFast:
    """The base's tokenizer with its five special tokens renamed to those of an encoder; a text that spells one stays letters."""
    told = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    told["model"]["vocab"] = {_RENAMED.get(t, t): i for t, i in told["model"]["vocab"].items()}
    for added in told["added_tokens"]:
        added["content"] = _RENAMED.get(added["content"], added["content"])
    told["post_processor"] = None
    tokenizer = Tokenizer.from_str(json.dumps(told))
    ids = [(t, tokenizer.token_to_id(t)) for t in (_CLS, _SEP)]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{_CLS} $A {_SEP}", pair=f"{_CLS} $A {_SEP} $B:1 {_SEP}:1", special_tokens=ids
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        cls_token=_CLS,
        sep_token=_SEP,
        unk_token=_UNK,
        mask_token=_MASK,
        model_max_length=longest,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        split_special_tokens=True,
    )


def nli_model(recipe: NliTrain, base: Path, tokenizer: Any) -> DebertaV2ForSequenceClassification:
    """A classifier with random weights; words begin where the base has them, brought to the spread of the others."""
    shape = recipe.shape.model_dump(exclude={"dropout"})
    config = DebertaV2Config(
        **shape,
        vocab_size=len(tokenizer),
        type_vocab_size=2,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        pooler_hidden_size=recipe.shape.hidden_size,
        pooler_dropout=recipe.shape.dropout,
        hidden_dropout_prob=recipe.shape.dropout,
        attention_probs_dropout_prob=recipe.shape.dropout,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(RAW)),
        label2id={name: i for i, name in enumerate(RAW)},
    )
    torch.manual_seed(recipe.seed)
    model = DebertaV2ForSequenceClassification(config)
    _lend(model.get_input_embeddings().weight, base)
    return model


def _lend(words: Tensor, base: Path) -> None:
    """Take the base's embeddings over, if they are as many and as wide."""
    lent = load_file(base / "model.safetensors").get("model.embed_tokens.weight")
    if lent is None or lent.shape != words.shape:
        return
    with torch.no_grad():
        words.copy_(lent.float() * (words.std() / lent.float().std()))


class NliTrainer(OrderedTrainer):
    """The trainer with weighted cross-entropy, smoothed labels and, if asked, half precision where it pays."""

    def __init__(self, smoothing: float, half: bool, batch: int, **kwargs: Any) -> None:
        self._smoothing, self._half = smoothing, half
        super().__init__(batch, **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Mean over the batch of weight times cross-entropy."""
        labels, weight = inputs["labels"], inputs["weight"]
        given = {k: v for k, v in inputs.items() if k not in ("labels", "weight")}
        with half_precision(given["input_ids"], self._half):
            logits = model(**given).logits
        each = torch.nn.functional.cross_entropy(
            logits.float(), labels, label_smoothing=self._smoothing, reduction="none"
        )
        loss = (weight * each).mean()
        if not torch.isfinite(loss):
            raise not_a_number("The loss", self.args.output_dir)
        return (loss, {"logits": logits}) if return_outputs else loss


class _BaseTrainer(NliTrainer):
    """The trainer with the recipe's own course of the learning rate."""

    def __init__(self, recipe: NliTrain, **kwargs: Any) -> None:
        self._recipe = recipe
        super().__init__(recipe.label_smoothing, recipe.bf16, recipe.batch, **kwargs)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """A scheduler that follows `learning_rate_factor`."""
        follow = partial(learning_rate_factor, self._recipe, num_training_steps)
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, follow)
        return self.lr_scheduler


class Watch(TrainerCallback):
    """Passes optimiser steps and the loss on."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Called by the trainer every few steps."""
        note = f"loss {float(logs['loss']):.3f}" if logs and "loss" in logs else ""
        self._told(state.global_step, state.max_steps, note)


def nli_arguments(recipe: Any, out: Path) -> TrainingArguments:
    """Trainer settings of a recipe of either kind; steps are optimiser steps, the warm-up a share of them."""
    return TrainingArguments(
        output_dir=str(out / "checkpoints"),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup,
        lr_scheduler_type="cosine",
        max_grad_norm=recipe.clip,
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        save_strategy="no",
        save_total_limit=recipe.keep,
        logging_steps=10,
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
    )


def train_nli(recipe: NliTrain, base: Path, pairs: Sequence[Pair], out: Path, told: Told) -> Path:
    """Train a classifier into `out`/model; a run that was stopped goes on from its newest whole checkpoint.

    Returns:
        The model folder: weights in fp16 safetensors, and the tokenizer.

    Raises:
        TrainingError: a loss that is no number, or no pair short enough.
    """
    torch.set_num_threads(recipe.threads)
    tokenizer = nli_tokenizer(base, recipe.shape.max_position_embeddings)
    shown = mirrored(pairs) if recipe.mirror else list(pairs)
    saves = Saves(recipe.checkpoint_seconds)
    trainer = _BaseTrainer(
        recipe,
        model=nli_model(recipe, base, tokenizer),
        args=nli_arguments(recipe, out),
        train_dataset=PairRows(shown, tokenizer, COLUMNS, recipe.max_tokens),
        data_collator=PairCollator(tokenizer.pad_token_id),
        callbacks=[saves, EndOfCooldown(recipe), Watch(told)],
    )
    trainer.remove_callback(PrinterCallback)
    with saves:
        trainer.train(resume_from_checkpoint=resume_from(out / "checkpoints"))
    saves.require_finished(trainer.state)
    return _save(trainer.model, tokenizer, out / "model")


def _save(model: Any, tokenizer: Any, folder: Path) -> Path:
    """Write a model folder beside and rename it, weights in fp16."""
    beside = folder.with_name(f".{folder.name}.{new_id('w')}")
    model.to(torch.float16).save_pretrained(beside)
    tokenizer.save_pretrained(beside)
    sync([*beside.iterdir(), beside])
    shutil.rmtree(folder, ignore_errors=True)
    beside.replace(folder)
    return folder
