from __future__ import annotations

import json
import shutil

import gguf
import httpx
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from sekisho.core.errors import BakeError, InputError, ShelfError
from sekisho.core.question import Option, Question
from sekisho.train.tokenizer import decision_ids
from sekisho.weights.bake import bake
from sekisho.weights.decision import DecisionMeta
from sekisho.weights.gguf import export_gguf, verify_gguf

from .makers import LLAMA_LORA, SENTENCES, gated, llama, llama_cpp, phi3, save_folder

KINDS = ("f32", "f16", "bf16", "q8_0")
KEYS = ("ALLOW", "DENY", "ESCALATE")


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    """A baked Phi-3: LoRA and gates folded, saved in float32."""
    plain, _ = bake(gated(phi3(tokenizer)))
    return save_folder(plain, tokenizer, tmp_path_factory.mktemp("phi3"))


@pytest.fixture(scope="module")
def llama_folder(tokenizer, tmp_path_factory):
    plain, _ = bake(gated(llama(tie_word_embeddings=False), LLAMA_LORA))
    return save_folder(plain, tokenizer, tmp_path_factory.mktemp("llama"))


def logits_of(folder, ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1].double()


def next_token(address, ids, size=1024):
    """All next-token log-probabilities `[size]` of llama.cpp after token ids, as they are before any bias."""
    # Drawing A for certain: after half a character or an end token llama.cpp reports no probabilities.
    body = {"prompt": ids, "n_predict": 1, "n_probs": size, "logit_bias": [["A", 100]], "cache_prompt": False}
    answer = httpx.post(f"{address}/completion", json=body, timeout=60).json()
    top = answer["completion_probabilities"][0]["top_logprobs"]
    assert len(top) == size
    found = torch.empty(size, dtype=torch.float64)
    for entry in top:
        found[entry["id"]] = entry["logprob"]
    return found


def kl(log_a, log_b):
    return float((log_a.exp() * (log_a - log_b)).sum())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arch", ["phi3", "llama"])
def test_every_kind_reads_back(request, arch, kind, tmp_path):
    source = request.getfixturevalue("folder" if arch == "phi3" else "llama_folder")
    out = export_gguf(source, tmp_path / f"m-{kind}.gguf", kind, DecisionMeta())
    found = verify_gguf(out, source)
    assert found.tensors == (2 + 6 * 3 if arch == "phi3" else 3 + 9 * 2)
    assert (found.max_difference == 0) is (kind == "f32")
    assert found.max_difference < {"f32": 1e-9, "f16": 1e-3, "bf16": 5e-3, "q8_0": 5e-3}[kind]
    assert found.decision
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("arch", ["phi3", "llama"])
def test_transformers_reads_the_float32_file_back_without_difference(request, arch, tmp_path):
    source = request.getfixturevalue("folder" if arch == "phi3" else "llama_folder")
    export_gguf(source, tmp_path / "m.gguf", "f32")
    ours = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="m.gguf", dtype=torch.float32
    ).state_dict()
    assert ours.keys() == theirs.keys()
    assert max(float((ours[n] - theirs[n]).abs().max()) for n in ours) == 0


@pytest.mark.parametrize("arch", ["phi3", "llama"])
def test_llama_cpp_gives_the_next_token_distribution_of_transformers(request, arch, prompts, tmp_path):
    source = request.getfixturevalue("folder" if arch == "phi3" else "llama_folder")
    with llama_cpp(export_gguf(source, tmp_path / "m.gguf", "f16")) as address:
        for ids, text in zip(prompts, SENTENCES, strict=True):
            tokens = httpx.post(f"{address}/tokenize", json={"content": text, "add_special": True}).json()[
                "tokens"
            ]
            assert tokens == ids
            wanted, got = logits_of(source, ids).log_softmax(-1), next_token(address, ids)
            assert kl(wanted, got) < 1e-4
            assert int(got.argmax()) == int(wanted.argmax())


def choice(count=3):
    described = [
        Option(key=k, description=d) for k, d in zip(KEYS, ("答えてよい", None, "ask a person"), strict=True)
    ]
    more = [Option(key=f"k{i}") for i in range(count - 3)]
    return Question(type="choice", instructions="この要求に答えてよいか。", options=tuple(described + more))


NOUL = Question(type="noul", instructions="Is it urgent?", options=(Option(key="true"), Option(key="false")))
SCORE = Question(
    type="score",
    instructions="How urgent?",
    options=tuple(Option(key=str(i), description=d) for i, d in enumerate(["can wait", "soon", "今すぐ"])),
)


