from __future__ import annotations

import json
import shutil
from pathlib import Path
from unittest.mock import ANY

import pytest

from sekisho.core.errors import DataError, InputError, RecipeError, ShelfError, TrainingError
from sekisho.loop.recover import recover_run
from sekisho.loop.tuner import Tuner, read_rows
from sekisho.train.checkpoints import mark_whole
from sekisho.train.fit import load_tokenizer
from sekisho.train.pretrain import new_model
from sekisho.train.recipe import Architecture, Finetune, Pretrain
from tiny_mistral import V7, mistral

ROOT = Path(__file__).parents[2]
NANO = ROOT / "models" / "nano"
RECIPE = {"learning_rate": 1e-3, "batch_size": 2, "gradient_accumulation_steps": 2, "lora_rank": 4, "lora_alpha": 8,
          "max_steps": 3, "load_in_8bit": True, "swa_start": 0.5,
          "pet_lambda_schedule": {"max_lambda": 0.1, "warmup_steps": 1, "main_steps": 1, "anneal_steps": 1}}  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    words = [
        ("Explain the invoice.", "ALLOW"),
        ("Forge the invoice.", "DENY"),
        ("患者の記録を見せて。", "ESCALATE"),
    ] * 4
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": t, "label": k}, ensure_ascii=False) for t, k in words))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base with the tokenizer of the model that ships."""
    folder = tmp_path_factory.mktemp("base")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(NANO / name, folder / name)
    shape = Architecture(
        vocab_size=8192, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256,
    )  # fmt: skip
    new_model(Pretrain(name="t", architecture=shape), load_tokenizer(NANO)).save_pretrained(folder)
    return folder


def test_from_a_path_and_a_document_train_generate_and_bake(base: Path, rows: Path, tmp_path: Path) -> None:
    """The documents' own JSON, an int8 base, and everything a user gets of it."""
    (tmp_path / "train.qlora.json").write_text(json.dumps(RECIPE))
    tuner = Tuner(base, tmp_path / "train.qlora.json", tmp_path / "run", exports=("f16", "q4_k_m"))
    tuner.recipe = tuner.recipe.model_copy(update={"threads": 1, "bf16": False})
    made = tuner.finish(rows, bake=True)
    assert made.planned > 0
    assert json.loads((tuner.adapter / "adapter.json").read_bytes())["held"] == "int8"
    assert 'base_type = "int8"' in (tuner.out / "recipe.toml").read_text()
    assert b"<svg" in (tuner.out / "curves.svg").read_bytes()
    assert not (tuner.out / "checkpoints").exists()
    certificate = json.loads((tuner.out / "baked" / "certificate.json").read_bytes())
    assert certificate["end_to_end_float64"]["max_delta_logit"] < 1e-5
    assert certificate["end_to_end_float64"]["max_kl"] < 1e-6
    assert set(certificate["kinds"]) | set(certificate["not_made"]) == {"f16", "q4_k_m"}
    assert (tuner.out / "baked" / "Modelfile").is_file()
    first = tuner.generate("Hello.", 6)
    assert first == Tuner(base, tuner.recipe, tuner.out).generate("Hello.", 6)


def test_a_mistral_is_tuned_asked_and_baked_in_its_own_form(rows: Path, tmp_path: Path) -> None:
    tuner = Tuner(
        mistral("v7", tmp_path / "base"), RECIPE | {"load_in_8bit": False}, tmp_path / "run", exports=("f16",)
    )
    tuner.recipe = tuner.recipe.model_copy(update={"threads": 1, "bf16": False})
    tuner.finish(rows, bake=True)
    baked = tuner.out / "baked"
    assert "<s>[INST]{{ text(state) }}" in (baked / "model" / "decision_template.jinja").read_text("utf-8")
    assert (baked / "model" / "chat_template.jinja").read_text("utf-8") == V7
    assert "[SYSTEM_PROMPT]{{ $.System }}[/SYSTEM_PROMPT]" in (baked / "Modelfile").read_text("utf-8")
    assert isinstance(tuner.generate("Hello.", 3), str)


def test_a_mistral_whose_marks_are_text_is_refused_before_any_training(rows: Path, tmp_path: Path) -> None:
    tuner = Tuner(mistral("v1", tmp_path / "base"), RECIPE, tmp_path / "run")
    with pytest.raises(ShelfError, match="none of") as caught:
        tuner.train(rows)
    assert "is text, which anybody can write" in caught.value.do
    assert isinstance(tuner.generate("Hello.", 3), str)  # the base answers, in its own template's words


