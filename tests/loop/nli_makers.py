"""Real parts for the tests of the NLI service: a tiny classifier with random weights, trained for a moment to know one thing."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch

from sekisho.data.nli import Pair
from sekisho.train.nli import COLUMNS, nli_model, nli_tokenizer
from sekisho.train.nli_recipe import NliShape, NliTrain

NANO = Path(__file__).parents[2] / "models" / "nano"
SHAPE = NliShape(
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    position_buckets=8,
    max_relative_positions=32,
    max_position_embeddings=96,
)
SUBJECTS = (
    "The drug",
    "The trial",
    "The dose",
    "The device",
    "The report",
    "A nurse",
    "The label",
    "A patient",
)
VERBS = ("helps", "harms", "changes", "shows", "needs", "reaches", "leaves", "meets")
THINGS = ("the heart", "the liver", "sleep", "the skin", "growth", "the eye", "memory", "weight")


def tiny(folder: Path, seed: int = 1, labels: tuple[str, ...] = ()) -> Path:
    """Write a classifier with random weights; `labels` renames its columns."""
    recipe = NliTrain(name="tiny", seed=seed, shape=SHAPE)
    tokenizer = nli_tokenizer(NANO, SHAPE.max_position_embeddings)
    model = nli_model(recipe, NANO, tokenizer)
    torch.nn.init.normal_(model.classifier.weight, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if labels:
        config = json.loads((folder / "config.json").read_text())
        config["id2label"] = dict(enumerate(labels))
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def sentences(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Pairs whose label one word of the hypothesis gives away, each from a source of its own; never the same pair twice."""
    rng = random.Random(seed)
    found: dict[tuple[str, str], dict[str, str]] = {}
    while len(found) < count:
        premise = f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(THINGS)} {rng.randrange(1000)}."
        label = rng.choice(sorted(COLUMNS))
        word = {"supports": "indeed", "refutes": "never", "neutral": "perhaps"}[label]
        hypothesis = f"{word} {rng.choice(THINGS)}"
        found[premise, hypothesis] = {
            "premise": premise,
            "hypothesis": hypothesis,
            "label": label,
            "source": premise,
        }
    return list(found.values())


def pairs(count: int, seed: int = 0) -> list[Pair]:
    """The same as rows."""
    return [
        Pair(
            id=str(i),
            premise=s["premise"],
            hypothesis=s["hypothesis"],
            label=s["label"],
            group=s["source"],
            source="made",
            lang="en",
        )
        for i, s in enumerate(sentences(count, seed))
    ]


RECIPE = """
name = "quick"
kind = "nli-adapter"
replay = 0.0
epochs = 30
batch = 16
learning_rate = 2.0e-2
threads = 1
[lora]
dropout = 0.0
"""
