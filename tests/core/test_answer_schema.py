from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.answer_schema import check_schema
from sekisho.core.errors import InputError

LOC = ("body", "response_format")
KEPT = [
    {},
    {"type": "object", "properties": {"名": {"type": "string"}}, "required": ["名"], "additionalProperties": False},
    {"type": ["string", "null"], "title": "t", "description": "d", "default": None},
    {"enum": ["yes", "no", 3]},
    {"const": {"a": 1}},
    {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 0, "maxItems": 1000},
    {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 0}},
    {"$defs": {"A": {"type": "number"}}, "anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]},
]  # fmt: skip
REFUSED = [
    {"type": "array", "minItems": 1_000_000_000},
    {"type": "array", "minItems": 101, "items": {"type": "array", "minItems": 100}},
    {"type": "array", "items": {"$ref": "#/$defs/A"}, "minItems": 101, "$defs": {"A": {"type": "string", "minLength": 100}}},
    {"properties": {str(i): {"maxLength": 9000} for i in range(2)}},
    {"$ref": "http://x/y"},
    {"$ref": "#/nope"},
    {"$ref": "#"},
    {"$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}]}}, "$ref": "#/$defs/A"},
    {"type": "nosuch"},
    {"type": []},
    {"type": "string", "pattern": "("},
    {"minLength": 5, "maxLength": 2},
    {"minLength": True},
    {"minLength": -1},
    {"minimum": 5, "maximum": 3},
    {"minimum": 1e300},
    {"enum": []},
    {"enum": [1] * 2001},
    {"not": {}},
    {"anyOf": []},
    {"anyOf": [3]},
    {"items": True},
    {"required": "a"},
    {"properties": {"a": 3}},
    {"x-guidance": {}},
    {"allOf": [{}]},
    {"oneOf": [{}]},
]  # fmt: skip


@pytest.mark.parametrize("schema", KEPT, ids=str)
def test_what_is_kept_goes_through(schema):
    check_schema(schema, LOC)


@pytest.mark.parametrize("schema", REFUSED, ids=lambda s: str(s)[:60])
def test_what_is_not_kept_or_too_large_is_refused_at_its_place(schema):
    with pytest.raises(InputError) as e:
        check_schema(schema, LOC)
    assert e.value.loc[:2] == LOC


def test_deep_and_wide_ones_end_soon():
    deep = {}
    for _ in range(500):
        deep = {"items": deep}
    wide = {"$defs": {f"D{i}": {"anyOf": [{"$ref": f"#/$defs/D{i + 1}"}] * 9} for i in range(20)} | {"D20": {}}, "$ref": "#/$defs/D0"}  # fmt: skip
    for schema in (deep, wide):
        with pytest.raises(InputError, match="too large"):
            check_schema(schema, LOC)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from([*KEPT[1], *KEPT[5], "anyOf", "$ref", "minimum", "x"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from([*KEPT[1], *KEPT[5], "anyOf", "enum", "$ref", "maximum"]), JSON, max_size=4
    )
)
def test_any_json_is_let_through_or_refused_and_never_breaks(schema):
    with suppress(InputError):
        check_schema(schema, LOC)
