"""Adapt: is a training due, and the training: reviewed answers in, an adapter on the shelf out. Nothing is proved or promoted here."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from ..core.canonical import digest_json, digest_text, model_digest, new_id, plain, utc_after, utc_now
from ..core.disk import write_whole
from ..core.errors import ConflictError, DataError, ShelfError, TrainingError
from ..core.gate_prompt import lang_of
from ..core.progress import Progress, Quiet
from ..core.question import Frozen
from ..data.nli import Label, Pair, pairs_digest, read_pairs, split_pairs
from ..ledger import views
from ..serve.nli_files import labels_of
from ..shelf import write_json
from ..tasks.adapting import Limits, Trigger, trigger
from .adapters import history, nli_folder
from .making import making
from .parts import Parts
from .reviewed import Reviewed, learnable, unseen

_WHOLE = re.compile(r"sha256:[0-9a-f]{64}")


class Adapter(Frozen):
    """A trained adapter, not yet proved.

    Attributes:
        trained, replayed: reviewed pairs and repeated pairs of the base's own sets; held_out: reviewed pairs that only prove.
        dropped: reviewed pairs not trained on, because their premise is a text of a held-out one.
    """

    adapter: str
    base: str
    folder: str
    recipe: str
    data: str
    trained: int
    replayed: int
    held_out: int
    dropped: int


class Status(Frozen):
    """Whether a training is due, and what there is to learn from."""

    trigger: Trigger
    learnable: int
    held_out: int
    adapters: tuple[str, ...]


def status(parts: Parts, now: str | None = None) -> Status:
    """Look which condition of the trigger holds. Trains nothing."""
    base = model_digest(nli_folder(parts))
    made = adapters_of(parts, base)
    seen = {i for m in made for i in m["reviewed"]}
    last = max((m["at"] for m in made), default=None)
    known = learnable(parts.ledger, base)
    heard = set(made[-1]["words"]) if made else set()
    new = [r for r in known if r.word.id not in seen and _said(r) not in heard]
    first = min((r.word.at for r in known), default=None)
    settings = parts.settings
    limits = Limits(
        corrections=settings.nli_corrections, rate=settings.nli_correction_rate, days=settings.nli_days
    )
    return Status(
        trigger=trigger(sum(r.wrong for r in new), len(new), last or first, now or utc_now(), limits),
        learnable=len(known),
        held_out=sum(
            is_held_out(r.group, adapter_recipe(parts).held_out)
            for r in learnable(parts.ledger, base, settings.nli_sample)
        ),
        adapters=tuple(str(m["name"]) for m in made),
    )


def sample(parts: Parts, most: int) -> list[dict[str, Any]]:
    """Answers drawn for review on which nobody has spoken, the oldest first, as what was asked and answered."""
    model = model_digest(nli_folder(parts))
    found = islice(unseen(parts.ledger, model, parts.settings.nli_sample), most)
    return [
        {
            "judgement": judgement.id,
            "at": judgement.at,
            "answer": judgement.answer,
            "source": content.get("source"),
            "premise": content["premise"],
            "hypothesis": content["hypothesis"],
        }
        for judgement, content in found
    ]


def _said(one: Reviewed) -> str:
    """A pair with what people say of it: what the latest training heard of it is nothing new to learn."""
    pair = pair_of(one)
    return digest_json([pair.id, pair.label])


def adapters_of(parts: Parts, base: str) -> list[dict[str, Any]]:
    """What every adapter on the shelf over this base was made from, oldest first; its folder's name is `name`."""
    found = []
    for folder in parts.shelf.all("nli_adapters"):
        try:
            made = json.loads((folder / "made.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        if _is_made(made) and made["base"] == base:
            found.append({"premises": [], "words": [], **made, "name": folder.name})
    return sorted(found, key=lambda m: str(m["at"]))


def _is_made(made: Any) -> bool:
    """Whether a `made.json` says what this house writes there; a folder without it was not made here, or is damaged."""
    if not isinstance(made, dict) or not all(isinstance(made.get(k), str) for k in ("base", "at")):
        return False
    lists = [made.get("rows"), made.get("reviewed"), made.get("premises", []), made.get("words", [])]
    try:
        utc_after(made["at"], 0)
    except (ValueError, OverflowError):
        return False
    return all(isinstance(x, list) and all(isinstance(i, str) for i in x) for x in lists)


def newest(parts: Parts) -> str:
    """Name of the newest adapter for this base. Raises ShelfError when there is none."""
    found = adapters_of(parts, model_digest(nli_folder(parts)))
    if not found:
        raise ShelfError("There is no adapter for this base on the shelf.", "Run `sekisho adapt train`.")
    return str(found[-1]["name"])


def listed(parts: Parts) -> dict[str, Any]:
    """Adapters on the shelf with their latest proof, and every step that changed what answers."""
    model = model_digest(nli_folder(parts))
    found = []
    for made in adapters_of(parts, model):
        name, told = str(made["name"]), "damaged"
        with suppress(ShelfError):
            name = parts.shelf.digest_of("nli_adapters", parts.shelf.get("nli_adapters", name))
            proof = views.latest_proof(parts.ledger, name)
            told = "none" if proof is None else "passed" if proof.passed else "fell short"
        found.append({"adapter": name, "at": made["at"], "rows": len(made["rows"]), "proof": told})
    return {"adapters": found, "steps": [a.model_dump(mode="json") for a in history(parts, model)]}


def is_held_out(group: str, share: float) -> bool:
    """Whether the pairs of a document only prove. Its name alone decides, so a later training never learns what an earlier one was proved on."""
    return int(digest_text("nli-held-out-1:" + group)[-8:], 16) % 10_000 < share * 10_000


def split_reviewed(found: Sequence[Reviewed], share: float) -> tuple[list[Pair], list[Pair], int]:
    """Reviewed pairs to learn from and to prove on, and how many of the first were dropped.

    A pair is dropped when its premise is a text of a held-out pair. A claim may be on both sides: one claim is checked against many sources.
    """
    pairs = [(pair_of(r), is_held_out(r.group, share)) for r in found]
    held = [p for p, out in pairs if out]
    texts = {plain(t) for p in held for t in (p.premise, p.hypothesis)}
    free = [p for p, out in pairs if not out]
    kept = [p for p in free if plain(p.premise) not in texts]
    return kept, held, len(free) - len(kept)


def pair_of(one: Reviewed) -> Pair:
    """A reviewed answer as a row."""
    content = one.content or {}
    premise, hypothesis = str(content["premise"]), str(content["hypothesis"])
    label: Label = one.word.label  # type: ignore[assignment]  # checked when the word was filed
    return Pair(
        id=digest_json(["reviewed", premise, hypothesis]),
        premise=premise,
        hypothesis=hypothesis,
        label=label,
        group=f"reviewed:{one.group}",
        source="reviewed",
        lang=lang_of(premise),
    )


@making
def train(parts: Parts, due_only: bool = False, progress: Progress | None = None) -> Adapter:
    """Train an adapter from what people reviewed. A stopped run goes on; a finished one is not repeated.

    Args:
        due_only: refuse when the trigger does not hold.

    Raises:
        ConflictError: `due_only`, and no training is due.
        DataError: nothing to learn from, or nothing to prove on.
        RecipeError, TrainingError, ShelfError: naming what is wrong.
    """
    told = progress or Quiet()
    if due_only and not (now := status(parts)).trigger.due:
        missing = ", ".join(k for k, ok in now.trigger.holds.items() if not ok)
        raise ConflictError(f"No training is due: {missing} not reached.", "See `sekisho adapt status`.")
    base = nli_folder(parts)
    recipe, model = adapter_recipe(parts), model_digest(base)
    found = learnable(parts.ledger, model)
    own, held, dropped = split_reviewed(found, recipe.held_out)
    if not own or not held:
        raise DataError(
            f"There are {len(own)} pairs to learn from and {len(held)} to prove on.", "Review more answers."
        )
    replay = replay_of(parts, own, held, recipe)
    made = {
        "base": model,
        "columns": list(labels_of(base)[0]),
        "recipe": recipe.model_dump(mode="json"),
        "data": pairs_digest([*own, *replay]),
        "rows": sorted(p.id for p in own),
        "premises": sorted({digest_text(plain(p.premise)) for p in [*own, *replay]}),
        "reviewed": sorted(r.word.id for r in found),
        "words": sorted(map(_said, found)),
    }
    run = parts.settings.home / "runs" / f"{recipe.name}-{digest_json(made)[7:19]}"
    try:
        return _made(
            parts, run, base, [*own, *replay], made, told, (len(own), len(replay), len(held), dropped)
        )
    except OSError as e:
        what = f"{e.filename or run}: {e.strerror or e}."
        raise TrainingError(
            f"The training could not be written. {what}",
            "Free space and train again; it goes on from its last checkpoint, if one was written.",
        ) from e


def replay_of(parts: Parts, own: Sequence[Pair], held: Sequence[Pair], recipe: Any) -> list[Pair]:
    """Pairs of the bundled training sets that are repeated beside the reviewed ones; what proves is not among them."""
    from ..train.nli_rows import replayed

    pool = split_pairs(read_pairs(parts.settings.share / "data"))["train"]
    return replayed(own, pool, recipe.replay, recipe.seed, held)


def adapter_recipe(parts: Parts) -> Any:
    """The recipe the settings name. Raises RecipeError."""
    from ..train.nli_recipe import NliAdapt
    from ..train.recipe import find_recipe, read_recipe

    return read_recipe(find_recipe(parts.settings.nli_recipe, parts.settings.share), NliAdapt)


def _made(
    parts: Parts,
    run: Path,
    base: Path,
    pairs: Sequence[Pair],
    made: dict[str, Any],
    told: Progress,
    counts: tuple[int, int, int, int],
) -> Adapter:
    """Train, unless this very run was finished before, and put the adapter on the shelf."""
    write_json(run / "made.json", made)
    digest = _shelved(parts, run)
    if digest is None:
        digest = _trained(parts, run, base, pairs, made, told)
        write_whole(run / "adapter", digest.encode())
        shutil.rmtree(run / "checkpoints", ignore_errors=True)
    trained, replayed, held, dropped = counts
    return Adapter(
        adapter=digest,
        base=made["base"],
        folder=str(parts.shelf.path("nli_adapters", digest)),
        recipe=digest_json(made["recipe"]),
        data=made["data"],
        trained=trained,
        replayed=replayed,
        held_out=held,
        dropped=dropped,
    )


def _shelved(parts: Parts, run: Path) -> str | None:
    """The adapter this run was finished with, if it still is what it was. A damaged one makes way, or training again would put nothing in its place."""
    try:
        digest = (run / "adapter").read_text(encoding="ascii")
        if not _WHOLE.fullmatch(digest):
            return None
        place = parts.shelf.path("nli_adapters", digest)
        if not place.is_dir():
            return None
        parts.shelf.digest_of("nli_adapters", place)
    except ShelfError as e:
        if isinstance(e.__cause__, OSError):  # it cannot be read now, which is no damage
            raise
        place.rename(place.with_name(f".damaged-{new_id('a')}"))
        return None
    except (OSError, UnicodeDecodeError):
        return None
    return digest


def _trained(
    parts: Parts, run: Path, base: Path, pairs: Sequence[Pair], made: dict[str, Any], told: Progress
) -> str:
    from safetensors import SafetensorError

    from ..train.nli_adapter import save_adapter, train_adapter

    def step(done: int, total: int, note: str) -> None:
        told.step("adapt", done, total, note)

    try:
        model = train_adapter(adapter_recipe(parts), base, made["base"], made["columns"], pairs, run, step)
        with parts.shelf.building("nli_adapters") as folder:
            save_adapter(model, folder)
            write_json(folder / "made.json", {**made, "at": utc_now()})
            return parts.shelf.keep("nli_adapters", folder)
    except SafetensorError as e:
        raise TrainingError(
            f"The weights could not be written: {e}.", "Free space; it goes on from its last checkpoint."
        ) from e
