"""Composition: a bare request + an identity contract + a policy state = one supervised row of the gate.

Everything chosen here (clearance level, contract of a variant, wrapper) is drawn from the *pair* (topic and language), never
from the request: the three requests of a minimal pair get the same header and the same wrapper, so neither can give the
decision away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.canonical import digest_text, short
from ..core.gate_prompt import DEFAULT_CONTRACT, LEVELS, ROLES, Lang, gate_state
from ..core.policyfile import ContractDocument, PolicyDocument, read_contract, read_policy
from ..core.question import Example, Frozen, gate_question
from .collect import Request

_OPENERS: Mapping[Lang, tuple[str, ...]] = {
    "ja": ("", "お疲れさまです。", "お世話になっております。", "すみません。", "急ぎです。", "こんにちは。"),
    "en": ("", "Hello. ", "Good morning. ", "Hi there. ", "Quick one. ", "Sorry to bother you. "),
}
_CLOSERS: Mapping[Lang, tuple[str, ...]] = {
    "ja": ("", "よろしくお願いします。", "お手数をおかけします。", "取り急ぎ。"),
    "en": ("", " Thanks.", " Thank you in advance.", " Much appreciated."),
}
_REQUEST_ENDING = re.compile(r"(?<=[いえきけしせちてべめりれんっ])[てで]。?$")
_POLITE = ("ください。", "もらえますか。", "ほしいです。", "いただけますか。")


class PolicyState(Frozen):
    """The state of the policy a row is composed with, kept in its `meta`."""

    organisation: str
    level: str
    disclosure: str
    retention_days: int


class House:
    """Policy and contracts read once, and what composition takes from them."""

    def __init__(self, policy: PolicyDocument, contracts: Mapping[str, ContractDocument]) -> None:
        self.policy = policy
        self.contracts = contracts

    @classmethod
    def read(cls, share: Path, policy: str = "default") -> House:
        """Read a policy by name and every contract. Raises DataError."""
        return cls(read_policy(policy, share), {name: read_contract(name, share) for name in ROLES})

    def state(self, domain: str, level: str, lang: Lang) -> PolicyState:
        """Policy state of a domain's example organisation at a clearance level."""
        row = self.policy.level(level)
        return PolicyState(
            organisation=self.policy.organisations[domain].of(lang),
            level=level,
            disclosure=row.disclosure.of(lang),
            retention_days=row.retention_days,
        )


def draw(options: Sequence[str], *key: object) -> str:
    """Choose one of `options` by the digest of `key`: the same on every machine and in every order."""
    return options[int(digest_text("|".join(map(str, key)))[-8:], 16) % len(options)]


def compose(
    request: Request, group: str, house: House, seed: int, variant: int = 0, text: str | None = None
) -> Example:
    """Compose one row.

    Args:
        group: the split group, kept in the row.
        variant: 0 has the domain's contract, later ones the general contract (what a caller who names none gets).
        text: the wrapped request of a variant; the bare request when None.
    """
    said = request.text if text is None else text
    contract = request.domain if variant == 0 else DEFAULT_CONTRACT
    level = draw(tuple(LEVELS), seed, request.pair or group, variant, "level")
    state = gate_state(said, request.lang, contract, level)
    meta: dict[str, Any] = {
        "lang": request.lang,
        "domain": request.domain,
        "source": request.source,
        "licence": request.licence,
        "decision": request.decision,
        "accept": list(request.accept or (request.decision,)),
        "pair": request.pair,
        "policy_ref": request.policy_ref,
        "escalation_target": house.policy.target(request.domain, request.policy_ref, request.lang),
        "contract": contract,
        "policy_state": house.state(request.domain, level, request.lang).model_dump(),
        "text": said,
        "request": request.id,
        "variant": variant,
    }
    identity = "gate-" + short(digest_text(f"{request.id}|{variant}|{state}"), 16)
    return Example(
        id=identity, state=state, question=gate_question(), label=request.decision, group=group, meta=meta
    )


def vary(triple: Sequence[Request], seed: int, variant: int) -> list[str]:
    """Wrap the requests of one pair in the same greeting, closing and, where all of them end in a て-form, polite ending.

    Returns:
        The wrapped texts in order. All requests must share pair and language.
    """
    pair, lang = triple[0].pair, triple[0].lang
    opener = draw(_OPENERS[lang], seed, pair, variant, "opener")
    closer = draw(_CLOSERS[lang], seed, pair, variant, "closer")
    texts = [r.text for r in triple]
    if lang == "ja" and all(_REQUEST_ENDING.search(t) for t in texts):
        ending = draw(_POLITE, seed, pair, variant, "ending")
        texts = [t.rstrip("。") + ending for t in texts]
    return [f"{opener}{_stopped(t, lang) if closer else t}{closer}" for t in texts]


def _stopped(text: str, lang: Lang) -> str:
    """Text that ends in a mark, so that a closing may follow."""
    return text if text[-1] in "。.!?！？…」)）" else text + ("。" if lang == "ja" else ".")


def variants(
    requests: Sequence[Request], groups: Mapping[str, str], house: House, seed: int, count: int
) -> Iterator[Example]:
    """Yield `count` wrapped variants of every authored request, pair by pair. For training rows only.

    Args:
        groups: split group by request id.
    """
    pairs: dict[str, list[Request]] = {}
    for request in requests:
        if request.pair:
            pairs.setdefault(request.pair, []).append(request)
    for triple in pairs.values():
        for variant in range(1, count + 1):
            for request, text in zip(triple, vary(triple, seed, variant), strict=True):
                yield compose(request, groups[request.id], house, seed, variant, text)
