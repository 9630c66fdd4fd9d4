"""What the quick look accepts, the slow one does; and it accepts what a ledger is full of."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.canonical import canonical_json
from sekisho.ledger import spelling
from sekisho.ledger.chain import draft

from .makers import records

FLOATS = st.floats() | st.builds(
    lambda m, e: float(f"{m}e{e}"), st.integers(-(10**17), 10**17), st.integers(-330, 310)
)
TEXTS = st.text(max_size=8) | st.sampled_from(
    ["1e-5", "0.00001,", "e-6,", ":0.00001,", "e-6}", "é", "\x7f", "\u2028", "\\", '"', "\x1f"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)


def slow(body: bytes) -> bool:
    """As `chain.fault` looks at a body."""
    try:
        value = json.loads(body.decode())
        return isinstance(value, dict) and canonical_json(value) == body
    except (ValueError, RecursionError):
        return False


def quick(body: bytes) -> bool:
    """However many bodies `has_small` was asked of."""
    found = spelling.parsed(body)
    if found is not None:
        assert found == json.loads(body)
    assert spelling.parsed(body, spelling.has_small(body)) in (None, found)
    return found is not None


@given(OBJECTS, st.booleans(), st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_json_of_any_spelling_is_accepted_only_when_it_is_canonical(
    value: Any, ordered: bool, escaped: bool, separators: tuple[str, str]
):
    try:
        body = json.dumps(
            value, sort_keys=ordered, ensure_ascii=escaped, separators=separators, allow_nan=True
        ).encode()
    except UnicodeEncodeError:
        return
    assert quick(body) <= slow(body)


@given(OBJECTS, st.integers(0, 10**6), st.sampled_from(b'01259eE-+., ":\\{}[]\xff/\n'), st.booleans())
def test_one_byte_more_or_another_is_accepted_only_when_that_is_canonical(
    value: Any, place: int, byte: int, more: bool
):
    try:
        body = canonical_json(value)
    except ValueError:
        return
    place %= len(body)
    changed = body[:place] + bytes([byte]) + body[place + (not more) :]
    assert quick(changed) <= slow(changed)


@given(records())
def test_every_record_but_one_that_looks_like_small_numbers_is_accepted(record: Any):
    body = draft(record).text.encode()
    assert quick(body) or spelling.has_small(body)


NUMBERS = [
    1.2e-05,
    1e-05,
    -9.99e-05,
    3e-06,
    1e-10,
    5e-324,
    0.0001,
    10.00001,
    1e15,
    1e16,
    1.5e300,
    -0.0,
    10**30,
]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_of_every_size_are_accepted_as_python_spells_them(number: float):
    body = canonical_json({"p": number, "q": [number, {"r": number}]})
    assert quick(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"p":0.00001}',
        b'{"p":0.000012}',
        b'{"p":1e-5}',
        b'{"p":1e16}',
        b'{"p":1E+16}',
        b'{"p":1e400}',
        b'{"p":-0}',
        b'{"p":NaN}',
        b'{"p":1,"p":1}',
        b'{"b":1,"a":1}',
        b'{"a":[{"b":1,"a":1}]}',
        b'{"a":"\\u00e9"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xff"}',
        b'{"a":"\\/"}',
        b'{"a": 1}',
        b'{"a":1}\n',
        b'{"a":' + b"1" * 4301 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[]",
        b"",
    ],
)
def test_other_spellings_are_not(body: bytes):
    assert not slow(body)
    assert not quick(body)


def test_what_is_remembered_stays_small(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spelling, "_MOST", 3)
    monkeypatch.setattr(spelling, "_in_order", {})
    for n in range(10):
        assert quick(canonical_json({f"k{n}": 1}))
        assert len(spelling._in_order) <= 3