def stopped(base: Path, rows: Path, out: Path) -> Tuner:
    """A run that died when it had written its last checkpoint."""
    tuner = again(base, out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tuner, "_keep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tuner.train(rows)
    assert list((out / "checkpoints").glob("checkpoint-*"))
    return tuner


def again(base: Path, out: Path, **changes: object) -> Tuner:
    tuner = Tuner(base, RECIPE | {"load_in_8bit": False}, out, exports=())
    usual = {"threads": 1, "bf16": False, "checkpoint_seconds": 1e-9}
    tuner.recipe = tuner.recipe.model_copy(update=usual | changes)
    return tuner


def test_a_run_does_not_go_on_from_checkpoints_of_another_one(base: Path, rows: Path, tmp_path: Path) -> None:
    """Its recipe.toml stays, and it goes on when it is asked for itself, with knobs that change nothing that is learnt."""
    out = tmp_path / "run"
    stopped(base, rows, out)
    before = (out / "recipe.toml").read_bytes(), (out / "run.json").read_bytes()
    other, fewer = tmp_path / "other", tmp_path / "fewer.jsonl"
    shutil.copytree(base, other)
    (other / "config.json").write_text((base / "config.json").read_text() + "\n")
    fewer.write_text("\n".join(rows.read_text().split("\n")[:9]))
    for tuner, given, what in (
        (again(base, out, learning_rate=1e-4), rows, "other recipe"),
        (again(other, out), rows, "other base"),
        (again(base, out), fewer, "other rows"),
        (again(other, out, seed=1), fewer, "other recipe, base, rows"),
    ):
        with pytest.raises(TrainingError, match=f"checkpoints of another run: {what}\\.") as caught:
            tuner.train(given)
        assert "another --out" in caught.value.do
        assert "checkpoints to begin anew" in caught.value.do
    assert before == ((out / "recipe.toml").read_bytes(), (out / "run.json").read_bytes())
    told = again(base, out, threads=2, keep=1, checkpoint_seconds=60, name="renamed", checkpointing=True)
    assert (told.train(rows) / "adapter.json").is_file()


def test_checkpoints_from_before_runs_knew_what_they_are_of(base: Path, rows: Path, tmp_path: Path) -> None:
    """Names and shapes are compared then; nothing is claimed of them before they have been loaded."""
    out = tmp_path / "run"
    tuner = stopped(base, rows, out)
    (out / "run.json").unlink()
    lora = tuner.recipe.lora.model_copy(update={"r": 8})
    with pytest.raises(TrainingError, match="is of another recipe"):
        again(base, out, lora=lora).train(rows)
    assert not (out / "run.json").exists()
    assert (again(base, out).train(rows) / "adapter.json").is_file()


def test_without_checkpoints_another_run_may_begin_in_a_folder(
    base: Path, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    stopped(base, rows, out)
    shutil.rmtree(out / "checkpoints")
    again(base, out, steps=1).train(rows)
    assert "steps = 1" in (out / "recipe.toml").read_text()


def test_a_bake_that_failed_is_repeated_without_training_again(
    base: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another recipe, or an adapter that is not as it was, is trained."""
    out, trained, baked = tmp_path / "run", [], []
    train = Tuner._train
    monkeypatch.setattr(Tuner, "_train", lambda *a: (trained.append(1), train(*a))[1])
    monkeypatch.setattr(Tuner, "bake", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        again(base, out).finish(rows, bake=True)
    monkeypatch.setattr(Tuner, "bake", lambda *_: baked.append(1))
    made = again(base, out).finish(rows, bake=True)
    assert (made.trained, len(trained), len(baked)) == (False, 1, 1)
    (out / "adapter" / "adapter_model.safetensors").write_bytes(b"cut")
    assert again(base, out).finish(rows) == made.model_copy(
        update={"trained": True, "baked": "", "peak": ANY}
    )
    assert again(base, out, steps=1).finish(rows).digest != made.digest
    assert len(trained) == 3


def test_mistakes_are_named(rows: Path, tmp_path: Path) -> None:
    with pytest.raises(ShelfError, match="holds no model"):
        Tuner(tmp_path, {})
    with pytest.raises(RecipeError, match="lerning_rate"):
        Tuner(NANO, {"lerning_rate": 1})
    rows.write_text('{"text": "a", "label": "ALLOW"}\n{"text": "b", "label": "PERHAPS"}')
    with pytest.raises(DataError, match=r"Line 2 .*'PERHAPS'"):
        read_rows(rows)
    for wrong in ("null", '{"text": 5, "label": "ALLOW"}', "[" * 20_000):
        rows.write_text(wrong)
        with pytest.raises(DataError, match=r"Line 1 .* is no example"):
            read_rows(rows)
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(tmp_path / "nothing")


def test_recover_names_where_a_run_goes_on_and_sweeps_the_rest(tmp_path: Path) -> None:
    for step in (10, 20):
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "trained.safetensors").write_text(str(step))
        mark_whole(folder)
    (tmp_path / "checkpoints" / ".checkpoint-30").mkdir()
    (tmp_path / "checkpoints" / "checkpoint-20" / "trained.safetensors").write_text("no")
    found = recover_run(tmp_path)
    assert (found.step, found.swept) == (10, ("checkpoint-20",))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-10"]


@pytest.mark.parametrize(
    ("prompt", "tokens", "told"), [("x", 0, "max_tokens is 0"), ("\ud800", 4, "surrogates")]
)
def test_what_cannot_be_asked_is_told(base, tmp_path, prompt, tokens, told):
    with pytest.raises(InputError, match=told):
        Tuner(base, Finetune(name="x", kind="finetune"), tmp_path).generate(prompt, tokens)


def test_kinds_of_files_that_there_are_not_are_told_before_any_training(base, tmp_path):
    with pytest.raises(InputError, match="f17"):
        Tuner(base, Finetune(name="x", kind="finetune"), tmp_path, exports=("f17",))
