"""Up: from nothing to a promoted gate; each step is skipped when its result is there."""

from __future__ import annotations

from ..core.errors import ProofError
from ..core.progress import Progress, Quiet
from ..core.question import Frozen
from ..ledger import views
from .gather import data_folder, gather
from .parts import Parts
from .serving import record_documents


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
    """Gather, finetune, prove, bake and promote, unless something is promoted.

    Raises:
        ProofError: when the first proof does not pass; nothing is promoted then.
    """
    now = views.serving(parts.ledger)
    if now is not None:
        return UpResult(done=(), release=now.release, card=_card(parts, now.proof))
    return _from_nothing(parts, progress or Quiet())


def _from_nothing(parts: Parts, told: Progress) -> UpResult:
    from .bake import bake
    from .finetune import finetune
    from .promote import promote
    from .prove import prove

    record_documents(parts)
    if not (data_folder(parts) / "manifest.json").is_file():
        gather(parts, progress=lambda name, done: told.step("gather", round(100 * done), 100, name))
    candidate = finetune(parts, progress=told)
    proof = prove(parts, candidate.adapter, told)
    if not proof.passed:
        raise ProofError("The gate did not pass its proof: " + "; ".join(proof.why), "See `sekisho report`.")
    baked = bake(parts, candidate.adapter, told)
    promotion = promote(parts, baked.release, by="sekisho up")
    done = ("gather", "finetune", "prove", "bake", "promote")
    return UpResult(done=done, release=promotion.release, card=_card(parts, proof.id))


def _card(parts: Parts, proof: str) -> tuple[str, ...]:
    """The short card, read from the stored proof without loading any plotting."""
    from .report_card import short_of_proof

    return short_of_proof(parts, proof)
