"""Tesseract as a program beside us: asked through pipes, under a deadline, and missing with a clear word about what to install."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache

from ...core.errors import EngineError, EngineTimeoutError, ToolError
from .text import Line, lines_of

PACKAGES: Mapping[str, str] = {
    "jpn": "tesseract-ocr-jpn",
    "jpn_vert": "tesseract-ocr-jpn-vert",
    "eng": "tesseract-ocr-eng",
}
"""Debian's and Ubuntu's package of each language; on Windows the installer asks for them."""
ONE_BLOCK, ONE_VERTICAL_BLOCK, AUTOMATIC = 6, 5, 3
"""Page segmentation modes."""


def require(languages: Sequence[str]) -> str:
    """Find Tesseract and what it needs for these languages; return its path.

    Raises:
        ToolError: naming what is missing and the package to install.
    """
    path = shutil.which("tesseract")
    if path is None:
        packages = " ".join(["tesseract-ocr", *(PACKAGES.get(x, f"tesseract-ocr-{x}") for x in languages)])
        raise ToolError(
            "Tesseract is not installed.", f"On Debian and Ubuntu: sudo apt-get install {packages}"
        )
    missing = [x for x in languages if x not in _known(path)]
    if missing:
        packages = " ".join(PACKAGES.get(x, f"tesseract-ocr-{x}") for x in missing)
        what = f"Tesseract has no language data for {', '.join(missing)}."
        raise ToolError(what, f"On Debian and Ubuntu: sudo apt-get install {packages}")
    return path


@cache
def _known(path: str) -> frozenset[str]:
    """Languages an installed Tesseract has data for."""
    ended = subprocess.run([path, "--list-langs"], capture_output=True, text=True, timeout=10, check=False)
    return frozenset(ended.stdout.split("\n")[1:])


def read(
    png: bytes, languages: Sequence[str], mode: int, seconds: float, threads: int = 1
) -> tuple[Line, ...]:
    """Read one image.

    Args:
        png: the image, handed over in memory.
        languages: Tesseract's names, the likelier first.
        mode: page segmentation mode.
        seconds: deadline.

    Raises:
        ToolError, EngineTimeoutError, EngineError: when it is missing, too slow, or fails.
    """
    command = [require(languages), "stdin", "stdout", "-l", "+".join(languages), "--psm", str(mode), "tsv"]
    env = {**os.environ, "OMP_THREAD_LIMIT": str(threads)}
    try:
        ended = subprocess.run(command, input=png, capture_output=True, timeout=seconds, env=env, check=False)
    except subprocess.TimeoutExpired as e:
        what = f"Tesseract did not finish within {seconds:g} seconds."
        raise EngineTimeoutError(what, "Send a smaller image or allow more time.") from e
    if ended.returncode:
        told = ended.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no reason given"]
        raise EngineError(
            f"Tesseract ended with {ended.returncode}: {told[0]}.", "Run `tesseract --version`."
        )
    return lines_of(ended.stdout.decode("utf-8", "replace"))
