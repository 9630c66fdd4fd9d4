from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.data.corpus import DOMAINS

from .running import ROOT, sekisho


def quick_recipe(folder: Path, epochs: float) -> Path:
    """The gate's own recipe with fewer epochs: the same road, a weaker gate."""
    lines = (ROOT / "recipes" / "gate.toml").read_text().splitlines()
    path = folder / "quick.toml"
    path.write_text("\n".join(f"epochs = {epochs}" if line.startswith("epochs") else line for line in lines))
    return path


def small_share(folder: Path) -> Path:
    """The repository's own share, with a quarter of the authored requests: the same road in a quarter of the time."""
    share = folder / "share"
    authored = share / "data" / "gate" / "authored"
    authored.mkdir(parents=True)
    for name in ("models", "policies", "recipes"):
        (share / name).symlink_to(ROOT / name)
    for path in (ROOT / "data").iterdir():
        if path.name != "gate":
            (share / "data" / path.name).symlink_to(path)
    for domain in DOMAINS:
        (authored / f"{domain}.jsonl").symlink_to(ROOT / "data" / "gate" / "authored" / f"{domain}.jsonl")
    return share


@pytest.fixture(scope="session")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the shipped nano base was made a gate, quickly, by the real commands, and promoted."""
    home = tmp_path_factory.mktemp("promoted")
    share, recipe = small_share(home), quick_recipe(home, 0.4)
    (home / "sekisho.toml").write_text(f'recipe = "{recipe.as_posix()}"\nshare = "{share.as_posix()}"\n')
    assert sekisho(home, "up", "--no-serve")["done"]
    return home
