"""Whether a far server looks at the images it is sent: a server may drop what it does not know without a word, and answer all the same.

System One has an image in `assets` (transformers) or in `images` (llama.cpp), and llama.cpp passes over `assets`. So two very different pictures are shown first:
a server whose probabilities stay the same does not look. In chat, where there are no probabilities, a prompt with an image must be longer than without.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any

from ...core.errors import EngineError
from ...core.sight import Seen

Form = Callable[[bytes], dict[str, Any]]
"""An image (PNG) as the fields of a System One request that hold it."""
_SIDE = 256
"""Pixels."""
_ROUNDING = 0.1
"""Log-odds by which answers to the same may differ from call to call; a model that looks tells black from a pattern by far more."""
_TIMES = 3.0
_SURE = 7.0
"""Log-odds of a probability of 0.999."""
_IMAGE_TOKENS = 16
"""Tokens that a picture of this size takes at the least; a server that puts a word in its place adds a few."""
_ASKED = {
    "P1": "Is the image completely black?",
    "P2": "Does the image show a pattern?",
    "P3": "Is the image bright?",
    "P4": "Is there nothing to be seen?",
}


def data_url(image: bytes) -> str:
    """A PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(image).decode("ascii")


def sized(image: bytes, pixels: int) -> bytes:
    """An image scaled as the eyes of the house want it (PNG), to at most so many pixels."""
    from PIL import Image

    from ...data.pixels import scaled

    return _png(Image.fromarray(scaled(Image.open(io.BytesIO(image)), pixels)))


def _as_asset(image: bytes) -> dict[str, Any]:
    asset = {"format": "png", "data_base64": base64.b64encode(image).decode("ascii")}
    return {"state": "<image:0>", "assets": {"<image:0>": asset}}


def _as_image(image: bytes) -> dict[str, Any]:
    return {"state": "An image.", "images": [data_url(image)]}


FORMS: tuple[Form, ...] = (_as_asset, _as_image)


def probes() -> tuple[bytes, bytes, Mapping[str, str]]:
    """A black picture and a drawn one (PNG), and questions they are told apart by."""
    drawn = bytes((x ^ y) & 255 for y in range(_SIDE) for x in range(_SIDE))
    return _grey(bytes(_SIDE * _SIDE)), _grey(drawn), _ASKED


def _grey(values: bytes) -> bytes:
    from PIL import Image

    return _png(Image.frombytes("L", (_SIDE, _SIDE), values).convert("RGB"))


def _png(picture: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def saw(one: Seen, other: Seen, again: Seen) -> bool:
    """Whether answers about two pictures differ by more than those about the first one, asked `again`, do from themselves."""
    return _apart(one, other) > max(_ROUNDING, _TIMES * _apart(one, again))


def _apart(one: Seen, other: Seen) -> float:
    """Largest difference of log-odds. Very sure answers are held to be equally sure: what is left of a probability near 0 or 1 is rounding."""
    return max(abs(_held(one.log_odds[i]) - _held(other.log_odds[i])) for i in one.log_odds)


def _held(odds: float) -> float:
    return max(-_SURE, min(_SURE, odds))


def require_longer(without: int | None, with_image: int | None) -> None:
    """Raise EngineError when a prompt is not longer by an image's tokens with one than without; a server that does not count is believed."""
    if without is not None and with_image is not None and with_image < without + _IMAGE_TOKENS:
        raise EngineError(
            "The far eye answers, but does not look at images.",
            "Serve a vision model; llama.cpp wants its `mmproj` file too.",
        )
