"""No key reaches what it lacks: every route of the OpenAPI document × every scope."""

from __future__ import annotations

from itertools import combinations

import pytest
from starlette.testclient import TestClient

from sekisho.core.access import SCOPES
from sekisho.loop import keys
from sekisho.web.app import create_app
from sekisho.web.scopes import OPEN, ROUTES, wanted

from . import makers


@pytest.fixture
def door(tmp_path):
    """A served house, and a function that makes a bearer header for some scopes."""
    with makers.house(tmp_path) as house:
        made = {
            scopes: keys.make(house, "+".join(scopes), scopes, "test", per_minute=1_000_000)[1]
            for count in range(1, len(SCOPES) + 1)
            for scopes in combinations(sorted(SCOPES), count)
        }
        app = create_app(house, makers.judge_over(house))
        with TestClient(app, base_url="http://10.1.2.3:8000") as client:
            yield client, made


def operations(client, secret) -> list[tuple[str, str, list[str]]]:
    document = client.get("/openapi.json", headers=bearer(secret)).json()
    return [
        (method.upper(), path, told["x-scopes"])
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    ]


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_every_route_with_every_set_of_scopes(door):
    client, made = door
    found = operations(client, made[("admin",)])
    assert len(found) >= 15
    assert len(made) == 2 ** len(SCOPES) - 1
    tried = 0
    for method, path, scopes in found:
        url = path.replace("{id}", "jdg_x")
        assert client.request(method, url).status_code == (200 if path in OPEN else 401)
        for held, secret in made.items():
            status = client.request(method, url, headers=bearer(secret)).status_code
            assert status < 500
            assert (status == 403) == bool(scopes and not set(scopes) & set(held)), (method, path, held)
            tried += 1
    assert tried == len(found) * len(made)


def test_the_table_and_the_document_name_the_same_routes(door):
    client, made = door
    found = {f"{m} {p}" for m, p, _ in operations(client, made[("admin",)]) if p not in OPEN}
    assert found | {"GET /openapi.json"} == set(ROUTES)
    assert set().union(*ROUTES.values()) == set(SCOPES)


@pytest.mark.parametrize(
    "path",
    ["/v1/gate/", "/v1//gate", "/V1/GATE", "/v1/gate%20", "/v1/keys/a/b", "/v1/judgements/x/", "/x", ""],
)
def test_what_nobody_thought_of_needs_admin(path):
    for method in ("GET", "POST", "PUT", "OPTIONS", "HEAD", "get"):
        assert wanted(method, path) == {"admin"}
