from __future__ import annotations

import asyncio
import json
import socket
import threading
import time

import httpx
import pytest
from starlette.testclient import TestClient

from sekisho import metrics
from sekisho.serve.engines.fake import FakeEngine, Script
from sekisho.serve.lanes import Lanes
from sekisho.serve.rules import Rules
from sekisho.web import answering, waiting
from sekisho.web.app import create_app

from . import makers

CHAT = "/v1/chat/completions"


@pytest.fixture
def backend():
    script = Script(probabilities=makers.sure_of("ALLOW"), text="long " * 40, piece=5)
    return FakeEngine(script, name=makers.MODEL, context=makers.CONTEXT)


@pytest.fixture
def engine(backend):
    """The whole engine room: a backend behind two lanes on one slot."""
    return Lanes(backend, Rules(slots=1, rt_queue=2, be_queue=1))


def say(client, **more):
    body = {"model": makers.MODEL, "messages": [{"role": "user", "content": makers.FAMILIAR}]}
    headers = more.pop("headers", {})
    return client.post(CHAT, json={**body, **more}, headers=headers)


def _count(lane: str) -> int:
    metrics.settle()
    text = [s for m in metrics.LANE_WAIT_SECONDS.collect() for s in m.samples]
    return next(int(s.value) for s in text if s.name.endswith("_count") and s.labels["lane"] == lane)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/gate", {"text": makers.FAMILIAR}),
        ("/v1/systemone", {"state": "x", "questions": {"q": {"type": "noul", "instructions": "Is it?"}}}),
        (CHAT, {"model": makers.MODEL, "messages": [{"role": "user", "content": makers.FAMILIAR}]}),
    ],
    ids=["gate", "systemone", "chat"],
)
@pytest.mark.parametrize("lane", ["rt", "be"])
def test_every_route_goes_through_its_lane(client, path, body, lane):
    metrics.LANE_WAIT_SECONDS.labels("rt")
    metrics.LANE_WAIT_SECONDS.labels("be")
    before = {name: _count(name) for name in ("rt", "be")}
    answer = client.post(path, json=body, headers={"X-Sekisho-Lane": lane.upper()})
    assert answer.status_code == 200, answer.text
    other = "be" if lane == "rt" else "rt"
    assert _count(lane) - before[lane] == (2 if path == CHAT else 1)
    assert _count(other) == before[other]


def test_the_models_suffix_names_the_lane_and_is_no_other_model(client):
    before = _count("be") if ("be",) in metrics.LANE_WAIT_SECONDS._metrics else 0
    answer = say(client, model=f"{makers.MODEL}:be")
    assert answer.json()["model"] == makers.MODEL
    assert _count("be") == before + 2
    assert say(client, model=f"{makers.MODEL}:fast").status_code == 404
    both = say(client, model=f"{makers.MODEL}:be", headers={"x-sekisho-lane": "rt"})
    assert (both.status_code, both.json()["error"]["param"]) == (422, "x-sekisho-lane")
    assert say(client, headers={"x-sekisho-lane": "fast"}).status_code == 422


def test_batch_makes_room_and_its_text_is_whole(live, backend):
    backend.script.delay = 0.02
    before = metrics.LANE_PREEMPTIONS._value.get()
    got: list[httpx.Response] = []
    with httpx.Client(base_url=live, timeout=60) as client:
        batch = threading.Thread(target=lambda: got.append(say(client, model=f"{makers.MODEL}:be")))
        batch.start()
        until = time.monotonic() + 10
        while not backend.writing and time.monotonic() < until:
            time.sleep(0.01)
        with httpx.Client(base_url=live) as other:
            for _ in range(3):
                assert other.post("/v1/gate", json={"text": makers.FAMILIAR}).status_code == 200
                time.sleep(0.05)
            lanes = other.get("/v1/lanes").json()
        batch.join(30)
    assert sum(lanes["slots"].values()) == 1
    assert set(lanes["lanes"]) == {"rt", "be"}
    assert got[0].json()["choices"][0]["message"]["content"] == "long " * 40
    assert metrics.LANE_PREEMPTIONS._value.get() >= before + 3


