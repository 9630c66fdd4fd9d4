"""A tiny Phi-3 with random weights, as a Hugging Face folder and as the same numbers in a GGUF file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.core.prompt import CHAT_TEMPLATE, CLOSE, END, LETTERS
from sekisho.serve.engines.llamacpp import LlamaCppEngine

from .makers import CONTEXT

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def tokenizer():
    from sekisho.train.tokenizer import train_tokenizer

    prose = "関所は江戸時代の街道に置かれた検問所である。 The checkpoint judged everyone who passed. 今日は良い天気です。 "
    return train_tokenizer([*LETTERS * 40] + [prose] * 20, 1280)


@pytest.fixture(scope="session")
def folder(tokenizer, tmp_path_factory) -> Path:
    """A model folder; weights are drawn wide, so that the distributions are far from uniform."""
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(7)
    config = Phi3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4 * CONTEXT,
        original_max_position_embeddings=4 * CONTEXT,
        initializer_range=0.15,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.token_to_id(END),
        bos_token_id=tokenizer.token_to_id(END),
        eos_token_id=tokenizer.token_to_id(CLOSE),
    )
    out = tmp_path_factory.mktemp("model")
    Phi3ForCausalLM(config).save_pretrained(out)
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return out


@pytest.fixture(scope="session")
def gguf_file(folder: Path) -> Path:
    """The same weights for llama.cpp, in F32."""
    from sekisho.weights.gguf import export_gguf

    return export_gguf(folder, folder / "tiny.gguf", "f32")


@pytest.fixture(scope="session")
def nano(tmp_path_factory) -> Path:
    """The model that ships, for llama.cpp, in F32."""
    from sekisho.weights.gguf import export_gguf

    return export_gguf(ROOT / "models" / "nano", tmp_path_factory.mktemp("nano") / "nano.gguf", "f32")


@pytest.fixture
def llamacpp(gguf_file: Path):
    """Make a llama.cpp engine on the tiny file; keywords go to it."""
    return lambda **given: LlamaCppEngine(
        gguf_file, "tiny", **{"context": CONTEXT, "slots": 2, "threads": 1, **given}
    )


@pytest.fixture
def torch_engine(folder: Path):
    """Make a torch engine on the same weights."""
    from sekisho.serve.engines.torch import TorchEngine

    return lambda **given: TorchEngine("tiny", folder, **{"context": CONTEXT, "threads": 1, **given})
