from __future__ import annotations

import re

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from sekisho.core.errors import BakeError, InputError, ToolError
from sekisho.loop import exporting
from sekisho.weights import quantise as room
from sekisho.weights.bake import Comparison
from sekisho.weights.decision import DecisionMeta
from sekisho.weights.fidelity import check_fidelity, fidelity, load_gguf
from sekisho.weights.gguf import export_gguf, verify_gguf
from sekisho.weights.modelfile import modelfile
from sekisho.weights.quantise import LARGEST_ERROR, Type, quantise, type_of

from .makers import llama, llama_cpp, phi3, save_folder
from .test_gguf import kl, next_token

WIDE = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 3}
K_KINDS = ("q6_k", "q5_k_m", "q4_k_m")
NORMAL = {Type.Q6_K: 0.018, Type.Q5_K: 0.036, Type.Q5_1: 0.038, Type.Q5_0: 0.043, Type.Q4_K: 0.071}


@pytest.fixture(scope="module")
def wide(tokenizer, tmp_path_factory):
    """Rows of 256, so that the K types are really used; weights of half the size, so that logits stay near those of a trained model."""
    model = phi3(tokenizer, **WIDE)
    for p in model.parameters():
        p.data.mul_(0.5 if p.ndim > 1 else 1.0)
    return save_folder(model, tokenizer, tmp_path_factory.mktemp("wide"))


@pytest.mark.parametrize("kind", list(NORMAL), ids=lambda k: k.name)
def test_error_of_normal_weights_is_what_is_written_and_zeros_stay_zero(kind):
    x = np.random.default_rng(0).standard_normal((64, 512)).astype(np.float32)
    got = gguf.dequantize(quantise(x, kind), kind)
    assert float(np.sqrt(np.square(got - x).mean())) == pytest.approx(NORMAL[kind], rel=0.05)
    assert NORMAL[kind] < LARGEST_ERROR[kind] / 1.9
    zeros = np.zeros((2, 256), np.float32)
    assert np.array_equal(gguf.dequantize(quantise(zeros, kind), kind), zeros)


def test_our_q8_0_is_llama_cpp_s():
    x = np.random.default_rng(1).standard_normal((16, 256)).astype(np.float32)
    theirs = gguf.dequantize(room._by_llama_cpp(x, Type.Q8_0), Type.Q8_0)
    assert np.abs(theirs - gguf.dequantize(quantise(x, Type.Q8_0), Type.Q8_0)).max() < 1e-3


def test_the_mixture_is_that_of_llama_quantize():
    def of(kind, name, layers=8, tied=False, shape=(256, 256)):
        return type_of(kind, name, shape, layers, tied).name

    assert of("q4_k_m", "output.weight") == of("q4_k_m", "token_embd.weight", tied=True) == "Q6_K"
    assert of("q4_k_m", "token_embd.weight") == "Q4_K"
    more = [i for i in range(8) if of("q4_k_m", f"blk.{i}.ffn_down.weight") == "Q6_K"]
    assert more == [0, 3, 6, 7]
    assert of("q5_k_m", "blk.0.attn_v.weight") == "Q6_K"
    assert of("q4_k_m", "blk.0.attn_qkv.weight") == "Q5_K"
    assert of("q5_k_m", "blk.0.attn_qkv.weight") == "Q6_K"
    assert of("q4_k_m", "blk.0.attn_output.weight") == "Q4_K"
    assert of("q4_k_m", "blk.1.attn_output.weight", shape=(8, 96)) == "Q5_0"
    assert of("q6_k", "blk.1.attn_output.weight", shape=(8, 96)) == "Q8_0"
    assert of("q4_k_m", "output_norm.weight", shape=(8,)) == "F32"
    with pytest.raises(InputError, match="rows of 72"):
        of("q4_k_m", "blk.1.attn_output.weight", shape=(8, 72))


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(BakeError, match="not finite"):
        quantise(np.full((1, 256), np.nan, np.float32), Type.Q4_K)


