from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import InputError
from sekisho.web.chat_form import read_chat
from sekisho.web.completions_api import read_completion

USER = {"role": "user", "content": "hello"}
TOOL = {
    "type": "function",
    "function": {
        "name": "find_book",
        "description": "Find a book.",
        "parameters": {"type": "object", "properties": {"title": {"type": "string"}}},
    },
}
CALL = {"id": "c1", "type": "function", "function": {"name": "find_book", "arguments": '{"title": "x"}'}}
ASKED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
GIVEN = {"role": "tool", "tool_call_id": "c1", "content": "It is here."}
NAMED = {"type": "function", "function": {"name": "find_book"}}


def form(**more):
    return read_chat({"model": "m", "messages": [USER], **more}, 1000)


def function(**more):
    return {"type": "function", "function": {**TOOL["function"], **more}}


def test_tools_are_read():
    sampling = form(tools=[TOOL, function(name="b", strict=True, description=None)]).sampling
    told = json.loads(sampling.tools)
    assert told[0] == TOOL
    assert told[1]["function"]["strict"] is True
    assert "description" not in told[1]["function"]
    assert (sampling.tool_choice, sampling.parallel_calls) == (None, None)
    assert sampling.whole


@pytest.mark.parametrize("choice", ["none", "auto", "required", NAMED])
def test_choices_are_read(choice):
    sampling = form(tools=[TOOL], tool_choice=choice, parallel_tool_calls=False).sampling
    assert json.loads(sampling.tool_choice) == choice
    assert sampling.parallel_calls is False
    assert (sampling.offered is None) is (choice == "none")


def test_128_tools_may_come():
    many = [function(name=f"f{i}") for i in range(129)]
    assert len(json.loads(form(tools=many[:128]).sampling.tools)) == 128
    with pytest.raises(InputError, match="128"):
        form(tools=many)


def test_calls_and_results_are_read():
    second = {**CALL, "id": "c2", "index": 1, "function": {"name": "other", "arguments": ""}}
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    got = form(
        messages=[
            USER,
            {**ASKED, "content": "Let me look.", "tool_calls": [CALL, second], "refusal": None},
            {**GIVEN, "tool_call_id": "c2", "content": parts, "name": "other"},
            GIVEN,
            ASKED,
        ]
    ).messages
    assert [m.role for m in got] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [(c.id, c.name, c.arguments) for c in got[1].calls] == [
        ("c1", "find_book", '{"title":"x"}'),
        ("c2", "other", "{}"),
    ]
    assert [(m.content, m.call_id) for m in got[2:4]] == [("ab", "c2"), ("It is here.", "c1")]
    assert (got[1].content, got[4].content) == ("Let me look.", "")


@pytest.mark.parametrize(
    ("more", "loc"),
    [
        ({"tools": {}}, ("tools",)),
        ({"tools": [3]}, ("tools", 0)),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, ("tools", 0, "type")),
        ({"tools": [{"function": TOOL["function"]}]}, ("tools", 0, "type")),
        ({"tools": [{**TOOL, "cache": 1}]}, ("tools", 0, "cache")),
        ({"tools": [{"type": "function"}]}, ("tools", 0, "function")),
        ({"tools": [TOOL, function(name="")]}, ("tools", 1, "function", "name")),
        ({"tools": [function(name="a b")]}, ("tools", 0, "function", "name")),
        ({"tools": [function(name="a\n")]}, ("tools", 0, "function", "name")),
        ({"tools": [function(name="x" * 65)]}, ("tools", 0, "function", "name")),
        ({"tools": [function(name=None)]}, ("tools", 0, "function", "name")),
        ({"tools": [function(name=1)]}, ("tools", 0, "function", "name")),
        ({"tools": [function(description=1)]}, ("tools", 0, "function", "description")),
        ({"tools": [function(parameters=[])]}, ("tools", 0, "function", "parameters")),
        ({"tools": [function(strict=1)]}, ("tools", 0, "function", "strict")),
        ({"tools": [function(grammar="x")]}, ("tools", 0, "function", "grammar")),
        ({"tools": [TOOL, TOOL]}, ("tools", 1, "function", "name")),
        ({"tools": [TOOL], "tool_choice": "any"}, ("tool_choice",)),
        ({"tools": [TOOL], "tool_choice": ["auto"]}, ("tool_choice",)),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, ("tool_choice", "type")),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
            ("tool_choice", "function", "name"),
        ),
        ({"tool_choice": "required"}, ("tool_choice",)),
        ({"tool_choice": NAMED}, ("tool_choice",)),
        ({"tools": [TOOL], "parallel_tool_calls": "no"}, ("parallel_tool_calls",)),
        ({"functions": [TOOL["function"]]}, ("functions",)),
        ({"function_call": {"name": "x"}}, ("function_call",)),
    ],
    ids=str,
)
def test_wrong_tools_are_refused_where_they_are_wrong(more, loc):
    with pytest.raises(InputError) as e:
        form(**more)
    assert e.value.loc == ("body", *loc)


