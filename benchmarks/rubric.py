"""Sixty criteria over one image on the same torch model in one run: the packed pass, sixty separate prompts, and JSON decoded token by token under a grammar.

Uses the eye in `models/nano_vl`, or one of the same shape with random weights where there is none (times do not depend on what it has learnt). Also answers `--images`
rendered forms and counts how many answers are complete and valid, and compares probabilities of the packed pass with those of separate prompts.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from transformers import Qwen2VLForConditionalGeneration

from sekisho.core.packing import pack
from sekisho.data.forms.make import make
from sekisho.data.pixels import patches, scaled
from sekisho.serve.eyes import packed, prompt
from sekisho.serve.eyes.torch import TorchEye
from sekisho.tasks.rubric.lint import read_pack
from sekisho.train.eyes_model import EyesRecipe, new_model
from sekisho.train.eyes_tokens import SPECIAL, train_tokenizer
from sekisho.train.recipe import find_recipe, read_recipe

ROOT = Path(__file__).resolve().parents[1]
PACK = read_pack("intake", ROOT)
QUESTIONS = {c.id: c.question.en for c in PACK.criteria}
TOLERANCE = 1e-4


def load() -> tuple[Any, Tokenizer, str]:
    """The model, its tokenizer, and whose weights they are."""
    folder = ROOT / "models" / "nano_vl"
    if (folder / "model.safetensors").is_file():
        model = Qwen2VLForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )
        return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json")), "models/nano_vl"
    shape = read_recipe(find_recipe("nano_vl", ROOT), EyesRecipe).shape
    tokenizer = train_tokenizer(list(QUESTIONS.values()), shape.vocab_size)
    ids = {t: int(tokenizer.token_to_id(t) or 0) for t in SPECIAL}
    return new_model(shape, ids, 1).eval(), tokenizer, "random weights"


class Ways:
    """The three ways over one image's patches."""

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.form = prompt.form_of(tokenizer)
        self.branches = prompt.branches(tokenizer, list(QUESTIONS.values()))
        self.pack = pack(self.branches)
        self.pad = tokenizer.token_to_id("<|image_pad|>")

    def packed(self, pixels: torch.Tensor, grid: torch.Tensor) -> list[float]:
        """Everything at once."""
        logits, _ = packed.answers(self.model, pixels, grid, self.pack, self.form)
        return torch.softmax(logits[0].double(), -1)[:, 0].tolist()

    def separate(self, pixels: torch.Tensor, grid: torch.Tensor) -> list[float]:
        """Sixty prompts through the architecture's own forward."""
        found = []
        for branch in self.branches:
            logits = self.model(**self._inputs(pixels, grid, branch)).logits[0, -1].double()
            found.append(float(torch.softmax(logits[[self.form.yes, self.form.no]], -1)[0]))
        return found

    def decoded(self, pixels: torch.Tensor, grid: torch.Tensor) -> dict[str, int]:
        """One JSON object, token after token with a cache; the grammar leaves a choice between 0 and 1 only, every other token is forced."""
        zero, one = (self.tokenizer.encode(d).ids[-1] for d in "01")
        inputs = self._inputs(pixels, grid, [t for b in self.branches for t in b])
        out, answers = self.model(**inputs, use_cache=True), {}
        for place, id in enumerate(QUESTIONS):
            out = self._forced(out, ("{" if place == 0 else ",") + f'"{id}":')
            token = one if out.logits[0, -1, one] > out.logits[0, -1, zero] else zero
            answers[id] = int(token == one)
            out = self._step(out, token)
        self._forced(out, "}")
        return answers

    def _forced(self, out: Any, text: str) -> Any:
        for token in self.tokenizer.encode(text).ids:
            out = self._step(out, token)
        return out

    def _step(self, out: Any, token: int) -> Any:
        ids = torch.tensor([[token]])
        return self.model(input_ids=ids, past_key_values=out.past_key_values, use_cache=True)

    def _inputs(self, pixels: torch.Tensor, grid: torch.Tensor, tail: list[int]) -> dict[str, Any]:
        ids = torch.tensor([[self.form.start, *[self.pad] * (len(pixels) // 4), self.form.end, *tail]])
        return {
            "input_ids": ids,
            "pixel_values": pixels,
            "image_grid_thw": grid,
            "mm_token_type_ids": (ids == self.pad).int(),
            "attention_mask": torch.ones_like(ids),
        }


def timed(work: Any, rounds: int) -> float:
    """Median seconds."""
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def valid(eye: TorchEye, seed: int) -> tuple[bool, float]:
    """Whether a form's answers are complete and valid, and the seconds they took from the image file on."""
    out = io.BytesIO()
    make(seed, "held").image.save(out, "PNG")
    start = time.perf_counter()
    seen = eye.look_now(out.getvalue(), QUESTIONS)
    took = time.perf_counter() - start
    whole = list(seen.log_odds) == list(QUESTIONS) and all(abs(o) < 1e6 for o in seen.log_odds.values())
    return whole, took


def main() -> int:
    """Measure and print; exit code 1 when the packed pass is not what separate prompts are, or an answer is not whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    model, tokenizer, whose = load()
    ways = Ways(model, tokenizer)
    flat, (rows, columns) = patches(scaled(make(0, "held").image))
    pixels, grid = torch.from_numpy(flat), torch.tensor([[1, rows, columns]])
    with torch.inference_mode():
        together, alone = ways.packed(pixels, grid), ways.separate(pixels, grid)
        away = max(abs(a - b) for a, b in zip(together, alone, strict=True))
        quick = timed(lambda: ways.packed(pixels, grid), 4 * given.rounds)
        sixty = timed(lambda: ways.separate(pixels, grid), max(1, given.rounds // 2))
        written = timed(lambda: ways.decoded(pixels, grid), max(1, given.rounds // 2))
        complete = set(ways.decoded(pixels, grid)) == set(QUESTIONS)
    eye = TorchEye("bench", ROOT)
    eye._model, eye._tokenizer = model, tokenizer
    answers = [valid(eye, seed) for seed in range(given.images)]
    table = Table(
        "way",
        "milliseconds an image",
        "times the packed pass",
        title=f"60 criteria over one image ({whose}, {torch.get_num_threads()} threads)",
    )
    for name, seconds in (
        ("packed pass", quick),
        ("60 separate prompts", sixty),
        ("constrained JSON", written),
    ):
        table.add_row(name, f"{1000 * seconds:.1f}", f"{seconds / quick:.1f}")
    console = Console()
    console.print(table)
    console.print(
        f"largest difference of a probability, packed and separate: {away:.2e} (bound {TOLERANCE:g})"
    )
    console.print(
        f"complete and valid: {sum(w for w, _ in answers)} of {len(answers)}; from file to answers {1000 * statistics.median(t for _, t in answers):.0f} ms in the median"
    )
    return 0 if away <= TOLERANCE and complete and all(w for w, _ in answers) else 1


if __name__ == "__main__":
    sys.exit(main())
