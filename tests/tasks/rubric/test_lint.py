from __future__ import annotations

import copy

import pytest

from sekisho.core.errors import DataError, NotFoundError
from sekisho.tasks.rubric.files import names
from sekisho.tasks.rubric.lint import lint, read_pack, witness
from sekisho.tasks.rubric.pack import load_pack, parse_pack
from sekisho.tasks.rubric.patterns import Scorer

from .makers import SHARE, document, pack, words

SOUND = document(
    [(["p"], "s", 1), (["q"], "t", 2), (["p", "q"], "s", 3)], {"p": ["s", "t"], "q": ["t", "s"]}, ["s", "t"]
)


def changed(*path, to) -> dict:
    new = copy.deepcopy(SOUND)
    at = new
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return new


def codes(given: dict) -> list[tuple[str, str]]:
    return [(f.code, f.where) for f in lint(parse_pack(given, "a test"))]


def test_the_packs_that_ship_are_sound():
    assert names(SHARE) == ["intake", "kotaro"]
    for name in names(SHARE):
        shipped = read_pack(name, SHARE)
        assert lint(shipped) == ()
        assert (len(shipped.criteria), len(shipped.patterns), len(shipped.sub_attributes)) == (60, 12, 4)
        assert shipped.digest() == read_pack(name, SHARE).digest()


def test_every_intake_outcome_says_what_to_do_next():
    assert all(p.next for p in load_pack("intake", SHARE).patterns)


@pytest.mark.parametrize("name", ["intake", "kotaro"])
def test_every_outcome_can_be_reached_and_the_witness_proves_it(name):
    scorer = Scorer(read_pack(name, SHARE))
    for place in range(12):
        assert scorer.standing(witness(scorer, place))[1] == (place,)


def test_one_defect_that_two_checks_see_is_never_filed_as_it_is():
    """A clean form is O12; with any defect that two of its checks see, and one of O12's gone, it is the defect's outcome."""
    scorer = Scorer(read_pack("intake", SHARE))
    own = {p.id: [c.id for c in scorer.pack.criteria if p.id in c.patterns] for p in scorer.pack.patterns}
    clean = own["O12"]
    assert len(clean) == 3

    def outcome(*fired: str) -> str:
        return scorer.score(scorer.bits({c: int(c in fired) for c in scorer.pack.ids})).pattern

    assert outcome(*clean) == "O12"
    for defect in set(own) - {"O12"}:
        for first in own[defect]:
            for second in set(own[defect]) - {first}:
                for gone in clean:
                    assert outcome(first, second, *(set(clean) - {gone})) == defect


def test_a_sound_pack_has_no_finding():
    assert codes(SOUND) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (changed("criteria", 1, "id", to="c0"), ("double_id", "c0")),
        (changed("patterns", 1, "id", to="p"), ("double_id", "p")),
        (changed("criteria", 0, "id", to="scored"), ("reserved_id", "scored")),
        (changed("criteria", 0, "id", to="all_zero"), ("reserved_id", "all_zero")),
        (changed("criteria", 0, "id", to="tie_seed"), ("reserved_id", "tie_seed")),
        (changed("criteria", 1, "question", to=words("C0 ")), ("double_question", "c0")),
        (changed("criteria", 0, "patterns", to=[]), ("unused_criterion", "c0")),
        (changed("criteria", 0, "patterns", to=["p", "z"]), ("unknown_pattern", "c0")),
        (changed("criteria", 0, "patterns", to=["p", "p"]), ("double_link", "c0")),
        (changed("criteria", 0, "sub_attribute", to="u"), ("unknown_sub_attribute", "c0")),
        (changed("limits", "least_fired", to=4), ("low_coverage", "limits")),
        (changed("patterns", 0, "sub_order", to=["s"]), ("sub_order", "p")),
        (changed("patterns", 0, "sub_order", to=["s", "s"]), ("sub_order", "p")),
        (changed("patterns", 0, "templates", "ja", to=["a", "a", "{name}"]), ("double_template", "p.ja")),
        (changed("patterns", 0, "templates", "en", to=["a", "{nam}", "{name}"]), ("placeholder", "p.en")),
        (changed("patterns", 0, "templates", "en", to=["a", "{name!r}"]), ("placeholder", "p.en")),
        (changed("patterns", 0, "templates", "en", to=["a", "{", "{name}"]), ("placeholder", "p.en")),
        (changed("patterns", 0, "templates", "en", to=["a", "{name}" + "x" * 16]), ("too_long", "p.en")),
        (changed("patterns", 0, "templates", "en", to=["a"]), ("no_words", "p.en")),
        (changed("patterns", 0, "templates", "ja", to=["{name}"]), ("no_words", "p.ja")),
    ],
    ids=lambda x: x[0] if isinstance(x, tuple) else "",
)
def test_each_fault_is_found(given, expected):
    assert expected in codes(given)


def test_a_pattern_nobody_speaks_for_is_found():
    idle = document([(["p"], "s", 1)], {"p": ["s"], "q": ["s"]}, ["s"])
    assert ("idle_pattern", "q") in codes(idle)


def test_patterns_that_always_tie_are_found():
    twins = document([(["p", "q"], "s", 1)], {"p": ["s", "t"], "q": ["s", "t"]}, ["s", "t"])
    assert ("twins", "q") in codes(twins)
    assert codes(document([(["p", "q"], "s", 1)], {"p": ["s", "t"], "q": ["t", "s"]}, ["s", "t"])) == [
        ("unreachable", "q")
    ]


def test_a_subset_may_still_lead_by_its_order():
    inner = pack(
        [(["p", "q"], "s", 1), (["p", "q"], "t", 1), (["q"], "t", 1)],
        {"p": ["s", "t"], "q": ["t", "s"]},
        ["s", "t"],
    )
    assert lint(inner) == ()
    assert witness(Scorer(inner), 0) == 0b001


def test_a_pack_with_errors_is_not_used(tmp_path):
    text = (SHARE / "policies" / "rubrics" / "kotaro.toml").read_text(encoding="utf-8")
    file = tmp_path / "mine.toml"
    file.write_text(text.replace('patterns = ["P01", "P03"]', "patterns = []", 1), encoding="utf-8")
    with pytest.raises(DataError, match="A01: no pattern uses it"):
        read_pack(str(file), SHARE)


def test_a_file_of_another_form_is_refused_with_every_wrong_key(tmp_path):
    with pytest.raises(NotFoundError, match="intake, kotaro"):
        load_pack("nowhere", SHARE)
    file = tmp_path / "mine.toml"
    file.write_text("name = 'x'\nextra = 1\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        load_pack(str(file), SHARE)
    assert all(key in str(error.value) for key in ("version", "criteria", "limits", "extra"))
    for key, value in (("weight", 0), ("weight", "3"), ("threshold", 1.0)):
        with pytest.raises(DataError, match=key):
            parse_pack(changed("criteria", 0, key, to=value), "a test")
