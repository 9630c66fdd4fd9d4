from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from sekisho.loop import keys
from sekisho.web.app import create_app

from . import makers
from .test_scopes import bearer


@pytest.fixture
def desk(tmp_path):
    """A client, an escalated judgement, and headers of who asked, another asker, an expert and one who is both."""
    with makers.house(tmp_path, separate_duties="on") as house:
        who = {
            name: bearer(keys.make(house, name, scopes, "test")[1])
            for name, scopes in {
                "asker": ["judge"],
                "other": ["judge"],
                "expert": ["correct"],
                "both": ["judge", "correct"],
            }.items()
        }
        judge = makers.judge_over(house)
        judge.serving.engine.script.probabilities = makers.sure_of("ESCALATE")
        with TestClient(create_app(house, judge), base_url="http://10.1.2.3:8000") as client:
            yield client, who


def ask(client, headers) -> str:
    return client.post("/v1/gate", json={"text": makers.FAMILIAR}, headers=headers).json()["id"]


def test_from_the_gate_to_a_decision_the_asker_reads(desk):
    client, who = desk
    at = f"/v1/escalations/{ask(client, who['asker'])}"
    listed = client.get("/v1/escalations?state=open", headers=who["expert"]).json()["escalations"]
    assert [f"/v1/escalations/{e['judgement']}" for e in listed] == [at]
    said = {"outcome": "ALLOW", "reason": "the patient agreed"}
    assert client.post(f"{at}/decide", json=said, headers=who["expert"]).status_code == 409
    taken = client.post(f"{at}/take", json={"by": "somebody else"}, headers=who["expert"])
    assert (taken.status_code, taken.json()["by"]) == (201, "expert")
    assert client.post(f"{at}/take", json={}, headers=who["both"]).status_code == 409
    assert client.post(f"{at}/hand_back", json={"reason": "lunch"}, headers=who["expert"]).status_code == 201
    assert client.post(f"{at}/take", json={}, headers=who["expert"]).status_code == 201
    assert client.post(f"{at}/decide", json=said, headers=who["expert"]).status_code == 201
    found = client.get(at, headers=who["asker"]).json()
    assert (found["state"], found["outcome"], found["reason"]) == ("decided", "ALLOW", "the patient agreed")
    assert not {"kept", "steps"} & set(found)
    assert client.get(at, headers=who["other"]).status_code == 404
    whole = client.get(at, headers=who["expert"]).json()
    assert [s["step"] for s in whole["steps"]] == ["take", "hand_back", "take", "decide"]
    assert client.get("/v1/escalations", headers=who["expert"]).json() == {"escalations": [], "next": None}


def test_nobody_decides_on_a_request_of_their_own(desk):
    client, who = desk
    at = f"/v1/escalations/{ask(client, who['both'])}"
    client.post(f"{at}/take", json={}, headers=who["both"])
    said = {"outcome": "ALLOW", "reason": "because"}
    answer = client.post(f"{at}/decide", json=said, headers=who["both"])
    assert answer.status_code == 409
    assert "separate" in answer.text


@pytest.mark.parametrize("body", [{}, {"outcome": "MAYBE", "reason": "x"}, {"outcome": "ALLOW"}, {"x": 1}])
def test_a_wrong_decision_is_a_422(desk, body):
    client, who = desk
    at = f"/v1/escalations/{ask(client, who['asker'])}"
    assert client.post(f"{at}/decide", json=body, headers=who["expert"]).status_code == 422
