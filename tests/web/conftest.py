from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from sekisho.serve.engines.fake import FakeEngine, Script
from sekisho.web.app import create_app

from . import makers


@pytest.fixture
def house(tmp_path):
    with makers.house(tmp_path) as opened:
        yield opened


@pytest.fixture
def engine():
    return FakeEngine(Script(), name=makers.MODEL, context=makers.CONTEXT)


@pytest.fixture
def judge(house, engine):
    return makers.judge_over(house, engine)


@pytest.fixture
def client(house, judge):
    with TestClient(create_app(house, judge), base_url="http://127.0.0.1:8000") as opened:
        yield opened


@pytest.fixture
def live(house, judge):
    with makers.live(house, judge) as address:
        yield address
