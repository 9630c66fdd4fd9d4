from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from sekisho.web.app import create_app

from . import makers

ASK = {"text": makers.FAMILIAR}


@pytest.fixture
def guarded(tmp_path):
    with (
        makers.house(tmp_path, tokens="right, 合言葉, other") as house,
        TestClient(create_app(house, makers.judge_over(house)), base_url="http://10.1.2.3:8000") as opened,
    ):
        yield opened


def bearer(token: str):
    return {"authorization": f"Bearer {token}".encode()}


@pytest.mark.parametrize(
    "path", ["/v1/gate", "/v1/chat/completions", "/v1/judgements", "/metrics", "/openapi.json", "/nowhere"]
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        bearer(""),
        bearer("righ"),
        {"authorization": "right"},
        {"authorization": "Basic right"},
    ],
)
def test_without_a_token_nothing_is_told(guarded, path, headers):
    answer = guarded.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-typesafe-request-id"].startswith("req_")
    body = answer.json()
    found = body["error"]["code"] if "error" in body else body["detail"]["error_type"]
    assert found == "authentication_error"


@pytest.mark.parametrize("token", ["right", "other", "合言葉"])
def test_a_right_token_opens(guarded, token):
    assert guarded.post("/v1/gate", json=ASK, headers=bearer(token)).status_code == 200


def test_health_needs_no_token(guarded):
    assert guarded.get("/healthz").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:9", "LOCALHOST", "127.9.9.9:1"])
def test_without_tokens_loopback_names_open(client, host):
    assert client.post("/v1/gate", json=ASK, headers={"host": host}).status_code == 200
    assert (
        client.post(
            "/v1/gate", json=ASK, headers={"host": host, "authorization": "Bearer whatever"}
        ).status_code
        == 200
    )


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "localhost.evil:8000",
        "",
        "[::1",
        "a@b:c",
        "0.0.0.0",
    ],
)
def test_without_tokens_a_foreign_host_is_refused(client, host):
    for path in ("/v1/gate", "/healthz", "/v1/models"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 403
        assert "foreign_host" in answer.text


def test_without_tokens_a_page_of_another_site_is_refused(client):
    host = {"host": "127.0.0.1:8000"}
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999", "http://[", ""):
        assert client.post("/v1/gate", json=ASK, headers={**host, "origin": origin}).status_code == 403
    assert (
        client.post("/v1/gate", json=ASK, headers={**host, "origin": "http://127.0.0.1:8000"}).status_code
        == 200
    )


def test_no_answer_invites_another_site(client):
    answer = client.options("/v1/gate", headers={"access-control-request-method": "POST"})
    assert answer.status_code == 405
    assert not [h for h in answer.headers if h.startswith("access-control")]


def test_a_fault_of_ours_is_a_500_in_shape_without_its_inside(house, judge, caplog):
    async def broken(*_):
        raise RuntimeError("the secret of the house")

    judge.gate = broken
    with TestClient(
        create_app(house, judge), base_url="http://localhost", raise_server_exceptions=False
    ) as client:
        answer = client.post("/v1/gate", json=ASK)
    assert answer.status_code == 500
    assert answer.json()["detail"]["error_type"] == "internal"
    assert "secret" not in answer.text
    assert answer.headers["x-typesafe-request-id"] in caplog.text
    assert "the secret of the house" in caplog.text


@pytest.mark.parametrize(
    ("path", "field"),
    [("/v1/judgements/abc", "detail"), ("/v1/judgements", "detail"), ("/v1/models/x", "error")],
)
def test_so_it_is_on_routes_that_the_framework_calls(house, judge, caplog, monkeypatch, path, field):
    app = create_app(house, judge)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        del app.state.desk
        answer = client.get(path)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-typesafe-request-id"] in str(answer.json()[field])
    assert answer.headers["x-typesafe-request-id"] in caplog.text
