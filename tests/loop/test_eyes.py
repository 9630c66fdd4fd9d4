"""An eye from rendered forms to a model folder with its card, on a handful of forms: what it says of itself, not how well it sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sekisho import wiring
from sekisho.core.canonical import digest_file
from sekisho.core.errors import TrainingError
from sekisho.core.settings import load
from sekisho.data.forms import sheet
from sekisho.loop import eyes
from sekisho.loop.eyes import train_eyes
from sekisho.wiring import make_sight

ROOT = Path(__file__).resolve().parents[2]
SMALL = """
name = "{name}"
kind = "eyes"
seed = 5
forms = 8
calibration = 8
epochs = 1.0
batch = 4
threads = 1
{more}
[shape]
vocab_size = 1536
hidden_size = 32
intermediate_size = 64
layers = 1
heads = 1
vision_size = 32
vision_layers = 1
vision_heads = 1
"""

pytestmark = pytest.mark.skipif(
    not all(p.is_file() for paths in sheet.FONTS.values() for p in paths),
    reason="needs fonts-ipafont-gothic and fonts-ipafont-mincho",
)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """What the house ships, with no models."""
    (tmp_path / "share").mkdir()
    for name in ("policies", "data", "recipes"):
        (tmp_path / "share" / name).symlink_to(ROOT / name)
    return tmp_path / "share"


@pytest.fixture
def house(tmp_path: Path, share: Path, monkeypatch):
    monkeypatch.setattr(eyes, "HELD", 8)
    built = wiring.build(load({"home": tmp_path / "home", "share": share, "engine": "fake"}, env={}))
    yield built
    built.close()


def recipe(folder: Path, name: str, more: str = "") -> str:
    file = folder / f"{name}.toml"
    file.write_text(SMALL.format(name=name, more=more))
    return str(file)


def test_an_eye_tells_what_it_was_made_of_and_another_goes_on_from_it(house, share, tmp_path):
    first = train_eyes(house, recipe(tmp_path, "one"), tmp_path / "run")
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert card.startswith("# one\n")
    assert "made from nothing by `sekisho rubric train one` from 8 rendered forms. It" in card
    assert (first.start, first.figures.images) == ("", 8)
    assert first.weights == digest_file(tmp_path / "run" / "model" / "model.safetensors")

    (share / "models").mkdir()
    (tmp_path / "run" / "model").rename(share / "models" / "one")
    more = recipe(tmp_path, "more", 'start = "models/one"\nfirst = 8\ncrowded = 8')
    second = train_eyes(house, more, tmp_path / "run2")
    card = (tmp_path / "run2" / "model" / "README.md").read_text()
    assert card.startswith("# one\n")
    assert (
        f"from the weights `models/one` had before (`{first.weights}`) by `sekisho rubric train more`" in card
    )
    assert "from further 8 rendered forms and 8 that show much at once" in card
    told = json.loads((tmp_path / "run2" / "model" / "figures.json").read_text())
    assert (told["start"], second.start) == (first.weights, first.weights)
    assert second.weights != first.weights

    settings = load({"home": tmp_path / "home", "eye_model": str(tmp_path / "run2" / "model")}, env={})
    assert (
        make_sight(settings).pack
        == json.loads((tmp_path / "run2" / "model" / "made.json").read_text())["pack_digest"]
    )


def test_a_run_of_other_weights_is_not_gone_on_with(house, share, tmp_path):
    train_eyes(house, recipe(tmp_path, "one"), tmp_path / "run")
    with pytest.raises(TrainingError, match="another recipe"):
        train_eyes(house, recipe(tmp_path, "other"), tmp_path / "run")
