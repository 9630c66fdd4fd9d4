"""What a judgement is made of: what serves, what was asked, and the record of an answer. Pure; nothing is asked or written here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..core.canonical import new_id, utc_now
from ..core.engine import Engine, Lane, Laned
from ..core.errors import EngineError
from ..core.gate_prompt import lang_of
from ..core.question import OptionScores, Question
from ..core.records import Judgement, Stamp
from ..serve.scoring import calibrate
from ..tasks import gate
from ..tasks.gate import Reading
from ..tasks.ngrams import NgramReader
from ..tasks.policy import GatePolicy
from ..tasks.scope import ScopeReader
from .certificate import Certified

_ROUNDING = 1e-3
"""How far an engine's probabilities may miss 1."""


@dataclass
class Users:
    """How many requests use something."""

    count: int = 0


@dataclass(frozen=True)
class Serving:
    """What serves now. A request takes one snapshot of it and keeps it to its end.

    Attributes:
        temperatures: by question type; 1 where nothing was fitted.
        fitted: question types whose temperature was fitted on held-out data.
        threshold: least probability of ALLOW; above 1 nothing is allowed.
        certified: whether a valid certificate lets anything be allowed.
        users: requests that hold this snapshot.
        release: digest of the release in force; empty where nothing was promoted. The stamp's is of the weights that answer, which need not be its.
        ngrams: the second reader of requests; None where the release has none.
    """

    engine: Engine
    stamp: Stamp
    policy: GatePolicy
    temperatures: Mapping[str, float] = field(default_factory=dict)
    threshold: float = 2.0
    scope: ScopeReader | None = None
    certified: Certified = field(default_factory=Certified)
    users: Users = field(default_factory=Users, compare=False)
    release: str = ""
    ngrams: NgramReader | None = None

    def guards(self, request: str) -> tuple[str, ...]:
        """Reasons, found without the model, not to allow a request by itself: what serves is not certified, the text is unfamiliar."""
        problem = self.certified.problem(utc_now())
        return (*((problem,) if problem else ()), *gate.guards(request, self.scope))

    @contextmanager
    def used(self) -> Iterator[Serving]:
        """Hold this snapshot: its engine is not stopped before its users are done."""
        self.users.count += 1
        try:
            yield self
        finally:
            self.users.count -= 1

    def lane(self, lane: Lane) -> Engine:
        """The engine as that lane has it; an engine without lanes serves everybody alike."""
        return self.engine if self._laned is None else self._laned.lane(lane)

    def retry_after(self, lane: Lane) -> int:
        """Whole seconds after which somebody who is refused now may try again."""
        return 1 if self._laned is None else self._laned.retry_after(lane)

    @cached_property
    def _laned(self) -> Laned | None:
        """Looked up once: to compare an object with a protocol takes a tenth of a millisecond."""
        return self.engine if isinstance(self.engine, Laned) else None

    def pooled(self, request: str, scores: OptionScores) -> OptionScores:
        """An engine's answer to the gate's question with the second reader's opinion of the request in it; still uncalibrated."""
        return scores if self.ngrams is None else self.ngrams.pooled(scores, request)

    def calibrated(self, question: Question, scores: OptionScores) -> dict[str, float]:
        """Calibrated probabilities by option key."""
        p = calibrate(scores.logprobs, self.temperatures.get(question.type, 1.0))
        return dict(zip(question.keys, p, strict=True))

    def stamp_for(self, task: str, by: tuple[str, str] | None = None) -> Stamp:
        """The stamp of a judgement; only the gate's calibration was fitted on the gate.

        Args:
            by: engine and model digest of who answered; None for what serves.
        """
        if by is None:
            return self.stamp if task == "gate" else self._uncalibrated
        said = {"engine": by[0], "model_digest": by[1]}
        if task != "gate":
            said["calibration"] = "uncalibrated"
        return self.stamp.model_copy(update=said)

    @cached_property
    def _uncalibrated(self) -> Stamp:
        return self.stamp.model_copy(update={"calibration": "uncalibrated"})


