"""The NLI task: does a premise support a claim, refute it, or neither?"""

from __future__ import annotations

import json

from ..core.nli_labels import KEYS
from ..core.question import Frozen, Option, Question

NAME = "nli"
"""Id of a System One question that is this task, when its options are KEYS and its state is a pair."""
INSTRUCTIONS = "Does the premise support the hypothesis, refute it, or neither?"


class Claim(Frozen):
    """A pair to judge.

    Attributes:
        source: name of the document that the premise is from; pairs of one document are never split between training and proof.
    """

    premise: str
    hypothesis: str
    source: str | None = None


def nli_question() -> Question:
    """The one question of the task."""
    return Question(type="choice", instructions=INSTRUCTIONS, options=tuple(Option(key=k) for k in KEYS))


def is_nli(name: str, question: Question) -> bool:
    """Whether a client's System One question is this task: by its id and its options."""
    return name == NAME and question.type == "choice" and question.keys == KEYS


def claim_of(state: str) -> Claim | None:
    """The pair in a System One state, a JSON object of `premise` and `hypothesis`; None when it is none."""
    if not state.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(state)
    except ValueError:
        return None
    if not isinstance(found, dict) or not {"premise", "hypothesis"} <= found.keys() <= {
        "premise",
        "hypothesis",
        "source",
    }:
        return None
    if not all(isinstance(v, str) for v in found.values()):
        return None
    return Claim(**found)
