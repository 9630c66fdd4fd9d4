from __future__ import annotations

import re
import subprocess
import sys

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import BudgetError
from sekisho.serve.budget import MIB, Plan, Shape, budget, parts_of, shape_of
from sekisho.serve.gguf_header import read_header
from sekisho.serve.rules import KEPT

from .makers import GATE, serve

LOAD = """
import os, sys, xllamacpp
path, context, slots, kv, flash = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5] == "True"
p = xllamacpp.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.verbosity = path, context * slots, slots, 4
p.fit_params = p.ui = p.ctx_shift = p.cache_idle_slots = False
p.cache_ram_mib, p.cpuparams.n_threads = 0, 1
p.hostnames, p.port = ["127.0.0.1"], 0
p.cache_type_k = p.cache_type_v = getattr(xllamacpp.ggml_type, "GGML_TYPE_" + kv.upper())
kinds = xllamacpp.llama_flash_attn_type
p.flash_attn_type = kinds.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED
server = xllamacpp.Server(p)
sys.stdin.read()
os._exit(0)
"""
PHI_4_MINI = Shape(
    weight_bytes=2_490_000_000,
    kv_width=32 * 8 * 2 * 128,
    heads=24,
    embedding=3072,
    feed_forward=8192,
    vocabulary=200_064,
    trained=131_072,
)
"""Phi-4-mini-instruct in Q4_K_M, from its public configuration."""


def told(file, plan: Plan) -> dict[str, float]:
    """MiB by name, as llama.cpp itself reports them when it loads; its log is written late, so the process lives until all is read."""
    arguments = [str(plan.context), str(plan.slots), plan.kv_type, str(plan.flash_attention)]
    found: dict[str, float] = {}
    with subprocess.Popen(
        [sys.executable, "-c", LOAD, str(file), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout:
            if match := re.search(r"(model|KV|compute|output) buffer size = +([\d.]+) MiB", line):
                found[match[1]] = float(match[2])
            if len(found) == 4:
                break
        process.kill()
    assert set(found) == {"model", "KV", "compute", "output"}
    return found


@pytest.mark.parametrize(
    ("context", "slots", "kv", "flash"),
    [
        (512, 2, "f32", False),
        (2048, 4, "f16", False),
        (1000, 3, "f16", True),
        (2048, 2, "q8_0", True),
        (2048, 1, "q4_0", True),
    ],
)
def test_the_parts_are_what_llama_cpp_takes(nano, context, slots, kv, flash):
    plan = Plan(context, slots, kv, flash, "cpu")
    parts, real = parts_of(shape_of(read_header(nano)), plan), told(nano, plan)
    assert parts["weights"] / MIB == pytest.approx(real["model"], abs=0.02)
    assert parts["key-value cache"] / MIB == pytest.approx(real["KV"], abs=0.02)
    working = real["compute"] + real["output"]
    assert working <= parts["working memory"] / MIB + 0.1
    assert parts["working memory"] / MIB < 1.3 * working + 4, "an upper bound, and not a wild one"


def test_a_served_model_stays_within_its_budget(llamacpp, gguf_file):
    plan = Plan(2048, 3 + KEPT, "f32", False, "cpu")
    total = sum(parts_of(shape_of(read_header(gguf_file)), plan).values())

    async def work(engine):
        for slot in range(plan.slots):
            await engine.ask("x " * 900, [GATE], 60.0, slot)
        return psutil.Process(engine.pid).memory_info().rss

    taken = serve(llamacpp(context=2048, slots=3), work)
    assert total / 4 < taken < total


def test_the_shape_comes_from_the_file(gguf_file):
    shape = shape_of(read_header(gguf_file))
    assert shape.kv_width == 2 * 2 * 2 * 16  # layers, heads, keys and values, width of a head
    assert (shape.heads, shape.embedding, shape.feed_forward, shape.trained) == (4, 64, 128, 2048)
    assert shape.vocabulary > 500


@given(st.integers(256, 40_000), st.integers(1, 8), st.integers(0, 20_000))
def test_the_largest_context_is_the_border(context, slots, mib):
    plan = Plan(context, slots, "f16", False, "cuda")
    found = budget(PHI_4_MINI, plan, mib * MIB)

    def need(tokens: int) -> int:
        return sum(parts_of(PHI_4_MINI, Plan(tokens, slots, "f16", False, "cuda")).values())

    if found.largest:
        assert found.largest % 256 == 0
        assert found.largest <= context
        assert need(found.largest) <= found.limit
    if found.largest + 256 <= context:
        assert need(found.largest + 256) > found.limit
    if found.fits and context % 256 == 0:
        assert found.largest == context


def test_too_much_is_refused_with_what_would_fit():
    found = budget(PHI_4_MINI, Plan(32_768, 2, "f16", True, "cuda"), 8192 * MIB)
    with pytest.raises(BudgetError, match=f"at most {found.largest}") as refused:
        found.require()
    assert refused.value.exit_code == 78
    assert 16_384 <= found.largest < 32_768
    assert budget(PHI_4_MINI, Plan(8192, 2, "f16", False, "cuda"), 8192 * MIB).fits
    with pytest.raises(BudgetError, match="No context fits"):
        budget(PHI_4_MINI, Plan(8192, 2, "f16", False, "cuda"), 1024 * MIB).require()
    assert dict(found.rows())["limit"] == "8,192.0 MiB"
