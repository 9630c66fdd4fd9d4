from __future__ import annotations

import pytest

from sekisho.core.prompt import LETTERS
from sekisho.train.tokenizer import encode_plain, train_tokenizer

from .makers import LLAMA_LORA, PHI3_LORA, SENTENCES, llama, phi3


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer([*LETTERS * 20, *SENTENCES * 3], 1000)


@pytest.fixture
def base(tokenizer):
    return phi3(tokenizer)


@pytest.fixture(params=["phi3", "llama"])
def either(request, tokenizer):
    """A base of each architecture with the names LoRA goes on."""
    return (phi3(tokenizer), PHI3_LORA) if request.param == "phi3" else (llama(), LLAMA_LORA)


@pytest.fixture(scope="session")
def prompts(tokenizer):
    return [encode_plain(tokenizer, s) for s in SENTENCES]
