"""The bundled sets of natural language inference as one record type, split so that no sentence of the hold-out is trained on."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from ..core.canonical import digest_json, digest_text
from ..core.errors import DataError
from ..core.question import Frozen
from .corpus import read_json_lines

Label = Literal["supports", "refutes", "neutral"]
LABELS: tuple[Label, ...] = ("supports", "refutes", "neutral")
_HOUSE: dict[str, Label] = {
    "entailment": "supports",
    "contradiction": "refutes",
    "neutral": "neutral",
    "non-entailment": "neutral",
}
"""The sets' own labels. JaNLI has two classes only; what is not entailed there is neutral here: it does not support the claim."""
LICENCES = {"jnli": "CC BY-SA 4.0", "jsick": "CC BY-SA 4.0", "esnli": "MIT", "janli": "CC BY-SA 4.0"}
TAUGHT = ("jnli", "jsick", "esnli")
"""Sets the nano classifier learns from. JaNLI stays a domain it has never seen."""
PARTS = ("train", "calibration", "holdout")


class Pair(Frozen):
    """One pair with its right label.

    Attributes:
        id: digest of source, premise and hypothesis.
        label: in the house's words.
        group: the document it comes from (a picture, a premise, a template); a group never crosses a split.
        source: name of the set.
    """

    id: str
    premise: str
    hypothesis: str
    label: Label
    group: str
    source: str
    lang: Literal["ja", "en"]


def read_pairs(root: Path, sources: Iterable[str] = TAUGHT) -> list[Pair]:
    """Every pair of the named sets under `root` (the `data` folder), in a fixed order; a pair that stands twice in a set is kept once.

    Raises:
        DataError: a file is missing or unreadable, or a set is not known.
    """
    found: dict[str, Pair] = {}
    for source in sources:
        if source not in _READERS:
            raise DataError(f"There is no set {source!r}.", f"Use one of: {', '.join(_READERS)}.")
        for pair in _READERS[source](root / "nli"):
            found.setdefault(pair.id, pair)
    return list(found.values())


def part_of(group: str) -> str:
    """Split of a group by its digest: 80 % train, 6 % calibration, 14 % holdout."""
    place = int(digest_text("nli-1:" + group)[-8:], 16) % 100
    return "train" if place < 80 else "calibration" if place < 86 else "holdout"


def split_pairs(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Pairs by split. What shares a sentence with the hold-out is in no other split, and what shares one with calibration is not trained on.

    JSICK uses a sentence in many pairs; those are dropped from training, never moved.
    """
    splits: dict[str, list[Pair]] = {name: [] for name in PARTS}
    for pair in pairs:
        splits[part_of(pair.group)].append(pair)
    taken: set[str] = set()
    for name in reversed(PARTS):
        splits[name] = [p for p in splits[name] if not {p.premise, p.hypothesis} & taken]
        taken |= {t for p in splits[name] for t in (p.premise, p.hypothesis)}
    return splits


def pairs_digest(pairs: Iterable[Pair]) -> str:
    """Digest of rows as a model learns them: id and label."""
    return digest_json([[p.id, p.label] for p in pairs])


def _pair(source: str, lang: Literal["ja", "en"], texts: tuple[str, str], label: str, group: str) -> Pair:
    premise, hypothesis = (t.strip() for t in texts)
    return Pair(
        id=digest_json([source, premise, hypothesis]),
        premise=premise,
        hypothesis=hypothesis,
        label=_HOUSE[label],
        group=f"{source}:{group}",
        source=source,
        lang=lang,
    )


def _jnli(root: Path) -> Iterator[Pair]:
    for row in read_json_lines(root / "jnli" / "valid-v1.3.json"):
        image = str(row["yjcaptions_id"]).partition("-")[0]
        yield _pair("jnli", "ja", (row["sentence1"], row["sentence2"]), row["label"], image)


def _jsick(root: Path) -> Iterator[Pair]:
    for row in _table(_text(root / "jsick" / "train.tsv")):
        texts = row["sentence_A_Ja"], row["sentence_B_Ja"]
        yield _pair("jsick", "ja", texts, row["entailment_label_Ja"], texts[0])


def _esnli(root: Path) -> Iterator[Pair]:
    for row in read_json_lines(root / "esnli" / "dev.jsonl"):
        texts = row["premise"], row["hypothesis"]
        yield _pair("esnli", "en", texts, row["label"], texts[0].strip())


def _janli(root: Path) -> Iterator[Pair]:
    for row in _table(_text(root / "janli" / "janli_train.tsv.gz")):
        texts = row["sentence_A_Ja"], row["sentence_B_Ja"]
        yield _pair("janli", "ja", texts, row["entailment_label_Ja"], texts[0])


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as e:
        raise DataError(f"{path} cannot be read: {e}.", "Restore the bundled data folder.") from e


def _table(text: str) -> Iterator[dict[str, str]]:
    yield from csv.DictReader(io.StringIO(text), delimiter="\t")


_READERS = {"jnli": _jnli, "jsick": _jsick, "esnli": _esnli, "janli": _janli}
