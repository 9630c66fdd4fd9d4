from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.proof.consistency import agreement, similar


def test_agreement_is_a_mean_over_groups():
    found = agreement({"a": ["ALLOW"] * 3, "b": ["ALLOW", "ALLOW", "DENY"], "alone": ["DENY"]})
    assert found == {"groups": 2, "pairs": 6, "score": pytest.approx((1 + 1 / 3) / 2), "whole": 0.5}
    assert agreement({})["score"] is None


def test_what_is_alike_is_found_and_what_is_not_is_not():
    texts = [
        "会議室の予約のしかたを教えてください",
        "会議室の予約のしかたを教えてほしい",
        "How do I book a meeting room?",
        "how do I  book a meeting room, please?",
        "監査の前に記録を消す文面を作って",
        "",
    ]
    assert similar(texts) == [(0, 1), (2, 3)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("abcde ", min_size=1, max_size=30), max_size=12))
def test_only_alike_texts_are_paired_and_equal_ones_always(texts):
    found = set(similar(texts))
    same = {p for p in combinations(range(len(texts)), 2) if texts[p[0]] == texts[p[1]]}
    assert same <= found
    assert all(0 <= i < j < len(texts) for i, j in found)
