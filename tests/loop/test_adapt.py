"""The whole loop on a tiny classifier: answers, words on them, a training, a proof, a promotion, the way back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from sekisho.core.canonical import digest_text, model_digest
from sekisho.core.errors import ConflictError, DataError, ProofError, ShelfError, TrainingError
from sekisho.ledger import adapting
from sekisho.loop import adapt, adapt_plot, adapt_prove, adapt_series, adapters, calibrate_task
from sekisho.loop.feedback import Word, export_words, feedback, import_words
from sekisho.loop.nli import Claim, Nli
from sekisho.loop.reviewed import attention, drawn, lot_of, lots

from . import nli_house as made
from . import nli_makers as makers

COUNT = 220


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return makers.tiny(tmp_path_factory.mktemp("nli") / "tiny")


@pytest.fixture(scope="module")
def home(tmp_path_factory, model):
    """A house with reviewed answers, an adapter trained on them, and its passing proof."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "quick.toml").write_text(makers.RECIPE)
    flags = {
        "nli_recipe": str(folder / "quick.toml"),
        "nli_accuracy": "0.5",
        "nli_guard_margin": "1",
        "nli_days": "0",
    }
    with made.house(folder / "home", model, threads="1", **flags) as opened:
        review(opened, makers.sentences(COUNT))
        yield opened


def ask(home, sentences, *more):
    """Answers of the service as it is now."""

    async def work():
        service = Nli(home)
        claims = [
            Claim(premise=s["premise"], hypothesis=s["hypothesis"], source=s["source"]) for s in sentences
        ]
        try:
            return (await service.judge(claims))[2]
        finally:
            await service.close()

    return asyncio.run(work())


def review(home, sentences):
    for s, answer in zip(sentences, ask(home, sentences), strict=True):
        feedback(home, Word(judgement=answer.judgement.id, label=s["label"], reason="read it"), "hana")


@pytest.fixture(scope="module")
def trained(home):
    return adapt.train(home, due_only=True)


@pytest.fixture(scope="module")
def proof(home, trained):
    return adapt_prove.prove(home)


def test_the_status_counts_what_is_new(home, trained):
    found = adapt.status(home)
    assert found.trigger.corrections == 0
    assert found.learnable == COUNT
    assert not found.trigger.due
    assert found.adapters == (adapt.newest(home),)
    with pytest.raises(ConflictError, match="corrections, rate"):
        adapt.train(home, due_only=True)


def test_what_proves_was_never_learnt(home, model, trained):
    assert trained.trained + trained.held_out + trained.dropped == COUNT
    rows = set(json.loads((Path(trained.folder) / "made.json").read_bytes())["rows"])
    held = adapt_prove.held_out(home, model_digest(model))
    assert len(rows) == trained.trained
    assert len(held) == trained.held_out
    assert not rows & {p.id for p in held}


def test_a_finished_training_is_not_repeated(home, trained):
    assert adapt.train(home).adapter == trained.adapter


def test_the_proof_tells_both_models_on_the_same_rows(home, proof, trained, model):
    assert proof.passed
    assert (proof.task, proof.candidate, proof.base) == ("nli", trained.adapter, model_digest(model))
    target = proof.measures["target"]
    assert target["candidate"]["accuracy"] > target["rival"]["accuracy"]
    assert target["versus"]["p_better"] < 0.05
    assert set(target["candidate"]["f1"]) == {"neutral", "refutes", "supports"}
    assert proof.measures["guard"]["versus"]["n"] == adapt_prove.GUARDS
    assert proof.measures["correction_rate"]["candidate"] < proof.measures["correction_rate"]["rival"]


def test_promotion_changes_answers_and_rollback_brings_the_old_ones_back_bit_for_bit(home, proof, trained):
    asked = makers.sentences(40, seed=5)
    before = ask(home, asked)
    adapters.load(home, trained.adapter, "ken", "promote")
    with pytest.raises(ConflictError, match="itself"):
        adapt_prove.prove(home, trained.adapter)
    during = ask(home, asked)
    adapters.rollback(home, "ken")
    after = ask(home, asked[::-1])[::-1]
    assert [a.judgement.probabilities for a in after] == [a.judgement.probabilities for a in before]
    assert [a.judgement.probabilities for a in during] != [a.judgement.probabilities for a in before]
    right = [
        sum(a.judgement.answer == s["label"] for a, s in zip(f, asked, strict=True)) for f in (before, during)
    ]
    assert right[1] > right[0]
    assert {a.judgement.stamp.adapter_digest for a in during} == {trained.adapter}
    assert {a.judgement.stamp.adapter_digest for a in before + after} == {None}


