"""Ollama's own client, unmodified."""

from __future__ import annotations

import ollama
import pytest

from web import makers

TALK = [{"role": "user", "content": makers.FAMILIAR}]


@pytest.fixture
def client(live, engine):
    engine.script.probabilities = makers.sure_of("ALLOW")
    with ollama.Client(host=live) as opened:
        yield opened


def test_a_chat(client):
    done = client.chat(makers.MODEL, TALK, options={"temperature": 0, "num_ctx": 1024}, keep_alive="1h")
    assert done.message.content == f"fake: {makers.FAMILIAR}"
    assert (done.done, done.done_reason, done.load_duration) == (True, "stop", 0)


def test_streams(client):
    parts = list(client.chat(makers.MODEL, TALK, stream=True))
    assert "".join(p.message.content for p in parts) == f"fake: {makers.FAMILIAR}"
    parts = list(client.generate(f"{makers.MODEL}:latest", makers.FAMILIAR, stream=True))
    assert "".join(p.response for p in parts) == f"fake: {makers.FAMILIAR}"
    assert [p.done for p in parts].count(True) == 1


def test_lists(client):
    (listed,) = client.list().models
    (running,) = client.ps().models
    assert listed.model == running.model == f"{makers.MODEL}:latest"
    assert running.expires_at.year == 9999
    assert client.show(makers.MODEL).capabilities == ["completion", "tools"]


def test_typed_questions(client):
    question = {"type": "noul", "instructions": "Is it open?"}
    answer = client.systemone(makers.MODEL, makers.FAMILIAR, {"q": question}, keep_alive="5m").answers["q"]
    assert 0 <= answer.noul <= 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.chat("llama3", TALK),
        lambda c: c.chat(makers.MODEL, TALK, options={"num_ctx": 1 << 30}),
        lambda c: c.chat(makers.MODEL, TALK, format="json"),
        lambda c: c.pull("llama3"),
        lambda c: c.embed(makers.MODEL, "x"),
        lambda c: c.generate(makers.MODEL, "", keep_alive=0),
    ],
    ids=["another model", "a larger context", "a form", "a download", "embeddings", "unload"],
)
def test_errors_are_the_clients_own(client, ask):
    with pytest.raises(ollama.ResponseError) as e:
        ask(client)
    assert e.value.status_code in (400, 404, 409)
    assert e.value.error.endswith(".")
