"""Texts that follow a JSON schema, and texts with log-probabilities, on the real engine and in both lanes."""

from __future__ import annotations

import asyncio
import json
import math

import pytest

from sekisho.core.answer_schema import check_schema
from sekisho.core.engine import Message, Sampling
from sekisho.core.errors import EngineError, InputError
from sekisho.serve.engines.fake import FakeEngine
from sekisho.serve.engines.llamacpp import LlamaCppEngine
from sekisho.serve.engines.remote import RemoteEngine
from sekisho.serve.lanes import Lanes
from sekisho.serve.rules import Rules

from .far import llama_server
from .makers import CONTEXT, Live, serve

TALK = [Message(role="user", content="情報通信とは何ですか。")]
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["a", "b"]}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["kind", "n"],
    "additionalProperties": False,
}
FORMED = Sampling(max_tokens=60, temperature=0, json_schema=json.dumps(SCHEMA))
COUNTED = Sampling(max_tokens=12, temperature=0, top_logprobs=3)


@pytest.fixture(scope="module")
def live(nano):
    engine = LlamaCppEngine(nano, "nano", context=CONTEXT, slots=1, threads=1)
    served = Live(Lanes(engine, Rules(slots=1, kept=1)))
    yield served
    served.close()


async def read(pieces):
    found = [p async for p in pieces]
    return "".join(p.text for p in found), [t for p in found for t in p.logprobs], found[-1]


@pytest.mark.parametrize("lane", ["rt", "be"])
def test_a_schema_is_kept_without_wasted_blanks(live, lane):
    text, _, last = live.wait(read(live.engine.generate(TALK, FORMED, 30, lane)))
    found = json.loads(text)
    assert found.keys() == {"kind", "n"}
    assert found["kind"] in ("a", "b")
    assert 0 <= found["n"] <= 9
    assert last.finish == "stop"
    assert text == json.dumps(found, separators=(",", ":"))


PASSING = [
    {},
    {"type": ["string", "null"], "maxLength": 4, "title": "t", "default": None},
    {"const": {"a": 1}},
    {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 1, "maxItems": 2},
    {"type": "object", "properties": {"a": {"type": "number", "exclusiveMinimum": 0}}, "required": ["a"], "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 9}},
    {"$defs": {"A": {"enum": ["yes", "no"]}}, "anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]},
    {"type": "array", "items": {"type": "boolean"}, "maxItems": 9000},
]  # fmt: skip


@pytest.mark.parametrize("schema", PASSING, ids=str)
def test_every_construct_that_is_let_through_is_kept(live, schema):
    check_schema(schema, ())
    sampling = Sampling(max_tokens=60, temperature=0, json_schema=json.dumps(schema))
    text, _, last = live.wait(read(live.engine.generate(TALK, sampling, 30, "rt")))
    if last.finish == "stop":
        json.loads(text)
    else:
        assert text.lstrip()[0] in '{["-0123456789tfn'


@pytest.mark.parametrize("lane", ["rt", "be"])
@pytest.mark.parametrize("schema", [{"type": "nosuch"}, {"enum": []}, {"$ref": "#/nope"}], ids=str)
def test_a_schema_that_is_dropped_ends_the_text_with_an_error(live, lane, schema):
    sampling = Sampling(max_tokens=20, temperature=0, json_schema=json.dumps(schema))
    with pytest.raises(EngineError, match="did not keep to the schema"):
        live.wait(read(live.engine.generate(TALK, sampling, 30, lane)))


@pytest.mark.parametrize("lane", ["rt", "be"])
def test_every_token_has_its_log_probability_and_others(live, lane):
    text, tokens, last = live.wait(read(live.engine.generate(TALK, COUNTED, 30, lane)))
    assert b"".join(bytes(t.utf8) for t in tokens).decode("utf-8", "ignore") == text
    assert 0 < len(tokens) <= last.output_tokens
    for token in tokens:
        assert token.logprob <= 1e-6
        assert len(token.top) == 3
        assert token.logprob == pytest.approx(max(p for _, p, _ in token.top), abs=1e-6)
        assert sum(math.exp(p) for _, p, _ in token.top) <= 1 + 1e-5


def test_a_text_that_is_only_whole_makes_room_and_comes_whole(live):
    async def work():
        batch = asyncio.create_task(read(live.engine.generate(TALK, FORMED, 60, "be")))
        await asyncio.sleep(0.02)
        front = await read(live.engine.generate(TALK, Sampling(max_tokens=8, temperature=0), 60, "rt"))
        return front, await batch

    front, (text, _, last) = live.wait(work())
    assert front[2].finish
    assert json.loads(text).keys() == {"kind", "n"}
    assert last.finish == "stop"


@pytest.mark.parametrize("sampling", [FORMED, COUNTED], ids=["schema", "logprobs"])
def test_an_engine_that_does_neither_says_so(sampling):
    with pytest.raises(InputError, match="neither"):
        serve(FakeEngine(), lambda e: read(e.generate(TALK, sampling, 5)))


def test_a_far_server_is_asked_for_both(nano):
    with llama_server(nano, CONTEXT) as address:
        far = RemoteEngine(address, "far", context=CONTEXT, decisions="logprobs")

        async def work(engine):
            formed = await read(engine.generate(TALK, FORMED.model_copy(update={"max_tokens": 400}), 30))
            return formed, await read(engine.generate(TALK, COUNTED, 30))

        (_, _, _), (text, tokens, _) = serve(far, work)
    assert b"".join(bytes(t.utf8) for t in tokens).decode("utf-8", "ignore").startswith(text[:4])
    assert all(t.top for t in tokens)


@pytest.mark.parametrize("make", ["llamacpp", "torch_engine"])
def test_engines_of_models_made_here_call_no_tools(request, make):
    async def work(engine):
        with pytest.raises(InputError, match="serve with remote") as e:
            await anext(engine.generate(TALK, Sampling(tools="[]"), 20))
        assert e.value.loc == ("body", "tools")
        unseen = engine.generate(TALK, Sampling(tools="[]", tool_choice='"none"', max_tokens=2), 20)
        assert [p async for p in unseen][-1].finish
        assert not engine.info.tools

    serve(request.getfixturevalue(make)(), work)
