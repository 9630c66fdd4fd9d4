"""A model that calls tools, small enough to be made by a test: its next token depends on the last one alone.

It begins every turn with a mark and would end it there; held by a server's grammar, it writes a call behind the mark, without blanks. Asked for a letter it
takes the first one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

MARK = "~"
TEMPLATE = (
    "{% if tools %}<|system|>{% for t in tools %}{{ t | tojson }}{{ '\\n' }}{% endfor %}<|end|>{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{% if m.content %}{{ m.content }}{% endif %}"
    "{% for c in m.tool_calls or [] %}"
    + MARK
    + '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "{% endfor %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""The house's prompt with tools in it. From a template without a word of tools, llama.cpp drops them and says nothing."""
_FIRST = {MARK: 30.0, "A": 10.0, **dict.fromkeys("BCDEFGH", 1.0)}
_THEN = {"<|end|>": 30.0, '"': 25.0, "}": 20.0, ":": 15.0, "{": 10.0, "1": 5.0}
_BLANK = -8.0


def caller_model(nano: Path, folder: Path) -> Path:
    """Make the model with the tokenizer of the one that ships, as a GGUF file."""
    import torch
    from transformers import AutoTokenizer, Phi3Config, Phi3ForCausalLM

    from sekisho.weights.gguf import export_gguf

    shutil.copytree(nano, folder)
    told = json.loads((nano / "config.json").read_text(encoding="utf-8"))
    told |= {"tie_word_embeddings": False, "num_hidden_layers": 1, "dtype": "float32"}
    model = Phi3ForCausalLM(Phi3Config(**told))
    tokenizer = AutoTokenizer.from_pretrained(nano)
    words = {id: tokenizer.convert_tokens_to_string([t]) for t, id in tokenizer.get_vocab().items()}
    half = told["hidden_size"] // 2
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()  # so that no layer adds anything to a token's own vector
        model.model.norm.weight.fill_(1.0)
        model.model.embed_tokens.weight[:, half:] = 1.0
        model.model.embed_tokens.weight[tokenizer.convert_tokens_to_ids("<|assistant|>")] = torch.tensor(
            [1.0] * half + [0.0] * half
        )
        for id, text in words.items():
            usual = 0.0 if text.strip() else _BLANK
            model.lm_head.weight[id, :half] = _FIRST.get(text, usual) / half
            model.lm_head.weight[id, half:] = _THEN.get(text, usual) / half
    model.save_pretrained(folder)
    return export_gguf(folder, folder / "caller.gguf", "f32")
