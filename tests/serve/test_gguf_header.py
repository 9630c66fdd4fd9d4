from __future__ import annotations

import contextlib
import random

import pytest
from gguf import GGUFReader

from sekisho.core.errors import EngineError
from sekisho.serve.gguf_header import read_header


def test_it_reads_what_the_reference_reader_reads(gguf_file):
    header, reference = read_header(gguf_file), GGUFReader(gguf_file)
    fields = {k: f.contents() for k, f in reference.fields.items() if not k.startswith("GGUF.")}
    assert len(fields) > 20
    assert header.values == fields
    assert header.weight_bytes == pytest.approx(sum(t.n_bytes for t in reference.tensors), abs=32 * 64)
    assert header.of_arch("block_count") == 2


def test_a_damaged_file_is_an_error_of_the_house(gguf_file, tmp_path):
    data, bad = gguf_file.read_bytes(), tmp_path / "bad.gguf"
    head = len(data) - read_header(gguf_file).weight_bytes - 32
    rng = random.Random(1)
    for cut in [0, 3, 4, 7, 20, 200, head, *(rng.randrange(100, head) for _ in range(20))]:
        bad.write_bytes(data[:cut])
        with pytest.raises(EngineError, match="cannot be read as GGUF"):
            read_header(bad)
    for _ in range(100):
        broken = bytearray(data)
        for _ in range(3):
            broken[rng.randrange(4, 400)] = rng.randrange(256)
        bad.write_bytes(broken)
        with contextlib.suppress(EngineError):
            read_header(bad)
