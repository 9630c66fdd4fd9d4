"""Real held-out requests, by source and language: what is refused, what is let through, what is refused wrongly, and is a paraphrase decided the same?

    python benchmarks/consistency.py [--home HOME] [--quick]

The served release of a home (`sekisho up` makes one) over every real row of its hold-out, as it serves: temperature, the stricter of its
own and the certificate's threshold, guards. Beside it, each with its own calibration and threshold on the same rows, the language model
alone, without the reader of n-grams that the release pools it with, and the linear baseline.
**Written** paraphrases are those of `data/paraphrases`, two a request, 186 requests; 104 of them, the **second round**, were written
after the first 82 had been looked at for several choices. **Worded** ones are made from every real row of at most
200 characters by five changes of courtesy and punctuation. **wordings** are the project's own requests that nothing was trained on: three
English wordings of each and two Japanese ones; they are not counted in `all`. Consistency is the mean over requests of the share of pairs (the request and
its paraphrases) that are decided the same; *answered or not* takes ESCALATE and DENY for one. A rule that escalates everything would be consistent too: so read it beside the other columns.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sekisho.core.question import Example
from sekisho.core.settings import load
from sekisho.data.gateset import SEED
from sekisho.data.own import evaluated_own
from sekisho.data.synth import House, compose
from sekisho.ledger import views
from sekisho.loop.certificate import certified
from sekisho.loop.finetune import read_split, training_examples
from sekisho.loop.prove import baseline_scores, gather_splits, load_release, score_model, score_rows
from sekisho.proof import measures
from sekisho.proof.consistency import agreement
from sekisho.tasks.sidecar import Sidecar
from sekisho.wiring import build

ROOT = Path(__file__).parents[1]
WRITTEN = ROOT / "data" / "paraphrases" / "real.jsonl"
TARGET = 0.8
LONGEST = 200
HEADS = ["model", "source", "lang", "n", "DENY not allowed", "false allow", "ALLOW denied", "ALLOW withheld"]


def reworded(example: Example, text: str, place: str) -> Example:
    """The same example in other words, at the same desk."""
    header = example.state.partition("\n")[0]
    meta = {**example.meta, "text": text, "of": example.id}
    return example.model_copy(
        update={"id": f"{example.id}#{place}", "state": f"{header}\n{text}", "meta": meta}
    )


def written(rows: Sequence[Example], path: Path = WRITTEN) -> list[Example]:
    """The written paraphrases of these rows; every line must name one of them."""
    by_request = {str(e.meta["request"]): e for e in rows}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    made = []
    for line in lines:
        others = [reworded(by_request[line["of"]], t, f"w{i}") for i, t in enumerate(line["texts"])]
        made += [e.model_copy(update={"meta": {**e.meta, "round": line.get("round", 1)}}) for e in others]
    return made


def worded(rows: Sequence[Example]) -> list[Example]:
    """Every row in five other dresses."""
    dresses = {
        "ja": (
            "すみません、{}",
            "{}よろしくお願いします。",
            "質問です。{}",
            "{} ",
            "お忙しいところ恐れ入ります。{}",
        ),
        "en": ("Hello, {}", "{} Thank you.", "A question: {}", "{} ", "Please help me with this. {}"),
    }
    return [
        reworded(e, dress.format(str(e.meta["text"])), f"d{i}")
        for e in rows
        if len(str(e.meta["text"])) <= LONGEST
        for i, dress in enumerate(dresses[str(e.meta["lang"])])
    ]


def own(share: Path) -> tuple[list[Example], list[Example]]:
    """The project's own held-out requests: the first wording of each in each language, and the others as its paraphrases, at the same desk."""
    house, firsts, others = House.read(share), [], []
    for requests in evaluated_own(share / "data"):
        made = [compose(r, str(r.family), house, SEED, 1) for r in requests]
        firsts.append(made[0])
        others += [reworded(made[0], str(e.meta["text"]), f"o{i}") for i, e in enumerate(made[1:])]
    return firsts, others


def consistency(
    decided: Mapping[str, str], rows: Sequence[Example], others: Sequence[Example]
) -> dict[str, Any]:
    """Agreement of rows with their paraphrases, given every decision by id."""
    groups: dict[str, list[str]] = defaultdict(list)
    for other in others:
        groups[str(other.meta["of"])].append(decided[other.id])
    known = {e.id for e in rows}
    return agreement({id: [decided[id], *found] for id, found in groups.items() if id in known})


