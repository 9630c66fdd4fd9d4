"""Prove an adapter: what serves and the candidate on the same rows, reviewed ones it never saw and a general guard set, and a verdict in words."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from ..core.canonical import digest_json, digest_text, model_digest, new_id, plain, utc_now
from ..core.errors import ConflictError, DataError, ProofError
from ..core.nli_labels import KEYS, house_row
from ..core.progress import Progress, Quiet
from ..core.records import Proof
from ..data.nli import Pair, pairs_digest, read_pairs, split_pairs
from ..ledger import adapting
from ..ledger.chain import Head
from ..serve.nli_files import check_adapter, labels_of
from ..shelf import write_json
from ..tasks.adapting import active
from .adapt import adapter_recipe, adapters_of, newest, split_reviewed
from .adapters import adapter_folder, history, nli_folder
from .making import making
from .parts import Parts
from .reviewed import TASK, attention, learnable, lot_of, lots

_BATCH = 32
GUARDS = 1000
"""Most rows of the guard set; drawn with a seed from the hold-outs of the bundled sets."""


@making
def prove(parts: Parts, adapter: str | None = None, progress: Progress | None = None) -> Proof:
    """Prove an adapter, the newest by default, and write the proof into the ledger, passed or not.

    Raises:
        ShelfError: there is no adapter, or it is damaged or another base's.
        DataError: nothing reviewed is held out.
        ProofError: one of the two gives what is no number.
        ConflictError: the adapter serves already, or something else came to serve meanwhile.
    """
    from ..proof.paired import Terms, p_values, verdict

    base = nli_folder(parts)
    model = model_digest(base)
    folder, digest = adapter_folder(parts, adapter or newest(parts))
    check_adapter(folder, model, labels_of(base)[0])
    target, guard = held_out(parts, model), guards(parts, model)
    if not target:
        raise DataError("Nothing reviewed is held out.", "Review more answers; see `sekisho adapt status`.")
    rival = active(history(parts, model))
    if rival == digest:
        raise ConflictError("This adapter serves; it would be compared with itself.", "Prove another one.")
    past = [p for p in adapting.proofs_of(parts.ledger, TASK) if p.base == (rival or model)]
    shown = _scored(parts, base, (rival, digest), [*target, *guard], progress or Quiet())
    terms = Terms(
        rule=parts.settings.nli_rule,
        accuracy=parts.settings.nli_accuracy,
        margin=parts.settings.nli_guard_margin,
        look=len(past) + 1,
        looked_at=attention(parts.ledger, model, parts.settings.nli_sample),
    )
    sets = {"target": _judged(shown, target, 0), "guard": _judged(shown, guard, len(target))}
    levels = {"target": terms.level, "guard": terms.alpha}
    chosen = lots(parts.ledger, model, parts.settings.nli_sample)
    alone = {"target": [lot_of(p.model_dump()) in chosen for p in target]}
    pairs = {
        name: judged.versus(levels[name], alone.get(name))
        for name, judged in sets.items()
        if len(judged.labels)
    }
    measures = {
        name: {**_measures(judged), "versus": pairs[name].json()}
        for name, judged in sets.items()
        if name in pairs
    }
    accuracy = float(measures["target"]["candidate"]["accuracy"])
    passed, why = verdict(pairs["target"], accuracy, pairs.get("guard"), terms)
    measures["correction_rate"] = {
        k: 1 - float(measures["target"][k]["accuracy"]) for k in ("rival", "candidate")
    }
    measures["terms"] = dict(vars(terms))
    by_row, by_document = p_values(pairs["target"], terms)
    measures["tested"] = {"rows": by_row, "documents": by_document, "chance": terms.chance}
    return _record(parts, model, digest, rival or model, passed, why, measures, [*target, *guard])


def held_out(parts: Parts, model: str) -> list[Pair]:
    """Reviewed pairs among the answers drawn for review, of documents that only prove, and of whose premises no adapter on the shelf was taught any pair."""
    sample = learnable(parts.ledger, model, parts.settings.nli_sample)
    _, held, _ = split_reviewed(sample, adapter_recipe(parts).held_out)
    rows, premises = _taught(parts, model)
    return [p for p in held if p.id not in rows and digest_text(plain(p.premise)) not in premises]


def _taught(parts: Parts, model: str) -> tuple[set[str], set[str]]:
    """Ids of the reviewed rows that any adapter on the shelf was taught, and digests of the premises of all its rows."""
    made = adapters_of(parts, model)
    return {i for m in made for i in m["rows"]}, {d for m in made for d in m["premises"]}


def guards(parts: Parts, model: str) -> list[Pair]:
    """The general guard set: hold-out rows of the bundled sets whose premises no adapter was taught, at most GUARDS of them, drawn with one seed."""
    _, taught = _taught(parts, model)
    found = split_pairs(read_pairs(parts.settings.share / "data"))["holdout"]
    found = [p for p in found if digest_text(plain(p.premise)) not in taught]
    return random.Random(20261121).sample(found, min(GUARDS, len(found)))


def _scored(
    parts: Parts, base: Any, adapters: tuple[str | None, str], pairs: Sequence[Pair], told: Progress
) -> list[Any]:
    """Probabilities [n, 3] by KEYS, of each of the two, computed exactly as they would be served."""
    import numpy as np

    reader = parts.nli_reader(base)
    found = []
    for number, name in enumerate(adapters):
        variant = reader.base if name is None else reader.over(*adapter_folder(parts, name))

        def step(done: int, number: int = number) -> None:
            told.step("prove", number * len(pairs) + done, 2 * len(pairs))

        found.append(probabilities(reader, variant, pairs, step))
        if not np.isfinite(found[-1]).all():
            raise ProofError(f"{name or 'The base'} gives what is no number.", "Train the adapter again.")
    return found


def probabilities(
    reader: Any, variant: Any, pairs: Sequence[Pair], told: Callable[[int], None] | None = None
) -> Any:
    """Probabilities [n, 3] by KEYS, uncalibrated, in batches of one width."""
    import numpy as np

    from ..proof.row import softmax

    rows = [reader.encode(p.premise, p.hypothesis) for p in pairs]
    order = sorted(range(len(rows)), key=lambda i: rows[i].width)
    found = np.zeros((len(rows), len(KEYS)))
    start = 0
    while start < len(order):
        width = rows[order[start]].width
        batch = [i for i in order[start : start + _BATCH] if rows[i].width == width]
        for i, logits in zip(batch, reader.logits(variant, [rows[i] for i in batch]), strict=True):
            found[i] = list(house_row(softmax(logits), reader.columns).values())
        start += len(batch)
        if told is not None:
            told(start)
    return found


def _judged(shown: Sequence[Any], pairs: Sequence[Pair], start: int) -> Any:
    import numpy as np

    from ..proof.paired import Judged

    part = slice(start, start + len(pairs))
    labels = np.asarray([KEYS.index(p.label) for p in pairs], dtype=np.int64)
    return Judged(shown[0][part], shown[1][part], labels)


def _measures(judged: Any) -> dict[str, Any]:
    from ..proof.paired import scores_of

    return {
        "rival": scores_of(judged.rival, judged.labels, KEYS),
        "candidate": scores_of(judged.candidate, judged.labels, KEYS),
    }


def _record(
    parts: Parts,
    model: str,
    digest: str,
    rival: str,
    passed: bool,
    why: tuple[str, ...],
    measures: dict[str, Any],
    rows: Sequence[Pair],
) -> Proof:
    id, data = new_id("prf"), pairs_digest(rows)
    whole = {
        "candidate": digest,
        "base": rival,
        "passed": passed,
        "why": list(why),
        "measures": measures,
        "rows": [p.id for p in rows],
    }
    write_json(parts.settings.home / "proofs" / f"{id}.json", whole)
    proof = Proof(
        id=id,
        at=utc_now(),
        task=TASK,
        candidate=digest,
        base=rival,
        passed=passed,
        why=why,
        measures=measures,
        report=digest_json(whole),
        data=data,
    )

    def work(db: sqlite3.Connection, head: Head) -> list[Proof]:
        if (active(adapting.history(db, TASK, model)) or model) != rival:
            raise ConflictError(
                "Something else serves by now than what it was compared with.", "Prove it again."
            )
        return [proof]

    parts.ledger.act(work)
    return proof
