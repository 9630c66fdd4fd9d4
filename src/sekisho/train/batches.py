"""Examples to tensors, and a model's option logits for a batch of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset

from ..core.prompt import END
from ..core.question import Example
from ..weights.shards import read_out
from .tokenizer import decision_ids, label_ids, special_id


class DecisionRows(Dataset[dict[str, Any]]):
    """Encoded examples. A row is {input_ids: prompt tokens, options: label tokens, label: index of the right one}.

    Args:
        targets: a teacher's probabilities over each example's options; rows then have them as `targets`.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        max_tokens: int,
        bpe_dropout: float = 0.0,
        targets: Sequence[Sequence[float]] | None = None,
    ) -> None:
        rows = [encode(e, tokenizer) for e in examples]
        if targets is not None:
            rows = [r | {"targets": list(t)} for r, t in zip(rows, targets, strict=True)]
        kept = [(e, r) for e, r in zip(examples, rows, strict=True) if len(r["input_ids"]) <= max_tokens]
        self.dropped = len(rows) - len(kept)
        self.rows = [r for _, r in kept]
        self._examples = [e for e, _ in kept]
        self._noisy = _with_dropout(tokenizer, bpe_dropout) if bpe_dropout else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.rows[i] if self._noisy is None else self.rows[i] | encode(self._examples[i], self._noisy)


def _with_dropout(tokenizer: Tokenizer, share: float) -> Tokenizer:
    """A copy of a BPE tokenizer that leaves out merges at random."""
    noisy = Tokenizer.from_str(tokenizer.to_str())
    noisy.model.dropout = share
    return noisy


def encode(example: Example, tokenizer: Tokenizer) -> dict[str, Any]:
    """Encode one example; its label must be one of its question's options."""
    return {
        "input_ids": decision_ids(tokenizer, example.state, example.question),
        "options": label_ids(tokenizer, len(example.question.options)),
        "label": example.question.keys.index(example.label),
    }


class Collator:
    """Pads rows on the left, so that every prompt ends at the last place."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return input_ids and attention_mask `[batch, seq]`, options `[batch, most]` (-1 padded), labels `[batch]`, and targets `[batch, most]` if there are any."""
        length = max(len(r["input_ids"]) for r in rows)
        most = max(len(r["options"]) for r in rows)
        ids = [[self._pad] * (length - len(r["input_ids"])) + r["input_ids"] for r in rows]
        mask = [[0] * (length - len(r["input_ids"])) + [1] * len(r["input_ids"]) for r in rows]
        options = [r["options"] + [-1] * (most - len(r["options"])) for r in rows]
        batch = {
            "input_ids": torch.tensor(ids),
            "attention_mask": torch.tensor(mask),
            "options": torch.tensor(options),
            "labels": torch.tensor([r["label"] for r in rows]),
        }
        if "targets" in rows[0]:
            batch["targets"] = torch.tensor([r["targets"] + [0.0] * (most - len(r["targets"])) for r in rows])
        return batch


def half_precision(like: Tensor, wanted: bool) -> torch.autocast:
    """Autocast to bf16 where `like` lies. The trainer's own only covers a model's `forward`, which `option_logits` goes round."""
    return torch.autocast(like.device.type, dtype=torch.bfloat16, enabled=wanted)


def option_logits(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Run a causal LM and read the option logits at the last place.

    The output head is applied to that place alone: on a small model it is a third of the arithmetic.

    Returns:
        (logits `[batch, most]` with -inf where a row has fewer options, hidden states `[batch, seq, hidden]`).
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = base.model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    ).last_hidden_state
    full = read_out(base, hidden[:, -1])
    options = batch["options"]
    picked = full.gather(1, options.clamp(min=0)).float()
    return picked.masked_fill(options < 0, float("-inf")), hidden


@torch.no_grad()
def score_examples(
    model: Any, tokenizer: Tokenizer, examples: Sequence[Example], batch_size: int = 64, context: int = 2048
) -> Iterator[tuple[int, list[float]]]:
    """Score every example's options in float32, longest first so that padding is small.

    Yields:
        (index of the example, natural-log probabilities over its options). One that does not fit the context is passed over, not cut.
    """
    model.eval()
    rows = [encode(e, tokenizer) for e in examples]
    fitting = [i for i, row in enumerate(rows) if len(row["input_ids"]) < context]
    order = sorted(fitting, key=lambda i: -len(rows[i]["input_ids"]))
    collate = Collator(special_id(tokenizer, END))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        logits, _ = option_logits(model, collate([rows[i] for i in chosen]))
        for i, logp in zip(chosen, torch.log_softmax(logits, -1).tolist(), strict=True):
            yield i, logp[: len(rows[i]["options"])]
