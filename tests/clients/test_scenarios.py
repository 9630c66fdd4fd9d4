"""One list of scenarios, every client, a real engine, a real server; what OpenAI's client was sent is held against OpenAI's own schemas."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest

from .adapters import ADAPTERS, OpenAI
from .real import served
from .scenarios import ASKED, SCENARIOS, NoWordsError

NO_WORDS = {
    "ollama": {"tells_log_probabilities"},
    "typesafe-sdk": set(SCENARIOS) - {"lists_models", "gets_its_own_errors", "decides"},
    "system-one": set(SCENARIOS) - {"gets_its_own_errors", "decides"},
}
SCHEMAS = {
    "/v1/chat/completions": "CreateChatCompletionResponse",
    "/v1/chat/completions stream": "CreateChatCompletionStreamResponse",
    "/v1/completions": "CreateCompletionResponse",
    "/v1/completions stream": "CreateCompletionResponse",
    "/v1/models": "ListModelsResponse",
    "/v1/models/nano": "Model",
    "error": "ErrorResponse",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(tmp_path_factory.mktemp("clients")) as at:
        yield at


@pytest.fixture(scope="module")
def clients(address):
    return {name: make(address) for name, make in ADAPTERS.items()}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("client", ADAPTERS)
def test_a_client_manages_the_scenario(clients, client, scenario):
    if scenario in NO_WORDS.get(client, ()):
        with pytest.raises(NoWordsError):
            SCENARIOS[scenario](clients[client])
    else:
        SCENARIOS[scenario](clients[client])


def nulls(schema):
    """The schema with `nullable`, a word of OpenAPI 3.0 that the document of version 3.1 still uses, as JSON Schema says it."""
    if isinstance(schema, list):
        return [nulls(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {k: nulls(v) for k, v in schema.items() if k != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain


def validators():
    document = json.loads((Path(__file__).parent / "openai" / "schemas.json").read_text(encoding="utf-8"))
    parts = {"components": nulls(document["components"])}
    return {
        name: jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}", **parts})
        for name in SCHEMAS.values()
    }


def test_what_openais_client_was_sent_is_what_openais_document_says(address):
    client, valid = OpenAI(address), validators()
    for scenario in SCENARIOS.values():
        scenario(client)
    client._client.models.retrieve("nano")
    client.complete(ASKED, max_tokens=6, temperature=0, logprobs=2)
    loose = OpenAI(address, strict=False)
    assert list(loose.complete(ASKED, max_tokens=6, temperature=0, logprobs=2, stream=True))
    for _, chunk in loose.seen:
        # The document has no null here, yet every server of the older streams sends it until the end, OpenAI's too.
        for choice in chunk["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
    client.seen += loose.seen
    decisions = [body for path, body in client.seen if path == "/v1/decisions"]
    seen = [(path, body) for path, body in client.seen if path != "/v1/decisions"]
    assert {path for path, _ in seen} == set(SCHEMAS)
    assert len(seen) >= 25
    assert decisions, "OpenAI's document has no schema of them; its client reads them strictly"
    for path, body in seen:
        problems = [f"{e.instance_path}: {e.message}" for e in valid[SCHEMAS[path]].iter_errors(body)]
        assert not problems, (path, problems, body)


def test_a_body_that_is_wrong_is_found():
    valid = validators()["CreateChatCompletionResponse"]
    assert not valid.is_valid(
        {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [{}]}
    )
