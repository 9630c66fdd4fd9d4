"""The forms of completions, decisions, summaries and Ollama's routes, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from ..core.question import Frozen
from .schemas import ChatAnswer, Open, Verdict


class DecisionsRequest(Open):
    """An input and questions about it, in OpenAI's form."""

    model: str
    input: str | list[dict[str, Any]]
    questions: list[dict[str, Any]]


class DecisionsAnswer(Open):
    """Answers in the order of the questions; fields of ours begin with `x_`."""

    model: str
    answers: list[dict[str, Any]]
    usage: dict[str, Any]
    x_request: str


class SummaryRequest(Frozen):
    """A text to be summarised."""

    text: str
    contract: str = Field("general", description="Identity contract under which the gate judges.")
    stream: bool = Field(False, description="Progress as server-sent events, and the summary last.")


class SummaryAnswer(Open):
    """Lines with the parts of the text they came from (characters, from and to), what was left out and why, and every node of the tree."""

    id: str
    characters: int
    lines: list[dict[str, Any]]
    left_out: list[dict[str, Any]]
    nodes: list[dict[str, Any]]
    resumed: int


class OllamaChat(Open):
    """A conversation in Ollama's form."""

    model: str
    messages: list[dict[str, Any]] = Field(default_factory=list)
    stream: bool = True
    options: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = Field(None, description="Functions the model may call.")
    keep_alive: str | float | None = Field(None, description="Any duration; the model stays all the same.")
    x_contract: str | None = Field(None, description="Identity contract under which the gate judges.")


class OllamaGenerate(Open):
    """A prompt in Ollama's form."""

    model: str
    prompt: str = ""
    system: str | None = None
    stream: bool = True
    options: dict[str, Any] | None = None
    keep_alive: str | float | None = Field(None, description="Any duration; the model stays all the same.")
    x_contract: str | None = Field(None, description="Identity contract under which the gate judges.")


class OllamaAnswer(Open):
    """An answer in Ollama's form, or its last line: `message` of a chat, `response` of a prompt. Durations are nanoseconds."""

    model: str
    created_at: str
    done: bool
    done_reason: str | None = None
    x_sekisho: Verdict | None = None


class OllamaModels(BaseModel):
    """The one model."""

    models: list[dict[str, Any]]


class OllamaVersion(Open):
    """The version of this server."""

    version: str


class OllamaShow(Open):
    """What is known of the model; asked by its name."""

    model: str


class CompletionRequest(Open):
    """A prompt. It is answered as one turn of a user; `logprobs` says how many alternatives, at most 5."""

    model: str
    prompt: str | list[str]
    stream: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    logprobs: int | None = None
    x_contract: str | None = None


class CompletionAnswer(ChatAnswer):
    """A completion in OpenAI's older form, with the gate's judgement."""
