from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import ConflictError, InputError
from sekisho.web.ollama_form import read_ollama

CONTEXT = 2048
SAY = {"model": "m", "messages": [{"role": "user", "content": "Hello."}]}


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
        ({"tools": [{}]}, "tools"),
        ({"think": True}, "think"),
        ({"adapter": "x"}, "adapter"),
        ({"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}, "images"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role"),
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
