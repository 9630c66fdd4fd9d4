"""A house with a small gathered set and a tiny base: the whole loop in seconds, with nothing replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sekisho import wiring
from sekisho.core import settings
from sekisho.core.gate_prompt import gate_state
from sekisho.core.question import Example
from sekisho.data.format import Manifest, describe_files, write_set
from sekisho.loop.gather import data_folder
from train.conftest import requests, tiny_finetune


def rows(count: int, seed: int) -> list[Example]:
    """Gathered rows whose decision is their first word."""
    found = []
    for i, e in enumerate(requests(count, seed)):
        meta = {"text": e.state, "lang": "en", "domain": "general", "source": "tiny", "variant": 0}
        meta |= {"pair": f"{seed}-{i // 3}"}
        found.append(e.model_copy(update={"state": gate_state(e.state), "meta": meta}))
    return found


def gather_small(parts: wiring.House, splits: Mapping[str, Sequence[Example]]) -> None:
    manifest = Manifest(
        seed=0,
        variants=0,
        policy="default",
        files=describe_files(splits),
        inputs={},
        sources=(),
        counts=(),
        lengths={},
        leanings={},
        decision_by_language={},
    )
    write_set(data_folder(parts), splits, manifest)


def small_house(home: Path, base: Path, epochs: float = 1.0, **more: str) -> wiring.House:
    """A wired house over the tiny base whose recipe takes a moment, with its set gathered."""
    home.mkdir(parents=True, exist_ok=True)
    given = {
        "home": str(home),
        "gate_model": str(base),
        "recipe": str(write_recipe(home, epochs)),
        "alpha": "0.2",
        "exports": "f16,q8_0",
        **more,
    }
    house = wiring.build(settings.load({"engine": "fake", **given}))
    gather_small(house, {"train": rows(120, 1), "calibration": rows(90, 2), "holdout": rows(60, 3)})
    return house


def write_recipe(home: Path, epochs: float) -> Path:
    recipe = tiny_finetune(epochs=epochs)
    path = home / "tiny.toml"
    path.write_text(
        f'name = "tiny"\nepochs = {epochs}\nbatch = {recipe.batch}\nlearning_rate = {recipe.learning_rate}\n'
        f"gate_learning_rate = {recipe.gate_learning_rate}\nthreads = 1\nbf16 = false\n"
        "[lora]\nr = 16\nalpha = 32.0\ndropout = 0.0\n"
    )
    return path
