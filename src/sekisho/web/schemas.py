"""The forms of requests and answers, as the OpenAPI document shows them. Requests of our own routes are read with them too."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..core.question import Frozen

Text = str | dict[str, Any] | list[Any]


class Open(BaseModel):
    """A form that may carry more fields than those named."""

    model_config = ConfigDict(extra="allow")


class Problem(BaseModel):
    """One thing wrong with a request."""

    loc: list[str | int]
    msg: str
    type: str


class Invalid(BaseModel):
    """Answer 422: what is wrong, and where."""

    detail: list[Problem]


class Said(BaseModel):
    """What happened and what to do."""

    error_type: str
    message: str


class Failed(BaseModel):
    """Every other error. OpenAI's routes answer with OpenAI's error object instead."""

    detail: Said


class QuestionForm(Open):
    """A typed question. `criteria`: of a noul `{true, false}`, of a choice label to description, of a score the levels."""

    type: Literal["noul", "choice", "score"]
    instructions: Text | None = None
    criteria: dict[str, Text | None] | list[Text] | None = None


class SystemOneRequest(Open):
    """A state and questions about it. Unknown top-level fields are ignored."""

    model: str | None = Field(None, description="The served model's name, `jev-latest`, or nothing.")
    state: Text
    questions: dict[str, QuestionForm]


class TokenCount(BaseModel):
    """Tokens read and written."""

    input_tokens: int
    output_tokens: int


class SystemOneAnswer(Open):
    """Answers by the client's question ids; fields of ours begin with `x_`."""

    model: str
    answers: dict[str, dict[str, Any]]
    usage: TokenCount
    x_request: str


class ChatRequest(Open):
    """A conversation. What this version does not do (images) is refused with 422, as are tools, a schema or log-probabilities where the engine does not do them."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = Field(None, description="Functions the model may call.")
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    x_contract: str | None = Field(None, description="Identity contract under which the gate judges.")


class Verdict(BaseModel):
    """The gate's judgement of a conversation."""

    judgement: str
    decision: str
    reasons: list[str]
    policy_ref: str | None
    escalation_target: str | None
    proposal: str | None
    risks: list[str]
    calibration: str


class ChatAnswer(Open):
    """A completion in OpenAI's form, with the gate's judgement."""

    id: str
    object: str
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, int] | None = None
    x_sekisho: Verdict


class ModelEntry(BaseModel):
    """A model as OpenAI's clients know it."""

    id: str
    object: str
    created: int
    owned_by: str


class ModelList(BaseModel):
    """Models, once for OpenAI's clients and once for System One's."""

    object: str
    data: list[ModelEntry]
    models: list[dict[str, str]]


class GateRequest(Frozen):
    """A request to be judged."""

    text: str
    contract: str | None = Field(None, description="Identity contract; `general` when absent.")


class GateAnswer(Frozen):
    """A gate judgement in plain form. `answer` is the model's own; `decision` is what holds."""

    id: str
    decision: str
    answer: str | None
    probabilities: dict[str, float]
    reasons: list[str]
    policy_ref: str | None
    escalation_target: str | None
    proposal: str | None
    risks: list[str]
    calibration: str
    model: str


class CorrectionRequest(Frozen):
    """A person's word on a judgement."""

    judgement: str = Field(max_length=200)
    label: str
    reason: str
    by: str = "unknown"


class CorrectionFiled(Open):
    """A correction as it stands in the ledger; `was` is the machine's original answer."""

    id: str
    at: str
    judgement: str
    task: str
    was: str | None
    label: str
    reason: str
    by: str


class CorrectionList(BaseModel):
    """A page of corrections."""

    corrections: list[CorrectionFiled]
    next: int | None


class JudgementForm(Open):
    """A judgement as it stands in the ledger, with its position."""

    seq: int
    id: str
    at: str
    task: str
    decision: str


class JudgementList(BaseModel):
    """A page of judgements."""

    judgements: list[JudgementForm]
    next: int | None


class StretchForm(Open):
    """Text of a stream as it left, in order; `kept` is null when it was erased."""

    seq: int
    id: str
    at: str
    judgement: str
    place: int
    kept: Any


class JudgementFound(JudgementForm):
    """One judgement; `kept` is what was asked and answered, absent when it was erased."""

    digest: str
    corrections: list[CorrectionFiled]
    stretches: list[StretchForm]
    kept: Any = None


class LaneList(BaseModel):
    """The engine's slots by state, both lanes, and everybody who waits in the order of starting."""

    slots: dict[str, int]
    lanes: dict[str, dict[str, float]]
    line: list[dict[str, Any]]


class Health(BaseModel):
    """Whether the server would answer, and with what."""

    status: Literal["ok", "degraded", "down"]
    engine: dict[str, Any]
    ledger: dict[str, Any]
    release: dict[str, Any]
    calibration: str
    problem: str | None


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Failed, "description": "The body could not be read at all."},
    401: {"model": Failed, "description": "No API key or token, or a wrong one."},
    403: {
        "model": Failed,
        "description": "The key lacks the scope; or, without keys: called by a foreign name, or from another site's page.",
    },
    404: {"model": Failed, "description": "No such model, judgement, key or path."},
    409: {"model": Failed, "description": "Not in the present state."},
    413: {"model": Failed, "description": "Too many bytes, tokens or questions."},
    415: {"model": Failed, "description": "A content type or encoding that is not spoken here."},
    422: {"model": Invalid, "description": "The request is wrong; `detail` says where."},
    429: {
        "model": Failed,
        "description": "Too many requests wait, or the key asks too often; Retry-After says when to try again.",
    },
    503: {"model": Failed, "description": "The engine or the ledger cannot be used; nothing was released."},
}
"""What every route may answer besides 200."""


def body_of(form: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI entry of a request body that a route reads by itself."""
    schema = form.model_json_schema(ref_template="#/components/schemas/{model}")
    inner = schema.pop("$defs", {})
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": _inline(schema, inner)}}}
    }


def _inline(schema: Any, inner: dict[str, Any]) -> Any:
    """Put nested forms in their places: a body given by hand has no shelf of its own in the document."""
    if isinstance(schema, list):
        return [_inline(s, inner) for s in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inline(inner[schema["$ref"].rpartition("/")[2]], inner)
    return {k: _inline(v, inner) for k, v in schema.items()}
