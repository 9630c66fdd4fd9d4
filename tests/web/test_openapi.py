"""Schemathesis over the whole OpenAPI document: whatever is sent, valid or not, no answer is a 500."""

from __future__ import annotations

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from sekisho.core.access import SCOPES
from sekisho.loop import keys
from sekisho.web.app import create_app
from sekisho.web.scopes import ROUTES

from . import makers

EXAMPLES = int(os.environ.get("SOAK_OPENAPI", "3"))
"""Requests an operation; `make soak` sends many more."""
UNAVAILABLE = 503
"""An honest answer: summaries need an engine that writes, OCR a program that is not there."""


def either(operation):
    """Requests that the document allows, and requests that it does not."""
    modes = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
    return st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The application with a key of every scope, and what schemathesis makes of its document."""
    with makers.house(tmp_path_factory.mktemp("openapi")) as house:
        _, secret = keys.make(house, "all", sorted(SCOPES), "test", per_minute=1_000_000)
        app = create_app(house, makers.judge_over(house))
        bearer = {"authorization": f"Bearer {secret}"}
        schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=bearer)
        yield schema, bearer


def test_no_request_is_answered_500(served):
    schema, bearer = served
    tried, statuses, worst = set(), set(), []
    for operation in (o.ok() for o in schema.get_all_operations()):
        tried.add(f"{operation.method.upper()} {operation.path}")

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=EXAMPLES < 10,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )
        @given(either(operation))
        def send(case):
            response = case.call(headers=bearer)
            statuses.add(response.status_code)
            if response.status_code >= 500 and response.status_code != UNAVAILABLE:
                worst.append((case.method, case.path, response.status_code, response.text[:300]))

        send()
    assert tried >= set(ROUTES) - {"GET /openapi.json"}
    assert not worst, worst[:5]
    assert {200, 422} <= statuses
