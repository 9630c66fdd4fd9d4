from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sekisho.core.canonical import model_digest
from sekisho.core.errors import ConflictError, InputError, ShelfError
from sekisho.core.nli_labels import KEYS
from sekisho.ledger import adapting
from sekisho.loop import adapters
from sekisho.loop.feedback import Word, feedback
from sekisho.tasks import adapting as rules

from . import nli_house as made
from . import nli_makers as makers


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return makers.tiny(tmp_path_factory.mktemp("nli") / "tiny")


@pytest.fixture
def home(tmp_path, model):
    with made.house(tmp_path / "home", model, nli_live_rows="10") as opened:
        yield opened


def serving(home, model):
    past = adapters.history(home, model_digest(model))
    return past[-1].adapter if past else None


def test_only_what_is_proved_may_answer(home, model):
    one, two = made.shelve(home, model, "one"), made.shelve(home, model, "two")
    with pytest.raises(ConflictError, match="no proof"):
        adapters.load(home, one)
    made.proved(home, model, one, passed=False)
    with pytest.raises(ConflictError, match="falls short"):
        adapters.load(home, one)
    made.proved(home, model, one)
    done = adapters.load(home, one[:16], "hana", "promote")
    assert (done.adapter, done.previous, done.by, done.step) == (one, None, "hana", "promote")
    with pytest.raises(ConflictError, match="already"):
        adapters.load(home, one)
    made.proved(home, model, two)
    with pytest.raises(ConflictError, match="outdated"):
        adapters.load(home, two, step="promote")
    assert adapters.load(home, two).previous == one
    assert adapters.rollback(home).adapter == one
    assert adapters.rollback(home).adapter is None
    with pytest.raises(ConflictError):
        adapters.rollback(home)
    with pytest.raises(ConflictError):
        adapters.unload(home)


@pytest.mark.parametrize(
    "name", ["../../etc", "/tmp/x", "made.json", "ABCDEF", "", "sha256:", "sha256:../..", "abc"]
)
def test_a_path_is_no_adapter(home, name):
    with pytest.raises(InputError, match="digest"):
        adapters.load(home, name)


def test_what_is_not_there_altered_or_of_another_base(home, model, tmp_path):
    with pytest.raises(ShelfError):
        adapters.load(home, "abcdef")
    one = made.shelve(home, model, "one")
    made.proved(home, model, one)
    other = made.shelve(home, makers.tiny(tmp_path / "other", seed=2), "other")
    made.proved(home, model, other)
    with pytest.raises(ShelfError, match="for the base"):
        adapters.load(home, other)
    (home.shelf.get("nli_adapters", one) / "made.json").write_text("{}")
    with pytest.raises(ShelfError, match="changed"):
        adapters.load(home, one)
    assert serving(home, model) is None


def test_who_corrected_does_not_promote_where_duties_are_separate(tmp_path, model):
    with made.house(tmp_path / "home", model, separate_duties="on") as home:
        one = made.shelve(home, model, "one")
        made.proved(home, model, one)
        feedback(home, Word(judgement=made.judged(home, model), label="refutes", reason="x"), "hana")
        with pytest.raises(ConflictError, match="hana"):
            adapters.load(home, one, "hana")
        adapters.load(home, one, "ken")


def test_a_drop_of_the_live_brier_score_takes_the_adapter_back(home, model):
    one = made.shelve(home, model, "one")
    made.proved(home, model, one, brier=0.3)
    adapters.load(home, one)
    for i in range(30):
        right = i < 15
        id = made.judged(home, model, "supports", one, premise=str(i))
        word = (
            Word(judgement=id, action="right", reason="x")
            if right
            else Word(judgement=id, label="refutes", reason="x")
        )
        feedback(home, word, "hana")
        if serving(home, model) is None:
            break
    last = adapters.history(home, model_digest(model))[-1]
    assert (last.step, last.adapter, last.by) == ("auto_rollback", None, "sekisho")
    assert "Brier" in last.why
    assert 15 < i < 25


def test_the_latest_reviews_are_the_serving_adapters_with_the_last_word_on_each(home, model):
    one, two = made.shelve(home, model, "one"), made.shelve(home, model, "two")
    for adapter in (one, two):
        made.proved(home, model, adapter, brier=2.0)
    adapters.load(home, one)
    early = made.judged(home, model, "supports", one, premise="early")
    adapters.load(home, two)
    other = made.judged(home, model, "supports", two, premise="other")
    since = adapters.load(home, one).id
    ids = [made.judged(home, model, "supports", one, premise=str(i)) for i in range(3)]
    for id in (ids[0], early, ids[1], other, ids[2], ids[0]):
        feedback(home, Word(judgement=id, label="refutes", reason="x"), "hana")

    def found(most):
        return [j.id for j, _ in adapting.latest_reviews(home.ledger, "nli", one, since, most)]

    assert found(10) == [ids[1], ids[2], ids[0]]
    assert found(2) == [ids[2], ids[0]]
    ((_, word),) = adapting.latest_reviews(home.ledger, "nli", one, since, 1)
    assert word.id == home.ledger.entries(kind="correction", newest_first=True, limit=1)[0].id


