from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
from starlette.testclient import TestClient

from sekisho.core.errors import ConflictError
from sekisho.ledger.store import Ledger
from sekisho.web.app import create_app, serve

from . import makers
from .makers import promote


def test_it_opens_what_is_promoted_and_takes_up_the_next_one(house):
    promote(house, "first")
    with TestClient(create_app(house), base_url="http://localhost") as client:
        assert client.get("/healthz").json()["release"]["model"] == "first"
        assert house.ledger.count("policy") == 1
        assert house.ledger.count("contract") == len(house.contract_documents) > 0
        one = client.post("/v1/gate", json={"text": makers.FAMILIAR}).json()
        second = promote(house, "second")
        until = time.monotonic() + 10
        while client.get("/healthz").json()["release"]["digest"] != second and time.monotonic() < until:
            time.sleep(0.1)
        two = client.post("/v1/gate", json={"text": makers.FAMILIAR}).json()
        assert (one["calibration"], two["calibration"]) == ("cal_first", "cal_second")
        assert client.get("/v1/models").json()["data"][0]["id"] == "second"
        asked = {"model": "first", "state": "s", "questions": {"q": {"type": "noul", "instructions": "?"}}}
        assert client.post("/v1/systemone", json=asked).status_code == 404


def test_a_release_that_is_broken_leaves_the_old_one_serving(house):
    promote(house, "first")
    with TestClient(create_app(house), base_url="http://localhost") as client:
        tagged = promote(house, "broken")
        (house.shelf.get("releases", tagged) / "scope.json").write_text("{}")
        until = time.monotonic() + 10
        while client.get("/healthz").json()["status"] != "degraded" and time.monotonic() < until:
            time.sleep(0.1)
        health = client.get("/healthz")
        assert (health.status_code, health.json()["release"]["model"]) == (200, "first")
        assert "scope.json" in health.json()["problem"]
        assert client.post("/v1/gate", json={"text": makers.FAMILIAR}).status_code == 200


def test_without_a_promotion_it_does_not_start(house):
    async def start():
        async with create_app(house).router.lifespan_context(create_app(house)):
            pass

    with pytest.raises(ConflictError, match="promoted"):
        asyncio.run(start())


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConflictError, match="cannot be served"):
            serve(makers.settings(tmp_path, port=other.getsockname()[1]))
    assert not (tmp_path / "ledger.sqlite").exists()


_SERVE = """
import sys
from sekisho.core.settings import load
from sekisho.web.app import serve
serve(load(flags={"home": sys.argv[1], "share": sys.argv[2], "engine": "fake", "port": 0}, env={}))
assert not {"torch", "transformers", "matplotlib"} & set(sys.modules)
print("closed")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_serves_says_where_and_stops_when_told(tmp_path, number):
    with makers.house(tmp_path) as house:
        promote(house, "served")
    command = [sys.executable, "-c", _SERVE, str(tmp_path), str(makers.ROOT)]
    env = {k: v for k, v in os.environ.items() if not k.startswith("SEKISHO_")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            line = process.stdout.readline()
            address = line.split()[-1]
            assert address.startswith("http://127.0.0.1:")
            answer = httpx.post(f"{address}/v1/gate", json={"text": makers.FAMILIAR})
            assert answer.status_code == 200
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert out.endswith("closed\n")
    assert "Traceback" not in err
    with Ledger.open(tmp_path / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.verify().ok
        assert ledger.get(answer.json()["id"]).record.stamp.model == "served"


_LOG = """
import logging, sys
import httpx
from sekisho.core.settings import load
from sekisho.web import app

def ask_instead(host, port):
    httpx.get(sys.argv[2], trust_env=False)
    logging.getLogger("sekisho").info("heard")
    sys.exit()

app.bind = ask_instead
app.serve(load(flags={"home": sys.argv[1], "log_level": "debug"}, env={}))
"""


def test_calls_to_the_engine_are_not_logged_one_by_one(live, tmp_path):
    command = [sys.executable, "-c", _LOG, str(tmp_path), f"{live}/healthz"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stderr
    assert "INFO sekisho heard" in said
    assert "httpx" not in said
    assert "httpcore" not in said


def test_every_route_is_described(client):
    document = client.get("/openapi.json").json()
    routes = [(p, m, r) for p, methods in document["paths"].items() for m, r in methods.items()]
    assert {p for p, _, _ in routes} == {
        "/v1/systemone",
        "/v1/decisions",
        "/v1/summaries",
        "/v1/rubrics",
        "/v1/rubrics/{pack}",
        "/v1/ocr",
        "/v1/completions",
        "/v1/feedback",
        "/nli",
        "/nli/adapter/load",
        "/nli/adapter/unload",
        "/nli/adapter/rollback",
        "/nli/adapter/status",
        "/nli/dashboard",
        "/api/chat",
        "/api/generate",
        "/api/show",
        "/api/tags",
        "/api/ps",
        "/api/version",
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{id}",
        "/v1/gate",
        "/v1/judgements",
        "/v1/judgements/{id}",
        "/v1/corrections",
        "/v1/lanes",
        "/v1/keys",
        "/v1/keys/{id}",
        "/v1/keys/{id}/rotate",
        "/v1/promotions",
        "/v1/escalations",
        "/v1/escalations/{id}",
        "/v1/escalations/{id}/take",
        "/v1/escalations/{id}/decide",
        "/v1/escalations/{id}/hand_back",
        "/healthz",
        "/metrics",
    }
    for path, method, route in routes:
        assert route["summary"], path
        assert route["description"], path
        good = route["responses"].get("200") or route["responses"]["201"]
        assert good["description"] != "Successful Response", path
        assert "$ref" in json.dumps(good) or "text/plain" in good["content"], path
        assert all(p.get("description") for p in route.get("parameters", [])), path
        assert ("requestBody" in route) is (method == "post"), path
    assert "http" not in json.dumps({k: v for k, v in document.items() if k in ("servers", "externalDocs")})
    for page in ("/docs", "/redoc"):
        assert client.get(page).status_code == 404


def test_answers_are_not_held_back_by_the_wire(live):
    """Without TCP_NODELAY each answer on a kept connection waits 40 ms for the client's acknowledgement."""
    with httpx.Client() as client:
        took = []
        for _ in range(15):
            start = time.monotonic()
            client.get(f"{live}/v1/models")
            took.append(time.monotonic() - start)
    assert sorted(took)[5] < 0.03
