from __future__ import annotations

import json
import socket
import time

import pytest

from sekisho.core.errors import EngineError, EngineTimeoutError

from . import makers

PATH = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def _allowing(engine):
    engine.script.probabilities = makers.sure_of("ALLOW")


def say(client, text=makers.FAMILIAR, **more):
    return client.post(
        PATH, json={"model": makers.MODEL, "messages": [{"role": "user", "content": text}], **more}
    )


def chunks(answer):
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    return [json.loads(e) for e in events if e != "[DONE]"], events[-1] == "[DONE]"


def records(house):
    return [e.record for e in house.ledger.entries(kind="judgement", limit=1000)]


def test_an_allowed_request_is_answered_and_both_records_stand(client, house):
    body = say(client).json()
    assert body["choices"][0]["message"]["content"] == f"fake: {makers.FAMILIAR}"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert (
        body["usage"]["total_tokens"]
        == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
        > 0
    )
    gate, chat = records(house)
    assert (gate.task, gate.decision, chat.task, chat.decision) == ("gate", "ALLOW", "chat", "released")
    assert chat.links["gate"] == gate.id == body["x_sekisho"]["judgement"]
    assert house.ledger.content(chat.content) == {"answer": f"fake: {makers.FAMILIAR}"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("decision", "text", "says"),
    [("DENY", makers.FAMILIAR, "not answered"), ("ESCALATE", makers.FAMILIAR_JA, "受付番号")],
)
def test_a_refused_or_escalated_request_gets_the_policys_text(
    client, engine, house, stream, decision, text, says
):
    engine.script.probabilities = makers.sure_of(decision)
    answer = say(client, text, stream=stream, stream_options={"include_usage": True} if stream else None)
    assert answer.status_code == 200
    if stream:
        found, done = chunks(answer)
        assert done
        content = "".join(c["choices"][0]["delta"].get("content", "") for c in found if c["choices"])
        finish, verdict = found[-2]["choices"][0]["finish_reason"], found[0]["x_sekisho"]
        assert found[-1]["usage"]["completion_tokens"] == 0
    else:
        choice = answer.json()["choices"][0]
        content, finish, verdict = (
            choice["message"]["content"],
            choice["finish_reason"],
            answer.json()["x_sekisho"],
        )
    (record,) = records(house)
    assert says in content
    assert record.id in content
    assert finish == "content_filter"
    assert verdict["judgement"] == record.id
    assert (verdict["decision"], verdict["policy_ref"]) == (decision, record.policy_ref)
    assert bool(verdict["escalation_target"]) is (decision == "ESCALATE")
    assert engine.writing == 0