def test_files_get_smaller_and_worse_with_fewer_bits_and_llama_cpp_answers_with_their_weights(
    wide, prompts, tmp_path
):
    """Every kind is loaded by llama.cpp; its answers are those of the file's weights, up to what it rounds between layers."""
    plain = AutoModelForCausalLM.from_pretrained(wide, dtype=torch.float32).eval()
    losses, sizes = [], []
    for kind in ("f16", "bf16", "q8_0", *K_KINDS):
        path = export_gguf(wide, tmp_path / f"{kind}.gguf", kind, DecisionMeta())
        back = verify_gguf(path, wide)
        assert back.relative_error == pytest.approx({"q4_k_m": 0.06}.get(kind, 0.02), abs=0.03)
        found = fidelity(path, plain, prompts)
        check_fidelity(kind, found)
        losses.append(found.mean_kl)
        sizes.append(path.stat().st_size)
        stored = load_gguf(path)
        with llama_cpp(path) as address, torch.no_grad():
            ids = prompts[0]
            wanted = stored(input_ids=torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
            assert kl(wanted, next_token(address, ids)) < 1e-2
    assert losses[0] < losses[1] < losses[3] < losses[4] < losses[5]
    assert sizes[0] == sizes[1] > sizes[2] > sizes[3] > sizes[4] > sizes[5]


def test_the_types_of_a_file_are_counted(wide, tmp_path):
    back = verify_gguf(export_gguf(wide, tmp_path / "m.gguf", "q4_k_m"), wide)
    assert set(back.types) == {"F32", "Q4_K", "Q5_K", "Q6_K"}
    assert sum(back.types.values()) == back.tensors


def test_llama_s_own_layout_is_quantised_too(tokenizer, prompts, tmp_path):
    source = save_folder(llama(**WIDE, tie_word_embeddings=False), tokenizer, tmp_path / "hf")
    path = export_gguf(source, tmp_path / "m.gguf", "q6_k")
    assert verify_gguf(path, source).relative_error < 0.03
    plain = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    check_fidelity("q5_k_m", fidelity(path, plain, prompts))


def test_one_changed_bit_is_found(wide, tmp_path):
    out = export_gguf(wide, tmp_path / "m.gguf", "q4_k_m")
    data = bytearray(out.read_bytes())
    tensor = next(t for t in gguf.GGUFReader(out).tensors if t.name == "blk.1.attn_output.weight")
    data[tensor.data_offset + 100] ^= 0x01
    out.write_bytes(data)
    with pytest.raises(BakeError, match=r"blk\.1\.attn_output\.weight differs"):
        verify_gguf(out, wide)


def test_a_loss_beyond_rounding_and_nan_are_refused():
    for wrong in (0.9, float("nan")):
        with pytest.raises(BakeError, match="do not serve"):
            check_fidelity(
                "q4_k_m", Comparison(max_delta_logit=0, max_kl=1, max_delta_anywhere=0, positions=1, mean_kl=wrong)
            )  # fmt: skip


def test_without_the_quantiser_the_k_kinds_are_named_as_not_made(monkeypatch):
    def absent():
        raise ToolError("It is not there.", "Take another.")

    monkeypatch.setattr(exporting, "quantiser", absent)
    kinds, not_made = exporting._possible(("q8_0", "f16", *K_KINDS))
    assert kinds == ("f16", "q8_0")
    assert set(not_made) == set(K_KINDS)
    with pytest.raises(ToolError, match="not there"):
        exporting._possible(K_KINDS)
    with pytest.raises(ToolError, match="not there"):
        exporting.require_kind("q4_k_m")
    exporting.require_kind("q8_0")


def test_a_library_without_the_function_is_a_clear_error(monkeypatch):
    room.quantiser.cache_clear()
    monkeypatch.setattr(room.ctypes, "CDLL", lambda _: object())
    with pytest.raises(ToolError, match="does not show"):
        room.quantiser()
    room.quantiser.cache_clear()


INSTRUCTION = re.compile(
    r'(?:#[^\n]*|(FROM|TEMPLATE|SYSTEM|PARAMETER)[ \t]+((?:[a-z_]+[ \t]+)?(?:"""(?:(?!""").)*"""|"[^"\n]*"|[^\n"]+)))\n+',
    re.DOTALL,
)
"""Ollama's published form: `# comment`, or an instruction and its arguments; text over lines between three quotes."""


def parsed(text):
    found, at = [], 0
    while at < len(text):
        match = INSTRUCTION.match(text, at)
        assert match, f"not an instruction: {text[at : at + 40]!r}"
        found.append((match[1], match[2]))
        at = match.end()
    return found


def test_the_modelfile_parses_and_says_what_the_house_says(wide):
    found = parsed(modelfile(wide, "m.gguf", system="Be brief.\n短く。"))
    assert found[0] == ("FROM", "./m.gguf")
    assert ("SYSTEM", '"""Be brief.\n短く。"""') in found
    assert ("PARAMETER", "num_ctx 512") in found
    assert ("PARAMETER", 'stop "<|end|>"') in found
    template = dict(found)["TEMPLATE"]
    assert template.count("{{") == template.count("}}")
    assert len(re.findall(r"\{\{-? *(?:if|range)", template)) == template.count("{{ end }}")
    assert template.endswith('<|assistant|>"""')
    with pytest.raises(InputError):
        modelfile(wide, "m.gguf", system='say """')
    with pytest.raises(AssertionError):
        parsed('SYSTEM """never closed\n')


def test_a_foreign_chat_template_is_left_to_the_file(tokenizer, tmp_path):
    source = save_folder(phi3(tokenizer), tokenizer, tmp_path)
    (source / "chat_template.jinja").write_text("{{ messages }}")
    assert [name for name, _ in parsed(modelfile(source, "m.gguf"))] == ["FROM", "PARAMETER", "PARAMETER"]