def one_then_two(home, model):
    """Two proved adapters; the second serves after the first."""
    one, two = made.shelve(home, model, "one"), made.shelve(home, model, "two")
    for adapter in (one, two):
        made.proved(home, model, adapter)
        adapters.load(home, adapter)
    return one, two


def test_no_rollback_brings_back_what_the_house_took_back(home, model):
    one, two = one_then_two(home, model)
    assert adapters.rollback(home).adapter == one
    assert adapters.rollback(home, step="auto_rollback", only=one).adapter is None
    adapters.load(home, two)
    steps = adapters.history(home, model_digest(model))
    assert rules.before(steps) == one
    with pytest.raises(ConflictError, match="rolled back by the house"):
        adapters.rollback(home)
    assert adapters.history(home, model_digest(model)) == steps
    assert adapters.rollback(home, step="auto_rollback", only=two).adapter is None


def test_a_rollback_to_a_damaged_adapter_is_refused_and_one_by_itself_goes_to_the_base(home, model):
    one, two = one_then_two(home, model)
    (home.shelf.get("nli_adapters", one) / "more").write_text("x")
    with pytest.raises(ShelfError):
        adapters.rollback(home)
    assert serving(home, model) == two
    assert adapters.rollback(home, step="auto_rollback", only=two).adapter is None


def test_a_pair_that_was_asked_often_is_one_review(home, model):
    one = made.shelve(home, model, "one")
    made.proved(home, model, one, brier=0.0)
    adapters.load(home, one)
    for _ in range(30):
        id = made.judged(home, model, "supports", one, premise="the same")
        feedback(home, Word(judgement=id, label="refutes", reason="x"), "hana")
    assert serving(home, model) == one


def test_a_rollback_by_itself_goes_to_the_base_when_the_one_before_lost_its_proof(home, model):
    one, two = one_then_two(home, model)
    made.proved(home, model, one, passed=False)
    with pytest.raises(ConflictError):
        adapters.rollback(home)
    assert adapters.rollback(home, step="auto_rollback", only=two).adapter is None
    with pytest.raises(ConflictError):
        adapters.rollback(home, only=two)


NAMES = st.sampled_from(range(4))


class Histories(RuleBasedStateMachine):
    """Random histories over a real ledger and a real shelf; a crash closes nothing and opens everything anew."""

    model: Path

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.opened = made.house(self.folder / "home", self.model)
        self.home = self.opened.__enter__()
        self.adapters: dict[int, str] = {}
        self.proofs: dict[str, bool] = {}
        self.expected: str | None = None

    def teardown(self):
        if hasattr(self, "opened"):
            self.opened.__exit__(None, None, None)
            shutil.rmtree(self.folder, ignore_errors=True)

    @rule(name=NAMES)
    def train(self, name):
        self.adapters.setdefault(name, made.shelve(self.home, self.model, str(name)))

    @rule(name=NAMES, passed=st.booleans())
    def prove(self, name, passed):
        adapter = self.adapters.get(name)
        if adapter is not None and adapter != self.expected:
            made.proved(self.home, self.model, adapter, passed, self.expected)
            self.proofs[adapter] = passed

    @rule(name=NAMES, step=st.sampled_from(["load", "promote"]))
    def load(self, name, step):
        adapter = self.adapters.get(name, "abcdef")
        try:
            adapters.load(self.home, adapter, step=step)
        except (ConflictError, ShelfError):
            return
        assert self.proofs.get(adapter)
        self.expected = adapter

    @rule()
    def unload(self):
        try:
            self.expected = adapters.unload(self.home).adapter
        except ConflictError:
            assert self.expected is None

    @rule(step=st.sampled_from(["rollback", "auto_rollback"]))
    def roll_back(self, step):
        try:
            self.expected = adapters.rollback(self.home, step=step).adapter
        except ConflictError:
            return

    @rule()
    def crash(self):
        self.home.ledger._writer.close()  # as a killed process leaves it: nothing is finished, nothing is said
        self.opened = made.house(self.folder / "home", self.model)
        self.home = self.opened.__enter__()

    @invariant()
    def what_serves_is_derivable_and_proved(self):
        if not hasattr(self, "home"):
            return
        past = adapters.history(self.home, model_digest(self.model))
        assert (past[-1].adapter if past else None) == self.expected
        for one in past:
            if one.adapter is not None:
                proof = self.home.ledger.get(one.proof).record
                assert (proof.passed, proof.candidate) == (True, one.adapter)


def test_random_histories(model):
    Histories.model = model
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    assert set(KEYS) == {"neutral", "refutes", "supports"}
