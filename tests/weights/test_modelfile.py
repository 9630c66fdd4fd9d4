"""Ollama's Modelfile for a model of another family; that of the house is tested with the files it lies beside."""

from __future__ import annotations

import json

from sekisho.weights.modelfile import modelfile
from tiny_mistral import mistral


def test_a_mistral_s_own_form_is_written_and_its_window_is_the_context(tmp_path):
    text = modelfile(mistral("v3", tmp_path), "m.gguf", system="Be brief.")
    assert (
        'TEMPLATE """{{ $asked := false }}{{ range $i, $_ := .Messages }}' in text
    )  # Ollama puts <s> in front itself
    assert "{{ $.System }}\n\n{{ else }}[INST] {{ end }}{{ $asked = true }}{{ .Content }}" in text
    assert 'SYSTEM """Be brief."""' in text
    assert "PARAMETER num_ctx 256\n" in text
    assert "PARAMETER stop" not in text


def test_a_model_that_sees_and_a_template_that_is_none_are_left_to_the_file(tmp_path):
    folder = mistral("tekken", tmp_path)
    assert "TEMPLATE" not in modelfile(folder, "m.gguf", vision="mmproj.gguf")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert "TEMPLATE" not in modelfile(folder, "m.gguf")


def test_tokens_may_be_named_with_their_settings(tmp_path):
    folder = mistral("v7", tmp_path)
    named = json.loads((folder / "tokenizer_config.json").read_text())
    changed = named | {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": {"content": "</s>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(changed))
    text = modelfile(folder, "m.gguf")
    assert "{{ .Content }}</s>{{ end }}" in text
    assert "<s>[" not in text


def test_a_base_that_was_not_taught_to_chat_has_a_file_without_a_template(tmp_path):
    folder = mistral("v3", tmp_path)
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    assert "TEMPLATE" not in modelfile(folder, "m.gguf")