def test_a_full_lane_is_429_with_a_time_and_the_other_is_open(live, backend):
    backend.script.delay = 0.4
    status: list[int] = []

    async def main():
        async with httpx.AsyncClient(base_url=live, timeout=30) as client:

            async def gate(lane):
                return await client.post(
                    "/v1/gate", json={"text": makers.FAMILIAR}, headers={"x-sekisho-lane": lane}
                )

            batch = [asyncio.create_task(gate("be")) for _ in range(5)]
            await asyncio.sleep(0.2)
            status.append((await gate("rt")).status_code)
            return [await b for b in batch]

    answers = asyncio.run(main())
    refused = [a for a in answers if a.status_code == 429]
    assert status == [200]
    assert len(refused) == 3
    assert all(int(a.headers["retry-after"]) >= 1 for a in refused)
    assert sum(a.status_code == 200 for a in answers) == 2


def test_a_client_that_hangs_up_in_line_leaves_the_line(live, backend):
    backend.script.delay = 0.05
    host, port = live.removeprefix("http://").split(":")
    body = json.dumps({"text": makers.FAMILIAR}).encode()
    head = f"POST /v1/gate HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with httpx.Client(base_url=live) as client:
        backend.script.delay = 2.0
        wires = [socket.create_connection((host, int(port))) for _ in range(2)]
        for wire in wires:
            wire.sendall(head.encode() + body)
        until = time.monotonic() + 5
        while client.get("/v1/lanes").json()["lanes"]["rt"]["waiting"] != 1 and time.monotonic() < until:
            time.sleep(0.02)
        assert len(client.get("/v1/lanes").json()["line"]) == 1
        for wire in wires:
            wire.close()
        while client.get("/v1/lanes").json()["slots"]["free"] != 1 and time.monotonic() < until:
            time.sleep(0.02)
        lanes = client.get("/v1/lanes").json()
    assert (lanes["slots"]["free"], lanes["line"]) == (1, [])


def test_a_long_wait_in_a_stream_is_filled_with_comments(client, backend, monkeypatch):
    monkeypatch.setattr(waiting, "_BEAT_SECONDS", 0.05)
    monkeypatch.setattr(answering, "_PATIENCE", 0.05)
    backend.script.delay, backend.script.text = 0.2, "word"
    answer = say(client, stream=True)
    lines = [line for line in answer.text.split("\n\n") if line]
    assert ": waiting" in lines
    assert lines[-1] == "data: [DONE]"
    assert "word" in answer.text


def test_an_address_names_the_lane(client):
    before = _count("be") if ("be",) in metrics.LANE_WAIT_SECONDS._metrics else 0
    assert client.post(f"/be{CHAT}", json=_body()).status_code == 200
    assert _count("be") == before + 2
    asked_twice = client.post(f"/be{CHAT}", json=_body(), headers={"x-sekisho-lane": "rt"})
    assert (asked_twice.status_code, asked_twice.json()["error"]["param"]) == (422, "x-sekisho-lane")
    assert client.get("/be/nothing").status_code == 404


@pytest.mark.parametrize(("token", "lane"), [("somebody", "rt"), ("nightly", "be")])
def test_a_token_names_the_lane(tmp_path, engine, token, lane):
    metrics.LANE_WAIT_SECONDS.labels("rt")
    metrics.LANE_WAIT_SECONDS.labels("be")
    with makers.house(tmp_path, tokens="somebody", batch_tokens="nightly") as house:
        app = create_app(house, makers.judge_over(house, engine))
        with TestClient(app, base_url="http://127.0.0.1:8000") as client:
            before, key = _count(lane), {"authorization": f"Bearer {token}"}
            assert client.post(CHAT, json=_body(), headers=key).status_code == 200
            assert _count(lane) == before + 2
            other = client.post(CHAT, json=_body(model=f"{makers.MODEL}:rt"), headers=key)
            assert other.status_code == (200 if lane == "rt" else 422)
            assert client.post(CHAT, json=_body()).status_code == 401


def _body(**more):
    return {"model": makers.MODEL, "messages": [{"role": "user", "content": makers.FAMILIAR}], **more}
