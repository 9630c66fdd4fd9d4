from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import EngineError
from sekisho.tasks.ocr.text import confidence, joined, lines_of, without_gaps

HEAD = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n"


def word(block: int, line: int, number: int, box: tuple, conf: float, text: str) -> str:
    return "\t".join(map(str, (5, 1, block, 1, line, number, *box, conf, text))) + "\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("申 請 書 を 提 出", "申請書を提出"),
        ("カ タ カ ナ ー", "カタカナー"),
        ("港区 MINATO CITY", "港区 MINATO CITY"),
        ("please hand in", "please hand in"),
        ("はい 。 いい え 、", "はい。いいえ、"),
        ("「 引用 」 です", "「引用」です"),
        ("令和 7 年", "令和 7 年"),
        ("全　角", "全角"),
        ("", ""),
    ],
)
def test_spaces_stand_where_a_reader_expects_them(given, expected):
    assert without_gaps(given) == expected


@given(st.text(alphabet="あア漢ー。、ab 1 　", max_size=40))
def test_nothing_but_spaces_is_lost(text):
    assert "".join(without_gaps(text).split()) == "".join(text.split())
    assert without_gaps(without_gaps(text)) == without_gaps(text)


def test_words_become_lines_with_boxes_and_confidence():
    table = HEAD + "1\t1\t0\t0\t0\t0\t0\t0\t90\t60\t-1\t\n"
    table += word(1, 1, 1, (10, 10, 20, 8), 90, "申請") + word(1, 1, 2, (32, 9, 10, 10), 60, "書")
    table += word(1, 2, 1, (10, 30, 20, 8), 50, "by") + word(1, 2, 2, (31, 30, 20, 8), 50, "post")
    table += word(3, 1, 1, (0, 50, 5, 5), 100, "印")
    lines = lines_of(table)
    assert [line.text for line in lines] == ["申請書", "by post", "印"]
    assert [line.block for line in lines] == [1, 1, 2]
    assert lines[0].box == (10, 9, 32, 10)
    assert lines[0].confidence == pytest.approx(0.8)
    assert joined(lines) == "申請書\nby post\n\n印"
    assert confidence(lines) == pytest.approx((0.8 * 3 + 0.5 * 7 + 1.0) / 11)


def test_an_empty_page_has_no_lines():
    assert lines_of(HEAD) == ()
    assert (joined(()), confidence(())) == ("", 0.0)


@pytest.mark.parametrize("table", ["", "no table", HEAD + "5\t1\t1\n"])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(EngineError, match="readable table"):
        lines_of(table)
