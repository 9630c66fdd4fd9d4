from __future__ import annotations

import json
import socket
import time
from dataclasses import replace

import pytest

from sekisho.core.errors import EngineError, EngineTimeoutError, LedgerError
from sekisho.core.tools import ToolCall

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
            "tools.0.type",
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


TOOLS = [
    {"type": "function", "function": {"name": name, "description": f"{name}s"}} for name in ("find", "sort")
]
CALLS = (
    ToolCall(id="call_1", name="find", arguments='{"title":"関所"}'),
    ToolCall(id="call_2", name="sort", arguments="{}"),
)
TOLD = [
    {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in CALLS
]


@pytest.fixture
def calling(engine, judge):
    judge.serving = replace(judge.serving, scope=makers.Familiar())
    engine.script.calls = CALLS
    return engine


@pytest.mark.parametrize("text", ["", "Let me look."])
def test_calls_leave_whole_and_are_in_the_ledger_with_the_text(client, calling, house, text):
    calling.script.text = text
    body = say(client, tools=TOOLS).json()
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == (text or None)
    assert choice["message"]["tool_calls"] == TOLD
    _, chat = records(house)
    assert (chat.task, chat.decision) == ("chat", "released")
    assert house.ledger.content(chat.content) == {
        "answer": text,
        "calls": [c.model_dump() for c in CALLS],
    }


@pytest.mark.parametrize("text", ["", "Let me look."])
def test_a_stream_tells_the_same_calls_and_then_why_it_ended(client, calling, text):
    calling.script.text = text
    found, done = chunks(say(client, tools=TOOLS, stream=True, stream_options={"include_usage": True}))
    assert done
    deltas = [c["choices"][0]["delta"] for c in found if c["choices"]]
    calls = [call for d in deltas for call in d.get("tool_calls", ())]
    assert calls == [{"index": i, **call} for i, call in enumerate(TOLD)]
    assert "".join(d.get("content") or "" for d in deltas) == text
    assert found[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_no_call_leaves_before_its_record_is_durable(client, calling, house, monkeypatch):
    original = house.ledger.job

    def job(new, *rest, **more):
        if getattr(new[0], "task", "") == "chat":
            raise LedgerError("The disk is full.")
        return original(new, *rest, **more)

    monkeypatch.setattr(house.ledger, "job", job)
    for stream in (False, True):
        answer = say(client, tools=TOOLS, stream=stream)
        assert "find" not in answer.text
        assert "The disk is full" in answer.text


def test_what_was_called_goes_round_again_and_is_not_judged(client, calling, house):
    message = say(client, tools=TOOLS).json()["choices"][0]["message"]
    calling.script.calls = ()
    results = [{"role": "tool", "tool_call_id": c.id, "content": f"result {c.id}"} for c in CALLS]
    user = {"role": "user", "content": makers.FAMILIAR}
    body = {"model": makers.MODEL, "messages": [user, message, *results], "tools": TOOLS}
    answer = client.post(PATH, json=body).json()
    assert answer["choices"][0]["message"]["content"] == "fake: result call_2"
    gate = [r for r in records(house) if r.task == "gate"][-1]
    assert house.ledger.content(gate.content)["requests"] == [
        "find\nfinds\nsort\nsorts",
        makers.FAMILIAR,
        "result call_1",
        "result call_2",
    ]


def test_tools_that_are_not_to_be_called_are_judged_all_the_same(client, calling, house):
    body = say(client, tools=TOOLS, tool_choice="none").json()
    assert body["choices"][0]["finish_reason"] == "stop"
    assert "tool_calls" not in body["choices"][0]["message"]
    requests = house.ledger.content(records(house)[0].content)["requests"]
    assert requests == ["find\nfinds\nsort\nsorts", makers.FAMILIAR]


@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_request_calls_nothing(client, calling, stream):
    calling.script.probabilities = makers.sure_of("DENY")
    answer = say(client, tools=TOOLS, tool_choice="required", stream=stream)
    assert "content_filter" in answer.text
    assert "tool_calls" not in answer.text
    assert calling.writing == 0
