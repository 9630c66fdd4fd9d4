"""Tuner: an adapter for any base, from Python, without a house around it: from a path and a recipe, train, generate, bake.

    from sekisho.loop.tuner import Tuner

    tuner = Tuner("models/Phi-4-mini-instruct", "recipes/gate.toml", out="runs/mine")
    tuner.train("rows.jsonl")
    print(tuner.generate("何をしてはいけませんか。"))
    tuner.bake("rows.jsonl")

Under `torchrun` every process runs the same lines; the first one writes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from ..core.canonical import digest_text, folder_digest, json_lines, model_digest
from ..core.disk import write_whole
from ..core.errors import DataError, InputError, ShelfError
from ..core.question import Example, Frozen, gate_question
from ..shelf import write_json
from ..train import fit as room
from ..train.board import plot, read_points
from ..train.chat import closing_ids, user_ids
from ..train.documents import as_toml, from_documents, read_any
from ..train.identity import Identity, identity, is_finished, keep_identity, keep_result, require_same
from ..train.recipe import Finetune, recipe_digest
from ..train.together import wait_for_all
from ..train.tokenizer import decision_ids
from ..weights.adapter import save_adapter
from ..weights.bake import MAX_ROUNDING, compare
from ..weights.bake import bake as fold
from ..weights.gauge import apply_gauge, gauge_trial
from ..weights.shards import sharded_names
from .exporting import EVERY, copy_tokenizer, export_all, quantiser_is_there, require_kinds
from .memory import free_memory

_PROMPTS = 16


class Tuned(Frozen):
    """What `tune` made.

    Attributes:
        adapter: its folder.
        digest: of the adapter.
        planned, peak: bytes of memory that were expected and that were used at most; None where the system does not say.
        baked: folder of the plain model and its files; empty without a bake.
        trained: False where the same run had ended before, and its adapter was taken as it is.
    """

    adapter: str
    digest: str
    planned: int
    peak: int | None
    baked: str = ""
    trained: bool = True


class Tuner:
    """One base, one recipe, one folder.

    Args:
        model_path: a Hugging Face model folder.
        recipe: a recipe, its TOML file, a JSON file of the documents, or the content of such a JSON file.
        out: folder of the run: recipe, curve, board, checkpoints, adapter, baked model.
        report: is told of progress, every few steps.
        free: bytes of memory there are; what the system says when not given.
        exports: kinds of GGUF files a bake writes.
    """

    def __init__(
        self,
        model_path: str | Path,
        recipe: Finetune | str | Path | Mapping[str, Any],
        out: str | Path = "runs/tuned",
        report: room.Report | None = None,
        free: int | None = None,
        exports: Sequence[str] = EVERY,
    ) -> None:
        self.base, self.out = Path(model_path), Path(out)
        if not (self.base / "config.json").is_file():
            raise ShelfError(f"{self.base} holds no model.", "Give a Hugging Face model folder.")
        self.recipe = _recipe_of(recipe, self.base)
        require_kinds(exports)
        self._report, self._free, self._exports = report, free, exports
        self._loaded: tuple[Any, Any] | None = None

    @property
    def adapter(self) -> Path:
        """Where the adapter lies when it is trained."""
        return self.out / "adapter"

    def train(self, rows: str | Path | Sequence[Example]) -> Path:
        """Train, or go on with a training that was stopped; return the adapter's folder. Checkpoints of another recipe, base or rows are refused.

        Args:
            rows: examples, or a file of JSON lines: examples whole, or `text` and `label` (ALLOW, ESCALATE, DENY).

        Raises:
            BudgetError, DataError, RecipeError, ShelfError, TrainingError: naming what is wrong.
        """
        examples = read_rows(Path(rows)) if isinstance(rows, str | Path) else list(rows)
        return self._train(examples, identity(self.recipe, self.base, examples))

    def _train(self, examples: Sequence[Example], made: Identity) -> Path:
        first = _is_first()
        # Every process asks for itself: they can wait for each other only later, when training has brought them together.
        require_same(self.out, made)
        if first:
            keep_identity(self.out, made)
            write_whole(self.out / "recipe.toml", as_toml(self.recipe).encode())
        free = free_memory() if self._free is None else self._free
        model, tokenizer = room.fit(self.recipe, self.base, examples, self.out, self._told, free)
        if first:
            self._keep(model, made)
        # A base in shards answers only when all processes ask together; what comes later loads it whole.
        self._loaded = None if sharded_names(model) else (model, tokenizer)
        wait_for_all()
        return self.adapter

    def generate(self, prompt: str, max_tokens: int = 128) -> str:
        """Write an answer with the adapter on, taking the likeliest token each time. It is asked in the words of the base's own chat template; before any training, the base answers.

        Raises:
            InputError: for a text that is no valid Unicode, or less than one token.
            ShelfError: when the base's chat template does not write a question.
        """
        if max_tokens < 1:
            raise InputError(f"max_tokens is {max_tokens}.", "Ask for at least one token.")
        if any("\ud800" <= c <= "\udfff" for c in prompt):
            raise InputError("The text has lone surrogates.", "Send valid Unicode.")
        model, tokenizer = self._model()
        ids = torch.tensor([user_ids(self.base, tokenizer, prompt)])
        close = closing_ids(model, tokenizer)
        with torch.no_grad():
            made = model.generate(
                input_ids=ids.to(next(model.parameters()).device),
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_tokens,
                do_sample=False,
                eos_token_id=close,
                pad_token_id=close[0],
            )
        text: str = tokenizer.decode(made[0, ids.shape[1] :].tolist(), skip_special_tokens=True)
        return text

    def bake(self, rows: str | Path | Sequence[Example], gauge: bool = False) -> dict[str, Any]:
        """Fold the adapter into plain weights, prove them equal over prompts of `rows`, and export to GGUF; return the certificate.

        Raises:
            BakeError: when the plain model answers differently, or a file is not the model.
        """
        examples = read_rows(Path(rows)) if isinstance(rows, str | Path) else list(rows)
        gated, tokenizer = room.load_adapted(self.base, self.adapter)
        plain, report = fold(gated)
        trial = gauge_trial(plain) if quantiser_is_there() else {}
        if gauge:
            apply_gauge(plain)
        prompts = [decision_ids(tokenizer, e.state, e.question) for e in examples[:_PROMPTS]]
        found, exact = compare(gated, plain, prompts), compare(gated, plain, prompts, torch.float64)
        exact.check()
        found.check(MAX_ROUNDING)
        folder = self.out / "baked"
        shutil.rmtree(folder, ignore_errors=True)
        plain.save_pretrained(folder / "model")
        copy_tokenizer(self.base, folder / "model")
        certificate = {
            "fold_error": report.max_error,
            "gauge": {"used": gauge, "relative_error": trial},
            "end_to_end": found.model_dump(),
            "end_to_end_float64": exact.model_dump(),
            "in": {"base": model_digest(self.base), "adapter": folder_digest(self.adapter)},
            **export_all(folder, plain, prompts, 1.0, self._exports),
            "out": model_digest(folder / "model"),
        }
        write_json(folder / "certificate.json", certificate)
        return certificate

    def finish(self, rows: str | Path, bake: bool = False, gauge: bool = False) -> Tuned:
        """Train and, if asked, bake; say what came of it. A run that has ended is not trained again, so that a bake can be repeated alone. Of several processes the first one bakes."""
        examples, first = read_rows(Path(rows)), _is_first()
        made = identity(self.recipe, self.base, examples)
        ended = is_finished(self.out, made, self.adapter) and (self.out / "memory.json").is_file()
        if not ended:
            self._train(examples, made)
        elif first:  # it may have been killed between the adapter and this
            shutil.rmtree(self.out / "checkpoints", ignore_errors=True)
        if bake and first:
            self.bake(examples, gauge)
        memory = json.loads((self.out / "memory.json").read_bytes()) if first else {"planned": {"total": 0}}
        return Tuned(
            adapter=str(self.adapter),
            digest=folder_digest(self.adapter) if first else "",
            planned=memory["planned"]["total"],
            peak=memory.get("peak"),
            baked=str(self.out / "baked") if bake else "",
            trained=not ended,
        )

    def _told(self, numbers: dict[str, float]) -> None:
        curve = self.out / "curve.json"
        before = [p for p in read_points(curve) if p["step"] < numbers["step"]]
        write_json(curve, [*before, numbers])
        if self._report is not None:
            self._report(numbers)

    def _keep(self, model: Any, made: Identity) -> None:
        shutil.rmtree(self.adapter, ignore_errors=True)
        # The base as it was before training: the checkpoints were checked against that one.
        recipe = recipe_digest(self.recipe)
        digest = save_adapter(model, self.adapter, made["base"], recipe, self.recipe.base_type)
        plot(read_points(self.out / "curve.json"), self.out / "curves.svg")
        keep_result(self.out, made, digest)
        shutil.rmtree(self.out / "checkpoints", ignore_errors=True)

    def _model(self) -> tuple[Any, Any]:
        if self._loaded is None:
            trained = self.adapter.is_dir()
            self._loaded = (
                room.load_adapted(self.base, self.adapter) if trained else room.load_base(self.base)
            )
        return self._loaded


def _is_first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def read_rows(path: Path) -> list[Example]:
    """Read examples from JSON lines: whole ones, or `text` and `label`. Raises DataError naming the first line that is neither."""
    try:
        lines = json_lines(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path} cannot be read: {e}.", "Give JSON lines in UTF-8.") from e
    return list(_examples(path, lines))


def _examples(path: Path, lines: Sequence[str]) -> Iterable[Example]:
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("it is not a JSON object")
            if not isinstance(row.get("text", ""), str):
                raise ValueError("`text` is not a text")
            if "text" in row and "state" not in row:
                question, group = gate_question(), digest_text(row["text"])
                if row["label"] not in question.keys:
                    raise ValueError(f"label {row['label']!r} is none of {', '.join(question.keys)}")
                row = {"id": group, "state": row["text"], "question": question, "label": row["label"], "group": group}  # fmt: skip
            yield Example.model_validate(row)
        except (ValueError, KeyError, TypeError, ValidationError, RecursionError) as e:
            raise DataError(
                f"Line {number} of {path} is no example: {e}.", "Give `text` and `label`, or whole examples."
            ) from e


def _recipe_of(recipe: Finetune | str | Path | Mapping[str, Any], base: Path) -> Finetune:
    if isinstance(recipe, Finetune):
        return recipe
    if isinstance(recipe, Mapping):
        return from_documents([dict(recipe)], "tuned", base)
    return read_any(Path(recipe), base)
