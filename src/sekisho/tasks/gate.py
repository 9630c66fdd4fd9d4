"""The gate: may this request be answered? One System One `choice` question, read fail-closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core.deciding import decide
from ..core.errors import InputError
from ..core.gate_prompt import DEFAULT_CONTRACT, DEFAULT_LEVEL, gate_state, lang_of
from ..core.question import Frozen, Question, gate_question
from ..core.records import STRICTNESS, Judgement
from .disguise import disguises
from .policy import GatePolicy
from .rules import Fired
from .scope import ScopeReader

NAME = "gate"
KEYS = frozenset(STRICTNESS)


class Reading(Frozen):
    """How an answer was read.

    Attributes:
        decision: what is released.
        answer: the model's own likeliest option; None when there was no readable answer.
        probabilities: calibrated, by option; empty when there was no readable answer.
        reasons: why the decision is what it is, in order; a rule that fired is `rule:` and its name.
        clause: clause of the rule that decided; None when none did.
    """

    decision: str
    answer: str | None
    probabilities: Mapping[str, float]
    reasons: tuple[str, ...]
    clause: str | None = None


def ask(request: str, contract: str = DEFAULT_CONTRACT, level: str = DEFAULT_LEVEL) -> tuple[str, Question]:
    """Turn a request into the state and question the model sees.

    Raises:
        InputError: for a request without any visible character.
    """
    if not request.strip():
        raise InputError("The request is empty.", "Send the text that should be judged.")
    return gate_state(request, lang_of(request), contract, level), gate_question()


def guards(request: str, scope: ScopeReader | None) -> tuple[str, ...]:
    """Reasons, found without the model, not to allow a request by itself."""
    if scope is None:
        return ("no_scope", *disguises(request))
    return (*(("unfamiliar",) if scope.unfamiliar(request) else ()), *disguises(request))


def read(probabilities: Mapping[str, float], threshold: float, found: Sequence[str]) -> Reading:
    """Read calibrated probabilities. Guards and the threshold can only make the decision stricter."""
    decision, reasons = decide(probabilities, threshold, tuple(found))
    answer = max(probabilities, key=lambda k: (probabilities[k], STRICTNESS[k]))
    return Reading(
        decision=decision, answer=answer, probabilities=dict(probabilities), reasons=tuple(reasons)
    )


def unread(reason: str) -> Reading:
    """A missing, late or unreadable answer is ESCALATE, and no probability is made up for it."""
    return Reading(decision="ESCALATE", answer=None, probabilities={}, reasons=(reason,))


def tighten(reading: Reading, rules: Sequence[Fired]) -> Reading:
    """Read rules that fired, strictest first, on top of the model: the stricter of both holds, and every rule is named."""
    if not rules:
        return reading
    first = rules[0]
    decision = max(reading.decision, first.decision, key=lambda d: STRICTNESS[d])
    return reading.model_copy(
        update={
            "decision": decision,
            "reasons": (*reading.reasons, *(r.reason for r in rules)),
            "clause": first.clause if first.decision == decision else None,
        }
    )


def strictest(readings: Sequence[Reading]) -> Reading:
    """Of several readings of one conversation, the strictest; among equals the least sure of ALLOW."""
    return max(readings, key=lambda r: (STRICTNESS[r.decision], -r.probabilities.get("ALLOW", 0.0)))


def is_gate(name: str | None, question: Question) -> bool:
    """Whether a client's question is the gate, by name: id `gate`, the three decisions as labels."""
    return name == NAME and question.type == "choice" and frozenset(question.keys) == KEYS


_INSTEAD = {"ja": "代わりにできること: ", "en": "Instead: "}


def words(policy: GatePolicy, judgement: Judgement, request: str, contract: str) -> str:
    """What a person is told instead of an answer, in the language of the request: who is asked, the clause, and what can be done instead."""
    lang = lang_of(request)
    target = judgement.escalation_target or policy.target(contract, lang)
    clause = judgement.policy_ref or policy.clause(judgement.decision)
    told = policy.answer(judgement.decision, lang, id=judgement.id, target=target, clause=clause)
    return f"{told}\n{_INSTEAD[lang]}{judgement.proposal}" if judgement.proposal else told
