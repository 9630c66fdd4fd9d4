"""The NLI classifier in this process: a cross-encoder of any DeBERTa-like folder, its adapters beside it, never merged.

An adapter is laid over a second tree of modules that shares the base's weights. So the base's own tree is never touched: what it answers
while an adapter comes or goes, and after it has gone, is the same to the last bit.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel  # here, as it takes a second, which must not fall on the first swap
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ..core.canonical import model_digest
from ..core.errors import InputError, SekishoError, ShelfError, TooLargeError
from .nli_files import check_adapter, labels_of

STEP = 8
"""Rows are padded to a multiple of this many tokens, by their own length alone."""
DECIMALS = 6
"""Logits are rounded to so many decimals. What another batch would make of float64 lies near the fifteenth, so it changes no bit of an answer."""


@dataclass(frozen=True)
class Encoded:
    """A pair as tokens. `cut` tokens of the premise were left out at its end; `width` is the padded length."""

    ids: tuple[int, ...]
    types: tuple[int, ...]
    cut: int

    @property
    def width(self) -> int:
        """Tokens after padding."""
        return -(-len(self.ids) // STEP) * STEP


@dataclass(frozen=True)
class Variant:
    """Something that answers: the base (`adapter` None) or the base under an adapter, by its digest."""

    adapter: str | None
    model: Any


class RowLinear(nn.Linear):
    """A linear layer in which every pair of a batch has a matrix product of its own.

    As one product over the tokens of all pairs, which is what `nn.Linear` does, it goes other ways for another number of tokens, and the last bits of an answer would depend on
    what happened to be read beside it.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """`[pairs, tokens, width]` or `[pairs, width]` in, the same with another width out."""
        rows = input if input.dim() == 3 else input.unsqueeze(1)
        weights = self.weight.t().expand(len(rows), -1, -1)
        found = torch.bmm(rows, weights) if self.bias is None else torch.baddbmm(self.bias, rows, weights)
        return found if input.dim() == 3 else found.squeeze(1)


