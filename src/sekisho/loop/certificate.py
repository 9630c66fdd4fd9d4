"""Certificate: for which model, policy and data the gate's false allows are bounded, and until when. Without a valid one nothing is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.canonical import new_id, utc_after, utc_now
from ..core.oversight import Certificate
from ..ledger import views
from ..shelf import Release
from ..tasks.policy import document_digest
from .parts import Parts

if TYPE_CHECKING:
    from ..proof.measures import Scored
    from ..proof.threshold import Threshold


@dataclass(frozen=True)
class Certified:
    """How far a release may be relied on.

    Attributes:
        fault: why there is no valid certificate; None when there is one.
        expires: when that ends; empty when there is none.
        threshold: the certificate's; a release's own may be stricter, never more lenient.
    """

    fault: str | None = "no_certificate"
    expires: str = ""
    threshold: float = 1.0

    def problem(self, now: str) -> str | None:
        """The reason not to allow anything at this time; None when there is none."""
        return self.fault or ("certificate_expired" if now >= self.expires else None)


def certified(parts: Parts, release: Release) -> Certified:
    """Compare the newest certificate of a release's model with what is in force now. Reads the ledger."""
    found = views.certificate(parts.ledger, release.adapter)
    if found is None:
        return Certified()
    fault = _fault(parts, found, release)
    return Certified(fault, found.expires, found.threshold)


def _fault(parts: Parts, found: Certificate, release: Release) -> str | None:
    policy, contracts = in_force(parts)
    proof = views.proof(parts.ledger, found.proof)
    if found.temperature != release.temperatures["choice"]:
        return "certificate_model"
    if proof is None or proof.candidate != release.adapter or proof.data != found.data:
        return "certificate_data"
    return None if (found.policy, found.contracts) == (policy, contracts) else "certificate_policy"


def in_force(parts: Parts) -> tuple[str, str]:
    """Digests of the policy and of all identity contracts."""
    return document_digest(parts.policy_document), document_digest(dict(parts.contract_documents))


def certificate_of(
    parts: Parts,
    rows: Sequence[Scored],
    temperature: float,
    chosen: Threshold,
    about: tuple[str, str, str],
) -> Certificate:
    """The certificate of a threshold that was chosen on calibration rows, not yet in the ledger.

    Args:
        about: digest of the adapter, id of the proof, digest of the proof's data.
    """
    from ..proof.threshold import budget, by_stratum

    shown = [t for t in chosen.table if t.held][-1:] or list(chosen.table[:1])
    policy, contracts = in_force(parts)
    now = utc_now()
    strata = (
        by_stratum(rows, temperature, chosen.tau, chosen.alpha, chosen.confidence) if chosen.feasible else {}
    )
    escalated, minimum = budget(rows, temperature, chosen.tau)
    return Certificate(
        id=new_id("crt"),
        at=now,
        adapter=about[0],
        proof=about[1],
        feasible=chosen.feasible,
        alpha=chosen.alpha,
        confidence=chosen.confidence,
        threshold=chosen.tau,
        temperature=temperature,
        misses=shown[0].misses,
        cases=shown[0].cases,
        bound=shown[0].bound,
        strata=strata,
        escalated=escalated,
        minimum=minimum,
        policy=policy,
        contracts=contracts,
        data=about[2],
        expires=utc_after(now, parts.settings.certificate_days * 86_400),
    )
