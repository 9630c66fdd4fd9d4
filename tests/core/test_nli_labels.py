from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import ShelfError
from sekisho.core.nli_labels import KEYS, house_row, label_map

WORDS = {
    "supports": ("entailment", "ENTAILMENT", "Entails", "supports", "SUPPORTED", "entail"),
    "refutes": ("contradiction", "Contradicts", "REFUTES", "refuted", "contradictory"),
    "neutral": ("neutral", "NEUTRAL", "not_enough_info", "Not Enough Info", "NEI"),
}


@given(st.permutations(KEYS), st.data(), st.booleans())
def test_labels_are_mapped_in_every_order_and_spelling(order, data, as_text):
    spelt = [data.draw(st.sampled_from(WORDS[k])) for k in order]
    id2label = {str(i) if as_text else i: label for i, label in enumerate(spelt)}
    shuffled = dict(data.draw(st.permutations(list(id2label.items()))))
    assert label_map(shuffled) == tuple(order)


def test_a_row_finds_its_labels_in_every_order():
    for order in permutations(KEYS):
        row = [{"supports": 0.7, "refutes": 0.2, "neutral": 0.1}[k] for k in order]
        found = house_row(row, order)
        assert tuple(found) == KEYS
        assert found["supports"] == 0.7


@given(st.dictionaries(st.integers(0, 4) | st.text(max_size=3), st.text(max_size=12), max_size=5))
def test_any_other_labels_are_refused_with_what_there_is(id2label):
    known = {w.lower() for words in WORDS.values() for w in words}
    if sum(v.lower() in known for v in id2label.values()) == 3:
        return
    with pytest.raises(ShelfError) as told:
        label_map(id2label)
    assert all(repr(v) in told.value.what for v in id2label.values())


@pytest.mark.parametrize(
    "labels",
    [
        {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"},
        {0: "entailment", 1: "not_entailment"},
        {0: "entailment", 1: "supports", 2: "neutral"},
        {1: "entailment", 2: "neutral", 3: "contradiction"},
        {},
    ],
)
def test_what_cannot_be_mapped(labels):
    with pytest.raises(ShelfError):
        label_map(labels)
