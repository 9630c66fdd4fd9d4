from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import ConflictError, InputError
from sekisho.web.ollama_form import read_ollama

CONTEXT = 2048
SAY = {"model": "m", "messages": [{"role": "user", "content": "Hello."}]}
CALL = {"function": {"name": "find", "arguments": {"title": "x", "n": [1, None]}}}


def read(body, generate=False):
    return read_ollama(body, CONTEXT, generate)


def test_a_conversation_with_options():
    options = {"num_predict": 9, "temperature": 0, "seed": 3, "stop": ["x"], "num_ctx": CONTEXT, "top_k": 0}
    form = read({**SAY, "options": options, "keep_alive": "5m"})
    assert form.stream
    sampling = form.chat.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.seed, sampling.stop) == (9, 0, 3, ("x",))


def test_a_prompt_with_a_system_text():
    form = read({"model": "m", "prompt": "Hello.", "system": "Be short.", "stream": False}, generate=True)
    assert [(m.role, m.content) for m in form.chat.messages] == [("system", "Be short."), ("user", "Hello.")]
    assert not form.stream


@pytest.mark.parametrize("length", [-1, -2])
def test_as_much_as_fits(length):
    assert read({**SAY, "options": {"num_predict": length}}).chat.sampling.max_tokens == CONTEXT


def test_nothing_asked_is_a_wish_for_the_model_which_is_there():
    assert read({"model": "m"}).chat is None
    assert read({"model": "m", "prompt": "", "keep_alive": -1}, generate=True).chat is None


def test_a_form_of_the_answer_is_read():
    assert read({**SAY, "format": "json"}).chat.sampling.json_schema == '{"type":"object"}'
    assert read({**SAY, "format": {"type": "integer"}}).chat.sampling.json_schema == '{"type": "integer"}'
    assert read({**SAY, "format": ""}).chat.sampling.json_schema is None


def test_tools_calls_and_results_are_read_and_calls_get_ids_in_their_order():
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
    other = {"function": {"name": "count", "index": 1}}
    messages = [
        SAY["messages"][0],
        {"role": "assistant", "content": "", "tool_calls": [CALL, other, CALL]},
        {"role": "tool", "content": "nothing", "tool_name": "count"},
        {"role": "tool", "content": "first", "tool_name": "find"},
        {"role": "tool", "content": "second"},
    ]
    chat = read({"model": "m", "messages": messages, "tools": [tool]}).chat
    assert json.loads(chat.sampling.tools) == [tool]
    calls = chat.messages[1].calls
    assert [c.name for c in calls] == ["find", "count", "find"]
    assert [json.loads(c.arguments) for c in calls] == [
        CALL["function"]["arguments"],
        {},
        CALL["function"]["arguments"],
    ]
    assert [m.call_id for m in chat.messages[2:]] == [calls[1].id, calls[0].id, calls[2].id]
    with pytest.raises(InputError) as e:
        read({"model": "m", "messages": [*messages, messages[-1]], "tools": [tool]})
    assert e.value.loc == ("body", "messages", 5, "tool_name")


def test_ids_that_a_client_has_are_kept():
    calls = [{**CALL, "id": "b"}, {**CALL, "id": "a"}]
    messages = [
        SAY["messages"][0],
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "content": "one", "tool_call_id": "a", "tool_name": "find"},
        {"role": "tool", "content": "two", "tool_call_id": "b"},
    ]
    got = read({"model": "m", "messages": messages}).chat.messages
    assert [c.id for c in got[1].calls] == ["b", "a"]
    assert [m.call_id for m in got[2:]] == ["a", "b"]
    with pytest.raises(InputError):
        read({"model": "m", "messages": [*messages, messages[-1]]})


def test_a_prompt_has_no_tools():
    assert read({"model": "m", "prompt": "x", "tools": []}, generate=True).chat.sampling.tools is None
    with pytest.raises(InputError, match="tools"):
        read({"model": "m", "prompt": "x", "tools": [CALL]}, generate=True)


@pytest.mark.parametrize("now", [0, 0.0, "0", "0s", "0m0s"])
def test_the_model_is_not_unloaded(now):
    with pytest.raises(ConflictError, match="pinned"):
        read({"model": "m", "keep_alive": now})
    assert read({**SAY, "keep_alive": now}).chat is not None


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"options": {"num_ctx": CONTEXT + 1}}, "num_ctx"),
        ({"options": {"num_ctx": 0}}, "num_ctx"),
        ({"options": {"num_ctx": True}}, "num_ctx"),
        ({"options": {"num_predict": 0}}, "num_predict"),
        ({"options": {"top_k": 40}}, "top_k"),
        ({"options": {"repeat_penalty": 1.1}}, "repeat_penalty"),
        ({"options": {"adapter": "x"}}, "adapter"),
        ({"options": []}, "options"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"keep_alive": True}, "keep_alive"),
        ({"format": "yaml"}, "format"),
        ({"format": 3}, "format"),
        ({"tools": [{}]}, "type"),
        ({"tools": {}}, "tools"),
        ({"think": True}, "think"),
        ({"adapter": "x"}, "adapter"),
        ({"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}, "images"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "tool_name"),
        ({"messages": [{"role": "user", "content": "x", "tool_name": "f"}]}, "tool_name"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [CALL]}]}, "tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": {"function": {}}}]}, "tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "function"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "a b"}}]}]}, "name"),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
                ]
            },
            "arguments",
        ),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_what_is_not_done_is_refused_by_name(more, field):
    with pytest.raises(InputError) as e:
        read({**SAY, **more})
    assert e.value.loc[-1] == field


@pytest.mark.parametrize(
    "more", [{"raw": True}, {"context": [1]}, {"template": "x"}, {"suffix": "x"}, {"system": 1}]
)
def test_a_prompt_does_no_more_than_a_conversation(more):
    with pytest.raises(InputError):
        read({"model": "m", "prompt": "x", **more}, generate=True)


ANYTHING = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        -1,
        1,
        7,
        2**70,
        0.5,
        -2.0,
        "",
        "x",
        "5m",
        "0s",
        [],
        ["x"],
        [[]],
        [{}],
        {},
        {"role": "user"},
    ]
)
FIELDS = st.sampled_from(
    ["messages", "options", "keep_alive", "prompt", "system", "stream", "format", "x_contract", "?"]
)
OPTIONS = st.sampled_from(["num_ctx", "num_predict", "num_gpu", "top_k", "temperature", "stop", "seed", "?"])


@given(st.dictionaries(FIELDS, ANYTHING), st.dictionaries(OPTIONS, ANYTHING), st.booleans())
def test_whatever_comes_is_read_or_refused(fields, options, generate):
    try:
        form = read({"model": "m", "options": options, **fields}, generate)
    except (InputError, ConflictError):
        return
    assert form.chat is None or 1 <= form.chat.sampling.max_tokens <= CONTEXT
