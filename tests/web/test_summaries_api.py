from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sekisho.cli import remote, summarise
from sekisho.core.errors import SekishoError
from sekisho.core.progress import Quiet
from sekisho.serve.engines.fake import FakeEngine, Script

from . import makers

TEXT = "".join(f"Sentence number {i} tells of the town. " for i in range(60))


@pytest.fixture
def engine():
    script = Script(probabilities=makers.sure_of("ALLOW"), text=lambda m: "Part " + m[-1].content[-40:])
    return FakeEngine(script, name=makers.MODEL, context=1400)


@pytest.fixture
def judge(house, engine):
    """Over a scope in which every text lies; the real one knows short requests only."""

    opened = makers.judge_over(house, engine)
    opened.serving = replace(opened.serving, scope=makers.Familiar())
    return opened


def test_a_summary_and_the_same_one_as_events(client):
    whole = client.post("/v1/summaries", json={"text": TEXT}).json()
    assert whole["lines"][0]["text"]
    answer = client.post("/v1/summaries", json={"text": TEXT, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
    assert events[-1]["lines"] == whole["lines"]
    assert events[-1]["resumed"] == len(whole["nodes"])
    assert {e["type"] for e in events[:-1]} == {"progress"}


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": 3}, {"text": "x", "model": "y"}])
def test_what_is_no_request(client, body):
    assert client.post("/v1/summaries", json=body).status_code == 422


def test_the_lane_is_fixed(client):
    answer = client.post("/v1/summaries", json={"text": TEXT}, headers={"x-sekisho-lane": "rt"})
    assert answer.status_code == 422


def test_the_command_line_has_the_server_do_it(live, house):
    port = int(live.rpartition(":")[2])
    settings = makers.settings(house.settings.home, port=port)
    found = remote.summary(settings, TEXT, "general", Quiet())
    told = summarise._told(found)
    assert told[0].startswith("Part ")
    assert "–" in told[0]
    with pytest.raises(SekishoError):
        remote.summary(settings, " ", "general", Quiet())
