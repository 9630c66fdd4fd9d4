from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import InputError
from sekisho.tasks.rubric.comments import Deck
from sekisho.tasks.rubric.lint import read_pack

from .makers import SHARE

KOTARO = read_pack("kotaro", SHARE)
PATTERNS = [p.id for p in KOTARO.patterns]


@given(
    st.sampled_from(PATTERNS),
    st.sampled_from(["ja", "en"]),
    st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20),
    st.text(),
)
def test_a_name_always_fits_and_always_stands_there(pattern, lang, name, seed):
    drawn = Deck(KOTARO, seed).draw(pattern, lang, count=3, name=name)
    assert len(set(drawn)) == 3
    for text in drawn:
        assert name in text
        assert len(text) <= KOTARO.limits.comment.of(lang)
        assert "{" not in text


def test_no_template_comes_twice_before_all_have_come():
    deck = Deck(KOTARO, "sha256:1")
    first = [deck.draw("P02", "ja")[0] for _ in range(3)]
    second = [deck.draw("P02", "ja")[0] for _ in range(3)]
    assert len(set(first)) == 3
    assert set(first) == set(second)
    assert not any("{name}" in text for text in first)


def test_a_call_never_repeats_itself_though_the_deck_runs_out():
    deck = Deck(KOTARO, "sha256:1")
    for _ in range(20):
        assert len(set(deck.draw("P05", "en", count=2))) == 2


@pytest.mark.parametrize(("given", "least"), [("kotaro", (3, 3)), ("intake", (2, 1))])
def test_as_many_can_be_drawn_whatever_the_outcome(given, least):
    read = read_pack(given, SHARE)
    for lang in ("ja", "en"):
        assert (Deck(read, "s").least(lang), Deck(read, "s").least(lang, "A")) == least
        for pattern in read.patterns:
            assert len(Deck(read, "s").draw(pattern.id, lang, least[0])) == least[0]
    assert Deck(read, "s").least("ja", most=1) == 0


def test_the_seed_decides():
    seeds = [f"sha256:{i}" for i in range(30)]
    assert Deck(KOTARO, "a").draw("P01", "ja", 3) == Deck(KOTARO, "a").draw("P01", "ja", 3)
    assert len({Deck(KOTARO, s).draw("P01", "ja", 3) for s in seeds}) > 3


def test_the_budget_counts_the_name():
    template = "{name}さん、格好いいです。"
    assert template in next(p for p in KOTARO.patterns if p.id == "P10").templates.ja
    for name in ("花", "花子", "花子花子花子"):
        exactly = len(template) - len("{name}") + len(name)
        fits = Deck(KOTARO, "s").draw("P10", "ja", name=name, most=exactly)
        assert len(fits[0]) <= exactly
        with pytest.raises(InputError, match="0 templates"):
            Deck(KOTARO, "s").draw("P10", "ja", name=name, most=exactly - 3)


@pytest.mark.parametrize("name", ["", "  ", "x" * 21, "a\nb", "a\x1b[0m", "\u202e"])
def test_a_name_that_cannot_be_printed_is_refused(name):
    with pytest.raises(InputError, match="name"):
        Deck(KOTARO, "s").draw("P01", "en", name=name)


@pytest.mark.parametrize(("pattern", "count"), [("P99", 1), ("P01", 0), ("P01", 4), ("P01", -1)])
def test_what_the_pack_does_not_have_is_refused(pattern, count):
    with pytest.raises(InputError):
        Deck(KOTARO, "s").draw(pattern, "en", count)


def test_braces_in_a_name_stay_as_they_are():
    assert "{x}" in Deck(KOTARO, "s").draw("P01", "en", name="{x}")[0]
