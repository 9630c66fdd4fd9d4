"""Held-out bits per character of the shipped base, beside character 5-grams and xz on the same text in the same run."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from sekisho.data.corpus import read_corpus
from sekisho.host.offline import seal
from sekisho.loop.pretrain import measure

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Measure and print one row a language."""
    seal()
    found = measure(ROOT / "models" / "nano", list(read_corpus(ROOT / "data")))
    table = Table(
        "language", "nano", "character 5-grams", "xz -9e", "held-out characters", title="Bits per character"
    )
    for lang, row in found.items():
        table.add_row(lang, *(f"{row[k]:.3f}" for k in ("model", "ngram", "xz")), str(int(row["characters"])))
    Console().print(table)


if __name__ == "__main__":
    main()
