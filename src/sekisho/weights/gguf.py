"""From a plain Hugging Face folder to GGUF, the file llama.cpp serves; and a check that reads it back."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from ..core.canonical import new_id
from ..core.errors import BakeError
from ..core.question import Frozen
from .decision import SYSTEMONE_TYPE, DecisionMeta, dialect_of, lettered, systemone_template
from .hf import (
    SEEING,
    Array,
    arch_of,
    chat_template,
    gguf_tensors,
    head_dim_of,
    reach_of,
    read_config,
    read_json,
    vocabulary,
)
from .quantise import FILE_TYPES, LARGEST_ERROR, Kind, quantise, rounding, type_of
from .rope import add_rope, rope_of
from .unsplit import UNSPLIT, readable
from .vocabularies import byte_types, merges, scores, vocabulary_kind

_ROUNDED = (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.BF16)


class ReadBack(Frozen):
    """What `verify_gguf` compared.

    Attributes:
        tensors: how many.
        max_difference: largest absolute difference of a weight from the folder's; 0 for a float32 file.
        relative_error: root mean square of all differences over that of all weights: what quantisation cost.
        types: how many tensors of each type.
        decision: whether the file answers `/v1/systemone`.
    """

    tensors: int
    max_difference: float
    relative_error: float
    types: Mapping[str, int]
    decision: bool


def export_gguf(
    model_dir: Path, out: Path, kind: Kind, decision: DecisionMeta | None = None, template: str | None = None
) -> Path:
    """Write the model of a Hugging Face folder as one GGUF file; of a vision-language model the language part, see `mmproj`.

    Matrices are stored as `kind` (the K kinds as the mixture of `quantise.type_of`), vectors always as float32. Tied embeddings are stored once.

    Args:
        model_dir: config.json, safetensors, tokenizer.json (byte-level BPE) and a chat template.
        out: the file; an older one under that name is replaced when the new one is whole.
        decision: makes the file answer `/v1/systemone` in a stock llama.cpp; None leaves it a plain chat model.
        template: chat template; the folder's own when None.

    Raises:
        InputError: naming an architecture, rope scaling or tokenizer that is not spoken here.
        ShelfError: when a file of the folder is missing or unreadable.
        BakeError: when a weight is not finite in the type asked for.
    """
    config = read_config(model_dir)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}.{new_id('w')}")
    writer = gguf.GGUFWriter(beside, arch_of(config))
    try:
        _add_architecture(writer, config, out.stem, kind)
        _add_tokenizer(writer, model_dir, config)
        _add_templates(writer, model_dir, config, decision, template)
        for name, tensor in _tensors(model_dir, config, decision):
            add_tensor(writer, name, tensor, _type_in(kind, name, tensor, config))
        write_whole_gguf(writer, beside, out)
    finally:
        writer.close()
        beside.unlink(missing_ok=True)
    return out


def _type_in(kind: Kind, name: str, array: Array, config: Mapping[str, Any]) -> Any:
    return type_of(
        kind, name, array.shape, config["num_hidden_layers"], bool(config.get("tie_word_embeddings"))
    )


def add_tensor(writer: gguf.GGUFWriter, name: str, array: Array, kind: Any) -> None:
    """Add one weight in a type of GGUF. Raises BakeError, naming it, when it is not finite in that type."""
    try:
        stored = quantise(array, kind)
    except BakeError as e:
        raise BakeError(f"{name}: {e.what}", e.do) from e
    writer.add_tensor(name, stored, raw_dtype=kind)


def _add_architecture(writer: gguf.GGUFWriter, config: Mapping[str, Any], name: str, kind: Kind) -> None:
    heads = config["num_attention_heads"]
    head_dim = head_dim_of(config)
    # llama.cpp refuses a Phi-3 file whose general.name contains "phi3".
    writer.add_name(re.sub("phi3", "phi", name, flags=re.IGNORECASE) or "model")
    writer.add_file_type(FILE_TYPES[kind][1])
    writer.add_context_length(reach_of(config))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    add_rope(writer, rope_of(config), config, head_dim)
    if head_dim * heads != config["hidden_size"]:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if config["model_type"] == "phi3":
        writer.add_sliding_window(config.get("sliding_window") or 0)  # 0: none
    if kind.startswith("q"):
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_tokenizer(writer: gguf.GGUFWriter, model_dir: Path, config: Mapping[str, Any]) -> None:
    stored = read_json(model_dir / "tokenizer.json")
    kind = vocabulary_kind(stored, model_dir)
    tokens, types = vocabulary(stored, config["vocab_size"])
    pairs = merges(stored)
    if kind.pre == UNSPLIT:
        tokens, types, pairs = readable(tokens, types, pairs)
    writer.add_tokenizer_model(kind.model)
    writer.add_tokenizer_pre(kind.pre)
    writer.add_token_list(tokens)
    if kind.model == "llama":
        writer.add_token_scores(scores(stored, tokens))
        writer.add_token_types(byte_types(tokens, types, stored["model"].get("unk_token")))
        writer.add_add_space_prefix(True)
    else:
        writer.add_token_types(types)
        writer.add_token_merges(pairs)
    adders: dict[str, Callable[[int], None]] = {
        "bos_token_id": writer.add_bos_token_id,
        "eos_token_id": writer.add_eos_token_id,
        "pad_token_id": writer.add_pad_token_id,
    }
    for key, add in adders.items():
        value = config.get(key)
        value = value[0] if isinstance(value, list) else value
        if value is not None:
            add(value)
    writer.add_add_bos_token(kind.begins)
    writer.add_add_eos_token(False)


def _add_templates(
    writer: gguf.GGUFWriter,
    model_dir: Path,
    config: Mapping[str, Any],
    decision: DecisionMeta | None,
    template: str | None,
) -> None:
    templates = [{"name": "default", "template": template or chat_template(model_dir)}]
    if decision is not None:
        arch, seeing = arch_of(config), config["model_type"] in SEEING
        asked = decision.template or systemone_template(dialect_of(model_dir), seeing)
        templates.append({"name": "systemone", "template": asked})
        writer.add_string(f"{arch}.decision.type", SYSTEMONE_TYPE)
        for question_type, temperature in decision.temperature.items():
            writer.add_float32(f"{arch}.decision.temperature.{question_type}", temperature)
    writer.add_chat_template(templates)


def write_whole_gguf(writer: gguf.GGUFWriter, beside: Path, out: Path) -> None:
    """Write everything a writer holds to `beside`, and put it in the place of `out` when it is on disk."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with beside.open("rb+") as f:
        os.fsync(f.fileno())
    beside.replace(out)


