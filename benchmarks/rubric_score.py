"""Scoring answers with the `kotaro` pack: the packed scorer beside a dictionary loop, on the same random answers in the same run.

Every row is one core, best of seven rounds. Both give counts, leader and residual tie of every image; the run ends if they ever differ. The loop reads a
dictionary of answers. The scorer's own form of answers is one number an image; what it costs to make that number from a dictionary is a row of its own.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sekisho.tasks.rubric.lint import read_pack
from sekisho.tasks.rubric.pack import Pack
from sekisho.tasks.rubric.patterns import Scorer

SHARE = Path(__file__).parents[1]
ROUNDS = 7


def loop_of(pack: Pack) -> Callable[[Mapping[str, int]], tuple[dict[str, int], list[str]]]:
    """The scorer as one would write it first: dictionaries and loops, with everything looked up beforehand."""
    links = {c.id: (c.patterns, c.sub_attribute, c.weight) for c in pack.criteria}
    patterns = [p.id for p in pack.patterns]
    orders = {p.id: p.sub_order for p in pack.patterns}
    subs = list(pack.sub_attributes)

    def score(answers: Mapping[str, int]) -> tuple[dict[str, int], list[str]]:
        counts = dict.fromkeys(patterns, 0)
        sums = {p: dict.fromkeys(subs, 0) for p in patterns}
        for criterion, answer in answers.items():
            if answer:
                linked, sub, weight = links[criterion]
                for pattern in linked:
                    counts[pattern] += 1
                    sums[pattern][sub] += weight
        highest = max(counts.values())
        leaders = [p for p in patterns if counts[p] == highest]
        if len(leaders) > 1:
            vectors = {p: tuple(sums[p][s] for s in orders[p]) for p in leaders}
            best = max(vectors.values())
            leaders = [p for p in leaders if vectors[p] == best]
        return counts, leaders

    return score


def microseconds(work: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Time an item takes, in µs: the best round, since everything else on the machine only adds to it."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for item in items:
            work(item)
        rounds.append(time.perf_counter() - start)
    return min(rounds) / len(items) * 1e6


def compare(scorer: Scorer, loop: Callable[..., Any], answers: Sequence[Mapping[str, int]]) -> None:
    """End the run where the two do not say the same."""
    names = [p.id for p in scorer.pack.patterns]
    for one in answers:
        counts, leaders = loop(one)
        found, places = scorer.standing(scorer.bits(one))
        if list(found) != list(counts.values()) or [names[i] for i in places] != leaders:
            raise SystemExit(f"The two scorers differ on {one}.")


def main() -> None:
    """Measure and print one row a way of scoring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    images = parser.parse_args().images
    pack = read_pack("kotaro", SHARE)
    scorer, loop = Scorer(pack), loop_of(pack)
    source = random.Random(7)
    answers = [{c: source.getrandbits(1) for c in pack.ids} for _ in range(images)]
    packed = [scorer.bits(one) for one in answers]
    compare(scorer, loop, answers)
    rows = {
        "dictionary loop": microseconds(loop, answers),
        "scorer, packed answers": microseconds(scorer.standing, packed),
        "scorer, checks and packing included": microseconds(
            lambda a: scorer.standing(scorer.bits(a)), answers
        ),
        "scorer, whole result with what fired": microseconds(scorer.score, packed[: images // 10]),
    }
    table = Table("", "µs an image", "images/s", "times the loop", title=f"{images:,} images, all equal")
    base = rows["dictionary loop"]
    for name, took in rows.items():
        table.add_row(name, f"{took:.2f}", f"{1e6 / took:,.0f}", f"{base / took:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
