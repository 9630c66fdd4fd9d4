"""Families beside Phi-3: their tensors, and their tokenizers token by token in llama.cpp itself."""

from __future__ import annotations

import json

import httpx
import pytest
import torch
import transformers as hf
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from sekisho.core.errors import InputError
from sekisho.weights.fidelity import fidelity
from sekisho.weights.gguf import export_gguf, verify_gguf
from sekisho.weights.vocabularies import SPLITS, vocabulary_kind

from .makers import SENTENCES, llama_cpp, trained_size
from .test_gguf import kl, logits_of, next_token

TEXTS = (
    *SENTENCES,
    "I'LL say it's 1234567 yen,\r\n\r\n  and   Ça va? ABCdef XyZ/x\n",
    "  two spaces, a tab\tand 日本語 and 漢字かな交じり文。１２３",
    "emoji 👩‍👩‍👧 and ñandú; don't",
)
SHAPE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "tie_word_embeddings": False}  # fmt: skip


def byte_level(pattern, begins=False, nfc=False):
    tokenizer = Tokenizer(models.BPE())
    split = [
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.ByteLevel()
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    if begins:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


def like_sentencepiece(begins=True):
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    marks = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(marks)
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<s>", "</s>", "<unk>", *bytes_], show_progress=False
    )
    tokenizer.train_from_iterator([s for s in SENTENCES for _ in range(3)], trainer)
    stored = json.loads(tokenizer.to_str())
    stored["added_tokens"] = [t for t in stored["added_tokens"] if t["content"] not in bytes_]
    tokenizer = Tokenizer.from_str(json.dumps(stored))
    if begins:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


def save(model, tokenizer, folder):
    trained_size(model, 4).save_pretrained(folder)
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(
        folder
    )
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    return folder


NAMES = {name: pattern for pattern, name in SPLITS.items()}
FAMILIES = {
    "qwen2": (lambda n: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SHAPE, vocab_size=n)), lambda: byte_level(NAMES["qwen2"], nfc=True)),
    "qwen3": (lambda n: hf.Qwen3ForCausalLM(hf.Qwen3Config(**SHAPE, vocab_size=n, head_dim=32)), lambda: byte_level(NAMES["qwen2"], nfc=True)),
    "llama-3": (lambda n: hf.LlamaForCausalLM(hf.LlamaConfig(**SHAPE, vocab_size=n)), lambda: byte_level(NAMES["llama-bpe"], begins=True)),
    "mistral-tekken": (lambda n: hf.MistralForCausalLM(hf.MistralConfig(**SHAPE, vocab_size=n, head_dim=32, sliding_window=None)), lambda: byte_level(NAMES["tekken"], begins=True)),
    "mistral": (lambda n: hf.MistralForCausalLM(hf.MistralConfig(**SHAPE, vocab_size=n, sliding_window=None)), like_sentencepiece),
    "gpt-4o": (lambda n: hf.LlamaForCausalLM(hf.LlamaConfig(**SHAPE, vocab_size=n)), lambda: byte_level(NAMES["gpt-4o"])),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_llama_cpp_reads_texts_as_the_tokenizer_does_and_answers_as_the_model(name, tmp_path):
    make, tokenizer = FAMILIES[name][0], FAMILIES[name][1]()
    model = make(-(-tokenizer.get_vocab_size() // 32) * 32)
    if name == "qwen2":
        for p in (p for n, p in model.named_parameters() if n.endswith("bias")):
            p.data.normal_(0, 0.3)
    source = save(model, tokenizer, tmp_path / "hf")
    out = export_gguf(source, tmp_path / "m.gguf", "f16")
    assert verify_gguf(out, source).max_difference < 1e-3
    plain = hf.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    ids = tokenizer.encode(TEXTS[5]).ids
    assert fidelity(out, plain, [ids]).mean_kl < 1e-3
    with llama_cpp(out) as address:
        for text in TEXTS:
            asked = {"content": text, "add_special": True}
            got = httpx.post(f"{address}/tokenize", json=asked).json()["tokens"]
            assert got == tokenizer.encode(text).ids, text
        wanted = logits_of(source, ids).log_softmax(-1)
        assert kl(wanted, next_token(address, ids, len(wanted))) < 1e-3


def test_what_llama_cpp_would_cut_otherwise_is_refused(tmp_path):
    good = json.loads(byte_level(NAMES["qwen2"]).to_str())
    assert vocabulary_kind(good, tmp_path) == ("gpt2", "qwen2", False)
    for change in (
        {"normalizer": {"type": "NFKC"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"Sequence": {}}, {"SpecialToken": {}}],
            }
        },
        {"model": good["model"] | {"type": "Unigram"}},
    ):
        with pytest.raises(InputError, match="Llama 3"):
            vocabulary_kind(good | change, tmp_path)
    other = json.loads(json.dumps(good))
    other["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+"
    with pytest.raises(InputError):
        vocabulary_kind(other, tmp_path)