def table(
    title: str,
    scored: Sequence[measures.Scored],
    temperature: float,
    tau: float,
    rows: Sequence[Example],
    sets: Mapping[str, Sequence[Example]],
) -> list[list[str]]:
    """One line a source and language, and one for all."""
    decided = measures.decisions(scored, temperature, tau)
    by_id = {s.id: s for s in scored}
    cells: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for e in rows:
        cells[str(e.meta["source"]), str(e.meta["lang"])].append(e)
        cells["all", str(e.meta["lang"])].append(e)
        cells["all", "all"].append(e)
    lines = []
    for (source, lang), own in sorted(cells.items()):
        found = measures.summarise([by_id[e.id] for e in own], temperature, tau)
        rates = [told(found[k]) for k in ("refuse_recall", "false_allow", "over_refusal", "allow_withheld")]
        scores = [consistency(decided, own, others) for others in sets.values()]
        answered = {id: str(d == "ALLOW") for id, d in decided.items()}
        scores += [consistency(answered, own, others) for others in sets.values()]
        same = ["–" if s["score"] is None else f"{s['score']:.3f} ({s['groups']})" for s in scores]
        lines.append([title, source, lang, str(len(own)), *rates, *same])
    return lines


def told(rate: Mapping[str, Any]) -> str:
    """A rate with its two-sided 95 % bounds and counts."""
    return (
        f"{rate['rate']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}] {rate['k']}/{rate['n']}"
        if rate["n"]
        else "–"
    )


def main(arguments: list[str]) -> int:
    """Print the table and the certificate; return 1 when written paraphrases are not decided the same in more than 0.8, or nothing is certified."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path)
    parser.add_argument("--quick", action="store_true", help="written paraphrases alone, and nothing beside")
    given = parser.parse_args(arguments)
    house = build(load(flags={"home": given.home} if given.home else {}))
    try:
        return run(house, given.quick)
    finally:
        house.close()


@dataclass(frozen=True)
class Asked:
    """What is decided: real rows, sets of paraphrases of them by name, the project's own requests and their wordings."""

    rows: list[Example]
    sets: dict[str, list[Example]]
    own: list[Example]
    wordings: list[Example]

    @staticmethod
    def read(house: Any, quick: bool) -> Asked:
        """Read it all."""
        rows = [e for e in read_split(house, "holdout") if e.meta["source"] != "authored"]
        paraphrases = written(rows)
        later = [e for e in paraphrases if e.meta["round"] > 1]
        dressed = {} if quick else {"worded": worded(rows)}
        return Asked(
            rows, {"written": paraphrases, "second round": later, **dressed}, *own(house.settings.share)
        )

    def everything(self) -> list[Example]:
        """Every text once."""
        others = {e.id: e for some in self.sets.values() for e in some}
        return [*self.rows, *others.values(), *self.own, *self.wordings]

    def lines(
        self, title: str, scored: Sequence[measures.Scored], temperature: float, tau: float
    ) -> list[list[str]]:
        """The table of one model: real rows, then the project's own by language."""
        mine = {name: self.wordings if name == "written" else [] for name in self.sets}
        real = table(title, scored, temperature, tau, self.rows, self.sets)
        return real + table(title, scored, temperature, tau, self.own, mine)[-2:]


def beside_it(house: Any, asked: Asked, model: Any, tokenizer: Any, sidecar: Sidecar) -> list[list[str]]:
    """The tables of the model alone, where something is pooled with it, and of the linear baseline, each by its own calibration."""
    splits = {"calibration": gather_splits(house)["calibration"], "real": asked.everything()}
    lines = []
    if sidecar.ngrams is not None:
        alone = score_model(house, model, tokenizer, replace(sidecar, ngrams=None), splits)
        fitted = alone.calibration.temperature, alone.threshold.tau
        lines += asked.lines("model alone", alone.splits["real"], *fitted)
    rival = baseline_scores(house, training_examples(house), splits)
    fitted = rival.calibration.temperature, rival.threshold.tau
    return lines + asked.lines("baseline", rival.scored["real"], *fitted)


def run(house: Any, quick: bool = False) -> int:
    """Measure a house."""
    promotion = views.serving(house.ledger)
    if promotion is None:
        print("SKIPPED: nothing is promoted there; run `sekisho up --no-serve` first.")
        return 0
    _, release = house.shelf.release(promotion.release)
    shown, newest = certified(house, release), views.certificate(house.ledger, release.adapter)
    asked, loaded = Asked.read(house, quick), load_release(house, promotion.release)
    tau, temperature = max(release.threshold, shown.threshold), release.temperatures["choice"]
    scored = score_rows(*loaded, asked.everything(), house.settings.context)
    lines = asked.lines("gate", scored, temperature, tau)
    lines += [] if quick else beside_it(house, asked, *loaded)
    scores = [f"{how}, {name}" for how in ("consistency", "answered or not") for name in asked.sets]
    for line in [[*HEADS, *scores], *lines]:
        print(" | ".join(line))
    if newest:
        bound = f"at most {newest.bound:.2%} asked {newest.alpha:.2%}, {newest.misses} of {newest.cases}"
        print(f"\ncertificate: {bound}, fault {shown.fault}")
    decided = measures.decisions(scored, temperature, tau)
    kept = [
        consistency(decided, asked.rows, asked.sets[name])["score"] or 0.0
        for name in ("written", "second round")
    ]
    print(f"consistency on written paraphrases {kept[0]:.3f}, second round {kept[1]:.3f}, target > {TARGET}")
    return 0 if shown.fault is None and min(kept) > TARGET else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
