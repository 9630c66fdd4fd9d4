"""What is asked of a model: a state and a typed question with a fixed set of options.

The wire form is System One (`POST /v1/systemone`). Inside the house a question is canonical: options are sorted by key
(a `score` keeps its level order, a `noul` lists true first), so the order a client happens to send cannot change the answer, and neither
question ids nor question order ever reach the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

QuestionType = Literal["choice", "score", "noul"]

MAX_OPTIONS = 255
"""Most options of one `choice` question (System One)."""
MAX_LEVELS = 10
"""Most levels of one `score` question (System One)."""


class Frozen(BaseModel):
    """A value: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Option(Frozen):
    """One answer a question allows.

    Attributes:
        key: the label as the client wrote it, byte for byte.
        description: what the label means, rendered as text; None when the client gave none.
    """

    key: str
    description: str | None = None


class Question(Frozen):
    """A typed question over a state.

    Attributes:
        type: choice (one of the labels), score (an ordered level), noul (true or false).
        instructions: what is asked, as text; None when the criteria say it all.
        options: in canonical order; the engine scores them all in one prefill.
    """

    type: QuestionType
    instructions: str | None = None
    options: tuple[Option, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The option keys in canonical order."""
        return tuple(o.key for o in self.options)


GATE_INSTRUCTIONS = "May this be answered?"
"""What the gate asks of every request, in training and at run time."""
GATE_KEYS = ("ALLOW", "DENY", "ESCALATE")
"""Options of the gate, in canonical order."""


def gate_question() -> Question:
    """Return the gate's one question: a `choice` of ALLOW, DENY, ESCALATE without descriptions."""
    options = tuple(Option(key=k) for k in GATE_KEYS)
    return Question(type="choice", instructions=GATE_INSTRUCTIONS, options=options)


class OptionScores(Frozen):
    """An engine's answer to one question.

    Attributes:
        logprobs: natural-log probabilities over `Question.options`, same order; they sum to 1 after exp. Uncalibrated.
        input_tokens: tokens of the prompt that was scored.
        by: engine and model digest of who answered, when an engine has several to ask; None for what it says of itself.
    """

    logprobs: tuple[float, ...]
    input_tokens: int
    by: tuple[str, str] | None = None


class Example(Frozen):
    """One supervised row: a state, a question and the right option, with everything needed to split and report it.

    Attributes:
        id: digest-derived id of the row.
        state: the text the model sees as state.
        question: the typed question.
        label: key of the right option.
        group: rows of one group (topic, near-duplicate cluster) never cross a split.
        meta: language, domain, source, licence, policy_ref, escalation_target, pair and so on; JSON values only.
    """

    id: str
    state: str
    question: Question
    label: str
    group: str
    meta: Mapping[str, Any] = {}


@runtime_checkable
class Task(Protocol):
    """What is asked and how it is read; never who answers."""

    name: str

    def ask(self, payload: Mapping[str, Any]) -> tuple[str, Question]:
        """Turn a request into the state and question for the engine. Raises InputError for a bad payload."""
        ...
