from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from sekisho.core.errors import (
    InputError,
    MalformedError,
    TooLargeError,
    UnsupportedEncodingError,
)
from sekisho.web.bodies import MAX_DEPTH, decompress, parse, read

LIMIT = 1000
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(), v, max_size=4), max_leaves=20
)


@given(VALUES)
def test_what_json_can_say_comes_through_unchanged(value):
    body = json.dumps(value, ensure_ascii=False).encode()
    again = parse(body)
    assert again == value
    assert json.dumps(again) == json.dumps(value)  # also key order, and 1.0 is not 1


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_an_error_of_ours(raw):
    with contextlib.suppress(MalformedError, InputError):
        parse(raw)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", MalformedError),
        (b"\xff\xfe{}", MalformedError),
        (b"{", MalformedError),
        (b'{"a": NaN}', MalformedError),
        (b'{"a": -Infinity}', MalformedError),
        (b'{"a": 1e999}', MalformedError),
        (b'{"a": ' + b"9" * 5000 + b"}", MalformedError),
        (b"\xef\xbb\xbf{}", MalformedError),
        (b'{"a": 1, "a": 2}', InputError),
        (b'{"a": "\\ud800"}', InputError),
        (b'{"\\udfff": 1}', InputError),
        (b"[" * 100_000 + b"]" * 100_000, InputError),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), InputError),
    ],
)
def test_what_is_not_strict_json_is_refused(raw, error):
    with pytest.raises(error):
        parse(raw)


def test_forty_levels_pass_and_a_surrogate_pair_is_a_character():
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert parse(b'"\\ud83d\\ude00"') == "😀"


@given(st.binary(max_size=LIMIT))
def test_zstd_and_gzip_come_out_as_they_went_in(raw):
    assert decompress(zstandard.compress(raw), "zstd", LIMIT) == raw
    assert decompress(gzip.compress(raw), "GZIP", LIMIT) == raw
    assert decompress(raw, "identity", LIMIT) == raw


@pytest.mark.parametrize("name", ["zstd", "gzip"])
def test_a_bomb_is_too_large_without_being_unpacked(name):
    bomb = b"\0" * 200_000_000
    packed = zstandard.compress(bomb) if name == "zstd" else gzip.compress(bomb, 1)
    with pytest.raises(TooLargeError):
        decompress(packed, name, LIMIT)
    exact = zstandard.compress(b"a" * LIMIT) if name == "zstd" else gzip.compress(b"a" * LIMIT)
    assert len(decompress(exact, name, LIMIT)) == LIMIT
    with pytest.raises(TooLargeError):
        decompress(zstandard.compress(b"a" * (LIMIT + 1)), "zstd", LIMIT)


@given(st.binary(max_size=200), st.sampled_from(["zstd", "gzip"]))
def test_any_bytes_under_an_encoding_are_data_or_malformed(raw, name):
    with contextlib.suppress(MalformedError, TooLargeError):
        assert len(decompress(raw, name, LIMIT)) <= LIMIT


def test_what_is_cut_short_followed_or_unknown_is_refused():
    with pytest.raises(MalformedError):
        decompress(gzip.compress(b"abc")[:-5], "gzip", LIMIT)
    with pytest.raises(MalformedError):
        decompress(gzip.compress(b"abc") + b"x", "gzip", LIMIT)
    for name in ("br", "deflate", "gzip, zstd"):
        with pytest.raises(UnsupportedEncodingError):
            decompress(zlib.compress(b"abc"), name, LIMIT)


def _request(chunks):
    parts = iter(chunks)

    async def receive():
        return {"type": "http.request", "body": next(parts), "more_body": True}

    return Request({"type": "http", "headers": [], "method": "POST", "path": "/"}, receive)


def test_an_endless_body_is_given_up():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield b"x" * 500

    with pytest.raises(TooLargeError):
        asyncio.run(read(_request(endless()), LIMIT))
    assert len(taken) < 30


def test_a_body_that_does_not_come_is_given_up(monkeypatch):
    monkeypatch.setattr("sekisho.web.bodies._SECONDS", 0.05)

    async def never():
        await asyncio.sleep(10)

    with pytest.raises(MalformedError, match="minute"):
        asyncio.run(
            read(Request({"type": "http", "headers": [], "method": "POST", "path": "/"}, never), LIMIT)
        )


def test_a_number_of_too_many_digits_is_refused_in_our_words():
    with pytest.raises(MalformedError, match="a number is too large") as error:
        parse(b'{"n":' + b"1" * 5000 + b"}")
    assert "sys." not in str(error.value)
