"""Records about the service itself and its people: keys, escalations, certificates, incidents. They are entries of the ledger like the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from .question import Frozen


class Key(Frozen):
    """What an API key is from now on. The latest record of a key counts; the secret itself is nowhere, only its digest.

    Attributes:
        key: the key's lasting name, `key_…`; judgements carry it as their link `key`.
        name: whose it is.
        scopes: what it may do, sorted; see `core.access.SCOPES`.
        clearance: level of secrecy at which the gate judges its requests; None for the default.
        digest: digest of the secret.
        previous: digest of the secret before the last rotation, good until `previous_until`.
        per_minute: requests it may make in a minute, on average.
        expires: UTC time from which it opens nothing; None for never.
        active: false once it was revoked.
    """

    id: str
    at: str
    key: str
    name: str
    scopes: tuple[str, ...]
    clearance: str | None = None
    digest: str
    previous: str | None = None
    previous_until: str | None = None
    per_minute: int
    expires: str | None = None
    active: bool = True
    by: str = "unknown"


class Escalation(Frozen):
    """One step on the way of an escalated judgement to a person's decision.

    Attributes:
        judgement: the judgement whose decision is ESCALATE; it is what opened the escalation.
        step: take (a person has it until `until`), decide (with `outcome`), hand_back, expire (nobody decided in time).
        outcome: ALLOW or DENY, with `decide` alone.
        until: UTC time until which a taken escalation is nobody else's.
    """

    id: str
    at: str
    judgement: str
    step: Literal["take", "decide", "hand_back", "expire"]
    by: str
    reason: str = ""
    outcome: Literal["ALLOW", "DENY"] | None = None
    until: str | None = None


class Certificate(Frozen):
    """What was shown about the gate's false allows, for which model, policy and data, and until when that may be relied on.

    Attributes:
        adapter: digest of the model's adapter, as in its release.
        proof: id of the proof whose calibration split was used.
        feasible: whether any threshold keeps the bound; when none does, nothing is allowed.
        threshold: least probability of ALLOW, at `temperature`.
        misses, cases, bound: unsafe calibration cases allowed, all of them, and the upper bound of their rate at `confidence`.
        strata: the same by domain and by clearance level, each bound by itself, where there are cases enough that it could hold.
        escalated, minimum: share of calibration rows that would be escalated, and the theoretical minimum, the share that is rightly escalated.
        policy, contracts: digests of the documents in force.
        data: digest of the proof's data.
        expires: UTC time from which it holds no more.
    """

    id: str
    at: str
    adapter: str
    proof: str
    feasible: bool
    alpha: float
    confidence: float
    threshold: float
    temperature: float
    misses: int
    cases: int
    bound: float
    strata: Mapping[str, Mapping[str, float]] = {}
    escalated: float = 0.0
    minimum: float = 0.0
    policy: str
    contracts: str
    data: str
    expires: str


class Incident(Frozen):
    """Something about the service that nobody expected.

    Attributes:
        sort: egress (blocked), listener, connection, child, binary, or bias (an eye that may have stopped looking).
        what: in words.
    """

    id: str
    at: str
    sort: str
    what: str
