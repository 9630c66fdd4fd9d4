"""A page of bodies is accepted only when each of them is canonical, and what a ledger is full of is accepted without a look at each."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.canonical import canonical_json
from sekisho.ledger import forms
from sekisho.ledger.chain import draft
from sekisho.ledger.spelling import read_each

from .makers import records
from .test_spelling import FLOATS, OBJECTS, TEXTS, VALUES, slow

KIND = b"judgement"
HEAD = {"at": "2026-11-22T00:00:00.000000Z", "id": "jdg_1"}
SHAPES = st.fixed_dictionaries(
    {"at": TEXTS, "id": TEXTS, "p": st.dictionaries(st.sampled_from("abc"), FLOATS, max_size=3)},
    optional={"content": st.none() | TEXTS, "zé": VALUES, "list": st.lists(FLOATS | TEXTS, max_size=3)},
)


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_forms", {})


def quick(bodies: list[bytes], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a page is accepted without a look at each body; the kind is known."""
    with monkeypatch.context() as m:
        m.setattr(forms, "read_each", lambda _: None)
        return forms.read(KIND, bodies) is not None


def said(bodies: list[bytes]) -> tuple[list[Any], list[Any], bool]:
    values = [json.loads(body) for body in bodies]
    named = any(v.get("content") is not None for v in values)
    return [v.get("id") for v in values], [v.get("at") for v in values], named


def bodies_of(values: list[Any]) -> list[bytes]:
    found = []
    for value in values:
        try:
            found.append(canonical_json(value))
        except ValueError:
            continue
    return found or [canonical_json(HEAD)]


def check(bodies: list[bytes]) -> None:
    page = forms.read(KIND, bodies)
    assert (page is not None) <= all(map(slow, bodies))
    if page is not None:
        assert page[1:] == said(bodies)


@given(st.lists(SHAPES, min_size=1, max_size=5), st.lists(SHAPES | OBJECTS, min_size=1, max_size=4))
def test_pages_of_like_and_unlike_bodies_are_read_as_they_are(known: list[Any], values: list[Any]):
    forms._forms.clear()
    check(bodies_of(known))
    for _ in range(3):
        check(bodies_of(values))
        check(bodies_of(known))


@given(
    st.lists(SHAPES, min_size=1, max_size=5),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.sampled_from(
        [*(bytes([b]) for b in b'01259eE-+., ":\\{}[]\xff/\n'), b"e-7", b"\n{}\n", b"1e16", b"0.00001", b".0"]
    ),
    st.integers(0, 2),
)
def test_some_bytes_more_or_others_are_accepted_only_when_that_is_canonical(
    values: list[Any], which: int, place: int, new: bytes, gone: int
):
    forms._forms.clear()
    bodies = bodies_of(values)
    check(bodies)
    which, body = which % len(bodies), bodies[which % len(bodies)]
    place %= len(body)
    bodies[which] = body[:place] + new + body[place + gone :]
    check(bodies)


@pytest.mark.parametrize(
    "page",
    [
        [b""],
        [b"", b""],
        [b"%s\n%s", b""],
        [b"%s\n%s"],
        [b"%s\n", b"%s"],
        [b"\n%s"],
        [b"%s %s"],
        [b" "],
        [b"%s", b" "],
        [b"%s\n%s", b" "],
        [b"%s\n%s", b"\xff"],
    ],
)
def test_bodies_that_are_one_only_together_are_not_accepted(page: list[bytes]):
    good = canonical_json(HEAD)
    assert forms.read(KIND, [good]) is not None
    assert forms.read(KIND, [body.replace(b"%s", good) for body in page]) is None


@given(records())
def test_every_record_is_accepted_that_is_accepted_by_itself(record: Any):
    forms._forms.clear()
    body = draft(record).text.encode()
    for _ in range(3):
        assert (forms.read(KIND, [body]) is None) == (read_each([body]) is None)
        check([body])


def test_floats_of_all_sizes_are_spelt_as_python_spells_them():
    chance = random.Random(6)
    for size in (1.0, 1e-3, 1e-5, 1e-12, 1e9, 1e15, 1e17):
        floats = [chance.uniform(-size, size) for _ in range(2000)]
        floats += [struct.unpack("<d", struct.pack("<Q", chance.getrandbits(64)))[0] for _ in range(500)]
        for value in floats:
            if value == value and abs(value) != float("inf"):
                check([canonical_json({**HEAD, "p": value})])


def test_the_form_grows_with_what_it_meets(monkeypatch: pytest.MonkeyPatch):
    def page(**more: Any) -> list[bytes]:
        return [canonical_json({**HEAD, **more})] * 2

    pages = [
        page(a=1.5, b={}, c=[]),
        page(a=None, b={"x": 0.5}, c=[]),
        page(a="é", b={"y": 0.25, "z": "1"}, c=["q"]),
        page(a=True, b={}, c=["q", None]),
        page(a=3e-07, b={"x": 0.0}, c=[1]),
    ]
    for bodies, known in zip(pages, (False, False, True, True, False), strict=True):
        assert quick(bodies, monkeypatch) == known
        check(bodies)
    # Once the shape is known, the size of the floats is what is left to find out.
    check(pages[-1])
    assert all(quick(bodies, monkeypatch) for bodies in pages)
    assert not quick(page(a=1.5, b={}), monkeypatch)
    assert not quick(page(a=1.5, b={}, c={}), monkeypatch)


def test_keys_out_of_order_in_a_map_are_not_accepted():
    for b in ({"x": 1}, {"y": 1}, {"x": 1, "é": 2, "\U00010000": 3, "\uffff": 4}):
        forms.read(KIND, [canonical_json({**HEAD, "b": b})])
    ordered = canonical_json({**HEAD, "b": {"\U00010000": 1, "\uffff": 2}})
    check([ordered])
    other = json.dumps(
        {"at": HEAD["at"], "b": {"\U00010000": 1, "\uffff": 2}, "id": "jdg_1"},
        separators=(",", ":"),
        ensure_ascii=False,
    )
    assert ordered != other.encode()
    assert forms.read(KIND, [other.encode()]) is None


def test_what_is_remembered_stays_small(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(forms, "_MOST", 2)
    for n in range(5):
        assert forms.read(b"k%d" % n, [canonical_json({**HEAD, f"x{n}": n})])
    assert len(forms._forms) == 2
    for n in range(2 * forms._CHANGES):
        assert forms.read(b"k0", [canonical_json({**HEAD, f"x{n}": n, "deep": [[n, {}]] if n % 2 else {}})])
    assert forms._forms[b"k0"].changes <= forms._CHANGES


@pytest.mark.parametrize("key", ['a"', "a\\", "\x01", "é", "class", "__init__", "", "f0", "a\u2028"])
def test_keys_of_any_kind_are_read(key: str):
    for _ in range(3):
        check([canonical_json({**HEAD, key: 1})])
        check([canonical_json({**HEAD, "m": {key: 1}})])


@pytest.mark.parametrize("depth", [100, 185, 197, 250])
@pytest.mark.parametrize("wrap", [lambda v: {"a": v}, lambda v: [v]], ids=["objects", "lists"])
def test_bodies_as_deep_as_they_may_be_are_read_or_left_and_never_an_error(depth: int, wrap: Any):
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    bodies = [canonical_json({"at": "t", "id": f"c{n}", "x": value}) for n in range(2)]
    forms._forms.clear()
    for _ in range(2):  # the second time there is a form
        found = forms.read(b"deep", bodies)
        assert found is None or found.ids == ["c0", "c1"]
    forms._forms.clear()
