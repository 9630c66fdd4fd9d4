"""Tools, through OpenAI's and Ollama's own clients, the gate, the ledger and the remote engine, from a real llama.cpp that holds its model to a grammar."""

from __future__ import annotations

import json

import ollama
import openai
import pytest

from sekisho.serve.engines.remote import RemoteEngine
from sekisho.serve.lanes import Lanes
from sekisho.serve.rules import Rules
from serve.caller import MARK, TEMPLATE, caller_model
from serve.far import llama_server
from web import makers

from .adapters import OpenAI
from .real import before, served
from .scenarios import ASKED, MODEL
from .test_scenarios import validators

CONTEXT = 1024
HOURS = {
    "type": "function",
    "function": {
        "name": "opening_hours",
        "description": "When is a place open?",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "enum": ["library", "museum"]}},
            "required": ["place"],
        },
    },
}
ASK = [{"role": "user", "content": ASKED}]
FOUND = "From nine to five."


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    """The address of Sekisho before a llama.cpp with a model that calls tools, and its house."""
    folder = tmp_path_factory.mktemp("tools")
    gguf = caller_model(makers.ROOT / "models" / "nano", folder / "model")
    with (
        llama_server(gguf, CONTEXT, TEMPLATE) as at,
        makers.house(folder / "home", deadline_seconds=20) as house,
    ):
        engine = Lanes(RemoteEngine(at, MODEL, context=CONTEXT), Rules(slots=2))
        with before(house, engine, "remote/logprobs") as address:
            yield address, house


def judged(house):
    gates = house.ledger.entries(task="gate", limit=1000)
    return house.ledger.content(gates[-1].body["content"])["requests"]


def written(house):
    chats = house.ledger.entries(task="chat", limit=1000)
    return house.ledger.content(chats[-1].body["content"])


@pytest.mark.parametrize("stream", [False, True])
def test_openais_client_goes_round(far, stream):
    address, house = far
    client = OpenAI(address)
    chat = client._client.chat.completions
    options = {"model": MODEL, "tools": [HOURS], "max_tokens": 120, "temperature": 0}
    if stream:
        with chat.stream(messages=ASK, tool_choice="required", **options) as events:
            for _ in events:
                pass
            done = events.get_final_completion()
    else:
        done = chat.create(messages=ASK, tool_choice="required", **options)
    choice = done.choices[0]
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, call.function.name) == ("tool_calls", "opening_hours")
    assert json.loads(call.function.arguments)["place"] in ("library", "museum")
    assert written(house) == {
        "answer": "",
        "calls": [{"id": call.id, "name": "opening_hours", "arguments": call.function.arguments}],
    }
    result = {"role": "tool", "tool_call_id": call.id, "content": FOUND}
    answer = chat.create(messages=[*ASK, choice.message, result], tool_choice="none", **options).choices[0]
    assert (answer.message.content, answer.finish_reason) == (MARK, "stop")
    words = "opening_hours\nWhen is a place open?\ntype\nobject\nproperties\nplace\ntype\nstring\nenum\nlibrary\nmuseum\nrequired\nplace"
    assert judged(house) == [words, ASKED, FOUND]
    valid = validators()
    for path, body in client.seen:
        name = "CreateChatCompletionStreamResponse" if "stream" in path else "CreateChatCompletionResponse"
        problems = [f"{e.instance_path}: {e.message}" for e in valid[name].iter_errors(body)]
        assert not problems, (path, problems, body)
    assert len(client.seen) == (4 if stream else 2)


@pytest.mark.parametrize("stream", [False, True])
def test_ollamas_client_goes_round(far, stream):
    address, house = far

    def opening_hours(place: str) -> str:
        """When is a place open?

        Args:
            place: library or museum
        """
        return FOUND + place

    with ollama.Client(host=address) as client:
        assert client.show(MODEL).capabilities == ["completion", "tools"]
        options = {"temperature": 0, "num_predict": 200}
        schema = [HOURS] if stream else [opening_hours]
        if stream:
            parts = list(client.chat(MODEL, ASK, tools=schema, options=options, stream=True))
            (message,) = [p.message for p in parts if p.message.tool_calls]
            reason = parts[-1].done_reason
        else:
            done = client.chat(MODEL, ASK, tools=schema, options={**options, "stop": ["\n"]})
            message, reason = done.message, done.done_reason
        (call,) = message.tool_calls
        assert (call.function.name, reason) == ("opening_hours", "stop")
        assert set(call.function.arguments) == {"place"}
        result = {"role": "tool", "tool_name": "opening_hours", "content": FOUND}
        answer = client.chat(MODEL, [*ASK, message, result], options=options)
        assert (answer.message.content, answer.message.tool_calls) == (MARK, None)
        assert judged(house) == [ASKED, FOUND]


def test_another_engine_says_who_has_tools(tmp_path):
    with served(tmp_path) as address:
        with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
            with pytest.raises(openai.UnprocessableEntityError, match="serve with remote") as e:
                client.chat.completions.create(model=MODEL, messages=ASK, tools=[HOURS])
            assert e.value.param == "tools"
            done = client.chat.completions.create(
                model=MODEL, messages=ASK, tools=[HOURS], tool_choice="none", max_tokens=5
            )
            assert done.choices[0].finish_reason in ("stop", "length")
        with ollama.Client(host=address) as client:
            assert client.show(MODEL).capabilities == ["completion"]
            with pytest.raises(ollama.ResponseError, match="serve with remote"):
                client.chat(MODEL, ASK, tools=[HOURS])
