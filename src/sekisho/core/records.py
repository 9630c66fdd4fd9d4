"""The records of the ledger. They are frozen values and know no SQL: position and links belong to the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from .adapting import Activation, Calibrated, Feedback
from .oversight import Certificate, Escalation, Incident, Key
from .question import Frozen, QuestionType

Decision = Literal["ALLOW", "ESCALATE", "DENY"]
DECISIONS: tuple[Decision, ...] = ("ALLOW", "ESCALATE", "DENY")
STRICTNESS: Mapping[str, int] = {"ALLOW": 0, "ESCALATE": 1, "DENY": 2}
"""Rules may only move a decision up this order."""


class Stamp(Frozen):
    """Which weights, adapter, calibration and policy produced a judgement. Digests are tagged (`sha256:…`)."""

    engine: str
    model: str
    model_digest: str
    adapter_digest: str | None = None
    calibration: str = "uncalibrated"
    policy: str | None = None
    contract: str | None = None


class Judgement(Frozen):
    """One decision of a model.

    Attributes:
        id: `jdg_…`.
        at: UTC time, ISO 8601.
        task: gate, nli, question (any other typed question), chat, rubric (probabilities are of yes, by criterion).
        type: the question's type; None for free text.
        name: the client's question id; never shown to the model.
        probabilities: calibrated, by option key; empty for free text and when no readable answer came.
        raw: uncalibrated probabilities, same keys: the engine's; the gate's are pooled with those of its reader of n-grams, where the release has one.
        answer: the model's own answer: the likeliest key; None when there was none.
        decision: for the gate, what was released (ALLOW, ESCALATE, DENY); for other tasks the answer, or `released`, `interrupted`.
        reasons: machine-readable reasons, in order: `model`, `below_threshold`, `unfamiliar`, `rule:NAME`, `engine_timeout` …
        policy_ref: clause of the policy that decided.
        escalation_target: who is asked when the decision is ESCALATE.
        proposal: the smallest safe alternative to what was not answered; None for ALLOW.
        risks: what answering could have led to.
        content: salted digest of the content; the content itself lies apart and may be erased.
        links: related ids: `gate` (the judgement that let this one pass), `request` (several judgements of one request), `retry_of`.
        usage: token counts and milliseconds.
    """

    id: str
    at: str
    task: str
    type: QuestionType | None = None
    name: str | None = None
    probabilities: Mapping[str, float] = {}
    raw: Mapping[str, float] = {}
    answer: str | None = None
    decision: str
    reasons: tuple[str, ...] = ()
    policy_ref: str | None = None
    escalation_target: str | None = None
    proposal: str | None = None
    risks: tuple[str, ...] = ()
    content: str | None = None
    stamp: Stamp
    links: Mapping[str, str] = {}
    usage: Mapping[str, float] = {}


class Stretch(Frozen):
    """Text of a stream, written down before it left. Those of one stream, in order, begin the answer that a judgement of task `chat` closes.

    Attributes:
        id: `str_…`.
        judgement: id of the gate's judgement that let the text pass; the record that closes the stream links to it too.
        place: position in the stream, from 0.
        content: salted digest of the text, which lies apart and may be erased.
        stamp: what wrote it, also when a power cut left the stream unclosed.
    """

    id: str
    at: str
    judgement: str
    place: int
    content: str
    stamp: Stamp


class Correction(Frozen):
    """A person's word on a judgement. `was` is always the machine's original answer, also when corrected again.

    Attributes:
        label: the right option; equal to `was` for "reviewed and right".
        by: who says so, as the client names them.
    """

    id: str
    at: str
    judgement: str
    task: str
    was: str | None
    label: str
    reason: str
    by: str = "unknown"
    content: str | None = None


class Proof(Frozen):
    """A verdict on a candidate model, on held-out data.

    Attributes:
        candidate: digest of the trained adapter folder, or of the model folder when nothing was trained.
        base: digest of what it is compared with; None for the first model.
        passed: whether it may be promoted.
        why: the reasons in words.
        measures: the numbers, nested by split and measure.
        report: digest of the full report's JSON.
        data: digest of the data set used.
    """

    id: str
    at: str
    task: str
    candidate: str
    base: str | None
    passed: bool
    why: tuple[str, ...]
    measures: Mapping[str, Any]
    report: str | None = None
    data: str | None = None


class Promotion(Frozen):
    """What serves from now on. A rollback is a promotion too, with `rollback` set.

    Attributes:
        release: digest of the release folder on the shelf (GGUF, calibration, threshold, scope).
        previous: the release that served before; None for the first.
        proof: id of the passing proof it rests on.
    """

    id: str
    at: str
    release: str
    previous: str | None
    proof: str
    rollback: bool = False
    by: str = "unknown"


class Policy(Frozen):
    """A policy version in force from `at`. `document` is the whole document; `digest` its canonical digest."""

    id: str
    at: str
    name: str
    digest: str
    document: Mapping[str, Any]


class Contract(Frozen):
    """An identity contract version: role, scope, limitations, escalation policy."""

    id: str
    at: str
    name: str
    digest: str
    document: Mapping[str, Any]


class Checkpoint(Frozen):
    """A signed statement about every entry before this one. It is the entry right behind them, so it cannot be played again later.

    Attributes:
        size: how many entries it covers; its own position is `size + 1`.
        root: root of the Merkle tree (RFC 6962) over their digests.
        head: digest of the last of them.
        key: the public key, `ed25519:` and base64.
        note: what was signed, with its signature, as a signed note (C2SP tlog-checkpoint).
    """

    id: str
    at: str
    size: int
    root: str
    head: str
    key: str
    note: str


class Hold(Frozen):
    """A legal hold: content that must not be erased. The latest word on a subject counts.

    Attributes:
        subject: id of a judgement, or `*` for everything.
        active: whether the hold begins or ends here.
    """

    id: str
    at: str
    subject: str
    active: bool
    reason: str
    by: str = "unknown"


class Erasure(Frozen):
    """Content that was erased in the transaction that wrote this record. What was decided about it stays in the chain.

    Attributes:
        digests: salted digests of the erased contents, sorted.
        rule: why: `retention` with the days that were in force, or `request`.
        days: days in force by class; empty for a request.
        reason: in words.
    """

    id: str
    at: str
    digests: tuple[str, ...]
    rule: str
    days: Mapping[str, float] = {}
    reason: str = ""
    by: str = "unknown"


Record = (
    Judgement
    | Stretch
    | Correction
    | Proof
    | Promotion
    | Policy
    | Contract
    | Checkpoint
    | Hold
    | Erasure
    | Key
    | Escalation
    | Certificate
    | Incident
    | Activation
    | Feedback
    | Calibrated
)

KINDS: Mapping[str, type[Frozen]] = {
    "judgement": Judgement,
    "stretch": Stretch,
    "correction": Correction,
    "proof": Proof,
    "promotion": Promotion,
    "policy": Policy,
    "contract": Contract,
    "checkpoint": Checkpoint,
    "hold": Hold,
    "erasure": Erasure,
    "key": Key,
    "escalation": Escalation,
    "certificate": Certificate,
    "incident": Incident,
    "activation": Activation,
    "feedback": Feedback,
    "calibrated": Calibrated,
}


def kind_of(record: Frozen) -> str:
    """Return the ledger kind of a record. Raises KeyError for a value that is no record."""
    for kind, cls in KINDS.items():
        if type(record) is cls:
            return kind
    raise KeyError(type(record).__name__)
