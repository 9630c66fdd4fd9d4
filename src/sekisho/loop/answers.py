"""A judgement in the words of System One: choice, score and noul answers with confidence and our `x_` fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.question import Question
from ..core.records import Judgement
from ..serve.scoring import choice_confidence, expected_score, score_confidence


def wire_answer(question: Question, shown: Sequence[str], judgement: Judgement) -> dict[str, Any]:
    """The answer to one question.

    Args:
        question: the canonical question that was asked.
        shown: option keys in the client's own order, byte for byte.
        judgement: its judgement, with calibrated probabilities.
    """
    p = judgement.probabilities
    answer = {"type": question.type, **_body(question, shown, judgement.answer, p)}
    return {**answer, **_ours(judgement)}


def _body(
    question: Question, shown: Sequence[str], best: str | None, p: Mapping[str, float]
) -> dict[str, Any]:
    if question.type == "noul":
        return {"noul": p["true"]}
    if question.type == "choice":
        ordered = {k: p[k] for k in shown}
        return {"choice": best, "confidence": choice_confidence(list(p.values())), "probabilities": ordered}
    levels = [p[k] for k in question.keys]
    return {
        "score": expected_score(levels),
        "confidence": score_confidence(levels),
        "legend": {o.key: o.description or "" for o in question.options},
        "probabilities": dict(zip(question.keys, levels, strict=True)),
    }


def _ours(judgement: Judgement) -> dict[str, Any]:
    """Fields of ours, all prefixed `x_`; clients ignore them."""
    mine: dict[str, Any] = {
        "x_judgement": judgement.id,
        "x_calibration": judgement.stamp.calibration,
        "x_raw_probabilities": dict(judgement.raw),
    }
    if judgement.task == "gate":
        mine |= {
            "x_decision": judgement.decision,
            "x_reasons": list(judgement.reasons),
            "x_policy_ref": judgement.policy_ref,
            "x_escalation_target": judgement.escalation_target,
            "x_proposal": judgement.proposal,
            "x_risks": list(judgement.risks),
        }
    return mine
