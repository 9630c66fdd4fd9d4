"""Promote: what has a passing proof may serve; and the way back."""

from __future__ import annotations

from ..core.canonical import new_id, utc_now
from ..core.errors import ConflictError
from ..core.records import Promotion, Proof
from ..ledger import views
from ..shelf import Release
from .parts import Parts


def promote(parts: Parts, release: str | None = None, by: str = "operator") -> Promotion:
    """Make a release serve from now on; a running server takes it up by itself.

    Args:
        release: digest or its beginning; the newest on the shelf by default.

    Raises:
        ConflictError: when its proof did not pass, or it serves already.
        ShelfError: when it is missing or its files have changed.
    """
    name = release or _newest(parts)
    folder, baked = parts.shelf.release(name)
    tagged = parts.shelf.digest_of("releases", folder)
    _check_proof(parts, baked)
    now = views.serving(parts.ledger)
    if now is not None and now.release == tagged:
        raise ConflictError(f"{folder.name} serves already.", "Nothing to do.")
    return _record(parts, tagged, now.release if now else None, baked.proof, False, by)


def rollback(parts: Parts, by: str = "operator") -> Promotion:
    """Make the release serve again that served before the present one.

    Raises:
        ConflictError: when nothing served before.
        ShelfError: when the earlier release is no longer whole.
    """
    now = views.serving(parts.ledger)
    if now is None or now.previous is None:
        raise ConflictError(
            "There is no earlier release to go back to.", "See `sekisho audit show --kind promotion`."
        )
    _, baked = parts.shelf.release(now.previous)
    return _record(parts, now.previous, now.release, baked.proof, True, by)


def _record(parts: Parts, new: str, previous: str | None, proof: str, back: bool, by: str) -> Promotion:
    record = Promotion(
        id=new_id("prm"), at=utc_now(), release=new, previous=previous, proof=proof, rollback=back, by=by
    )
    parts.ledger.append([record])
    return record


def _check_proof(parts: Parts, release: Release) -> None:
    proof: Proof | None = views.proof(parts.ledger, release.proof)
    if proof is None or not proof.passed or proof.candidate != release.adapter:
        why = "; ".join(proof.why) if proof else "the ledger holds no such proof"
        raise ConflictError(
            f"The release has no passing proof: {why}.", "Run `sekisho prove`, then `sekisho bake`."
        )


def _newest(parts: Parts) -> str:
    folders = parts.shelf.all("releases")
    if not folders:
        raise ConflictError("There is no release on the shelf.", "Run `sekisho bake` after a passing proof.")
    return folders[-1].name
