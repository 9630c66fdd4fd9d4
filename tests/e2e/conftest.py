from __future__ import annotations

from pathlib import Path

import pytest

from thin import thin_share

from .running import ROOT, sekisho

QUICK = {
    "epochs": "0.28",
    "learning_rate": "1.3e-3",
    "gate_learning_rate": "2.5e-3",
    "correction_weight": "17",
}
"""What makes the gate's own recipe quick: longer steps over a part of an epoch, in which every correction is seen about five times."""
ALPHA = "0.03"
"""A stricter bound than the default: gates trained this briefly differ, and a proof refuses those above 5 % false allows."""


def quick_recipe(folder: Path, **changes: object) -> Path:
    """The gate's own recipe with some lines replaced: the same road, a weaker gate."""
    knobs = QUICK | {k: str(v) for k, v in changes.items()}
    lines = (ROOT / "recipes" / "gate.toml").read_text().splitlines()
    names = [line.partition(" =")[0] for line in lines]
    path = folder / f"quick-{'-'.join(knobs.values())}.toml"
    path.write_text(
        "\n".join(f"{n} = {knobs[n]}" if n in knobs else line for n, line in zip(names, lines, strict=True))
    )
    return path


@pytest.fixture(scope="session")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the shipped nano base was made a gate, quickly, by the real commands, and promoted."""
    home = tmp_path_factory.mktemp("promoted")
    share = thin_share(home / "share", 4, 2)
    (home / "sekisho.toml").write_text(
        f'recipe = "{quick_recipe(home).as_posix()}"\nshare = "{share.as_posix()}"\nalpha = {ALPHA}\nexports = "f16"\n'
    )
    assert sekisho(home, "up", "--no-serve")["done"]
    return home
