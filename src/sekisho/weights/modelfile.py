"""Ollama's `Modelfile` for an exported model: the same prompt, context and stops as everywhere else in the house."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..core.errors import InputError, ShelfError
from ..core.prompt import CHAT_TEMPLATE, CLOSE, END
from .hf import chat_template, reach_of, read_config, read_json
from .turns import turns_of
from .vocabularies import vocabulary_kind

_GO_TEMPLATE = (
    "{{- if .System }}<|system|>{{ .System }}<|end|>{{ end }}"
    '{{- range .Messages }}{{ if ne .Role "system" }}<|{{ .Role }}|>{{ .Content }}<|end|>{{ end }}{{ end }}<|assistant|>'
)
"""`CHAT_TEMPLATE` in Go's template language. Ollama gives the system text apart, and as a message as well: it is taken once."""


def modelfile(
    model_dir: Path, gguf: str, system: str = "", temperature: float = 0.0, vision: str | None = None
) -> str:
    """Write down how Ollama is to run a GGUF file.

    The folder's chat template is written in Go's language, see `turns`. Where that cannot be done exactly, and of a model that sees, no TEMPLATE is written: Ollama
    then looks whether it knows the one inside the file.

    Args:
        model_dir: the Hugging Face folder the file was made from.
        gguf: name of the file, beside the Modelfile.
        system: system text; none is written when empty.
        vision: name of the file of the vision part, where there is one.
        temperature: of generated text; 0 takes the likeliest token, so that answers can be repeated.

    Raises:
        InputError: when a text cannot be written in the format.
        ShelfError: when the folder lacks its configuration.
    """
    config = read_config(model_dir)
    house = _template(model_dir) == CHAT_TEMPLATE
    lines = [f"FROM ./{name}" for name in (gguf, vision) if name]
    if template := _GO_TEMPLATE if house else None if vision else _go_template(model_dir):
        lines.append(f"TEMPLATE {_quoted(template)}")
    if system:
        lines.append(f"SYSTEM {_quoted(system)}")
    parameters: Mapping[str, object] = {
        "num_ctx": reach_of(config),
        "temperature": f"{temperature:g}",
    }
    lines += [f"PARAMETER {name} {value}" for name, value in parameters.items()]
    lines += [f'PARAMETER stop "{token}"' for token in (CLOSE, END)] if house else []
    return "\n".join(lines) + "\n"


def _go_template(model_dir: Path) -> str | None:
    """The folder's chat template in Go; without the token that Ollama puts before every text itself."""
    if not (template := _template(model_dir)):
        return None
    file = model_dir / "tokenizer_config.json"
    told = read_json(file) if file.is_file() else {}
    names = [told.get(key) or "" for key in ("bos_token", "eos_token")]
    begin, end = (n["content"] if isinstance(n, dict) else n for n in names)
    begins = vocabulary_kind(read_json(model_dir / "tokenizer.json"), model_dir).begins
    turns = turns_of(template, begin, end, written=not begins)
    written = "" if turns is None else turns.go()
    return None if '"""' in written else written or None


def _template(model_dir: Path) -> str:
    """The folder's chat template; empty where it has none, as a model that was not taught to chat."""
    try:
        return chat_template(model_dir)
    except ShelfError:
        return ""


def _quoted(text: str) -> str:
    if '"""' in text or text.endswith('"'):
        raise InputError("A Modelfile cannot hold that text between three quotes.", "Take the quotes out.")
    return f'"""{text}"""'
