"""Up: from nothing to a promoted gate; each step is skipped when its result is there."""

from __future__ import annotations

from ..core.errors import ProofError
from ..core.progress import Progress, Quiet
from ..core.question import Frozen
from ..ledger import views
from .gather import data_folder, gather
from .making import making
from .parts import Parts
from .serving import record_documents, require_asked_device


class UpResult(Frozen):
    """What `up` did.

    Attributes:
        done: the steps that were needed, in order; empty when something was promoted already.
        release: digest of what serves.
        card: lines of the short report card.
    """

    done: tuple[str, ...]
    release: str
    card: tuple[str, ...]


def up(parts: Parts, progress: Progress | None = None) -> UpResult:
    """Gather, finetune, prove, bake and promote, unless something is promoted. Killed on the way, it goes on with the step it was at.

    Raises:
        DeviceError: when a GPU was asked for and is absent; nothing is made then.
        ConflictError: when another process is making something in the same home.
        ProofError: when the first proof does not pass; nothing is promoted then.
    """
    require_asked_device(parts)
    return _promoted(parts) or _from_nothing(parts, progress or Quiet())


def _promoted(parts: Parts) -> UpResult | None:
    now = views.serving(parts.ledger)
    return UpResult(done=(), release=now.release, card=_card(parts, now.proof)) if now else None


@making
def _from_nothing(parts: Parts, told: Progress) -> UpResult:
    from .bake import bake, kept_release
    from .finetune import finetune
    from .promote import promote
    from .prove import kept_proof, prove

    record_documents(parts)
    done = _Done(told)
    if not (data_folder(parts) / "manifest.json").is_file():
        gather(parts, progress=lambda name, share: done.step("gather", round(100 * share), 100, name))
    adapter = finetune(parts, progress=done).adapter
    proof = kept_proof(parts, adapter) or prove(parts, adapter, done)
    if not proof.passed:
        raise ProofError("The gate did not pass its proof: " + "; ".join(proof.why), "See `sekisho report`.")
    release = kept_release(parts, proof) or bake(parts, adapter, done).release
    promotion = promote(parts, release, by="sekisho up")
    names = (*done.names, "promote")
    return UpResult(done=names, release=promotion.release, card=_card(parts, proof.id))


class _Done:
    """Passes progress on, and remembers which steps had anything to do."""

    def __init__(self, told: Progress) -> None:
        self._told = told
        self.names: dict[str, None] = {}

    def step(self, name: str, done: int, total: int, note: str = "") -> None:
        """Note the step."""
        self.names[name] = None
        self._told.step(name, done, total, note)


def _card(parts: Parts, proof: str) -> tuple[str, ...]:
    """The short card, read from the stored proof without loading any plotting."""
    from .report_card import short_of_proof

    return short_of_proof(parts, proof)