def test_the_series_and_its_plot(home, proof, tmp_path):
    found = adapt_series.series(home)
    whole = next(a for a in found["adapters"] if a["adapter"] is None)
    assert whole["reviewed"] == COUNT
    assert whole["accuracy"] + whole["correction_rate"] == pytest.approx(1)
    assert adapt_plot.plot(home, tmp_path / "x.svg") == len(found["days"])
    assert (tmp_path / "x.svg").read_text().startswith("<?xml")
    assert adapt.listed(home)["adapters"][0]["proof"] == "passed"


@pytest.fixture
def unsure(tmp_path, model):
    """A house whose base says 0.98 and is right in 60 of 100 answers, all reviewed, each of a source of its own."""
    with made.house(tmp_path / "unsure", model) as own:
        for i in range(100):
            id = made.judged(own, model, "supports", sure=0.98, premise=f"p{i}", source=f"s{i}")
            label = "supports" if i % 5 < 3 else "refutes"
            feedback(own, Word(judgement=id, label=label, reason="x"), "hana")
        yield own


def test_a_calibration_is_applied_by_version_and_taken_back(unsure):
    home = unsure
    asked = makers.sentences(10, seed=9)
    plain = ask(home, asked)
    assert {a.judgement.stamp.calibration for a in plain} == {"uncalibrated"}
    first = calibrate_task.apply(home, "temperature", "ken")
    assert first.temperature > 1.2
    after = ask(home, asked)
    assert {a.judgement.stamp.calibration for a in after} == {first.version}
    assert [a.judgement.raw for a in after] == [a.judgement.raw for a in plain]
    assert [a.judgement.answer for a in after] == [a.judgement.answer for a in plain]
    assert [a.judgement.probabilities for a in after] != [a.judgement.probabilities for a in plain]
    back = calibrate_task.rollback(home, "ken")
    assert (back.method, back.rollback, back.previous) == ("none", True, first.version)
    assert [a.judgement.probabilities for a in ask(home, asked)] == [a.judgement.probabilities for a in plain]
    assert [v.version for v in calibrate_task.versions(home)] == [first.version, "uncalibrated"]
    with pytest.raises(ConflictError):
        calibrate_task.rollback(home, "ken")


def test_no_calibration_from_rejected_sources_or_at_a_bound_or_for_another_adapter(
    unsure, model, monkeypatch
):
    home = unsure
    for word in list(export_words(home))[:30]:
        feedback(home, Word(judgement=word["judgement"], level="source", action="reject", reason="x"), "hana")
    assert calibrate_task.measure(home, "nli")["all"]["n"] == 70
    one = made.shelve(home, model, "one")
    made.proved(home, model, one)
    measure = calibrate_task.measure

    def slow(*given):
        found = measure(*given)
        adapters.load(home, one)
        return found

    monkeypatch.setattr(calibrate_task, "measure", slow)
    with pytest.raises(ConflictError, match="meanwhile"):
        calibrate_task.apply(home, "temperature", "ken")
    assert calibrate_task.versions(home) == []
    monkeypatch.undo()
    adapters.unload(home)
    for word in list(export_words(home)):
        if word["level"] == "edge":
            feedback(home, Word(judgement=word["judgement"], label="refutes", reason="x"), "hana")
    with pytest.raises(ProofError, match="too little"):
        calibrate_task.apply(home, "temperature", "ken")


