from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import InputError
from sekisho.tasks.rubric.monitor import alarms, entropy, measure

IDS = [f"c{i}" for i in range(60)]


def codes(answers, outcomes) -> set[str]:
    return {a.code for a in alarms(measure(answers, outcomes, IDS, 12))}


def looking(images: int) -> tuple[list[int], list[str]]:
    source = random.Random(1)
    answers = [
        sum((source.random() < 0.1 + 0.6 * (i % 7) / 7) << i for i in range(60)) for _ in range(images)
    ]
    return answers, [f"P{source.randrange(12)}" for _ in range(images)]


def test_a_model_that_looks_raises_no_alarm():
    assert codes(*looking(200)) == set()


def test_thirteen_vectors_in_thirty_images_are_too_few():
    answers, outcomes = looking(13)
    assert codes((answers * 3)[:30], (outcomes * 3)[:30]) == {"few_vectors"}


def test_nearly_all_yes_and_nearly_all_no_are_told():
    full = (1 << 60) - 1
    assert codes([full ^ 1 << i for i in range(40)], ["P02"] * 40) == {"nearly_all_yes", "one_outcome"}
    assert codes([1 << i for i in range(40)], [None] * 40) == {"nearly_all_no", "one_outcome"}
    assert codes([full] * 40, ["P02"] * 40) == {
        "nearly_all_yes",
        "few_vectors",
        "one_outcome",
        "stuck_criteria",
    }


def test_few_images_say_nothing():
    assert codes([0] * 19, ["P02"] * 19) == set()
    assert codes([0] * 20, ["P02"] * 20) != set()


@given(st.lists(st.integers(0, (1 << 60) - 1), min_size=1, max_size=30), st.data())
def test_the_figures_are_what_they_are_called(answers, data):
    outcomes = [data.draw(st.sampled_from(["a", "b", None])) for _ in answers]
    bias = measure(answers, outcomes, IDS, 12)
    assert bias.images == len(answers)
    assert bias.distinct == len(set(answers))
    assert all(0 <= p <= 1 for p in bias.prevalence.values())
    assert math.isclose(bias.mean_prevalence, sum(a.bit_count() for a in answers) / 60 / len(answers))
    assert sum(bias.outcomes.values()) == len(answers) - outcomes.count(None)
    assert 0 <= bias.evenness <= 1 + 1e-9


def test_entropy_is_in_bits():
    assert entropy([5]) == 0
    assert entropy([]) == 0
    assert entropy([3, 3, 3, 3]) == pytest.approx(2)
    assert entropy([1, 3]) == pytest.approx(0.8112781)


def test_answers_and_outcomes_must_match():
    for wrong in (([], []), ([1], [])):
        with pytest.raises(InputError):
            measure(*wrong, IDS, 12)
