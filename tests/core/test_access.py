from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.access import (
    SCOPES,
    SEPARATED,
    Bucket,
    caller_of,
    check_key,
    new_secret,
    secret_digest,
)
from sekisho.core.errors import InputError
from sekisho.core.oversight import Key

NOW, LATER, EARLIER = "2026-11-21T05:00:00", "2026-11-21T06:00:00", "2026-11-21T04:00:00"


def key(**more) -> Key:
    fields = {"key": "key_1", "name": "hana", "scopes": tuple(SCOPES), "digest": "d", "per_minute": 60}
    return Key(id="kch_1", at=NOW, **(fields | more))


def test_secrets_are_long_fresh_and_kept_only_as_a_digest():
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(s) >= 50 and s not in secret_digest(s) for s in secrets)


@pytest.mark.parametrize(
    ("more", "digest", "opens"),
    [
        ({}, "d", True),
        ({}, "other", False),
        ({"active": False}, "d", False),
        ({"expires": LATER}, "d", True),
        ({"expires": NOW}, "d", False),
        ({"previous": "old", "previous_until": LATER}, "old", True),
        ({"previous": "old", "previous_until": EARLIER}, "old", False),
        ({"previous": "old"}, "old", False),
        ({"previous": "old", "previous_until": LATER, "active": False}, "old", False),
    ],
)
def test_when_a_key_opens(more, digest, opens):
    assert (caller_of(key(**more), digest, NOW, False) is not None) == opens


def test_separate_duties_take_promotion_from_who_corrects():
    assert caller_of(key(), "d", NOW, True).scopes == set(SCOPES) - {"promote"}
    assert caller_of(key(scopes=("promote",)), "d", NOW, True).scopes == {"promote"}
    with pytest.raises(InputError, match="separate"):
        check_key("x", sorted(SEPARATED), None, 1, True)
    check_key("x", sorted(SEPARATED), None, 1, False)


@pytest.mark.parametrize(
    "wrong",
    [(" ", ["judge"], None, 1), ("x", [], None, 1), ("x", ["root"], None, 1), ("x", ["judge"], "low", 1)]
    + [("x", ["judge"], None, n) for n in (0, -1, 10**9)],
)
def test_what_is_no_key(wrong):
    with pytest.raises(InputError):
        check_key(*wrong, False)


@given(st.integers(1, 10_000), st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_a_bucket_never_lets_more_through_than_its_rate(per_minute, pauses):
    bucket, now, passed = Bucket(per_minute, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        passed += wait == 0.0
        assert 0.0 <= wait <= 60.0 / per_minute + 1e-9
    assert passed <= max(1.0, per_minute / 6) + now * per_minute / 60 + 1e-6


def test_who_waits_as_told_gets_in():
    bucket = Bucket(30, 0.0)
    while (wait := bucket.take(0.0)) == 0.0:
        pass
    assert bucket.take(wait + 1e-9) == 0.0
