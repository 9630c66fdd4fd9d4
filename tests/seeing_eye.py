"""An eye without a model that is right in nine answers of ten and far surer than that, and pictures it knows the truth of."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from sekisho.core.engine import EngineInfo
from sekisho.core.sight import Seen, Sight
from sekisho.tasks.rubric.lint import read_pack

ROOT = Path(__file__).resolve().parents[1]
PACK = read_pack("intake", ROOT)


def picture(number: int) -> bytes:
    """A PNG in one colour, which is its number."""
    out = io.BytesIO()
    Image.new("RGB", (32, 32), (number // 256, number % 256, 7)).save(out, "PNG")
    return out.getvalue()


def known(number: int) -> tuple[dict[str, int], dict[str, float]]:
    """What is right of a picture, and the log-odds the eye gives."""
    rng = np.random.default_rng(number)
    truth = rng.random(len(PACK.ids)) < 0.4
    said = truth ^ (rng.random(len(truth)) < 0.1)
    odds = np.where(said, 8.0, -8.0) + rng.normal(0, 1, len(truth))
    return dict(zip(PACK.ids, truth.astype(int).tolist(), strict=True)), dict(
        zip(PACK.ids, odds.tolist(), strict=True)
    )


class SeeingEye:
    """Fulfils `core.sight.Eye`; counts what it looked at."""

    info = EngineInfo(engine="seeing", model="seeing", model_digest="sha256:see", context=0, device="none")

    def __init__(self) -> None:
        self.looks = 0

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to free."""

    async def look(self, image: bytes, questions, timeout: float) -> Seen:
        """Tell the number from the colour."""
        self.looks += 1
        high, low, _ = Image.open(io.BytesIO(image)).getpixel((0, 0))
        return Seen(log_odds=known(high * 256 + low)[1])


def seeing(monkeypatch) -> SeeingEye:
    """Let every house see with one such eye."""
    eye = SeeingEye()
    monkeypatch.setattr("sekisho.wiring.make_sight", lambda settings: Sight(eye, PACK.digest()))
    return eye


def label_file(folder: Path, count: int, some: tuple[str, ...] = PACK.ids) -> Path:
    """So many pictures and the file of their labels, of some criteria."""
    lines = []
    for number in range(count):
        (folder / f"{number}.png").write_bytes(picture(number))
        truth = known(number)[0]
        lines.append(json.dumps({"image": f"{number}.png", "answers": {i: truth[i] for i in some}}))
    file = folder / "labels.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
