"""Models, adapters and releases on disk, named by the digest of their content.

A folder is built under a temporary name beside its place and renamed when it is whole, so a name on the shelf is always a whole thing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from .core.canonical import digest_json, file_digests, folder_digest, new_id, short
from .core.disk import sync, write_whole
from .core.errors import ShelfError
from .core.question import Frozen

Sort = Literal["adapters", "releases", "proofs", "nli_adapters"]


class Release(Frozen):
    """What a promotion makes serve; `release.json` of a release folder.

    Attributes:
        name: the model's name towards clients.
        base, adapter, recipe, data: tagged digests of what it was made from.
        files: digest of every other file of the folder, by relative name.
        gguf: relative name of the GGUF file by type (f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m).
        temperatures: by question type; what the raw log-probabilities are divided by.
        calibration: id of the fitted calibration.
        threshold: least probability of ALLOW at which the gate answers ALLOW by itself.
        proof: id of the proof of the adapter this was baked from.
        certificate: fold error, end-to-end difference and KL, quantisation error.
    """

    name: str
    base: str
    adapter: str
    recipe: str
    data: str
    files: Mapping[str, str]
    gguf: Mapping[str, str]
    temperatures: Mapping[str, float]
    calibration: str
    threshold: float
    proof: str
    certificate: Mapping[str, Any]


class Shelf:
    """Folders by digest under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def building(self, sort: Sort) -> Iterator[Path]:
        """Give an empty folder to fill; it is removed unless `keep` took it."""
        place = self.root / sort / f".building-{new_id('b')}"
        place.mkdir(parents=True)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what was being built when its process was killed. Only for whoever knows that nothing is being built."""
        for place in self.root.glob("*/.building-*"):
            shutil.rmtree(place, ignore_errors=True)

    def keep(self, sort: Sort, folder: Path) -> str:
        """Move a finished folder under its digest and return the tagged digest; the same content is kept once."""
        tagged = folder_digest(folder)
        place = self.path(sort, tagged)
        sync(p for p in folder.rglob("*") if p.is_file())
        if place.exists():
            return tagged
        folder.replace(place)
        return tagged

    def path(self, sort: Sort, tagged: str) -> Path:
        """Where the folder with that digest lies, there or not."""
        return self.root / sort / short(tagged, 16)

    def get(self, sort: Sort, name: str) -> Path:
        """Find a folder by tagged digest or by an unambiguous beginning of its digits.

        Raises:
            ShelfError: when there is none, or more than one.
        """
        digits = name.removeprefix("sha256:")[:16]
        found = [p for p in self.all(sort) if p.name.startswith(digits)] if digits else []
        if len(found) != 1:
            there = ", ".join(p.name for p in self.all(sort)) or "none"
            raise ShelfError(f"{len(found)} {sort} match {name!r}.", f"On the shelf: {there}.")
        return found[0]

    def digest_of(self, sort: Sort, folder: Path) -> str:
        """The tagged digest of a folder on the shelf, computed anew from its content.

        Raises:
            ShelfError: when the content is no longer what the folder is named after.
        """
        try:
            tagged = folder_digest(folder)
        except OSError as e:
            raise ShelfError(f"{folder} cannot be read: {e}.", "Check its rights and the disk.") from e
        self._require_name(sort, folder, tagged)
        return tagged

    def _require_name(self, sort: Sort, folder: Path, tagged: str) -> None:
        """Refuse a folder that is not named after its content's digest."""
        if self.path(sort, tagged) != folder:
            raise ShelfError(
                f"{folder} was changed after it was put on the shelf.", "Make it again, or roll back."
            )

    def all(self, sort: Sort) -> list[Path]:
        """Every finished folder of a sort, oldest first."""
        folder = self.root / sort
        if not folder.is_dir():
            return []
        done = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
        return sorted(done, key=lambda p: p.stat().st_mtime)

    def release(self, tagged: str) -> tuple[Path, Release]:
        """Read a release and check that the folder is, byte for byte, the one its name was made from.

        Raises:
            ShelfError: naming the file that is missing or changed.
        """
        folder = self.get("releases", tagged)
        release, found = read_release(folder), file_digests(folder)
        for name, want in release.files.items():
            if found.get(name) != want:
                raise ShelfError(
                    f"{folder / name} is missing or changed.", "Bake again, or roll back to another release."
                )
        self._require_name("releases", folder, digest_json(found))
        return folder, release


def read_release(folder: Path) -> Release:
    """Read `release.json`. Raises ShelfError when it is missing or malformed."""
    try:
        return Release.model_validate_json((folder / "release.json").read_bytes())
    except (OSError, ValidationError) as e:
        raise ShelfError(f"{folder} holds no readable release: {e}.", "Bake again.") from e


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a partial file never stands under `path`: beside, fsync, rename."""
    write_whole(path, json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True).encode())
