from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from sekisho.core.oversight import Key
from sekisho.ledger import views
from sekisho.loop import keys
from sekisho.web.app import create_app

from . import makers
from .test_scopes import bearer

ASK = {"text": makers.FAMILIAR}


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "FRESH_SECONDS", 0.0)
    with makers.house(tmp_path) as house:
        _, admin = keys.make(house, "root", ["admin"], "test")
        judge = makers.judge_over(house)
        with TestClient(create_app(house, judge), base_url="http://10.1.2.3:8000") as client:
            client.headers.update(bearer(admin))
            yield client, house


def make(client, **more) -> dict:
    said = {"name": "hana", "scopes": ["judge"], "clearance": "極秘", **more}
    answer = client.post("/v1/keys", json=said)
    assert answer.status_code == 201
    return answer.json()


def test_a_key_is_made_used_rotated_and_revoked(served):
    client, house = served
    made = make(client)

    def ask(secret):
        return client.post("/v1/gate", json=ASK, headers=bearer(secret))

    judged = ask(made["secret"])
    assert judged.status_code == 200
    record = house.ledger.get(judged.json()["id"]).record
    assert record.links["key"] == made["key"]
    assert house.ledger.content(record.content)["level"] == "極秘"
    rotated = client.post(f"/v1/keys/{made['key']}/rotate", json={"grace_seconds": 60}).json()
    assert [ask(made["secret"]).status_code, ask(rotated["secret"]).status_code] == [200, 200]
    again = client.post(f"/v1/keys/{made['key']}/rotate", json={}).json()
    found = [ask(x["secret"]).status_code for x in (made, rotated, again)]
    assert found == [401, 401, 200]
    assert client.delete(f"/v1/keys/{made['key']}").json()["active"] is False
    assert ask(again["secret"]).status_code == 401
    assert client.delete(f"/v1/keys/{made['key']}").status_code == 409
    assert client.post("/v1/keys/key_nobody/rotate", json={}).status_code == 404


def test_no_secret_is_kept_or_listed(served):
    client, house = served
    made = make(client)
    listed = client.get("/v1/keys").json()["keys"]
    assert [k["name"] for k in listed] == ["root", "hana"]
    assert not {"digest", "secret", "previous"} & set(listed[1])
    assert all(isinstance(k, Key) for k in views.keys(house.ledger).values())
    files = [p.read_bytes() for p in house.settings.home.rglob("*") if p.is_file()]
    assert files
    assert not any(made["secret"].encode() in f for f in files)


def test_the_level_reaches_the_model(served):
    client, _ = served
    engine = client.app.state.desk.judge.serving.engine
    seen = []
    engine.script.probabilities = lambda state, _: seen.append(state)
    for level in ("公開", None):
        secret = make(client, clearance=level)["secret"]
        client.post("/v1/gate", json=ASK, headers=bearer(secret))
    assert ["[public]" in s for s in seen] == [True, False]


def test_who_asks_too_often_waits(served):
    client, _ = served
    secret = make(client, per_minute=6)["secret"]
    answers = [client.post("/v1/gate", json=ASK, headers=bearer(secret)) for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 429, 429]
    assert 1 <= int(answers[1].headers["retry-after"]) <= 10


def test_the_ledger_has_the_keys_name_whatever_the_client_says(served):
    client, _ = served
    secret = make(client, scopes=["judge", "correct"])["secret"]
    id = client.post("/v1/gate", json=ASK, headers=bearer(secret)).json()["id"]
    said = {"judgement": id, "label": "DENY", "reason": "x", "by": "somebody else"}
    filed = client.post("/v1/corrections", json=said, headers=bearer(secret))
    assert filed.json()["by"] == "hana"


def test_promotion_over_http(served):
    client, house = served
    secret = make(client, scopes=["promote"])["secret"]
    unknown = client.post("/v1/promotions", json={"release": "abc"}, headers=bearer(secret))
    assert unknown.status_code == 409
    back = client.post("/v1/promotions", json={"rollback": True}, headers=bearer(secret))
    assert back.status_code == 409
    makers.promote(house, "one")
    found = client.get("/v1/promotions", headers=bearer(secret)).json()["promotions"]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"scopes": ["root"]}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"clearance": "x"}, "clearance"),
        ({"per_minute": 0}, "per_minute"),
        ({"name": ""}, "name"),
        ({"days": -1}, "days"),
        ({"x": 1}, "x"),
    ],
)
def test_what_is_no_key_is_a_422(served, more, where):
    answer = served[0].post("/v1/keys", json={"name": "hana", "scopes": ["judge"], **more})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", where]


def test_revoking_the_last_key_opens_nothing(tmp_path):
    with makers.house(tmp_path) as house:
        record, _ = keys.make(house, "root", ["admin"], "test")
        keys.revoke(house, record.key, "test")
        with TestClient(create_app(house, makers.judge_over(house)), base_url="http://127.0.0.1") as client:
            assert client.post("/v1/gate", json=ASK).status_code == 401
