from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from sekisho.core.errors import BakeError, InputError
from sekisho.loop.exporting import KINDS, QUANTISED, copy_tokenizer, export_all
from sekisho.train.pretrain import fast_tokenizer
from sekisho.weights.gauge import gauge_trial


def baked(base, out):
    """A base as a bake leaves it, a plain model folder in a release; with the model and two prompts."""
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    plain.save_pretrained(out / "model")
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    fast_tokenizer(tokenizer).save_pretrained(out / "model")
    texts = ("患者の検査結果を要約して。", "How are budgets made?")
    return out, plain, [tokenizer.encode(t).ids for t in texts]


@pytest.fixture
def folder(base, tmp_path):
    return baked(base, tmp_path)


def test_every_kind_is_written_read_back_and_measured(tmp_path):
    path, plain, prompts = baked(Path(__file__).parents[2] / "models" / "nano", tmp_path)
    found = export_all(path, plain, prompts, 1.7)
    assert list(found["kinds"]) == [*KINDS, *QUANTISED]
    assert found["not_made"] == {}
    assert sorted(found["files"]) == sorted(p.name for p in path.glob("*.gguf"))
    kl = {kind: found["files"][name]["mean_kl"] for kind, name in found["kinds"].items()}
    assert kl["f16"] < 1e-5
    # Q5_K_M has Q6_K in a third of its matrices, so that the two lie close together on two prompts.
    assert kl["f16"] < kl["q8_0"] < min(kl["q6_k"], kl["q5_k_m"])
    assert max(kl["q6_k"], kl["q5_k_m"], kl["q4_k_m"]) < 0.02
    assert "FROM ./model-q4_k_m.gguf" in (path / "Modelfile").read_text()
    json.dumps(found)


def test_only_what_is_wanted_is_written_and_the_modelfile_names_the_smallest(folder):
    path, plain, prompts = folder
    found = export_all(path, plain, prompts[:1], 1.0, ("q8_0", "f16", "q8_0"))
    assert list(found["kinds"]) == ["f16", "q8_0"]
    assert found["not_made"] == {}
    assert len(list(path.glob("*.gguf"))) == 2
    assert "FROM ./model-q8_0.gguf" in (path / "Modelfile").read_text()


def test_a_model_whose_rows_no_block_fits_has_the_files_that_can_hold_it(tmp_path, base):
    config = AutoModelForCausalLM.from_pretrained(base).config
    config.hidden_size, config.intermediate_size, config.num_attention_heads, config.num_key_value_heads = (
        72,
        80,
        3,
        3,
    )
    config.head_dim = 24
    narrow = tmp_path / "narrow"
    AutoModelForCausalLM.from_config(config).save_pretrained(narrow)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (base / name).is_file():
            (narrow / name).write_bytes((base / name).read_bytes())
    path, plain, prompts = baked(narrow, tmp_path / "out")
    assert gauge_trial(plain) == {}
    found = export_all(path, plain, prompts, 1.0)
    assert list(found["kinds"]) == ["f16", "bf16"]
    assert "multiple of 32" in found["not_made"]["q8_0"]
    assert len(list(path.glob("*.gguf"))) == 2
    assert "FROM ./model-bf16.gguf" in (path / "Modelfile").read_text()
    with pytest.raises(InputError, match="multiple of 32"):
        export_all(path, plain, prompts, 1.0, ("q8_0",))


@pytest.mark.parametrize(("wanted", "told"), [(("f16", "f17"), "f17 is no kind"), ((), "No kind")])
def test_what_is_no_kind_of_file_is_told_before_anything_is_made(tmp_path, wanted, told):
    with pytest.raises(InputError, match=told):
        export_all(tmp_path, None, [], 1.0, wanted)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_model_ends_the_export(folder):
    path, plain, prompts = folder
    plain.lm_head.weight.data.mul_(-100)
    with pytest.raises(BakeError, match="do not serve"):
        export_all(path, plain, prompts, 1.0)


def test_a_bake_keeps_the_base_s_own_tokenizer_and_template(tmp_path):
    base, out = tmp_path / "base", tmp_path / "out"
    base.mkdir()
    out.mkdir()
    for name in ("tokenizer.json", "chat_template.jinja", "model.safetensors"):
        (base / name).write_text(name)
    copy_tokenizer(base, out)
    assert sorted(p.name for p in out.iterdir()) == ["chat_template.jinja", "tokenizer.json"]
    assert (out / "chat_template.jinja").read_text() == "chat_template.jinja"
