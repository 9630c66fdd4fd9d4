"""Many images judged one after the other, and looked at together at the end: the run over a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..core.errors import DataError, InputError, LedgerError, SekishoError
from ..core.progress import Progress
from ..core.question import Frozen
from ..tasks.rubric.monitor import Alarm, alarms, measure
from .ocr import read_bytes
from .parts import Parts
from .recognise import Eyes, Recognised


class Told(Frozen):
    """One image of a run: what was found, or why not."""

    file: str
    found: Recognised | None = None
    error: str | None = None


class Ran(Frozen):
    """A run over many images.

    Attributes:
        alarms: what looks like an eye that stopped looking, over all of them.
    """

    images: int
    failed: int
    alarms: tuple[Alarm, ...]


KINDS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""Names a folder's images have. A file that is named itself may be called anything."""


def images_in(given: Sequence[Path]) -> list[Path]:
    """The files, and those of folders in the order of their names, each once, however often and by whatever way it was named.

    Raises:
        DataError: for what is not there. InputError: when nothing is left.
    """
    found: dict[Path, Path] = {}
    for path in given:
        if not path.exists():
            raise DataError(f"There is no {path}.", "Give image files or folders.")
        inside = (
            sorted(p for p in path.rglob("*") if p.suffix.lower() in KINDS and p.is_file())
            if path.is_dir()
            else [path]
        )
        for file in inside:
            found.setdefault(file.resolve(), file)
    if not found:
        raise InputError("There is no image there.", f"Images end in {', '.join(KINDS)}.")
    return list(found.values())


async def run(
    parts: Parts, pack: str, files: Sequence[Path], told: Callable[[Told], None], progress: Progress
) -> Ran:
    """Judge image after image; one that cannot be judged does not keep the others from it. Raises for what no image could help."""
    eyes = Eyes(parts)
    bits: list[tuple[int, str | None]] = []
    try:
        scorer = await eyes.ready(pack)
        for number, file in enumerate(files, start=1):
            one = await _one(eyes, file, pack)
            if one.found is not None:
                bits.append((scorer.bits({c.id: int(c.yes) for c in one.found.checks}), one.found.pattern))
            told(one)
            progress.step("look", number, len(files))
    finally:
        await eyes.close()
    alarming: tuple[Alarm, ...] = ()
    if bits:
        bias = measure([b for b, _ in bits], [p for _, p in bits], scorer.pack.ids, len(scorer.pack.patterns))
        alarming = tuple(alarms(bias))
    return Ran(images=len(files), failed=len(files) - len(bits), alarms=alarming)


async def _one(eyes: Eyes, file: Path, pack: str) -> Told:
    try:
        return Told(file=str(file), found=await eyes.recognise(read_bytes(file), pack))
    except LedgerError:
        raise
    except SekishoError as e:
        return Told(file=str(file), error=str(e))
