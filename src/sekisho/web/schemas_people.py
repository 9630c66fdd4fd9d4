"""The forms of keys, promotions and escalations, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from ..core.question import Frozen
from .schemas import Open


class KeyRequest(Frozen):
    """An API key to be made. `scopes`: judge, correct, promote, audit, admin."""

    name: str
    scopes: list[str]
    clearance: str | None = Field(
        None, description="公開, 社内限定, 部外秘 or 極秘; the gate judges at that level."
    )
    per_minute: int = Field(600, description="Requests a minute, on average.")
    days: int | None = Field(None, description="Days until it opens nothing; never when absent.")
    by: str | None = Field(None, max_length=200)


class RotateRequest(Frozen):
    """How an API key gets a new secret."""

    grace_seconds: int = Field(0, description="Seconds for which the old secret still opens.")
    by: str | None = Field(None, max_length=200)


class KeyShown(Open):
    """An API key without its secret."""

    key: str
    name: str
    scopes: list[str]
    clearance: str | None
    per_minute: int
    expires: str | None
    active: bool


class KeyMade(KeyShown):
    """An API key with its secret, which is shown this once."""

    secret: str


class KeyList(BaseModel):
    """All API keys."""

    keys: list[KeyShown]


class PromotionRequest(Frozen):
    """What is to serve."""

    release: str | None = Field(None, max_length=200)
    rollback: bool = False
    by: str | None = Field(None, min_length=1, max_length=200)


class PromotionShown(Open):
    """A promotion as it stands in the ledger."""

    id: str
    at: str
    release: str
    previous: str | None
    proof: str
    rollback: bool
    by: str


class PromotionList(BaseModel):
    """All promotions."""

    promotions: list[PromotionShown]


class TakeRequest(Frozen):
    """Who takes an escalation."""

    by: str | None = Field(None, max_length=200)


class HandBackRequest(Frozen):
    """Who hands an escalation back, and why."""

    reason: str = Field("", max_length=4000)
    by: str | None = Field(None, max_length=200)


class DecideRequest(Frozen):
    """A person's decision."""

    outcome: Literal["ALLOW", "DENY"]
    reason: str = Field(max_length=4000)
    by: str | None = Field(None, max_length=200)


class EscalationStep(Open):
    """A step as it stands in the ledger."""

    id: str
    at: str
    judgement: str
    step: str
    by: str


class EscalationShown(Open):
    """Where an escalation stands. `outcome` is ALLOW or DENY once decided, DENY when expired."""

    judgement: str
    at: str
    target: str | None
    state: Literal["open", "taken", "decided", "expired"]
    by: str | None
    until: str | None
    outcome: str | None
    reason: str | None
    expires: str


class EscalationFound(EscalationShown):
    """One escalation; `steps` and `kept` for who may read judgements."""

    steps: list[EscalationStep] | None = None
    kept: Any = None


class EscalationList(BaseModel):
    """A page of escalations."""

    escalations: list[EscalationShown]
    next: int | None
