from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from sekisho.core.errors import EngineError

from . import makers


def test_it_says_what_serves(client, house):
    client.post("/v1/gate", json={"text": makers.FAMILIAR})
    answer = client.get("/healthz")
    body = answer.json()
    assert answer.status_code == 200
    assert body["status"] == "ok"
    assert body["engine"]["answers"] is True
    assert body["ledger"] == {"entries": 1, "head": house.ledger.head().digest}
    assert body["release"]["model"] == makers.MODEL
    assert body["calibration"] == "cal_test"


def test_without_engine_or_ledger_it_is_down(client, engine, house):
    engine.script.error = EngineError("down")
    assert (client.get("/healthz").status_code, client.get("/healthz").json()["status"]) == (503, "down")
    assert "sekisho_ready 0.0" in client.get("/metrics").text
    engine.script.error = None
    house.ledger.close()
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["ledger"]["problem"]


def test_a_ledger_that_cannot_be_written_is_down_until_it_can(client, house):
    house.ledger._writer.execute("PRAGMA query_only = ON")
    assert client.post("/v1/gate", json={"text": makers.FAMILIAR}).status_code == 503
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (503, "down")
    assert "may not be written" in answer.json()["ledger"]["problem"]
    house.ledger._writer.execute("PRAGMA query_only = OFF")
    assert client.post("/v1/gate", json={"text": makers.FAMILIAR}).status_code == 200
    assert client.get("/healthz").json()["status"] == "ok"


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps an open file where it is")
@pytest.mark.parametrize("away", ["renamed", "removed"])
def test_a_ledger_file_that_went_away_lets_nothing_out(client, house, away):
    assert client.post("/v1/gate", json={"text": makers.FAMILIAR}).status_code == 200
    for ending in ("", "-wal", "-shm"):
        file = Path(f"{house.ledger.path}{ending}")
        file.rename(f"{file}.away") if away == "renamed" else file.unlink()
    assert client.post("/v1/gate", json={"text": makers.FAMILIAR}).status_code == 503
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (503, "down")


def test_a_ledger_that_does_not_answer_is_down(client, house, monkeypatch):
    monkeypatch.setattr("sekisho.web.health._SECONDS", 0.1)
    monkeypatch.setattr(house.ledger, "head", lambda: time.sleep(1), raising=False)
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert "did not answer" in answer.json()["ledger"]["problem"]


def test_a_promotion_that_cannot_be_taken_up_is_degraded(client):
    client.app.state.desk.watch.problem = "the file is changed"
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["status"], answer.json()["problem"]) == (
        200,
        "degraded",
        "the file is changed",
    )


def test_metrics_count_what_happened(client):
    def judged():
        return [
            float(v)
            for v in re.findall(
                r'sekisho_judgements_total\{.*task="gate"\} (\S+)', client.get("/metrics").text
            )
        ]

    before = sum(judged())
    client.post("/v1/gate", json={"text": makers.FAMILIAR})
    assert sum(judged()) == before + 1
    assert client.get("/metrics").headers["content-type"].startswith("text/plain")
    assert "sekisho_ready 1.0" in client.get("/metrics").text
