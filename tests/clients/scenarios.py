"""What every client has to manage, in one list; each client brings an adapter. Standard library alone, so that it also runs in another environment.

A scenario that a client's protocol has no words for raises `NoWordsError` in its adapter; the tests say which those are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

MODEL = "nano"
ASKED = "図書館は何時に開きますか。"
REFUSED = "MUST-BE-REFUSED"
"""A text that the gate of the tests denies."""
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["a", "b"]}},
    "required": ["kind"],
    "additionalProperties": False,
}


class NoWordsError(Exception):
    """The client's protocol cannot say this."""


@dataclass
class Said:
    """What a client got. `logprobs` are those of the tokens, `read` and `written` token counts."""

    text: str
    finish: str | None = None
    read: int = 0
    written: int = 0
    logprobs: Sequence[float] = ()
    verdict: str | None = None


class Adapter(Protocol):
    """A client, in the words of the scenarios."""

    def models(self) -> list[str]:
        """Names of the models that are listed."""
        ...

    def chat(self, turns: Sequence[dict[str, str]], **options: Any) -> Said:
        """A conversation. Options: model, stream, tokens, temperature, seed, stop, schema, logprobs."""
        ...

    def decide(self, state: Any, questions: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Probabilities by question and option."""
        ...

    def status(self, work: Callable[[], Any]) -> int:
        """The HTTP status of the client's own error that `work` raises."""
        ...


def user(text: str) -> list[dict[str, str]]:
    """A conversation of one turn."""
    return [{"role": "user", "content": text}]


def lists_models(client: Adapter) -> None:
    """The served model is listed."""
    assert any(name.startswith(MODEL) for name in client.models())


def chats(client: Adapter) -> None:
    """A text, its end and its token counts arrive."""
    said = client.chat(user(ASKED), tokens=12)
    assert said.text
    assert said.finish in ("stop", "length")
    assert said.read > 5
    assert 0 < said.written <= 12


def streams_the_same(client: Adapter) -> None:
    """A greedy text is the same in a stream."""
    assert client.chat(user(ASKED), stream=True).text == client.chat(user(ASKED)).text


def goes_round_again(client: Adapter) -> None:
    """An answer may be part of the next request."""
    said = client.chat(user(ASKED))
    again = [*user(ASKED), {"role": "assistant", "content": said.text}, *user("もう一度。")]
    assert client.chat(again).text


def seeds_repeat(client: Adapter) -> None:
    """The same seed gives the same text, another one another."""
    texts = [client.chat(user(ASKED), temperature=1.0, seed=s, tokens=40).text for s in (5, 5, 6)]
    assert texts[0] == texts[1] != texts[2]


def stops(client: Adapter) -> None:
    """A stop text ends the answer and is not part of it."""
    whole = client.chat(user(ASKED)).text
    stop = whole[3:5]
    said = client.chat(user(ASKED), stop=[stop])
    assert whole.startswith(said.text)
    assert stop not in said.text
    assert said.finish == "stop"


def takes_the_batch_lane(client: Adapter) -> None:
    """The lane is part of the model's name, and changes nothing but time."""
    assert client.chat(user(ASKED), model=f"{MODEL}:be").text == client.chat(user(ASKED)).text


def reads_refusals(client: Adapter) -> None:
    """A refusal is an answer, with the policy's words."""
    for stream in (False, True):
        said = client.chat(user(REFUSED), stream=stream)
        assert "not answered" in said.text
        assert said.finish in ("content_filter", "stop")


def follows_a_schema(client: Adapter) -> None:
    """The answer is JSON of that schema."""
    said = client.chat(user(ASKED), schema=SCHEMA, tokens=60)
    assert json.loads(said.text)["kind"] in ("a", "b")


def tells_log_probabilities(client: Adapter) -> None:
    """Every token comes with one."""
    said = client.chat(user(ASKED), logprobs=True, tokens=8)
    assert 0 < len(said.logprobs) <= 8
    assert all(p <= 1e-6 for p in said.logprobs)


def gets_its_own_errors(client: Adapter) -> None:
    """Another model, and a text that does not fit, are errors with a status."""
    assert client.status(lambda: client.chat(user(ASKED), model="another")) == 404
    assert client.status(lambda: client.chat(user("長い文。" * 9000), tokens=4)) in (200, 413)


def decides(client: Adapter) -> None:
    """Typed questions in Japanese have a probability for every option."""
    questions = {
        "日本語": {"type": "noul", "instructions": "開いていますか。"},
        "どれ": {"type": "choice", "instructions": "どれですか。", "criteria": {"朝": "午前", "夜": None}},
        "点": {"type": "score", "instructions": "どのくらい", "criteria": ["低い", "中", "高い"]},
    }
    found = client.decide(ASKED, questions)
    assert [len(p) for p in found.values()] == [2, 2, 3]
    assert all(abs(sum(p.values()) - 1) < 1e-3 for p in found.values())
    assert client.decide(ASKED, questions) == found


SCENARIOS: dict[str, Callable[[Adapter], None]] = {
    f.__name__: f
    for f in (
        lists_models,
        chats,
        streams_the_same,
        goes_round_again,
        seeds_repeat,
        stops,
        takes_the_batch_lane,
        reads_refusals,
        follows_a_schema,
        tells_log_probabilities,
        gets_its_own_errors,
        decides,
    )
}
