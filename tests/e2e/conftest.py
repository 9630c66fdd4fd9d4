from __future__ import annotations

from pathlib import Path

import pytest

from .running import ROOT, sekisho


def quick_recipe(folder: Path, epochs: float) -> Path:
    """The gate's own recipe with fewer epochs: the same road, a weaker gate."""
    lines = (ROOT / "recipes" / "gate.toml").read_text().splitlines()
    path = folder / "quick.toml"
    path.write_text("\n".join(f"epochs = {epochs}" if line.startswith("epochs") else line for line in lines))
    return path


@pytest.fixture(scope="session")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the shipped nano base was made a gate, quickly, by the real commands, and promoted."""
    home = tmp_path_factory.mktemp("promoted")
    recipe = quick_recipe(home, 1.0)
    (home / "sekisho.toml").write_text(f'recipe = "{recipe.as_posix()}"\n')
    assert sekisho(home, "up", "--no-serve")["done"]
    return home