def test_how_many_right_answers_were_looked_at(tmp_path, model):
    with made.house(tmp_path / "home", model) as own:
        digest = model_digest(model)

        def said(hypothesis, label=None, premise="p"):
            id = made.judged(own, model, "supports", premise=premise, hypothesis=hypothesis, source="s")
            if label:
                feedback(own, Word(judgement=id, label=label, reason="x"), "hana")
            return id

        def share(of=1.0):
            return attention(own.ledger, digest, of)

        assert share() == 0.0
        for i in range(40):
            said(f"before {i}")
        said("a", "refutes")
        assert share() == 0.0  # corrections alone confirm nothing
        said("b", "supports")
        assert share() == 1.0
        for i in range(3):
            said(f"passed over {i}")
        said("c", "supports")
        assert share() == pytest.approx(2 / 5)
        said("passed  over 0", "supports", "ｐ")  # the same pair, spelt otherwise, and now with a word
        assert share() == pytest.approx(3 / 5)
        id = said("d", "supports", premise="rejected")
        assert share() == pytest.approx(4 / 6)
        for level in ("claim",):
            feedback(own, Word(judgement=id, level=level, action="reject", reason="x"), "hana")
        said("e", "supports")
        assert share() == pytest.approx(4 / 7)  # what was rejected counts as passed over
        assert attention(own.ledger, "sha256:another", 1.0) == 0.0
        ids = [said(f"many {i}", "supports") for i in range(60)]
        assert 15 < sum(drawn(i, 0.5) for i in ids) < 45
        assert share(0.5) > share() / 2


def test_of_two_spellings_the_latest_word_counts_and_nothing_is_divided_by_nothing(tmp_path, model):
    with made.house(tmp_path / "home", model) as own:
        for premise, label in (("a b", "supports"), ("a  b", "refutes")):
            id = made.judged(own, model, "supports", premise=premise, source="s")
            feedback(own, Word(judgement=id, label=label, reason="x"), "hana")
        assert attention(own.ledger, model_digest(model), 1.0) == 0.0
        id = made.judged(own, model, "supports", premise="ａ b", source="s")
        feedback(own, Word(judgement=id, label="supports", reason="x"), "hana")
        assert attention(own.ledger, model_digest(model), 1.0) == 1.0


def test_the_lot_of_a_document_falls_also_on_what_nobody_looked_at(tmp_path, model):
    with made.house(tmp_path / "home", model) as own:
        for i in range(30):
            for k in range(4):
                id = made.judged(own, model, premise=f"p{i}", hypothesis=f"h{k}", source=f"s{i}")
                if k == 0:
                    feedback(own, Word(judgement=id, label="refutes", reason="x"), "hana")
        found = lots(own.ledger, model_digest(model), 1.0)
        assert len(found) == 30
        assert 0 < sum(lot_of({"premise": f"p{i}", "hypothesis": "h0"}) in found for i in range(30)) < 20


