"""Promote: what has a passing proof may serve; and the way back."""

from __future__ import annotations

from ..core.canonical import new_id, short, utc_now
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
        ConflictError: when it serves already, its proof did not pass or is outdated. A proof is outdated once its adapter was proved again and
            fell short, or something else serves than what it was compared with; a release that has served before may always come back.
        ShelfError: when it is missing or its files have changed.
    """
    _check_duties(parts, by)
    name = release or _newest(parts)
    folder, baked = parts.shelf.release(name)
    tagged = parts.shelf.digest_of("releases", folder)
    now = views.serving(parts.ledger)
    if now is not None and now.release == tagged:
        raise ConflictError(f"{folder.name} serves already.", "Nothing to do.")
    proof = _check_proof(parts, baked)
    if tagged not in {p.release for p in views.promotions(parts.ledger)}:
        _check_rival(proof, now)
    return _record(parts, tagged, now.release if now else None, baked.proof, False, by)


def rollback(parts: Parts, by: str = "operator") -> Promotion:
    """Make the release serve again that served before the present one first did; once more, the one before that.

    Raises:
        ConflictError: when nothing served before.
        ShelfError: when the earlier release is no longer whole.
    """
    _check_duties(parts, by)
    now = views.serving(parts.ledger)
    earlier = _before(parts, now.release) if now else None
    if now is None or earlier is None:
        raise ConflictError(
            "There is no earlier release to go back to.", "See `sekisho audit show --kind promotion`."
        )
    _, baked = parts.shelf.release(earlier)
    return _record(parts, earlier, now.release, baked.proof, True, by)


def all_promotions(parts: Parts) -> list[Promotion]:
    """Every promotion and rollback, oldest first."""
    return views.promotions(parts.ledger)


def _check_duties(parts: Parts, by: str) -> None:
    """Where duties are separate, who filed a correction has a stake in what learnt from it."""
    if parts.settings.separate_duties == "on" and by in views.correctors(parts.ledger):
        raise ConflictError(
            f"Duties are separate, and {by} has filed corrections.", "Let somebody else promote."
        )


def _before(parts: Parts, release: str) -> str | None:
    """What served when a release was first promoted. A rollback is no such time: it came from the release that was withdrawn."""
    return next(p.previous for p in views.promotions(parts.ledger) if p.release == release)


def _record(parts: Parts, new: str, previous: str | None, proof: str, back: bool, by: str) -> Promotion:
    record = Promotion(
        id=new_id("prm"), at=utc_now(), release=new, previous=previous, proof=proof, rollback=back, by=by
    )
    parts.ledger.append([record])
    return record


def _check_proof(parts: Parts, release: Release) -> Proof:
    """The release's own proof, which must have passed, as must the latest one of its adapter."""
    proof: Proof | None = views.proof(parts.ledger, release.proof)
    if proof is None or not proof.passed or proof.candidate != release.adapter:
        why = "; ".join(proof.why) if proof else "the ledger holds no such proof"
        raise ConflictError(
            f"The release has no passing proof: {why}.", "Run `sekisho prove`, then `sekisho bake`."
        )
    latest = views.latest_proof(parts.ledger, release.adapter)
    if latest is not None and not latest.passed:
        why = "; ".join(latest.why)
        raise ConflictError(
            f"The latest proof of its adapter falls short: {why}.",
            "Run `sekisho finetune`, then `sekisho prove`.",
        )
    return proof


def _check_rival(proof: Proof, now: Promotion | None) -> None:
    """Refuse a proof that compared with another release than the one in force."""
    serving = now.release if now else None
    if proof.base != serving:
        said = short(proof.base) if proof.base else "nothing"
        raise ConflictError(
            f"Proof {proof.id} is outdated: it compared with {said}, and {short(serving) if serving else 'nothing'} serves.",
            "Run `sekisho prove`, then `sekisho bake`.",
        )


def _newest(parts: Parts) -> str:
    folders = parts.shelf.all("releases")
    if not folders:
        raise ConflictError("There is no release on the shelf.", "Run `sekisho bake` after a passing proof.")
    return folders[-1].name
