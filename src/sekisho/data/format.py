"""The gathered set on disk: one JSON-lines file a split and a manifest that names their digests. The manifest is written last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from ..core.canonical import canonical_json, digest, digest_file, digest_json
from ..core.disk import write_whole
from ..core.errors import DataError
from ..core.question import Example, Frozen
from .corpus import read_json_lines

FILES = ("train", "calibration", "holdout", "evaluation")
"""Splits of a gathered set; `evaluation` is empty unless an evaluation file was given."""
MANIFEST = "manifest.json"


class Count(Frozen):
    """Rows of one cell. `varied` are the wrapped variants among them."""

    split: str
    source: str
    lang: str
    domain: str
    decision: str
    rows: int
    varied: int


class SourceReport(Frozen):
    """What became of one source: rows read, rows kept (without variants), drops by reason, licence."""

    source: str
    licence: str
    read: int
    kept: int
    drops: Mapping[str, int]


class Manifest(Frozen):
    """What a gathered set is, and everything its data card tells. It holds no time and no path, so equal inputs give equal manifests.

    Attributes:
        files: digest and rows by split.
        inputs: digest of every file that was read, by path under `data` or by name for an evaluation file.
        lengths: mean characters of the bare authored requests, by language and decision.
        leanings: accuracy of predictors that read one cheap cue of the authored requests; chance is 1/3.
        decision_by_language: P(decision | language) by split.
    """

    version: int = 1
    seed: int
    variants: int
    policy: str
    files: Mapping[str, Mapping[str, str | int]]
    inputs: Mapping[str, str]
    sources: tuple[SourceReport, ...]
    counts: tuple[Count, ...]
    lengths: Mapping[str, Mapping[str, float]]
    leanings: Mapping[str, float]
    decision_by_language: Mapping[str, Mapping[str, Mapping[str, float]]]

    @property
    def digest(self) -> str:
        """Digest of the whole manifest: the name of this data set in proofs."""
        return digest_json(self.model_dump(mode="json"))

    def rows(self, **cell: str) -> int:
        """Rows of all cells that match, for example `rows(split="train", lang="ja")`."""
        return sum(c.rows for c in self.counts if all(getattr(c, k) == v for k, v in cell.items()))


def count_cells(split: str, examples: Iterable[Example]) -> list[Count]:
    """Count examples by source × language × domain × decision, sorted."""
    rows: Counter[tuple[str, str, str, str]] = Counter()
    varied: Counter[tuple[str, str, str, str]] = Counter()
    for e in examples:
        cell = (e.meta["source"], e.meta["lang"], e.meta["domain"], e.label)
        rows[cell] += 1
        varied[cell] += e.meta["variant"] > 0
    return [
        Count(split=split, source=s, lang=g, domain=d, decision=k, rows=n, varied=varied[s, g, d, k])
        for (s, g, d, k), n in sorted(rows.items())
    ]


def decision_by_language(examples: Iterable[Example]) -> dict[str, dict[str, float]]:
    """Return P(decision | language), rounded to four places."""
    seen = Counter((e.meta["lang"], e.label) for e in examples)
    total = Counter[str]()
    for (lang, _), n in seen.items():
        total[lang] += n
    table: dict[str, dict[str, float]] = {}
    for (lang, decision), n in sorted(seen.items()):
        table.setdefault(lang, {})[decision] = round(n / total[lang], 4)
    return table


def encode(examples: Iterable[Example]) -> bytes:
    """Return examples as JSON lines in canonical form."""
    return b"".join(canonical_json(e.model_dump(mode="json")) + b"\n" for e in examples)


def write_set(out: Path, splits: Mapping[str, Sequence[Example]], manifest: Manifest) -> None:
    """Write every split and then the manifest, each atomically. Raises DataError when the disk refuses."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            write_whole(out / f"{name}.jsonl", encode(splits.get(name, ())))
        write_whole(out / MANIFEST, canonical_json(manifest.model_dump(mode="json")) + b"\n")
    except OSError as e:
        raise DataError(
            f"The set cannot be written to {out}: {e}.", "Free space or choose another home."
        ) from e


def describe_files(splits: Mapping[str, Sequence[Example]]) -> dict[str, dict[str, str | int]]:
    """Return digest and rows of every split as it will be written."""
    return {
        name: {"digest": digest(encode(splits.get(name, ()))), "rows": len(splits.get(name, ()))}
        for name in FILES
    }


def read_manifest(out: Path) -> Manifest:
    """Read the manifest of a gathered set. Raises DataError when it is missing or wrong."""
    try:
        return Manifest.model_validate_json((out / MANIFEST).read_bytes())
    except OSError as e:
        raise DataError(f"There is no gathered set in {out}: {e}.", "Run `sekisho gather`.") from e
    except ValidationError as e:
        raise DataError(
            f"{out / MANIFEST} is not a manifest of this version: {e}.", "Run `sekisho gather` again."
        ) from e


def read_split(out: Path, split: str) -> list[Example]:
    """Read one split back.

    Raises:
        DataError: when the file is missing, was changed since it was gathered, or has a row that is no example.
    """
    if split not in FILES:
        raise DataError(f"There is no split {split!r}.", f"Use one of: {', '.join(FILES)}.")
    manifest, path = read_manifest(out), out / f"{split}.jsonl"
    try:
        same = digest_file(path) == manifest.files[split]["digest"]
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e}.", "Run `sekisho gather` again.") from e
    if not same:
        raise DataError(f"{path} is not what its manifest says.", "Run `sekisho gather` again.")
    try:
        return [Example.model_validate(row) for row in read_json_lines(path)]
    except ValidationError as e:
        raise DataError(f"{path} has a row that is no example: {e}.", "Run `sekisho gather` again.") from e
