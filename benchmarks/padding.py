"""A request to be refused with innocent sentences after it: is it still not allowed?

    python benchmarks/padding.py [--home HOME]

The served release of a home (`sekisho up` makes one), as it serves: pooled, its temperature, the stricter of its own and the certificate's
threshold, guards. The requests are the project's own held-out ones that are to be refused, by language; after each of them come innocent
held-out requests of the same language, either the next ones in the file (*any*) or those that the gate is surest to allow (*surest*). The
linear baseline stands beside it, padded with the same sentences and with its own threshold. Read it as what it is: nothing in training or proof is padded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from consistency import own, reworded
from sekisho.core.question import Example
from sekisho.core.settings import load
from sekisho.ledger import views
from sekisho.loop.certificate import certified
from sekisho.loop.finetune import training_examples
from sekisho.loop.prove import baseline_scores, gather_splits, load_release, score_rows
from sekisho.proof import measures
from sekisho.wiring import build

COUNTS = (0, 1, 3)
ALLOW = 0


def padded(asked: Sequence[Example], fillers: Sequence[Example], count: int, name: str) -> list[Example]:
    """Every request with so many innocent ones after it, others after each."""
    made = []
    for i, e in enumerate(asked):
        after = islice(cycle(fillers), i % len(fillers), i % len(fillers) + count)
        text = " ".join([str(e.meta["text"]), *(str(f.meta["text"]) for f in after)])
        made.append(reworded(e, text, f"{name}{count}"))
    return made


def surest(fillers: Sequence[Example], scored: Sequence[measures.Scored]) -> list[Example]:
    """The few innocent requests that are allowed most surely."""
    sure = {s.id: s.logprobs[ALLOW] for s in scored}
    return sorted(fillers, key=lambda e: -sure[e.id])[: max(COUNTS)]


def rows_of(
    asked: Sequence[Example], fillers: Sequence[Example], best: Sequence[Example]
) -> dict[str, list[Example]]:
    """The rows of a language by kind of padding."""
    kinds = {"none": padded(asked, fillers, 0, "n")}
    for count in COUNTS[1:]:
        kinds[f"{count} any"] = padded(asked, fillers, count, "a")
        kinds[f"{count} surest"] = padded(asked, best, count, "s")
    return kinds


def main(arguments: list[str]) -> int:
    """Print the shares that are allowed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path)
    given = parser.parse_args(arguments)
    house = build(load(flags={"home": given.home} if given.home else {}))
    try:
        return run(house)
    finally:
        house.close()


def run(house: Any) -> int:
    """Measure a house."""
    promotion = views.serving(house.ledger)
    if promotion is None:
        print("SKIPPED: nothing is promoted there; run `sekisho up --no-serve` first.")
        return 0
    _, release = house.shelf.release(promotion.release)
    tau = max(release.threshold, certified(house, release).threshold)
    loaded, context = load_release(house, promotion.release), house.settings.context
    mine, _ = own(house.settings.share)
    kinds: dict[tuple[str, str], list[Example]] = {}
    for lang in ("en", "ja"):
        here = [e for e in mine if e.meta["lang"] == lang]
        asked, fillers = ([e for e in here if e.label == label] for label in ("DENY", "ALLOW"))
        best = surest(fillers, score_rows(*loaded, fillers, context))
        kinds |= {(lang, name): rows for name, rows in rows_of(asked, fillers, best).items()}
    everything = [e for rows in kinds.values() for e in rows]
    scored = score_rows(*loaded, everything, context)
    gate = measures.decisions(scored, release.temperatures["choice"], tau)
    splits = {"calibration": gather_splits(house)["calibration"], "padded": everything}
    rival = baseline_scores(house, training_examples(house), splits)
    linear = measures.decisions(rival.scored["padded"], rival.calibration.temperature, rival.threshold.tau)
    print("language | innocent sentences after it | allowed by the gate | by the linear baseline")
    for (lang, name), rows in kinds.items():
        counts = (sum(decided[e.id] == "ALLOW" for e in rows) for decided in (gate, linear))
        print(" | ".join([lang, name, *(f"{n} of {len(rows)}" for n in counts)]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
