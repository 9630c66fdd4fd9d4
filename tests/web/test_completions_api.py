from __future__ import annotations

import json

import pytest

from sekisho.core.errors import InputError
from sekisho.web.completions_api import read_completion

from . import makers

PATH = "/v1/completions"


@pytest.fixture(autouse=True)
def _allowing(engine):
    engine.script.probabilities = makers.sure_of("ALLOW")


def ask(client, **more):
    return client.post(
        PATH, json={"model": makers.MODEL, "prompt": makers.FAMILIAR, "max_tokens": 99, **more}
    )


def test_a_prompt_is_judged_answered_and_recorded(client, house):
    body = ask(client).json()
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert body["choices"][0]["text"] == f"fake: {makers.FAMILIAR}"
    assert body["choices"][0]["finish_reason"] == "stop"
    gate, chat = [e.record for e in house.ledger.entries(kind="judgement")]
    assert chat.links["gate"] == gate.id == body["x_sekisho"]["judgement"]
    assert house.ledger.content(chat.content) == {"answer": body["choices"][0]["text"]}


def test_sixteen_tokens_are_usual_as_in_openais_document(client):
    body = client.post(PATH, json={"model": makers.MODEL, "prompt": [makers.FAMILIAR]}).json()
    assert len(body["choices"][0]["text"]) == 16
    assert body["choices"][0]["finish_reason"] == "length"


def test_a_stream_says_the_same(client):
    answer = ask(client, stream=True, stream_options={"include_usage": True})
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    told = [json.loads(e) for e in events[:-1]]
    assert "".join(c["text"] for e in told for c in e["choices"]) == f"fake: {makers.FAMILIAR}"
    assert told[-1]["usage"]["completion_tokens"] > 0
    assert told[0]["x_sekisho"]["decision"] == "ALLOW"


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_a_completion(client, engine, stream):
    engine.script.probabilities = makers.sure_of("DENY")
    answer = ask(client, stream=stream)
    assert answer.status_code == 200
    assert "content_filter" in answer.text
    assert "not answered" in answer.text


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"messages": []}, "messages"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"temperature": 3}, "temperature"),
    ],
)
def test_what_is_not_done_is_refused_by_name(client, more, field):
    answer = ask(client, **more)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == field


def test_logprobs_are_read_in_the_older_form():
    read = read_completion({"model": "m", "prompt": "x", "logprobs": 2}, 100)
    assert (read.sampling.top_logprobs, read.sampling.max_tokens) == (2, 16)
    with pytest.raises(InputError):
        read_completion({"model": "m"}, 100)
