from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from sekisho.core.canonical import digest_text
from sekisho.core.prompt import LETTERS
from sekisho.core.question import Example, gate_question
from sekisho.train.pretrain import fast_tokenizer, new_model
from sekisho.train.recipe import Architecture, Finetune, Lora, Pretrain
from sekisho.train.tokenizer import train_tokenizer

WORDS = {"ALLOW": "explain", "DENY": "forge", "ESCALATE": "decide"}


def tiny_pretrain(**changes) -> Pretrain:
    shape = Architecture(
        vocab_size=1024,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
    )
    return Pretrain(
        **{
            "name": "tiny",
            "architecture": shape,
            "sequence": 32,
            "batch": 4,
            "threads": 1,
            "bf16": False,
            **changes,
        }
    )


def tiny_finetune(**changes) -> Finetune:
    return Finetune(
        **{
            "name": "tiny",
            "epochs": 10,
            "batch": 8,
            "learning_rate": 5e-3,
            "gate_learning_rate": 5e-3,
            "threads": 1,
            "bf16": False,
            "lora": Lora(r=16, alpha=32, dropout=0.0),
            **changes,
        }
    )


def requests(count: int, seed: int = 0) -> list[Example]:
    """Requests whose decision is their first word: the least a gate must be able to learn."""
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        label = sorted(WORDS)[i % 3]
        text = f"{WORDS[label]} the {rng.choice(['invoice', 'record', 'form'])} {rng.randrange(1000)}"
        rows.append(
            Example(
                id=f"{seed}-{i}", state=text, question=gate_question(), label=label, group=digest_text(text)
            )
        )
    return rows


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    texts = [("\n".join(LETTERS) + "\n") * 30, *(e.state for e in requests(300))] * 3
    return train_tokenizer(texts, 1024)


@pytest.fixture(scope="session")
def base(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    new_model(tiny_pretrain(), tokenizer).save_pretrained(folder)
    fast_tokenizer(tokenizer).save_pretrained(folder)
    return folder