def by_rows(model: Any) -> Any:
    """Let the linear layers of a model treat every pair by itself. Returns the model."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = RowLinear
    return model


class Classifier:
    """A base and what is laid over it.

    Args:
        folder: a model folder with `config.json`, weights and tokenizer.
        most_characters: longest premise or hypothesis that is read at all.
        precision: float32, or float64 in about twice the time. With either an answer does not depend on what is read beside it: float32 gives every pair
            matrix products of its own, and relies on the device to do each of them in one way; float64 is rounded far above what another way would change.

    Raises:
        ShelfError: the folder is no classifier, or its labels cannot be mapped.
    """

    def __init__(
        self,
        folder: Path,
        threads: int = 0,
        device: str = "cpu",
        most_characters: int = 100_000,
        precision: Literal["float32", "float64"] = "float32",
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.folder, self.name, self._most = folder, folder.name, most_characters
        self.columns, self.raw = labels_of(folder)
        self.digest = model_digest(folder)
        self._device = torch.device(device)
        self._dtype = torch.float64 if precision == "float64" else torch.float32
        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                str(folder), dtype=self._dtype, local_files_only=True
            )
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except Exception as e:  # whatever damage does to safetensors, JSON or shapes
            raise ShelfError(
                f"{folder} cannot be loaded: {e}.", "Give a folder that transformers reads."
            ) from e
        self._tokenizer.split_special_tokens = True  # a text that spells [SEP] is letters
        self.longest = min(self._tokenizer.model_max_length, int(model.config.max_position_embeddings))
        self._base = by_rows(model.eval().requires_grad_(False).to(self._device))

    @property
    def base(self) -> Variant:
        """The base alone."""
        return Variant(None, self._base)

    @property
    def tokenizer(self) -> Any:
        """The model's own tokenizer."""
        return self._tokenizer

    def over(self, folder: Path, digest: str) -> Variant:
        """Lay an adapter over the base, whose weights it shares.

        Raises:
            ShelfError: the files are no adapter, are damaged, or are of another base or label map.
        """
        check_adapter(folder, self.digest, self.columns)
        try:
            laid = PeftModel.from_pretrained(
                self._twin(), str(folder), adapter_name="served", is_trainable=False
            )
        except Exception as e:  # whatever damage does to safetensors, JSON or shapes
            raise ShelfError(
                f"{folder} cannot be laid over the base: {e}.", "Train again, or roll back."
            ) from e
        return Variant(digest, by_rows(laid.eval().requires_grad_(False).to(self._device, self._dtype)))

    def _twin(self) -> Any:
        """A tree of modules of its own over the same tensors."""
        tensors = [*self._base.parameters(), *self._base.buffers()]
        return copy.deepcopy(self._base, {id(t): t for t in tensors})

    def encode(self, premise: str, hypothesis: str) -> Encoded:
        """Turn a pair into tokens. A pair that is too long loses the end of its premise; the claim is never cut.

        Raises:
            InputError: an empty text.
            TooLargeError: a text above the character limit, or a hypothesis that fills the model's length alone.
        """
        (found,) = self.encoded([(premise, hypothesis)])
        if isinstance(found, SekishoError):
            raise found
        return found

    def encoded(self, pairs: Sequence[tuple[str, str]]) -> list[Encoded | SekishoError]:
        """Turn pairs into tokens, as `encode`; what is wrong with one is its answer."""
        faults = [self._fault(*pair) for pair in pairs]
        good = [pair for pair, fault in zip(pairs, faults, strict=True) if fault is None]
        found = self._tokenizer([p for p, _ in good], [h for _, h in good]) if good else {"input_ids": []}
        ids, types = found["input_ids"], found.get("token_type_ids")
        rows = (
            self._row(pair, ids[i], types[i] if types else [0] * len(ids[i])) for i, pair in enumerate(good)
        )
        return [next(rows) if fault is None else fault for fault in faults]

    def _fault(self, premise: str, hypothesis: str) -> SekishoError | None:
        for name, text in (("premise", premise), ("hypothesis", hypothesis)):
            if not text.strip():
                return InputError(f"The {name} is empty.", "Give a text.", ("body", name))
            if len(text) > self._most:
                return TooLargeError(f"The {name} has {len(text)} characters.", f"Give at most {self._most}.")
        return None

    def _row(
        self, pair: tuple[str, str], ids: Sequence[int], types: Sequence[int]
    ) -> Encoded | TooLargeError:
        """A pair's tokens, cut to the model's length."""
        over = len(ids) - self.longest
        if over <= 0:
            return Encoded(tuple(ids), tuple(types), 0)
        try:
            found = self._cut(*pair)
        except TooLargeError as e:
            return e
        types = found.get("token_type_ids") or [0] * len(found["input_ids"])
        return Encoded(tuple(found["input_ids"]), tuple(types), over)

    def _cut(self, premise: str, hypothesis: str) -> Any:
        own = len(self._tokenizer(hypothesis, add_special_tokens=False)["input_ids"])
        extra = self._tokenizer.num_special_tokens_to_add(pair=True)
        if own + extra >= self.longest:
            raise TooLargeError(
                f"The hypothesis has {own} tokens; with {extra} marks nothing of the premise would fit into {self.longest}.",
                "Shorten it.",
            )
        return self._tokenizer(premise, hypothesis, truncation="only_first", max_length=self.longest)

    def logits(self, variant: Variant, rows: Sequence[Encoded]) -> list[tuple[float, ...]]:
        """Logits of rows of one width, by the model's columns, rounded to DECIMALS."""
        width, pad = rows[0].width, self._tokenizer.pad_token_id
        given = {
            "input_ids": [[*r.ids, *[pad] * (width - len(r.ids))] for r in rows],
            "attention_mask": [[1] * len(r.ids) + [0] * (width - len(r.ids)) for r in rows],
        }
        if "token_type_ids" in self._tokenizer.model_input_names:
            given["token_type_ids"] = [[*r.types, *[0] * (width - len(r.types))] for r in rows]
        with torch.inference_mode():
            found = variant.model(
                **{k: torch.tensor(v, device=self._device) for k, v in given.items()}
            ).logits
        return [tuple(round(x, DECIMALS) for x in row) for row in found.double().tolist()]
