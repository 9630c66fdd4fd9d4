"""Three ways to get a decision out of a far server, from best to worst; each gives log-probabilities of the options, read strictly.

- `systemone`: it answers typed questions itself, with a probability for every option.
- `logprobs`: it is asked for a letter, and the log-probabilities of the letters are read from the first token.
- `choice`: a schema forces it to name one letter. Probabilities are lost: the answer counts as a single observation, (1 + 1) / (1 + k) for the
  named one of k options and 1 / (1 + k) for the others (rule of succession, Laplace 1774), so nothing passes a threshold by false certainty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...core.errors import EngineError
from ...core.prompt import LETTERS
from ...core.question import OptionScores, Question, QuestionType
from ..scoring import log_softmax

Way = Literal["systemone", "logprobs", "choice"]
_SMALLEST = 1e-12
"""A probability that was rounded to 0 on the wire counts as this."""
_TOLERANCE = 1e-2
_TOKEN_ROOM = 64
_BREAKS = (
    *("<|", "<s>", "</s>", "<start_of_turn>", "<end_of_turn>", "<<SYS>>", "<</SYS>>", "[INST]", "[/INST]"),
    *("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CONTENT]"),
)
_NOTHING = "\u200b"


def harmless(text: str) -> str:
    """The text with a zero-width space inside every spelling of a control token: far servers parse those in what users write."""
    for mark in _BREAKS:
        text = text.replace(mark, mark[0] + _NOTHING + mark[1:])
    return text


def systemone_body(model: str, state: str, questions: Sequence[Question]) -> dict[str, Any]:
    """A request to `/v1/systemone`; the ids are numbers, as elsewhere they never reach a model."""
    return {
        "model": model,
        "state": harmless(state),
        "questions": {str(i): _wire_question(q) for i, q in enumerate(questions)},
    }


def _wire_question(question: Question) -> dict[str, Any]:
    told = {o.key: None if o.description is None else harmless(o.description) for o in question.options}
    criteria: Any = list(told.values()) if question.type == "score" else told
    if question.type == "noul":
        criteria = {k: v for k, v in told.items() if v is not None} or None
    body = {
        "type": question.type,
        "instructions": harmless(question.instructions or ""),
        "criteria": criteria,
    }
    return {k: v for k, v in body.items() if v is not None}


def systemone_scores(
    reply: Mapping[str, Any], questions: Sequence[Question], temperatures: Mapping[QuestionType, float]
) -> list[OptionScores]:
    """Scores from an answer of `/v1/systemone`.

    Args:
        temperatures: what the far side divided the logits by, undone here, so that nothing is calibrated twice.

    Raises:
        EngineError: unless every option of every question has a probability and they sum to 1.
    """
    try:
        answers = [reply["answers"][str(i)] for i in range(len(questions))]
        tokens = int(reply["usage"]["input_tokens"])
        found = [_probabilities(a, q) for a, q in zip(answers, questions, strict=True)]
    except (KeyError, TypeError, ValueError):
        raise EngineError("The far server did not answer every question.", "Check the model.") from None
    return [
        OptionScores(
            logprobs=_logprobs(p, temperatures.get(q.type, 1.0)), input_tokens=tokens if i == 0 else 0
        )
        for i, (p, q) in enumerate(zip(found, questions, strict=True))
    ]


def _probabilities(answer: Mapping[str, Any], question: Question) -> list[float]:
    if question.type == "noul":
        p = float(answer["noul"])
        return [p, 1 - p]
    return [float(answer["probabilities"][key]) for key in question.keys]


def _logprobs(p: Sequence[float], temperature: float) -> tuple[float, ...]:
    if (
        not all(math.isfinite(x) and 0 <= x <= 1 + _TOLERANCE for x in p)
        or abs(math.fsum(p) - 1) > _TOLERANCE
    ):
        raise EngineError("The far server gave probabilities that are none.", "Check the model.")
    return log_softmax([temperature * math.log(max(x, _SMALLEST)) for x in p])


def letter_messages(state: str, question: Question) -> list[dict[str, str]]:
    """A question as a conversation that is answered by a letter."""
    lines = [state, *([question.instructions] if question.instructions else [])]
    for letter, option in zip(LETTERS, question.options, strict=False):
        lines.append(f"{letter} {option.key}" + (f": {option.description}" if option.description else ""))
    letters = ", ".join(LETTERS[: len(question.options)])
    lines.append(f"Answer with one of these and nothing else: {letters}.")
    return [{"role": "user", "content": harmless("\n".join(lines))}]


def logprobs_body(model: str, state: str, question: Question, top: int) -> dict[str, Any]:
    """A chat request for one token and the log-probabilities of the `top` likeliest."""
    return {
        "model": model,
        "messages": letter_messages(state, question),
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": top,
    }


def logprobs_scores(reply: Mapping[str, Any], question: Question) -> OptionScores:
    """Scores from the first token's log-probabilities; spellings of a letter (`A`, ` A`) are added up.

    Raises:
        EngineError: when an option is not among them: what it would have been is nobody's guess.
    """
    letters = LETTERS[: len(question.options)]
    mass = dict.fromkeys(letters, 0.0)
    try:
        for entry in reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            if (letter := entry["token"].strip()) in mass:
                mass[letter] += math.exp(float(entry["logprob"]))
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError):
        raise EngineError("The far server gave no log-probabilities.", "Set `remote_decisions`.") from None
    if missing := [a for a, p in mass.items() if not p > 0]:
        raise EngineError(
            f"{len(missing)} of {len(mass)} options are not among the likeliest tokens.",
            "Ask with fewer options.",
        )
    return OptionScores(logprobs=log_softmax([math.log(p) for p in mass.values()]), input_tokens=_read(reply))


def choice_body(model: str, state: str, question: Question, grammar: bool = False) -> dict[str, Any]:
    """A chat request whose answer is held to one letter: by a JSON schema, or by a grammar, which only llama.cpp reads and which leaves no room for white space."""
    letters = list(LETTERS[: len(question.options)])
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": letters}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    rule = "root ::= " + " | ".join(f'"{letter}"' for letter in letters)
    return {
        "model": model,
        "messages": letter_messages(state, question),
        "max_tokens": _TOKEN_ROOM,
        "temperature": 0,
        **({"grammar": rule} if grammar else {"response_format": form}),
    }


def choice_scores(reply: Mapping[str, Any], question: Question) -> OptionScores:
    """Scores of a forced choice. Raises EngineError when it is none of the options: some servers ignore the schema without a word."""
    letters = list(LETTERS[: len(question.options)])
    try:
        text = reply["choices"][0]["message"]["content"].strip()
        chosen = letters.index(text if text in letters else json.loads(text)["answer"])
    except (KeyError, IndexError, TypeError, ValueError):
        raise EngineError(
            "The far server did not keep to the schema.", "Use another way or server."
        ) from None
    k = len(question.options)
    logprobs = tuple(math.log((1 + (i == chosen)) / (1 + k)) for i in range(k))
    return OptionScores(logprobs=logprobs, input_tokens=_read(reply))


def _read(reply: Mapping[str, Any]) -> int:
    usage = reply.get("usage") or {}
    return int(usage.get("prompt_tokens", 0))
