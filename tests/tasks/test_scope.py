from __future__ import annotations

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import ShelfError
from sekisho.tasks.scope import Scope, fit_scope

SEEN = [
    "病棟の麻薬金庫の確認手順をまとめて",
    "Explain how auditors detect forged invoices",
    "出張費の精算のしかたを教えて",
]


def test_seen_text_is_wholly_known_and_foreign_text_is_not() -> None:
    reader = fit_scope(SEEN, SEEN).reader()
    assert reader.share(SEEN[0]) == 1.0
    assert not reader.unfamiliar(SEEN[0])
    assert reader.unfamiliar("zxqv jjkw ppqz " * 4)


def test_width_and_case_do_not_matter() -> None:
    reader = fit_scope(["ABC def"], ["ABC def"]).reader()
    assert reader.share("ＡＢＣ　ＤＥＦ") == 1.0


def test_much_longer_text_than_any_seen_is_unfamiliar() -> None:
    assert fit_scope(SEEN, SEEN).reader().unfamiliar(SEEN[0] * 20)


def test_about_the_asked_share_of_calibration_is_unfamiliar() -> None:
    texts = [f"request number {i} about invoices" for i in range(200)]
    strange = [f"{chr(0x4E00 + i)}{chr(0x5E00 + i)}{chr(0x6E00 + i)}" for i in range(2)]
    reader = fit_scope(texts[:100], texts[100:] + strange, strange=0.02).reader()
    assert sum(map(reader.unfamiliar, texts[100:])) <= 4


@given(st.text(max_size=200))
def test_any_text_has_a_share_between_zero_and_one(text: str) -> None:
    assert 0.0 <= fit_scope(SEEN, SEEN).reader().share(text) <= 1.0


def test_a_scope_survives_json() -> None:
    scope = fit_scope(SEEN, SEEN)
    again = Scope.model_validate_json(scope.model_dump_json())
    assert again.reader().share(SEEN[1]) == 1.0
    assert len(scope.grams) < 10_000


@pytest.mark.parametrize(
    "change",
    [
        {"grams": "no base64"},
        {"grams": base64.b64encode(b"not deflated").decode()},
        {"grams": base64.b64encode(zlib.compress(b"")).decode()},
        {"grams": base64.b64encode(zlib.compress(b"\xff")).decode()},
        {"grams": base64.b64encode(zlib.compress(bytes(1 << 28))).decode()},
        {"least": float("nan")},
        {"least": -1.0},
        {"longest": -1},
    ],
)
def test_a_damaged_scope_is_told_and_not_taken_for_one(change) -> None:
    with pytest.raises(ShelfError, match="damaged"):
        fit_scope(SEEN, SEEN).model_copy(update=change).reader()


def test_a_scope_of_the_smaller_field_is_still_read() -> None:
    """Releases from before have 2^21 places; a text is looked up in as many as the field has."""
    field = bytearray((1 << 21) // 8)
    for text in SEEN:
        plain = f"\n{text.casefold()}\n"
        for i in range(len(plain) - 2):
            place = zlib.crc32(plain[i : i + 3].encode()) % (1 << 21)
            field[place >> 3] |= 1 << (place & 7)
    packed = base64.b64encode(zlib.compress(bytes(field))).decode()
    reader = Scope(grams=packed, least=0.5, longest=100).reader()
    assert [reader.share(t) for t in SEEN] == [1.0, 1.0, 1.0]
    assert reader.unfamiliar("zxqv jjkw ppqz")
