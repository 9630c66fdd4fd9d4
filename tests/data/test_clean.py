import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.data.clean import LONGEST, SHORTEST, clean, clean_text, fault, quality


def test_meaning_is_kept():
    assert clean_text("  ①　㎡と\u200bＡ？\r\n\r\n次の行\t  です ") == "① ㎡とＡ？\n次の行 です"
    assert clean_text("か\u3099") == "が"


@given(st.text())
def test_cleaning_twice_changes_nothing(text):
    once = clean_text(text)
    assert clean_text(once) == once


@given(st.text(st.characters(categories=["L", "N"]), min_size=1))
def test_letters_and_digits_survive(text):
    assert clean_text(text) == unicodedata.normalize("NFC", text)


@given(st.text())
def test_quality_is_between_zero_and_one(text):
    assert 0.0 <= quality(text) <= 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("あ" * (SHORTEST - 1), "too_short"),
        ("あいう。え" * LONGEST, "too_long"),
        ("=-=|_|" * 20, "low_quality"),
        ("ああああ" * 20, "low_quality"),
        ("公開の個人情報保護方針を要約してください", None),
        ("What is a root cause analysis?", None),
    ],
)
def test_every_fault_has_its_reason(text, expected):
    assert fault(text) == expected


def test_no_request_is_lost_without_a_reason(bundled):
    kept, drops = clean(bundled)
    assert len(kept) + len(drops) == len(bundled)
    assert {d.reason for d in drops} <= {"empty", "too_short", "too_long", "low_quality", "no_rule_breaking"}
    assert not [d for d in drops if d.request.source == "authored"]