def told(**more):
    return {**ASKED, "tool_calls": [{**CALL, **more}]}


def said(**more):
    return told(function={**CALL["function"], **more})


@pytest.mark.parametrize(
    ("messages", "loc"),
    [
        ([{**ASKED, "tool_calls": {"id": "x"}}], ("tool_calls",)),
        ([{**ASKED, "tool_calls": [CALL, CALL]}], ("tool_calls",)),
        ([{**ASKED, "tool_calls": [{**CALL, "id": str(i)} for i in range(129)]}], ("tool_calls",)),
        ([told(id="")], ("tool_calls", 0, "id")),
        ([told(id=3)], ("tool_calls", 0, "id")),
        ([told(type="custom")], ("tool_calls", 0, "type")),
        ([told(custom={})], ("tool_calls", 0, "custom")),
        ([told(function="x")], ("tool_calls", 0, "function")),
        ([said(name="a.b")], ("tool_calls", 0, "function", "name")),
        ([said(arguments={})], ("tool_calls", 0, "function", "arguments")),
        ([said(arguments="[]")], ("tool_calls", 0, "function", "arguments")),
        ([said(arguments='{"a": NaN}')], ("tool_calls", 0, "function", "arguments")),
        ([said(arguments='{"a": "\\ud800"}')], ("tool_calls", 0, "function", "arguments")),
        ([said(arguments='{"a": ' + "[" * 9999)], ("tool_calls", 0, "function", "arguments")),
        ([said(arguments='{"a": 1, "a": 2}')], ("tool_calls", 0, "function", "arguments")),
        ([said(output="x")], ("tool_calls", 0, "function", "output")),
        ([{**ASKED, "tool_calls": []}], ("content",)),
        ([{**ASKED, "role": "user", "content": "x"}], ("tool_calls",)),
        ([{**ASKED, "content": 3}], ("content",)),
        ([{**ASKED, "function_call": {"name": "x"}}], ("function_call",)),
        ([ASKED, {**GIVEN, "content": None}], ("content",)),
        ([ASKED, {**GIVEN, "content": [{"type": "image_url"}]}], ("content", 0)),
        ([ASKED, {**GIVEN, "tool_call_id": None}], ("tool_call_id",)),
        ([ASKED, {**GIVEN, "tool_call_id": 1}], ("tool_call_id",)),
        ([ASKED, {**GIVEN, "tool_call_id": "c2"}], ("tool_call_id",)),
        ([ASKED, {**GIVEN, "tool_calls": [CALL]}], ("tool_calls",)),
        ([ASKED, {**USER, "tool_call_id": "c1"}], ("tool_call_id",)),
        ([GIVEN, ASKED], ("tool_call_id",)),
        ([{**GIVEN, "role": "function"}], ("role",)),
    ],
    ids=lambda v: str(v)[:70],
)
def test_wrong_calls_and_results_are_refused_where_they_are_wrong(messages, loc):
    with pytest.raises(InputError) as e:
        form(messages=[USER, *messages])
    wrong = 1 if messages[0] is GIVEN else len(messages)
    assert e.value.loc == ("body", "messages", wrong, *loc)


def test_a_completion_has_no_tools():
    assert read_completion({"model": "m", "prompt": "x", "tools": [], "tool_choice": "auto"}, 10)
    for more in ({"tools": [TOOL]}, {"tool_choice": "required"}):
        with pytest.raises(InputError) as e:
            read_completion({"model": "m", "prompt": "x", **more}, 10)
        assert e.value.loc[-1] == next(iter(more))


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["", "function", "find_book", "{}", "[", "c1", "auto"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "function", "name", "arguments", "id", "parameters", "?"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(ANYTHING, ANYTHING, ANYTHING, ANYTHING)
def test_whatever_comes_is_read_or_refused(tools, choice, calls, id):
    messages = [USER, {"role": "assistant", "content": "x", "tool_calls": calls}]
    messages.append({"role": "tool", "content": "x", "tool_call_id": id})
    try:
        got = form(tools=tools, tool_choice=choice, messages=messages)
    except InputError:
        return
    assert got.messages[1].calls
