from __future__ import annotations

import pytest

from sekisho.core.retention import retention_days


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("7", {"all": 7.0}),
        ("0", {"all": 0.0}),
        ("7, chat=0.5 ,corrected=365", {"all": 7.0, "chat": 0.5, "corrected": 365.0}),
        ("gate=1,2", {"all": 2.0, "gate": 1.0}),
    ],
)
def test_days_by_class(text, days):
    assert retention_days(text) == days


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "nan", "inf", "1e9", "chat=1", "7,8", "7,other=1", "7,chat=1,chat=2", "7,all=3"]
)
def test_anything_else_says_what_was_expected(text):
    with pytest.raises(ValueError, match="expected"):
        retention_days(text)
