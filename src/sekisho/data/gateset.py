"""From every source to the gathered set: collect, clean, dedup, cap, compose, reword, write. One call, one core, seconds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..core.canonical import digest_file, digest_text
from ..core.gate_prompt import LANGS
from ..core.question import Example
from ..core.records import DECISIONS
from .clean import clean
from .collect import AUTHORED, LICENCES, Drop, Request, collect, read_evaluation
from .corpus import DOMAINS
from .dedup import Grouped, deduplicate
from .format import (
    FILES,
    Count,
    Manifest,
    SourceReport,
    count_cells,
    decision_by_language,
    describe_files,
    write_set,
)
from .leanings import leanings
from .own import SOURCE, evaluated_own, read_own
from .reword import FOLDER, Wording, evaluated_texts, fit_wordings, read_wordings
from .synth import House, compose, variants

SEED = 20261121
VARIANTS = 1
"""Wrapped variants of each authored training request."""

CAPS: Mapping[str, Mapping[str, int]] = {
    "jaquad_questions": {"train": 60, "calibration": 60, "holdout": 120},
    "jailbreak": {"train": 150, "calibration": 60, "holdout": 100},
}
"""Most requests of a source in a split, their paraphrases not counted, so that the authored pairs dominate and language does not tell the decision."""

OWN_CAP = 1300
"""Most wordings of own requests in a language and of a decision: as many to allow as to deny, and the authored pairs still dominate."""

Progress = Callable[[str, float], None]
"""Called with the step's name and the share done, 0 to 1."""


def gather(
    share: Path,
    out: Path,
    seed: int = SEED,
    evaluation_file: Path | None = None,
    progress: Progress | None = None,
    variant_count: int = VARIANTS,
) -> Manifest:
    """Gather the gate's set into `out`: train, calibration, holdout, evaluation and the manifest.

    Args:
        share: folder with `data` and `policies`.
        evaluation_file: JSON lines (id, text, category, gate_hint) that are only evaluated on; never trained on.
        progress: told the step and the share done.
        variant_count: wrapped variants of each authored training request.

    Raises:
        DataError: when a source, the policy or a contract is missing or wrong, or `out` cannot be written.
    """
    manifest, splits = assemble(share, seed, evaluation_file, progress, variant_count)
    write_set(out, splits, manifest)
    _tell(progress, "written", 1.0)
    return manifest


def assemble(
    share: Path,
    seed: int = SEED,
    evaluation_file: Path | None = None,
    progress: Progress | None = None,
    variant_count: int = VARIANTS,
    own_cap: int = OWN_CAP,
) -> tuple[Manifest, dict[str, list[Example]]]:
    """Do everything `gather` does but write; return the manifest and the examples by split.

    Args:
        own_cap: most wordings of own requests in a language and of a decision.
    """
    house = House.read(share)
    read = list(collect(share / "data"))
    outside = list(read_evaluation(evaluation_file)) if evaluation_file else []
    _tell(progress, "collected", 0.1)
    fit, unfit = clean(read)
    fit_outside, unfit_outside = clean(outside)
    _tell(progress, "cleaned", 0.2)
    grouped = Grouped(fit, fit_outside)
    kept, near = deduplicate(grouped)
    _tell(progress, "deduplicated", 0.7)
    kept, over = cap(grouped, kept, seed)
    splits = _compose(grouped, kept, house, seed, variant_count)
    wordings, reports_of_wordings = _reworded(share / "data", grouped, kept, own_cap)
    splits["train"] += _compose_wordings(wordings, grouped, house, seed)
    _tell(progress, "composed", 0.9)
    reports = _source_reports([*read, *outside], [*unfit, *unfit_outside, *near, *over])
    inputs, authored = _inputs(share, evaluation_file), [r for r in read if r.source == AUTHORED]
    manifest = _manifest((seed, variant_count), house.policy.name, inputs, authored, splits)
    return manifest.model_copy(update={"sources": (*reports, *reports_of_wordings)}), splits


def cap(grouped: Grouped, kept: Iterable[int], seed: int) -> tuple[list[int], list[Drop]]:
    """Thin capped sources, split by split, by the digest of seed and id; return what stays and the drops (`cap`)."""
    cells: dict[tuple[str, str], list[int]] = defaultdict(list)
    stay: list[int] = []
    drops: list[Drop] = []
    for i in kept:
        cells[grouped.requests[i].source, grouped.splits[i]].append(i)
    for (source, split), rows in cells.items():
        rows.sort(key=lambda i: digest_text(f"{seed}:{grouped.requests[i].id}"))
        most = CAPS.get(source, {}).get(split, len(rows))
        stay += rows[:most]
        drops += [Drop(request=grouped.requests[i], reason="cap") for i in rows[most:]]
    return sorted(stay), drops


def _compose(
    grouped: Grouped, kept: Sequence[int], house: House, seed: int, variant_count: int
) -> dict[str, list[Example]]:
    splits: dict[str, list[Example]] = {name: [] for name in FILES}
    for i in kept:
        splits[grouped.splits[i]].append(compose(grouped.requests[i], grouped.groups[i], house, seed))
    training = [i for i in kept if grouped.splits[i] == "train"]
    groups = {grouped.requests[i].id: grouped.groups[i] for i in training}
    rows = [grouped.requests[i] for i in training]
    splits["train"] += variants(rows, groups, house, seed, variant_count)
    return splits


