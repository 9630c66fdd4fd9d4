"""OpenAI's own client, unmodified."""

from __future__ import annotations

import openai
import pytest

from sekisho.core.errors import EngineError
from web import makers

SAY = {"model": makers.MODEL, "messages": [{"role": "user", "content": makers.FAMILIAR}]}


@pytest.fixture
def client(live, engine):
    engine.script.probabilities = makers.sure_of("ALLOW")
    with openai.OpenAI(base_url=f"{live}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def test_a_completion(client):
    done = client.chat.completions.create(**SAY, temperature=0, seed=1, max_tokens=100)
    assert done.choices[0].message.content == f"fake: {makers.FAMILIAR}"
    assert done.choices[0].finish_reason == "stop"
    assert done.usage.total_tokens > 0
    assert done.x_sekisho["decision"] == "ALLOW"


def test_a_stream(client):
    text, last, usage = "", None, None
    for chunk in client.chat.completions.create(**SAY, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
            last = chunk.choices[0].finish_reason or last
    assert (text, last) == (f"fake: {makers.FAMILIAR}", "stop")
    assert usage.completion_tokens == len(text)


def test_a_refusal_is_a_completion_the_client_understands(client, engine):
    engine.script.probabilities = makers.sure_of("DENY")
    done = client.chat.completions.create(**SAY)
    assert done.choices[0].finish_reason == "content_filter"
    assert done.x_sekisho["judgement"] in done.choices[0].message.content
    chunks = list(client.chat.completions.create(**SAY, stream=True))
    assert chunks[-1].choices[0].finish_reason == "content_filter"


def test_the_clients_own_words_go_round_again(client):
    done = client.chat.completions.create(**SAY)
    again = [*SAY["messages"], done.choices[0].message, {"role": "user", "content": makers.FAMILIAR}]
    assert client.chat.completions.create(model=makers.MODEL, messages=again).choices[0].message.content


def test_errors_have_the_clients_types(client, engine, judge):
    with pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="gpt-4", messages=SAY["messages"])
    assert e.value.code == "not_found"
    with pytest.raises(openai.UnprocessableEntityError) as e:
        client.chat.completions.create(**SAY, logprobs=True)
    assert e.value.param == "logprobs"
    judge._queues["rt"] = 0
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(**SAY)


def test_models(client):
    assert [m.id for m in client.models.list()] == [makers.MODEL, "jev-latest"]
    assert client.models.list().data[0].owned_by == "sekisho"


@pytest.mark.parametrize(("key", "right"), [("right", True), ("wrong", False)])
def test_tokens(tmp_path, key, right):
    with (
        makers.house(tmp_path, tokens="right") as house,
        makers.live(house, makers.judge_over(house)) as address,
    ):
        client = openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)
        if right:
            assert client.models.list().data
        else:
            with pytest.raises(openai.AuthenticationError):
                client.models.list()


def test_decisions(client):
    choices = [{"value": True}, {"value": "true", "description": "As a word."}]
    levels = [{"label": "low"}, {"label": "middle"}, {"label": "high"}]
    done = client.decisions.create(
        model=makers.MODEL,
        input=[{"role": "user", "content": makers.FAMILIAR}],
        questions=[
            {"type": "predicate", "name": "日本語", "instructions": "Is it open?"},
            {"type": "choice", "instructions": "Which?", "choices": choices},
            {"type": "score", "instructions": "How?", "levels": levels},
        ],
    )
    predicate, choice, score = done.answers
    assert (predicate.name, choice.name) == ("日本語", None)
    assert [p.value for p in choice.probabilities] == [True, "true"]
    assert score.score == pytest.approx(sum(p.value * p.probability for p in score.probabilities))
    assert done.usage.total_tokens > 0


def test_one_model(client):
    assert client.models.retrieve(makers.MODEL).owned_by == "sekisho"
    assert client.models.retrieve("jev-latest").id == "jev-latest"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_an_answer_for_a_gate_that_could_not_be_read_has_no_token_counts(client, engine):
    engine.script.error = EngineError("down")
    done = client.chat.completions.create(**SAY)
    assert done.choices[0].finish_reason == "content_filter"
    assert done.usage is None
