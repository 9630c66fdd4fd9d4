"""Ollama's `Modelfile` for an exported model: the same prompt, context and stops as everywhere else in the house."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..core.errors import InputError
from ..core.prompt import CHAT_TEMPLATE, CLOSE, END
from .hf import chat_template, read_config

_GO_TEMPLATE = (
    "{{- if .System }}<|system|>{{ .System }}<|end|>{{ end }}"
    '{{- range .Messages }}{{ if ne .Role "system" }}<|{{ .Role }}|>{{ .Content }}<|end|>{{ end }}{{ end }}<|assistant|>'
)
"""`CHAT_TEMPLATE` in Go's template language. Ollama gives the system text apart, and as a message as well: it is taken once."""


def modelfile(
    model_dir: Path, gguf: str, system: str = "", temperature: float = 0.0, vision: str | None = None
) -> str:
    """Write down how Ollama is to run a GGUF file.

    Without the house's chat template no TEMPLATE is written: Ollama then reads the one inside the file.

    Args:
        model_dir: the Hugging Face folder the file was made from.
        gguf: name of the file, beside the Modelfile.
        system: system text; none is written when empty.
        vision: name of the file of the vision part, where there is one.
        temperature: of generated text; 0 takes the likeliest token, so that answers can be repeated.

    Raises:
        InputError: when a text cannot be written in the format.
        ShelfError: when the folder lacks its configuration or template.
    """
    config = read_config(model_dir)
    house = chat_template(model_dir) == CHAT_TEMPLATE
    lines = [f"FROM ./{name}" for name in (gguf, vision) if name]
    if house:
        lines.append(f"TEMPLATE {_quoted(_GO_TEMPLATE)}")
    if system:
        lines.append(f"SYSTEM {_quoted(system)}")
    parameters: Mapping[str, object] = {
        "num_ctx": config["max_position_embeddings"],
        "temperature": f"{temperature:g}",
    }
    lines += [f"PARAMETER {name} {value}" for name, value in parameters.items()]
    lines += [f'PARAMETER stop "{token}"' for token in (CLOSE, END)] if house else []
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    if '"""' in text or text.endswith('"'):
        raise InputError("A Modelfile cannot hold that text between three quotes.", "Take the quotes out.")
    return f'"""{text}"""'