def _tensors(
    model_dir: Path, config: Mapping[str, Any], decision: DecisionMeta | None
) -> Iterator[tuple[str, Array]]:
    weights = gguf_tensors(model_dir, config)
    if decision is None or decision.words is None:
        return weights
    return lettered(weights, model_dir, bool(config.get("tie_word_embeddings")), decision.words)


def verify_gguf(path: Path, model_dir: Path, decision: DecisionMeta | None = None) -> ReadBack:
    """Read a GGUF file back and compare it with the folder it was written from.

    Vectors must be bit-equal, matrices as near as rounding to their type allows (float32: bit-equal). Types of llama.cpp's quantiser must hold what it makes
    of the folder's weights, bit by bit, and lie as near to them as such a type can.

    Args:
        decision: what the file was written with; only its `words` change weights.

    Returns:
        What was compared.

    Raises:
        BakeError: naming everything that is missing or differs.
    """
    reader = gguf.GGUFReader(path)
    config = read_config(model_dir)
    problems = [f"no {key}" for key in _needed_keys(reader, arch_of(config)) if reader.get_field(key) is None]
    stored = {t.name: t for t in reader.tensors}
    expected, largest, off, size = 0, 0.0, 0.0, 0.0
    for name, want in _tensors(model_dir, config, decision):
        expected += 1
        if name not in stored or tuple(reversed(stored[name].shape.tolist())) != want.shape:
            problems.append(f"tensor {name} is missing or has another shape")
            continue
        got = gguf.dequantize(stored[name].data, stored[name].tensor_type).reshape(want.shape)
        difference = np.abs(got - want)
        largest = max(largest, float(difference.max()))
        off, size = off + _squares(difference), size + _squares(want)
        if not _as_it_should_be(stored[name], want, difference):
            problems.append(f"tensor {name} differs by {difference.max():g}")
    if len(stored) != expected:
        problems.append(f"{len(stored)} tensors instead of {expected}")
    if problems:
        raise BakeError(f"{path} is not the model of {model_dir}: {'; '.join(problems)}.", "Export it again.")
    return ReadBack(
        tensors=expected,
        max_difference=largest,
        relative_error=float(np.sqrt(off / size)),
        types=dict(sorted(Counter(t.tensor_type.name for t in reader.tensors).items())),
        decision=_is_decision(reader, arch_of(config)),
    )


def _squares(array: Array) -> float:
    return float(np.square(array, dtype=np.float64).sum())


def _as_it_should_be(stored: Any, want: Array, difference: Array) -> bool:
    kind = stored.tensor_type
    if kind not in LARGEST_ERROR or kind in _ROUNDED:
        return bool((difference <= rounding(want, kind)).all())
    near = _squares(difference) <= LARGEST_ERROR[kind] ** 2 * _squares(want)
    return near and bool(
        np.array_equal(np.asarray(stored.data).reshape(-1), quantise(want, kind).reshape(-1))
    )


def _is_decision(reader: gguf.GGUFReader, arch: str) -> bool:
    return reader.get_field(f"{arch}.decision.type") is not None


def _needed_keys(reader: gguf.GGUFReader, arch: str) -> list[str]:
    """Metadata without which llama.cpp would guess or refuse."""
    shape = ("context_length", "embedding_length", "block_count", "attention.head_count", "rope.freq_base")
    tokenizer = (
        "ggml.model",
        "ggml.pre",
        "ggml.tokens",
        "ggml.token_type",
        "ggml.add_bos_token",
    )
    keys = ["general.name", *(f"{arch}.{k}" for k in shape), *(f"tokenizer.{k}" for k in tokenizer)]
    keys += ["tokenizer.ggml.eos_token_id", "tokenizer.chat_template"]
    model = reader.get_field("tokenizer.ggml.model")
    spm = model is not None and str(model.contents()) == "llama"
    keys.append("tokenizer.ggml.scores" if spm else "tokenizer.ggml.merges")
    if arch == "qwen2vl":
        keys.append("qwen2vl.rope.dimension_sections")
    if arch == "phi3":
        keys += ["phi3.attention.sliding_window", "phi3.rope.scaling.original_context_length"]
    return [*keys, "tokenizer.chat_template.systemone"] if _is_decision(reader, arch) else keys
