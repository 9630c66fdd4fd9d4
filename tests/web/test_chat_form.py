from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import InputError
from sekisho.web.chat_form import read_chat

USER = {"role": "user", "content": "hello"}


def form(**more):
    return read_chat({"model": "m", "messages": [USER], **more}, 1000)


def test_messages_are_counted():
    assert len(form(messages=[USER] * 512).messages) == 512
    with pytest.raises(InputError, match="512"):
        form(messages=[USER] * 513)


def test_messages_and_sampling_are_read():
    got = form(
        messages=[
            {"role": "developer", "content": "be brief"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                "name": "x",
            },
            {"role": "assistant", "content": "c", "refusal": None, "tool_calls": None, "annotations": []},
            USER,
        ],
        temperature=0,
        top_p=0.5,
        seed=-3,
        stop="x",
        max_tokens=7,
        stream=True,
        stream_options={"include_usage": True},
    )
    assert [(m.role, m.content) for m in got.messages] == [
        ("system", "be brief"),
        ("user", "ab"),
        ("assistant", "c"),
        ("user", "hello"),
    ]
    assert (got.sampling.temperature, got.sampling.top_p, got.sampling.seed, got.sampling.stop) == (
        0,
        0.5,
        -3,
        ("x",),
    )
    assert got.sampling.max_tokens == 7
    assert got.stream
    assert got.usage


def test_forms_and_log_probabilities_are_read():
    schema = {"type": "object", "properties": {"名": {"type": "string"}}}
    asked = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    assert json.loads(form(response_format=asked).sampling.json_schema) == schema
    assert json.loads(form(response_format={"type": "json_object"}).sampling.json_schema) == {
        "type": "object"
    }
    assert form(response_format={"type": "text"}).sampling.json_schema is None
    assert form(logprobs=True).sampling.top_logprobs == 0
    assert form(logprobs=True, top_logprobs=3).sampling.top_logprobs == 3
    assert not form(logprobs=False, top_logprobs=0).sampling.whole


def test_max_completion_tokens_wins_and_more_than_the_context_is_the_context():
    assert form(max_tokens=5, max_completion_tokens=6).sampling.max_tokens == 6
    assert form(max_tokens=4096).sampling.max_tokens == 1000


@pytest.mark.parametrize(
    "more",
    [
        {
            "user": "u",
            "metadata": {"a": "b"},
            "store": True,
            "parallel_tool_calls": True,
            "service_tier": "auto",
        },
        {"tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "n": 1, "logprobs": False},
        {
            "frequency_penalty": 0.0,
            "presence_penalty": 0,
            "logit_bias": {},
            "modalities": ["text"],
        },
        {"tools": None, "unheard_of": None, "stop": None, "temperature": None},
    ],
    ids=str,
)
def test_what_changes_nothing_is_ignored(more):
    assert form(**more) == form()


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "function"}]},
        {"tool_choice": "required"},
        {"functions": [{}]},
        {"response_format": {"type": "yaml"}},
        {"response_format": "json"},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": []}}},
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        {"logprobs": 0},
        {"top_logprobs": 21, "logprobs": True},
        {"top_logprobs": 3},
        {"n": 2},
        {"n": True},
        {"logit_bias": {"5": 100}},
        {"frequency_penalty": 0.1},
        {"grammar": "root ::= x"},
        {"modalities": ["text", "audio"]},
        {"stream": "yes"},
        {"stream_options": []},
        {"stream_options": {"include_usage": 1}},
        {"max_tokens": 0},
        {"max_tokens": 1.5},
        {"max_tokens": True},
        {"temperature": 2.1},
        {"temperature": "0"},
        {"top_p": 0},
        {"seed": 1 << 63},
        {"seed": 1.0},
        {"stop": [""]},
        {"stop": ["a"] * 5},
        {"stop": {"a": 1}},
        {"x_contract": 3},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": " \n"}]},
        {"messages": [{"role": "tool", "content": "x"}, USER]},
        {"messages": [{"role": ["user"], "content": "x"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"messages": [{"role": "user", "content": ["x"]}]},
        {"messages": [USER, {"role": "assistant", "content": "x", "tool_calls": [{}]}]},
        {"messages": [{**USER, "images": ["data:"]}]},
        {"messages": [3]},
        {"x_contrct": "medical"},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"schema": {"type": "array", "minItems": 10**9}},
            }
        },
        {"model": None},
    ],
    ids=str,
)
def test_what_is_wrong_or_not_done_is_refused_by_name(more):
    with pytest.raises(InputError) as e:
        form(**more)
    assert e.value.loc[1] == next(iter(more)) or (e.value.loc[1], next(iter(more))) == (
        "include_usage",
        "stream_options",
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "n",
    "tools",
    "logprobs",
    "x_contract",
]
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "tool"]) | JSON, "content": JSON}),
    max_size=3,
)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), JSON), st.none() | MESSAGES)
def test_any_json_is_a_form_or_an_input_error(body, messages):
    if messages is not None:
        body = {**body, "messages": messages}
    with contextlib.suppress(InputError):
        assert read_chat(body, 1000).sampling.max_tokens <= 1000
