from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.engine import Message, Sampling
from sekisho.core.tools import ToolCall, as_text, object_text, words, words_of_call, words_of_tools

TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Find a book.",
        "parameters": {"type": "object", "properties": {"title": {"type": "string", "maxLength": 9}}},
        "strict": True,
    },
}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), values))
def test_an_object_is_written_one_way_however_it_was_spelt(value):
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        with pytest.raises(ValueError, match="surrogates"):
            object_text(json.dumps(value))
        return
    escaped, plain = json.dumps(value, indent=1), json.dumps(value, ensure_ascii=False)
    assert object_text(escaped) == object_text(plain) == as_text(value)
    assert json.loads(object_text(escaped)) == value


def test_nothing_is_the_empty_object_and_escapes_hide_nothing():
    assert object_text("") == object_text(" \n") == object_text("{}") == "{}"
    assert object_text('{"a": "\\u003c|end|>"}') == '{"a":"<|end|>"}'


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "null",
        "[]",
        '"x"',
        "{} {}",
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 1, "a": 2}',
        '{"a": "\\ud800"}',
        '{"a": ' + "[" * 50 + "]" * 50 + "}",
        '{"a": ' + "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
    ],
    ids=lambda t: t[:20],
)
def test_what_is_no_object_is_refused(text):
    with pytest.raises(ValueError):
        object_text(text)


@given(values)
def test_every_key_text_and_number_is_among_the_words(value):
    told = words(value)

    def look(item):
        if isinstance(item, dict):
            for key, inner in item.items():
                look(key)
                look(inner)
        elif isinstance(item, list):
            for inner in item:
                look(inner)
        elif isinstance(item, str):
            assert not item.strip() or item in told
        elif item is not None and not isinstance(item, bool):
            assert json.dumps(item) in told

    look(value)


def test_words_of_tools_and_calls():
    assert words_of_tools(as_text([TOOL])) == "\n".join(
        ["find", "Find a book.", "type", "object", "properties", "title", "type", "string", "maxLength", "9"]
    )
    call = ToolCall(id="secret id", name="find", arguments='{"title":"関所","n":[1,true]}')
    assert words_of_call(call) == "find\ntitle\n関所\nn\n1"
    message = Message(role="assistant", content=" ", calls=(call, call))
    assert message.texts == ("\n".join([words_of_call(call)] * 2),)
    assert Message(role="tool", content="x", call_id="y").texts == ("x",)


def test_tools_nobody_is_to_call_are_told_but_not_offered():
    assert Sampling().texts == ()
    offered = Sampling(tools=as_text([TOOL]))
    hidden = Sampling(tools=as_text([TOOL]), tool_choice='"none"')
    assert offered.texts == hidden.texts != ()
    assert offered.whole
    assert not hidden.whole
    assert (offered.offered, hidden.offered) == (offered.tools, None)
