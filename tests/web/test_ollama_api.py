from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sekisho.core.errors import EngineError
from sekisho.core.tools import ToolCall
from sekisho.serve.engines.fake import FakeEngine, Script

from . import makers

SAY = {"model": makers.MODEL, "messages": [{"role": "user", "content": makers.FAMILIAR}]}
PROMPT = {"model": makers.MODEL, "prompt": makers.FAMILIAR}


@pytest.fixture
def engine():
    script = Script(probabilities=makers.sure_of("ALLOW"))
    return FakeEngine(script, name=makers.MODEL, context=makers.CONTEXT)


def lines(answer):
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/api/chat", SAY, lambda d: d["message"]["content"]),
        ("/api/generate", PROMPT, lambda d: d["response"]),
    ],
)
def test_whole_and_in_lines_say_the_same(client, path, body, text):
    one = client.post(path, json={**body, "stream": False}).json()
    many = lines(client.post(path, json=body))
    assert text(one) == "".join(map(text, many)) == f"fake: {makers.FAMILIAR}"
    for last in (one, many[-1]):
        assert (last["done"], last["done_reason"], last["load_duration"]) == (True, "stop", 0)
        assert last["eval_count"] == len(text(one))
        assert last["x_sekisho"]["decision"] == "ALLOW"
    assert not any(d["done"] for d in many[:-1])


def test_every_answer_is_behind_the_gate_and_in_the_ledger(client, engine, house):
    engine.script.probabilities = makers.sure_of("DENY")
    for stream in (True, False):
        answer = client.post("/api/chat", json={**SAY, "stream": stream})
        last = json.loads(answer.text.splitlines()[-1])
        assert (last["done_reason"], last["x_sekisho"]["decision"]) == ("content_filter", "DENY")
        assert client.get(f"/v1/judgements/{last['x_sekisho']['judgement']}").json()["decision"] == "DENY"
    assert engine.writing == 0


def test_errors_have_ollamas_shape(client, engine, judge):
    missing = client.post("/api/chat", json={**SAY, "model": "llama3"})
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    wrong = client.post("/api/chat", json={**SAY, "options": {"num_ctx": 1 << 30}})
    assert wrong.status_code == 400
    assert str(makers.CONTEXT) in wrong.json()["error"]
    pull = client.post("/api/pull", json={"model": "llama3"})
    assert (pull.status_code, list(pull.json())) == (404, ["error", "code"])
    unload = client.post("/api/generate", json={"model": makers.MODEL, "keep_alive": 0})
    assert (unload.status_code, unload.json()["code"]) == (409, "conflict")
    assert client.post("/api/chat", content=b"{").status_code == 400
    judge._queues["rt"] = 0
    assert client.post("/api/chat", json=SAY).status_code == 429


def test_an_engine_that_breaks_while_writing_ends_the_lines_with_an_error(client, engine):
    def breaks(messages):
        engine.script.error = EngineError("The engine broke.", "Try again.")
        return "some words"

    engine.script.text = breaks
    answer = client.post("/api/chat", json=SAY)
    assert "broke" in answer.json()["error"]


@pytest.mark.parametrize("name", [makers.MODEL, f"{makers.MODEL}:latest", f"{makers.MODEL}:be", "jev-latest"])
def test_the_model_goes_by_its_name_and_tag(client, name):
    assert (
        client.post("/api/generate", json={**PROMPT, "model": name, "stream": False}).json()["model"] == name
    )


def test_exactly_one_model_is_listed_and_it_stays(client):
    (listed,) = client.get("/api/tags").json()["models"]
    (running,) = client.get("/api/ps").json()["models"]
    assert listed["name"] == running["name"] == f"{makers.MODEL}:latest"
    assert running["context_length"] == makers.CONTEXT
    assert running["expires_at"].startswith("9999")
    shown = client.post("/api/show", json={"model": listed["name"]}).json()
    assert shown["capabilities"] == ["completion", "tools"]
    assert client.post("/api/show", json={"model": "other"}).status_code == 404
    assert client.get("/api/version").json()["version"]


def test_a_wish_for_the_model_is_answered_without_the_engine(client, engine):
    asked = engine.asked
    answer = client.post("/api/generate", json={"model": makers.MODEL}).json()
    assert (answer["done"], answer["done_reason"]) == (True, "load")
    assert engine.asked == asked


def test_tools_are_called_in_ollamas_words_and_go_round_again(client, engine, judge, house):
    judge.serving = replace(judge.serving, scope=makers.Familiar())
    engine.script.calls = (ToolCall(id="x", name="find", arguments='{"title":"関所"}'),)
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
    wanted = [{"function": {"name": "find", "arguments": {"title": "関所"}}}]
    whole = client.post("/api/chat", json={**SAY, "tools": [tool], "stream": False}).json()
    many = lines(client.post("/api/chat", json={**SAY, "tools": [tool]}))
    assert whole["message"] == {"role": "assistant", "content": "", "tool_calls": wanted}
    assert [d["message"].get("tool_calls") for d in many] == [None] * (len(many) - 2) + [wanted, None]
    assert (whole["done_reason"], many[-1]["done_reason"]) == ("stop", "stop")
    engine.script.calls = ()
    result = {"role": "tool", "tool_name": "find", "content": "On the shelf."}
    again = [*SAY["messages"], whole["message"], result]
    answer = client.post(
        "/api/chat", json={**SAY, "messages": again, "tools": [tool], "stream": False}
    ).json()
    assert answer["message"]["content"] == "fake: On the shelf."
    gate = [e.record for e in house.ledger.entries(task="gate")][-1]
    assert house.ledger.content(gate.content)["requests"] == [
        "find\ntype\nobject",
        makers.FAMILIAR,
        "On the shelf.",
    ]