def test_an_adapter_that_cannot_be_read_now_is_not_put_away(small, monkeypatch):
    home, first = small

    def full(*_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("sekisho.shelf.folder_digest", full)
        with pytest.raises(ShelfError, match="cannot be read"):
            adapt.train(home)
    assert home.shelf.digest_of("nli_adapters", Path(first.folder)) == first.adapter


def test_what_was_not_drawn_proves_nothing_and_the_sample_is_what_waits(small, model):
    home, _ = small
    assert adapt.sample(home, 100) == []
    held = len(adapt_prove.held_out(home, model_digest(model)))
    waiting = [made.judged(home, model, premise=f"w{i}", hypothesis="h", source=f"w{i}") for i in range(40)]
    assert [row["judgement"] for row in adapt.sample(home, 100)] == waiting
    assert [row["premise"] for row in adapt.sample(home, 2)] == ["w0", "w1"]
    home.settings.values["nli_sample"] = 0.25
    some = [row["judgement"] for row in adapt.sample(home, 100)]
    assert some == [i for i in waiting if drawn(i, 0.25)]
    assert 0 < len(some) < 25
    assert len(adapt_prove.held_out(home, model_digest(model))) < held


def test_an_adapter_that_gives_no_numbers_is_not_proved(small, model):
    from safetensors.torch import load_file, save_file

    home, first = small
    with home.shelf.building("nli_adapters") as folder:
        for name in ("adapter_config.json", "made.json"):
            (folder / name).write_bytes((Path(first.folder) / name).read_bytes())
        weights = load_file(Path(first.folder) / "adapter_model.safetensors")
        save_file({k: v * float("nan") for k, v in weights.items()}, folder / "adapter_model.safetensors")
        sick = home.shelf.keep("nli_adapters", folder)
    before = home.ledger.count()
    with pytest.raises(ProofError, match="no number"):
        adapt_prove.prove(home, sick)
    assert home.ledger.count() == before
    assert not list((home.settings.home / "proofs").glob("*"))
    made.proved(home, model, sick)
    adapters.load(home, sick)
    answers = ask(home, makers.sentences(3))
    assert [a.error is not None and "no numbers" in str(a.error) for a in answers] == [True] * 3


@pytest.mark.parametrize("said", [b"", b"\xff\xfe", b"sha256:", b"../../x"])
def test_a_run_that_does_not_say_which_adapter_it_made_is_made_again(small, said):
    home, first = small
    (name,) = (home.settings.home / "runs").glob("*/adapter")
    name.write_bytes(said)
    again = adapt.train(home)  # another only by the time it was made
    assert {p.name for p in home.shelf.all("nli_adapters")} == {
        Path(first.folder).name,
        Path(again.folder).name,
    }
    assert not list(home.shelf.root.glob(".damaged-*"))


def test_a_rejected_source_or_claim_is_not_learnt(tmp_path, model):
    one = makers.sentences(1, seed=77)[0]
    with made.house(tmp_path / "home", model) as own:
        id = made.judged(
            own, model, premise=one["premise"], hypothesis=one["hypothesis"], source=one["source"]
        )
        feedback(own, Word(judgement=id, action="right", reason="x"), "hana")
        assert adapt.status(own).learnable == 1
        for level in ("source", "claim"):
            feedback(own, Word(judgement=id, level=level, action="reject", reason="no good"), "hana")
            assert adapt.status(own).learnable == 0
            feedback(own, Word(judgement=id, level=level, action="restore", reason="it is"), "hana")
            assert adapt.status(own).learnable == 1


def test_nothing_to_learn_from(tmp_path, model):
    with made.house(tmp_path / "home", model) as home, pytest.raises(DataError, match="0 pairs"):
        adapt.train(home)


@contextlib.contextmanager
def small_disk(most):
    """A limit on file sizes stands for a full disk: what is larger cannot be written."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_a_training_clearly_and_leaves_nothing_half_done(tmp_path, model):
    (tmp_path / "quick.toml").write_text(makers.RECIPE.replace("epochs = 30", "epochs = 1") + "r = 256\n")
    with made.house(tmp_path / "home", model, nli_recipe=str(tmp_path / "quick.toml")) as home:
        for i, s in enumerate(makers.sentences(30)):
            id = made.judged(home, model, premise=s["premise"], hypothesis=s["hypothesis"], source=str(i))
            feedback(home, Word(judgement=id, label=s["label"], reason="x"), "hana")
        with small_disk(60_000), pytest.raises(TrainingError, match="could not be written"):
            adapt.train(home)
        assert home.shelf.all("nli_adapters") == []
        assert not list((tmp_path / "home").glob("shelf/*/.building-*"))
        assert adapters.history(home, model_digest(model)) == []
        made_now = adapt.train(home)
        assert home.shelf.all("nli_adapters") == [Path(made_now.folder)]


@pytest.fixture
def small(tmp_path, model):
    """A house with 30 words and one quickly trained adapter."""
    (tmp_path / "quick.toml").write_text(makers.RECIPE.replace("epochs = 30", "epochs = 1"))
    with made.house(tmp_path / "home", model, nli_recipe=str(tmp_path / "quick.toml")) as home:
        for i, s in enumerate(makers.sentences(30)):
            id = made.judged(home, model, premise=s["premise"], hypothesis=s["hypothesis"], source=str(i))
            feedback(home, Word(judgement=id, label=s["label"], reason="x"), "hana")
        yield home, adapt.train(home)


def test_a_damaged_adapter_is_told_and_made_again(small):
    home, first = small
    file = Path(first.folder) / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert [a["proof"] for a in adapt.listed(home)["adapters"]] == ["damaged"]
    again = adapt.train(home)
    assert [a["proof"] for a in adapt.listed(home)["adapters"]] == ["none"]
    assert home.shelf.digest_of("nli_adapters", Path(again.folder)) == again.adapter
    assert list(home.shelf.root.glob("nli_adapters/.damaged-*"))  # kept for whoever asks what happened


@pytest.mark.parametrize(
    "said",
    [
        *("[]", "null", "5", '{"base": "x"}', '{"base": "right"}'),
        '{"base": "right", "at": "yesterday", "rows": [], "reviewed": []}',
        '{"base": "right", "at": "2026-11-22T00:00:00.000000Z", "rows": [{}], "reviewed": []}',
        '{"base": "right", "at": "2026-11-22T00:00:00.000000Z", "rows": [], "reviewed": [], "words": 3}',
    ],
)
def test_a_folder_that_does_not_say_what_it_is_made_from_is_passed_over(small, model, said):
    home, first = small
    other = home.shelf.root / "nli_adapters" / "00"
    other.mkdir()
    (other / "made.json").write_text(said.replace("right", model_digest(model)))
    assert adapt.status(home).adapters == (Path(first.folder).name,)
    assert len(adapt.listed(home)["adapters"]) == 1


def test_what_shares_a_premise_with_a_lesson_proves_and_guards_nothing(small, model):
    home, first = small
    held = adapt_prove.held_out(home, model_digest(model))
    guard = adapt_prove.guards(home, model_digest(model))[0]
    name = Path(first.folder) / "made.json"
    lesson = {"premises": [digest_text(held[0].premise), digest_text(guard.premise)]}
    name.write_text(json.dumps(json.loads(name.read_text()) | lesson))
    left = adapt_prove.held_out(home, model_digest(model))
    assert left == [p for p in held if p.premise != held[0].premise]
    assert guard.premise not in {p.premise for p in adapt_prove.guards(home, model_digest(model))}


def test_the_same_words_again_are_nothing_new(small):
    home, _ = small
    words = [json.dumps(w) for w in export_words(home)]
    assert import_words(home, words, "hana").filed == 30
    assert adapt.status(home).trigger.reviewed == 0


def test_words_on_rejected_sources_make_no_training_due(small, model):
    home, _ = small
    for i in range(5):
        id = made.judged(home, model, premise=f"p{i}", hypothesis="h", source=f"rejected {i}")
        feedback(home, Word(judgement=id, label="refutes", reason="x"), "hana")
        assert adapt.status(home).trigger.corrections == 1
        feedback(home, Word(judgement=id, level="source", action="reject", reason="x"), "hana")
        assert adapt.status(home).trigger.corrections == 0


def test_an_export_brings_back_what_was_rejected(small, model):
    home, _ = small
    id = made.judged(home, model, premise="p", hypothesis="h", source="s")
    feedback(home, Word(judgement=id, level="source", action="reject", reason="x"), "hana")
    feedback(home, Word(judgement=id, level="claim", action="reject", reason="x"), "hana")
    feedback(home, Word(judgement=id, level="claim", action="restore", reason="y"), "hana")
    words = [json.dumps(w) for w in export_words(home) if w["level"] != "edge"]
    assert [json.loads(w)["action"] for w in words] == ["reject", "restore"]
    before = adapting.rejected(home.ledger)
    assert import_words(home, words, "ken").filed == 2
    assert adapting.rejected(home.ledger) == before


def test_a_digest_that_only_begins_like_an_adapters_is_none(small):
    home, first = small
    assert adapters.adapter_folder(home, first.adapter)[1] == first.adapter
    wrong = first.adapter[:-1] + ("0" if first.adapter[-1] != "0" else "1")
    with pytest.raises(ShelfError, match="begins alike"):
        adapters.adapter_folder(home, wrong)


def test_a_word_taken_back_and_given_again_is_new_to_the_latest_training(small, model):
    home, first = small
    (word, *_) = export_words(home)
    other = next(k for k in ("supports", "refutes", "neutral") if k != word["label"])
    feedback(home, Word(judgement=word["judgement"], label=other, reason="x"), "hana")
    assert adapt.status(home).trigger.reviewed == 1
    assert adapt.train(home).adapter != first.adapter
    assert adapt.status(home).trigger.reviewed == 0
    feedback(home, Word(judgement=word["judgement"], label=word["label"], reason="x"), "hana")
    assert adapt.status(home).trigger.reviewed == 1


def test_repeated_pairs_prove_nothing_either(small, model):
    home, first = small
    recipe = home.settings.home.parent / "quick.toml"
    recipe.write_text(recipe.read_text().replace("replay = 0.0", "replay = 1.0"))
    again = adapt.train(home)
    told = [json.loads((Path(a.folder) / "made.json").read_text()) for a in (first, again)]
    assert told[0]["rows"] == told[1]["rows"]
    assert set(told[0]["premises"]) < set(told[1]["premises"])
    assert len(told[1]["premises"]) > len(told[0]["premises"]) + again.replayed // 2