def _reworded(
    data: Path, grouped: Grouped, kept: Sequence[int], own_cap: int
) -> tuple[list[Wording], tuple[SourceReport, SourceReport]]:
    """The written paraphrases of real training requests that may be trained on, and the project's own requests in several wordings."""
    places = [(grouped.requests[i], grouped.splits[i] == "train") for i in kept]
    trained = {r.id: r for r, training in places if training and not r.topic}
    known = [r.text for r in trained.values()]
    unseen = [r.text for r, training in places if not training]
    unseen += evaluated_texts(data) + [r.text for rows in evaluated_own(data) for r in rows]
    wordings, report = fit_wordings(list(read_wordings(data, trained)), known, unseen)
    known += [w.request.text for w in wordings]
    own, own_report = fit_wordings(list(read_own(data)), known, unseen, SOURCE, LICENCES[SOURCE])
    few = _cap_own(own, own_cap)
    drops = dict(own_report.drops) | ({"cap": len(own) - len(few)} if len(few) < len(own) else {})
    return wordings + few, (report, own_report.model_copy(update={"kept": len(few), "drops": drops}))


def _cap_own(wordings: Sequence[Wording], most: int) -> list[Wording]:
    """Thin own requests to so many wordings of a language and decision, by the digest of their ids; their order stays."""
    cells: dict[tuple[str, str], list[Wording]] = defaultdict(list)
    for w in wordings:
        cells[w.request.lang, w.request.decision].append(w)
    kept = {
        w.request.id
        for cell in cells.values()
        for w in sorted(cell, key=lambda w: digest_text(w.request.id))[:most]
    }
    return [w for w in wordings if w.request.id in kept]


def _compose_wordings(
    wordings: Sequence[Wording], grouped: Grouped, house: House, seed: int
) -> Iterator[Example]:
    """Rows of paraphrases, as variants of their requests and in their groups; what has no request in the set is a group by itself."""
    groups = {r.id: group for r, group in zip(grouped.requests, grouped.groups, strict=True)}
    for w in wordings:
        group = groups.get(w.request.id) or w.request.family or w.request.id
        yield compose(w.request, group, house, seed, w.place)


def _manifest(
    knobs: tuple[int, int],
    policy: str,
    inputs: Mapping[str, str],
    authored: Sequence[Request],
    splits: Mapping[str, Sequence[Example]],
) -> Manifest:
    """The manifest, but for what became of each source."""
    return Manifest(
        seed=knobs[0],
        variants=knobs[1],
        policy=policy,
        files=describe_files(splits),
        inputs=inputs,
        sources=(),
        counts=tuple(c for name in FILES for c in count_cells(name, splits[name])),
        lengths=_lengths(authored),
        leanings=leanings(authored),
        decision_by_language={name: decision_by_language(splits[name]) for name in FILES if splits[name]},
    )


def _inputs(share: Path, evaluation_file: Path | None) -> dict[str, str]:
    data = share / "data"
    paths = [
        p for folder in ("gate/authored", "benign", "safety", FOLDER) for p in (data / folder).glob("*.json*")
    ]
    digests = {p.relative_to(data).as_posix(): digest_file(p) for p in sorted(paths)}
    return digests | ({evaluation_file.name: digest_file(evaluation_file)} if evaluation_file else {})


def _source_reports(read: Sequence[Request], drops: Sequence[Drop]) -> list[SourceReport]:
    total = Counter(r.source for r in read)
    licences = {r.source: r.licence for r in read}
    lost: dict[str, Counter[str]] = defaultdict(Counter)
    for drop in drops:
        lost[drop.request.source][drop.reason] += 1
    return [
        SourceReport(
            source=source,
            licence=licences[source],
            read=total[source],
            kept=total[source] - lost[source].total(),
            drops=dict(sorted(lost[source].items())),
        )
        for source in sorted(total)
    ]


def _lengths(authored: Sequence[Request]) -> dict[str, dict[str, float]]:
    """Mean characters of the authored requests by language and decision."""
    table: dict[str, dict[str, float]] = {}
    for lang in LANGS:
        for decision in DECISIONS:
            sizes = [len(r.text) for r in authored if (r.lang, r.decision) == (lang, decision)]
            table.setdefault(lang, {})[decision] = round(sum(sizes) / max(1, len(sizes)), 1)
    return table


def cell_table(counts: Sequence[Count]) -> str:
    """Return counts of language × domain × decision as a Markdown table, all splits named in `counts` together."""
    rows: Counter[tuple[str, str, str]] = Counter()
    for c in counts:
        rows[c.lang, c.domain, c.decision] += c.rows
    head = [f"{lang} {d}" for lang in LANGS for d in DECISIONS]
    lines = [f"| domain | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for domain in DOMAINS:
        numbers = [f"{rows[lang, domain, d]:,}" for lang in LANGS for d in DECISIONS]
        lines.append(f"| {domain} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def _tell(progress: Progress | None, step: str, done: float) -> None:
    if progress:
        progress(step, done)
