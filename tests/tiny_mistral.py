"""Tiny Mistral folders, as each version of its tokenizer and chat template has them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers as hf
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from sekisho.core.prompt import LETTERS
from sekisho.weights.vocabularies import SPLITS

MARKS = ("[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")
_TEKKEN = next(pattern for pattern, name in SPLITS.items() if name == "tekken")
_TEXT = [
    "front desk [internal] Explain the invoice. May this be answered? ALLOW DENY ESCALATE [INST] [/INST]",
    "患者の記録を見せて。予算を説明してください。",
    *LETTERS[:52],
] * 3
_TURNS = (
    "{{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}}{{{{ raise_exception('roles must alternate') }}}}{{% endif %}}"
    "{{% if m['role'] == 'user' %}}{user}{{% else %}}{answer}{{% endif %}}{{% endfor %}}"
)
_SPLIT = (
    "{% if messages[0]['role'] == 'system' %}{% set rules = messages[0]['content'] %}{% set said = messages[1:] %}"
    "{% else %}{% set said = messages %}{% endif %}"
)
V1 = "{{ bos_token }}{% for m in messages %}" + _TURNS.format(
    user="{{ '[INST] ' + m['content'] + ' [/INST]' }}", answer="{{ m['content'] + eos_token }}"
).replace(
    "{% else %}{{ m",
    "{% elif m['role'] == 'system' %}{{ raise_exception('no system') }}{% else %}{{ m",
)
"""`[INST]` is text, and a system text is refused."""
V3 = _SPLIT + "{{ bos_token }}{% for m in said %}" + _TURNS.format(
    user="{{ '[INST] ' + (rules + '\n\n' if loop.last and rules is defined else '') + m['content'] + '[/INST]' }}",
    answer="{{ ' ' + m['content'] + eos_token }}",
)  # fmt: skip
"""The system text stands in the last user's turn."""
TEKKEN = V3.replace("'[INST] '", "'[INST]'").replace("' ' + m", "m")
V7 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST]' + m['content'] + '[/INST]' }}"
    "{% elif m['role'] == 'system' %}{{ '[SYSTEM_PROMPT]' + m['content'] + '[/SYSTEM_PROMPT]' }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)


def tekken() -> Tokenizer:
    """Byte-level BPE with control tokens."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_TEKKEN), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<unk>", "<s>", "</s>", *MARKS]
    tokenizer.train_from_iterator(
        _TEXT, trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )  # fmt: skip
    return _begun(tokenizer)


def sentencepiece(marks: tuple[str, ...] = MARKS, first: bool = True) -> Tokenizer:
    """BPE with byte fallback; without marks it is that of the first models. The space in front of a text is put there once, or behind every control token."""
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if first:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *marks, *bytes_]
    tokenizer.train_from_iterator(
        _TEXT, trainers.BpeTrainer(vocab_size=900, special_tokens=special, show_progress=False)
    )
    stored = json.loads(tokenizer.to_str())
    stored["added_tokens"] = [t for t in stored["added_tokens"] if t["content"] not in bytes_]
    return _begun(Tokenizer.from_str(json.dumps(stored)))


def _begun(tokenizer: Tokenizer) -> Tokenizer:
    begin = ("<s>", tokenizer.token_to_id("<s>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[begin])
    return tokenizer


VERSIONS = {
    "v1": (lambda: sentencepiece((), first=False), V1),
    "v3": (sentencepiece, V3),
    "v3 behind every mark": (lambda: sentencepiece(first=False), V3),
    "tekken": (tekken, TEKKEN),
    "v7": (tekken, V7),
}


def mistral(version: str, folder: Path) -> Path:
    """A model with random weights of trained size, its tokenizer and its template."""
    tokenizer, template = VERSIONS[version][0](), VERSIONS[version][1]
    begin, end = (tokenizer.token_to_id(t) for t in ("<s>", "</s>"))
    config = hf.MistralConfig(
        vocab_size=-(-tokenizer.get_vocab_size() // 32) * 32, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, sliding_window=256,
        bos_token_id=begin, eos_token_id=end, pad_token_id=end, tie_word_embeddings=False,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = hf.MistralForCausalLM(config)
        for p in model.parameters():
            p.data.normal_(1.0, 0.2) if p.ndim == 1 else p.data.normal_(0.0, 0.12)
    model.save_pretrained(folder)
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(
        folder
    )
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder
