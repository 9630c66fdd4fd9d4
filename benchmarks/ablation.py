"""What rotation gates, triality and PET are worth on the gate task: five arms, three seeds, the same rows, intervals.

    python benchmarks/ablation.py [--out FOLDER] [--rows N, 600 by default] [--test N, 300] [--seeds K, 3] [--only ARM …]

Arms: the base alone; LoRA; LoRA and gates; LoRA and triality gates; LoRA, gates and PET, all by `recipes/gate.toml` but for what an arm is about. The data are those of `sekisho gather`, made in the folder when they are
not there. Every arm and seed leaves one file, and a run that is stopped goes on with what is missing, inside an arm from its newest checkpoint. What is reported is the likeliest option (no threshold, no
guards), on hold-out rows of topics that no arm has seen: the mean over seeds, the range over seeds, and a 95 % interval from 2,000 bootstrap samples of topics; then the paired
difference from LoRA, with the same samples. The figures of docs/log.md come from `--rows 2560 --test 1200`.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from sekisho.core.canonical import digest_json
from sekisho.core.disk import write_whole
from sekisho.core.question import Example
from sekisho.data import gateset
from sekisho.data.format import read_split
from sekisho.train.batches import score_examples
from sekisho.train.fit import fit, load_base
from sekisho.train.recipe import Finetune, Pet, find_recipe, read_recipe

SHARE = Path(__file__).parents[1]
NANO = SHARE / "models" / "nano"
OFF = Pet(weights=(0.0, 0.0, 0.0))
ARMS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "LoRA": {"gates": False, "pet": OFF},
    "LoRA + gates": {"pet": OFF},
    "LoRA + triality gates": {"pet": OFF, "triality": True},
    "LoRA + gates + PET": {},
}
OPTIONS = ("ALLOW", "DENY", "ESCALATE")
SAMPLES = 2000


def data(folder: Path) -> Path:
    """The gathered set, made when it is not there."""
    if not (folder / "manifest.json").is_file():
        gateset.gather(SHARE, folder)
    return folder


def shipped() -> Finetune:
    return read_recipe(find_recipe("gate", SHARE), Finetune)


def mixed(rows: Sequence[Example]) -> list[Example]:
    """Rows as often as the shipped recipe shows them in an epoch."""
    recipe = shipped()
    return [e for e in rows for _ in range(recipe.repeats(e))]


def chosen(rows: Sequence[Example], number: int, seed: int) -> list[Example]:
    """`number` rows, in the order they had."""
    kept = set(random.Random(seed).sample(range(len(rows)), min(number, len(rows))))
    return [e for i, e in enumerate(rows) if i in kept]


def trained(arm: str, seed: int, rows: Sequence[Example], out: Path) -> tuple[Any, Any]:
    changes = ARMS[arm]
    if changes is None:
        return load_base(NANO)
    # The mix was drawn beforehand, so that every arm sees the same rows, once each.
    recipe = shipped().model_copy(
        update={"seed": seed, "epochs": 1.0, "mix": {}, "threads": torch.get_num_threads(), **changes}
    )
    return fit(recipe, NANO, rows, out, lambda _: None)


def scores(model: Any, tokenizer: Any, rows: Sequence[Example]) -> list[list[float]]:
    """Log-probabilities over OPTIONS of each row."""
    made = [[0.0, 0.0, 0.0]] * len(rows)
    for i, logp in score_examples(model, tokenizer, rows):
        by_key = dict(zip(rows[i].question.keys, logp, strict=True))
        made[i] = [by_key[k] for k in OPTIONS]
    return made


def one(arm: str, seed: int, train: Sequence[Example], test: Sequence[Example], out: Path) -> np.ndarray:
    key = digest_json(
        {"arm": arm, "seed": seed, "train": [e.id for e in train], "test": [e.id for e in test]}
    )
    file = out / "arms" / f"{arm.replace(' ', '')}-{seed}-{key[7:15]}.json"
    if not file.is_file():
        model, tokenizer = trained(
            arm, seed, train, out / "runs" / f"{arm.replace(' ', '')}-{seed}-{key[7:15]}"
        )
        write_whole(file, json.dumps(scores(model, tokenizer, test)).encode())
    return np.asarray(json.loads(file.read_bytes()))


def f1(label: np.ndarray, said: np.ndarray, which: int) -> float:
    hit = ((label == which) & (said == which)).sum()
    total = (label == which).sum() + (said == which).sum()
    return float(2 * hit / total) if total else 0.0


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": lambda label, logp: float((logp.argmax(1) == label).mean()),
    "macro F1": lambda label, logp: float(np.mean([f1(label, logp.argmax(1), i) for i in range(3)])),
    "DENY F1": lambda label, logp: f1(label, logp.argmax(1), 1),
    "false allow": lambda label, logp: float((logp.argmax(1) == 0)[label != 0].mean()),
    "nats": lambda label, logp: float(-logp[np.arange(len(label)), label].mean()),
}


def samples(groups: Sequence[str], number: int) -> list[np.ndarray]:
    """Bootstrap samples of topics, as indices of rows."""
    rng, places = np.random.default_rng(0), {}
    for i, group in enumerate(groups):
        places.setdefault(group, []).append(i)
    topics = [np.asarray(p) for p in places.values()]
    return [
        np.concatenate([topics[j] for j in rng.integers(0, len(topics), len(topics))]) for _ in range(number)
    ]


def report(found: dict[str, list[np.ndarray]], test: Sequence[Example], console: Console) -> dict[str, Any]:
    label = np.asarray([OPTIONS.index(e.label) for e in test])
    drawn = samples([e.group or e.id for e in test], SAMPLES)
    made: dict[str, Any] = {}
    for name, measure in MEASURES.items():
        table = Table(title=f"{name}, {len(test)} hold-out rows", title_justify="left")
        for column in ("", "mean", "95 % interval", "seeds", "minus LoRA", "95 % interval"):
            table.add_column(column, justify="right" if column else "left")
        rival = _over(measure, label, found.get("LoRA", []), drawn)
        for arm, runs in found.items():
            mean = float(np.mean([measure(label, r) for r in runs]))
            own = _over(measure, label, runs, drawn)
            seeds = [measure(label, r) for r in runs]
            row = {"mean": mean, "interval": _interval(own), "seeds": seeds}
            if len(rival) and arm != "LoRA":
                less = float(np.mean([measure(label, r) for r in found["LoRA"]]))
                row |= {"minus": mean - less, "minus_interval": _interval(own - rival)}
            made.setdefault(arm, {})[name] = row
            table.add_row(arm, f"{mean:.4f}", _shown(row["interval"]), f"{min(seeds):.4f} to {max(seeds):.4f}",
                          f"{row['minus']:+.4f}" if "minus" in row else "", _shown(row.get("minus_interval")))  # fmt: skip
        console.print(table)
    return made


def _over(
    measure: Any, label: np.ndarray, runs: Sequence[np.ndarray], drawn: Sequence[np.ndarray]
) -> np.ndarray:
    if not runs:
        return np.asarray([])
    return np.asarray([np.mean([measure(label[i], r[i]) for r in runs]) for i in drawn])


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _shown(interval: tuple[float, float] | None) -> str:
    return f"{interval[0]:+.4f} to {interval[1]:+.4f}" if interval else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--out",
        type=Path,
        help="Keeps data, checkpoints and results; a folder that is thrown away by default.",
    )
    parser.add_argument("--data", type=Path, help="A gathered set, if there is one.")
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(ARMS), default=list(ARMS))
    asked = parser.parse_args()
    console = Console(width=150)
    with tempfile.TemporaryDirectory() as thrown:
        out = asked.out or Path(thrown)
        folder = asked.data or data(out / "data")
        train = chosen(mixed(read_split(folder, "train")), asked.rows, 1)
        test = chosen(read_split(folder, "holdout"), asked.test, 2)
        found: dict[str, list[np.ndarray]] = {}
        for seed in range(asked.seeds):  # a seed at a time, so that a run cut short has every arm
            for arm in asked.only:
                if arm != "none" or seed == 0:
                    found.setdefault(arm, []).append(one(arm, seed, train, test, out))
                    console.print(f"seed {seed}, {arm}: done")
        made = report(found, test, console)
        write_whole(out / "ablation.json", json.dumps(made, indent=1).encode())


if __name__ == "__main__":
    main()