def ask(address, state, **questions):
    asked = {}
    for name, q in questions.items():
        criteria = {o.key: o.description for o in q.options}
        asked[name] = {"type": q.type, "instructions": q.instructions}
        if q.type != "noul":
            asked[name]["criteria"] = list(criteria.values()) if q.type == "score" else criteria
    answer = httpx.post(
        f"{address}/v1/systemone", json={"model": "m", "state": state, "questions": asked}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def expected(source, tokenizer, state, question, temperature=1.0):
    """transformers' softmax over the label logits of the house prompt, and the prompt's length."""
    ids = decision_ids(tokenizer, state, question)
    labels = [tokenizer.encode(c).ids[0] for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"]
    logits = logits_of(source, ids)[labels[: len(question.options)]]
    return (logits / temperature).softmax(-1), len(ids)


@pytest.mark.parametrize("temperature", [{}, {"choice": 2.5, "score": 0.5, "noul": 1.7}])
def test_a_bare_llama_cpp_answers_system_one_with_our_probabilities(folder, tokenizer, tmp_path, temperature):
    out = export_gguf(folder, tmp_path / "m.gguf", "f16", DecisionMeta(temperature=temperature))
    with llama_cpp(out) as address:
        for state in ("患者の検査結果を要約して。\n急ぎ。", 'a "plain" state <b> & more'):
            got = ask(address, state, c=choice(), n=NOUL, s=SCORE, long=choice(52))
            lengths = 0
            for name, question in (("c", choice()), ("n", NOUL), ("s", SCORE), ("long", choice(52))):
                wanted, length = expected(
                    folder, tokenizer, state, question, temperature.get(question.type, 1.0)
                )
                answer = got["answers"][name]
                if name == "n":
                    probabilities = [answer["noul"], 1 - answer["noul"]]  # true is read at A
                else:
                    assert list(answer["probabilities"]) == list(question.keys)
                    probabilities = list(answer["probabilities"].values())
                probabilities = torch.tensor(probabilities, dtype=torch.float64)
                assert probabilities.numpy() == pytest.approx(wanted.numpy(), abs=5e-3)
                assert kl(wanted.log(), probabilities.log()) < 1e-4
                assert wanted.max() > 1.2 * wanted.min()  # a flat answer would agree with anything
                lengths += length
            assert got["usage"]["input_tokens"] == lengths
        template = httpx.post(
            f"{address}/apply-template", json={"messages": [{"role": "user", "content": "hi"}]}
        )
        assert template.json()["prompt"] == "<|user|>hi<|end|><|assistant|>"


def test_llama_cpp_renders_objects_as_compact_json_in_order(folder, tokenizer, tmp_path):
    state = {"z": [1, None, True, {"k": "日本"}], "a": 'q"\n\\', "e": {}}
    text = json.dumps(state, ensure_ascii=False, separators=(",", ":"))
    with llama_cpp(export_gguf(folder, tmp_path / "m.gguf", "f16", DecisionMeta())) as address:
        got, same = ask(address, state, c=choice()), ask(address, text, c=choice())
        assert got["usage"] == same["usage"]
        wanted, length = expected(folder, tokenizer, text, choice())
        assert got["usage"]["input_tokens"] == length
        assert list(got["answers"]["c"]["probabilities"].values()) == pytest.approx(wanted.tolist(), abs=2e-3)


def test_without_decision_metadata_system_one_is_refused(folder, tmp_path):
    out = export_gguf(folder, tmp_path / "m.gguf", "f16")
    assert not verify_gguf(out, folder).decision
    with llama_cpp(out) as address:
        body = {"model": "m", "state": "s", "questions": {"q": {"type": "noul", "instructions": "?"}}}
        assert httpx.post(f"{address}/v1/systemone", json=body).status_code == 501


def test_a_name_with_phi3_still_loads(folder, tmp_path):
    with llama_cpp(export_gguf(folder, tmp_path / "my-Phi3-gate.gguf", "q8_0")) as address:
        assert httpx.get(f"{address}/health").status_code == 200


def test_padding_is_unused_and_special_tokens_are_control(folder, tokenizer, tmp_path):
    reader = gguf.GGUFReader(export_gguf(folder, tmp_path / "m.gguf", "f32"))
    types = reader.get_field("tokenizer.ggml.token_type").contents()
    assert len(types) == 1024
    assert set(types[:5]) == {gguf.TokenType.CONTROL}
    known = tokenizer.get_vocab_size()
    assert set(types[5:known]) == {gguf.TokenType.NORMAL}
    assert set(types[known:]) == {gguf.TokenType.UNUSED}


def test_a_changed_weight_a_lost_tensor_and_another_model_are_found(folder, tokenizer, tmp_path):
    out = export_gguf(folder, tmp_path / "m.gguf", "f16")
    data = bytearray(out.read_bytes())
    tensor = next(t for t in gguf.GGUFReader(out).tensors if t.name == "blk.1.attn_output.weight")
    data[tensor.data_offset + 101] ^= 0x10
    out.write_bytes(data)
    with pytest.raises(BakeError, match=r"blk\.1\.attn_output\.weight differs"):
        verify_gguf(out, folder)
    other = save_folder(phi3(tokenizer, num_hidden_layers=4), tokenizer, tmp_path / "other")
    with pytest.raises(BakeError, match=r"blk\.3\..* is missing"):
        verify_gguf(export_gguf(folder, tmp_path / "n.gguf", "f16"), other)


def test_a_weight_too_large_for_float16_is_refused_and_nothing_is_left(tokenizer, tmp_path):
    model = phi3(tokenizer)
    model.model.layers[0].mlp.down_proj.weight.data[0, 0] = 1e6
    source = save_folder(model, tokenizer, tmp_path / "hf")
    with pytest.raises(BakeError, match="not finite"):
        export_gguf(source, tmp_path / "out" / "m.gguf", "f16")
    assert list((tmp_path / "out").iterdir()) == []
    assert verify_gguf(export_gguf(source, tmp_path / "out" / "m.gguf", "bf16"), source)


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_a_sliding_window_bounds_the_context(folder, tokenizer, tmp_path):
    """llama.cpp attends to everything; within the window so does the model."""
    source = save_folder(phi3(tokenizer), tokenizer, tmp_path / "hf")
    edit(source / "config.json", lambda c: c.update(sliding_window=64))
    out = export_gguf(source, tmp_path / "m.gguf", "f16")
    with llama_cpp(out) as address:
        served = httpx.get(f"{address}/props").json()["default_generation_settings"]["n_ctx"]
        assert served == 64
        ids = list(range(10, 73))
        assert kl(logits_of(source, ids).log_softmax(-1), next_token(address, ids)) < 1e-4
    assert gguf.GGUFReader(out).get_field("phi3.context_length").contents() == 64


@pytest.mark.parametrize(
    ("file", "change", "error", "match"),
    [
        ("config.json", lambda c: c.update(model_type="gpt2"), InputError, "gpt2"),
        ("config.json", lambda c: c["rope_parameters"].update(rope_type="longrope"), InputError, "longrope"),
        ("config.json", lambda c: c.update(head_dim=32), InputError, "Heads of 32"),
        ("config.json", lambda c: c.pop("max_position_embeddings"), ShelfError, "max_position_embeddings"),
        ("config.json", lambda c: c.update(num_attention_heads=0), ShelfError, "num_attention_heads must"),
        ("config.json", lambda c: c.update(rope_parameters=[1]), ShelfError, r"config\.json cannot be used"),
        ("config.json", lambda c: c.update(rope_scaling="yarn"), ShelfError, r"config\.json cannot be used"),
        (
            "config.json",
            lambda c: c["rope_parameters"].update(partial_rotary_factor=None),
            ShelfError,
            r"config\.json cannot be used",
        ),
        ("config.json", lambda c: c.update(attention_bias=True), InputError, "bias"),
        ("config.json", lambda c: c.update(vocab_size=300), InputError, "outside a vocabulary"),
        ("tokenizer.json", lambda t: t["model"].update(type="Unigram"), InputError, "byte-level BPE"),
        (
            "tokenizer.json",
            lambda t: t["pre_tokenizer"].update(add_prefix_space=True),
            InputError,
            "byte-level BPE",
        ),
        ("tokenizer.json", lambda t: t.update(normalizer={"type": "NFKC"}), InputError, "byte-level BPE"),
    ],
)
def test_what_cannot_be_carried_over_is_refused(tokenizer, tmp_path, file, change, error, match):
    source = save_folder(phi3(tokenizer), tokenizer, tmp_path / "hf")
    edit(source / file, change)
    with pytest.raises(error, match=match):
        export_gguf(source, tmp_path / "m.gguf", "f16")


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"]
)
def test_missing_files_are_named(tokenizer, tmp_path, file):
    source = save_folder(phi3(tokenizer), tokenizer, tmp_path / "hf")
    (source / file).unlink()
    with pytest.raises(ShelfError):
        export_gguf(source, tmp_path / "m.gguf", "f16")


def test_weights_that_are_cut_off_are_named(folder, tmp_path):
    source = shutil.copytree(folder, tmp_path / "hf")
    (file,) = source.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ShelfError, match="not whole"):
        export_gguf(source, tmp_path / "m.gguf", "f16")


def test_a_folder_with_unbaked_tensors_is_refused(tokenizer, tmp_path):
    source = save_folder(gated(phi3(tokenizer), None), tokenizer, tmp_path / "hf")
    with pytest.raises(InputError, match="rotation_gate"):
        export_gguf(source, tmp_path / "m.gguf", "f16")


def test_rows_q8_0_cannot_hold_are_refused(tokenizer, tmp_path):
    source = save_folder(phi3(tokenizer, intermediate_size=72), tokenizer, tmp_path / "hf")
    with pytest.raises(InputError, match="multiple of 32"):
        export_gguf(source, tmp_path / "m.gguf", "q8_0")


def test_vectors_stay_float32(folder, tmp_path):
    reader = gguf.GGUFReader(export_gguf(folder, tmp_path / "m.gguf", "q8_0"))
    assert all(t.data.dtype == np.float32 for t in reader.tensors if t.name.endswith("norm.weight"))