def test_a_stream_says_the_same_as_the_whole_and_counts_when_asked(client):
    whole = say(client, max_tokens=11).json()
    found, done = chunks(say(client, max_tokens=11, stream=True, stream_options={"include_usage": True}))
    assert done
    assert found[0]["choices"][0]["delta"]["role"] == "assistant"
    assert (
        "".join(c["choices"][0]["delta"].get("content", "") for c in found if c["choices"])
        == whole["choices"][0]["message"]["content"]
    )
    assert found[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "length"
    assert found[-1]["choices"] == []
    assert found[-1]["usage"] == whole["usage"]
    assert all(c["usage"] is None for c in found[:-1])
    assert not any("usage" in c for c in chunks(say(client, stream=True))[0])


def test_the_record_stands_before_the_last_chunk_leaves(client, house, engine):
    engine.script.delay = 0.02
    with client.stream(
        "POST",
        PATH,
        json={
            "model": makers.MODEL,
            "messages": [{"role": "user", "content": makers.FAMILIAR}],
            "stream": True,
        },
    ) as answer:
        for line in answer.iter_lines():
            if '"finish_reason":"stop"' in line:
                assert [r.task for r in records(house)] == ["gate", "chat"]
                return
    pytest.fail("no last chunk")


def test_a_client_that_hangs_up_stops_the_engine_and_leaves_a_record(live, engine, house):
    engine.script.delay, engine.script.text = 0.05, "long " * 2000
    body = json.dumps(
        {"model": makers.MODEL, "messages": [{"role": "user", "content": makers.FAMILIAR}], "stream": True}
    ).encode()
    host, port = live.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as wire:
        head = f"POST {PATH} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        wire.sendall(head.encode() + body)
        got = b""
        while b"long" not in got:
            got += wire.recv(4096)
        assert engine.writing == 1
    until = time.monotonic() + 5
    while (engine.writing or len(records(house)) < 2) and time.monotonic() < until:
        time.sleep(0.02)
    assert engine.writing == 0
    chat = records(house)[1]
    assert (chat.task, chat.decision) == ("chat", "interrupted")
    assert house.ledger.content(chat.content)["answer"].startswith("long")


@pytest.mark.parametrize(
    "error", [EngineError("down"), EngineTimeoutError("late"), ValueError("a fault of its code")]
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_gate_that_cannot_read_escalates(client, engine, house, error, stream):
    engine.script.error = error
    answer = say(client, stream=stream)
    assert answer.status_code == 200
    assert '"ESCALATE"' in answer.text
    assert "content_filter" in answer.text
    assert [(r.task, r.decision) for r in records(house)] == [("gate", "ESCALATE")]


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_fails_before_its_first_word_is_a_503(client, engine, stream):
    def fail(messages):
        raise EngineError("down")

    engine.script.text = fail
    answer = say(client, stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_unavailable")


def test_an_engine_that_fails_in_the_middle_ends_the_stream_with_an_error(client, engine, house):
    engine.script.piece = 2
    original = engine.generate

    async def generate(messages, sampling, timeout):
        n = 0
        async for piece in original(messages, sampling, timeout):
            n += 1
            if n > 3:
                raise EngineError("broke off")
            yield piece

    engine.generate = generate
    found, done = chunks(say(client, stream=True))
    assert not done
    assert found[-1]["error"]["code"] == "engine_unavailable"
    assert records(house)[1].decision == "interrupted"


def test_every_message_of_user_and_system_is_judged(client, engine, house):
    def by_word(state, question):
        return {"DENY": 1.0} if "poison" in state else {"ALLOW": 0.999, "DENY": 0.0005, "ESCALATE": 0.0005}

    engine.script.probabilities = by_word
    user = {"role": "user", "content": makers.FAMILIAR}
    for messages in (
        [{"role": "system", "content": "poison"}, user],
        [{"role": "user", "content": "poison"}, {"role": "assistant", "content": "no"}, user],
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": makers.FAMILIAR}, {"type": "text", "text": " poison"}],
            }
        ],
    ):
        body = client.post(PATH, json={"model": makers.MODEL, "messages": messages}).json()
        assert body["x_sekisho"]["decision"] == "DENY"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b"\xff", 400, None),
        (b"[]", 422, None),
        ({"messages": [{"role": "user", "content": "x"}]}, 422, "model"),
        ({"model": "gpt-4", "messages": [{"role": "user", "content": "x"}]}, 404, None),
        (
            {"model": makers.MODEL, "messages": [{"role": "user", "content": "x"}], "tools": [{}]},
            422,
            "tools",
        ),
        (
            {"model": makers.MODEL, "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            422,
            "messages.0.content.0",
        ),
        (
            {"model": makers.MODEL, "messages": [{"role": "user", "content": "x"}], "x_contract": "nobody"},
            422,
            None,
        ),
        ({"model": makers.MODEL, "messages": [{"role": "user", "content": "x" * (1 << 20)}]}, 413, None),
    ],
    ids=lambda v: str(v)[:40],
)
def test_what_is_wrong_gets_openais_error_object(client, body, status, param):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(PATH, content=raw, headers={"content-type": "application/json"})
    error = answer.json()["error"]
    assert answer.status_code == status
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert client.get("/v1/embeddings").json()["error"]["code"] == "not_found"


def test_over_the_context_is_an_escalation_never_a_cut(client, house):
    body = say(client, "x " * makers.CONTEXT).json()
    assert body["x_sekisho"]["decision"] == "ESCALATE"
    assert body["x_sekisho"]["reasons"] == ["too_large"]


def test_models_serve_both_kinds_of_clients(client):
    body = client.get("/v1/models").json()
    assert (
        [m["id"] for m in body["data"]] == [m["name"] for m in body["models"]] == [makers.MODEL, "jev-latest"]
    )
    assert all(isinstance(m[k], str) for m in body["models"] for k in ("name", "description", "release_date"))
