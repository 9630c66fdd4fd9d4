from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.tasks.summary import Node, chunks, groups, sentences, sources

TEXT = "関所は検問所である。「誰もが止まる。」と言う。 The gate closed! It was 3.5 m wide. Nobody\n\nwent through? No."


def test_sentences_end_where_they_end():
    cut = [TEXT[a:b] for a, b in sentences(TEXT)]
    assert cut[:2] == ["関所は検問所である。", "「誰もが止まる。」"]
    assert "It was 3.5 m wide. " in cut


@given(st.text(alphabet="ab。.!?\n 「」", max_size=200))
def test_every_character_is_in_exactly_one_sentence(text):
    assert "".join(text[a:b] for a, b in sentences(text)) == text


SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=60)


@given(SIZES, st.integers(40, 120), st.integers(0, 40))
def test_every_sentence_belongs_to_a_chunk_and_none_is_over_its_budget(sizes, budget, overlap):
    parts = [(10 * i, 10 * i + 10) for i in range(len(sizes))]
    found = chunks(parts, sizes, budget, overlap)
    assert [c.own[0] for c in found] == [0, *(c.own[1] for c in found[:-1])]
    assert found[-1].own[1] == parts[-1][1]
    for chunk in found:
        held = sizes[chunk.span[0] // 10 : chunk.span[1] // 10]
        assert sum(held) <= budget
        assert sum(sizes[chunk.span[0] // 10 : chunk.own[0] // 10]) <= overlap
        assert chunk.span[0] <= chunk.own[0]


def test_chunks_overlap_by_whole_sentences():
    found = chunks([(0, 1), (1, 2), (2, 3), (3, 4)], [10, 5, 10, 5], 15, 5)
    assert [c.span for c in found] == [(0, 2), (1, 3), (3, 4)]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=80), st.integers(100, 300))
def test_rounds_come_to_an_end(sizes, budget):
    found = groups(sizes, budget)
    assert [i for g in found for i in g] == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in g) <= budget for g in found)
    assert len(found) <= (len(sizes) + 1) // 2


def _node(id, span, text, children=()):
    return Node(id=id, span=span, text=text, children=children, decision="ALLOW", judgement="j", tokens=1)


@pytest.mark.parametrize(
    ("line", "spans"),
    [
        ("The river rose by night.", [(0, 10)]),
        ("市長は橋を閉鎖した。", [(10, 20)]),
        ("Vexed quiz: xyz.", [(0, 20)]),
    ],
)
def test_a_line_is_traced_to_the_parts_it_shares_wording_with(line, spans):
    nodes = {
        "0-0": _node("0-0", (0, 10), "The river rose by night and flooded fields."),
        "0-1": _node("0-1", (10, 20), "市長は橋を閉鎖した。住民は避難した。"),
    }
    top = _node("1-0", (0, 20), "x", ("0-0", "0-1"))
    assert sources(line, top, nodes) == spans
