"""Certify: the certificate of what serves, made anew."""

from __future__ import annotations

from ..core.errors import ConflictError
from ..core.oversight import Certificate
from ..core.progress import Progress, Quiet
from ..ledger import views
from ..proof import threshold
from .certificate import certificate_of
from .making import making
from .parts import Parts
from .prove import data_of, gather_splits, score_release
from .serving import promoted, record_documents


@making
def certify(parts: Parts, progress: Progress | None = None) -> Certificate:
    """Certify what serves under the policy in force, from its proof's own calibration split, and write the certificate into the ledger.

    A running server takes it up by itself. The threshold is chosen anew; serving goes by the stricter of this one and the release's own.

    Raises:
        ConflictError: nothing serves, or the data are no longer those of its proof.
    """
    told = progress or Quiet()
    found, now = promoted(parts), views.serving(parts.ledger)
    if found is None or now is None:
        raise ConflictError("Nothing is promoted yet.", "Run `sekisho up`.")
    record_documents(parts)
    _, release = found
    proof, splits = views.proof(parts.ledger, release.proof), gather_splits(parts)
    if proof is None or proof.data != data_of(splits):
        raise ConflictError(
            "The data are no longer those of the proof.", "Run `sekisho prove`, `bake` and `promote`."
        )
    told.step("certify", 0, 1)
    temperature = release.temperatures["choice"]
    rows = score_release(parts, now.release, {"calibration": splits["calibration"]}).splits["calibration"]
    settings = parts.settings
    chosen = threshold.choose(rows, temperature, settings.alpha, settings.confidence)
    made = certificate_of(parts, rows, temperature, chosen, (release.adapter, proof.id, data_of(splits)))
    parts.ledger.append([made])
    told.step("certify", 1, 1)
    return made
