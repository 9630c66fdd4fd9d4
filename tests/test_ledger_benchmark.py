"""A small run of `benchmarks/ledger.py`: every figure is there and makes sense; how fast is a matter for the benchmark."""

from __future__ import annotations

from benchmarking import load_script


def test_every_figure_is_measured(tmp_path):
    bench = load_script("benchmarks/ledger.py")
    found = bench.measure(tmp_path, 320, 500, 800)
    assert set(bench.TARGETS) <= set(found)
    assert all(value > 0 for value in found.values())
    assert found["group rows/s"] > found["single rows/s"]
    assert found["proof bytes"] <= 1024