@dataclass(frozen=True)
class Asked:
    """One question of a request: its canonical form, the client's id and the client's order of options."""

    name: str
    question: Question
    shown: tuple[str, ...]


def check_scores(questions: Sequence[Question], scores: Sequence[OptionScores]) -> None:
    """Refuse an engine's answer that is not one probability an option, summing to 1, for every question."""
    right = len(scores) == len(questions) and all(
        len(one.logprobs) == len(question.options)
        and all(x <= _ROUNDING for x in one.logprobs)  # false for NaN
        and math.isclose(math.fsum(math.exp(x) for x in one.logprobs), 1.0, abs_tol=_ROUNDING)
        for question, one in zip(questions, scores, strict=True)
    )
    if not right:
        raise EngineError(
            "The engine's answer is not a probability for every option.", "See the server's log."
        )


def raw_probabilities(question: Question, scores: OptionScores) -> dict[str, float]:
    """Probabilities by option key, before calibration."""
    return dict(zip(question.keys, (math.exp(x) for x in scores.logprobs), strict=True))


def kept(asked: Asked) -> dict[str, Any]:
    """A question as it is kept beside its judgement."""
    return {"name": asked.name, "question": asked.question.model_dump(), "shown": list(asked.shown)}


def gate_entry(
    serving: Serving,
    model: Reading,
    texts: Sequence[str],
    desk: tuple[str, str | None],
    links: Mapping[str, str],
) -> Judgement:
    """The record of what the gate makes of a request, not yet with its content: the model's reading, made stricter by the policy's rules.

    Args:
        texts: the texts of the conversation, the last one last.
        desk: contract, and level or None.
    """
    policy, (contract, level) = serving.policy, desk
    reading = gate.tighten(model, policy.fired(texts, contract, level))
    escalated, lang = reading.decision == "ESCALATE", lang_of(texts[-1])
    advice = policy.advise(reading.decision, reading.clause)
    return Judgement(
        id=new_id("jdg"),
        at=utc_now(),
        task="gate",
        type="choice",
        name=gate.NAME,
        probabilities=reading.probabilities,
        answer=reading.answer,
        decision=reading.decision,
        reasons=reading.reasons,
        policy_ref=policy.clause(reading.decision, reading.clause),
        escalation_target=policy.target(contract, lang, reading.clause) if escalated else None,
        proposal=advice.proposal.in_language(lang) if advice else None,
        risks=tuple(r.in_language(lang) for r in advice.risks) if advice else (),
        stamp=serving.stamp_for("gate"),
        links=dict(links),
    )


def question_entry(
    serving: Serving,
    state: str,
    asked: Asked,
    scores: OptionScores,
    links: Mapping[str, str],
    level: str | None = None,
) -> Judgement:
    """The record of one answered question, not yet with its content; the gate, by name, is read as the gate, at a level."""
    own = gate.is_gate(asked.name, asked.question)
    scores = serving.pooled(state, scores) if own else scores
    probabilities = serving.calibrated(asked.question, scores)
    usage = {"input_tokens": float(scores.input_tokens)}
    if own:
        reading = gate.read(probabilities, serving.threshold, serving.guards(state))
        record = gate_entry(serving, reading, [state], ("general", level), links)
        raw, stamp = raw_probabilities(asked.question, scores), serving.stamp_for("gate", scores.by)
        return record.model_copy(update={"raw": raw, "usage": usage, "stamp": stamp})
    answer = max(asked.question.keys, key=lambda k: probabilities[k])
    return Judgement(
        id=new_id("jdg"),
        at=utc_now(),
        task="question",
        type=asked.question.type,
        name=asked.name,
        probabilities=probabilities,
        raw=raw_probabilities(asked.question, scores),
        answer=answer,
        decision=answer,
        stamp=serving.stamp_for("question", scores.by),
        links=dict(links),
        usage=usage,
    )
