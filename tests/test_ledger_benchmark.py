"""A small run of `benchmarks/ledger.py`: every figure is there and makes sense; how fast is a matter for the benchmark."""

from __future__ import annotations

from benchmarking import load_script


def test_every_figure_is_measured(tmp_path):
    bench = load_script("benchmarks/ledger.py")
    found = bench.measure(tmp_path, 320, 500, 300, 800)
    assert set(bench.TARGETS) <= set(found)
    assert all(value > 0 for value in found.values())
    assert found["group rows/s"] > found["single rows/s"]
    assert found["proof bytes"] <= 1024


def test_a_missed_target_is_told_by_the_exit_code(monkeypatch, capsys):
    bench = load_script("benchmarks/ledger.py")
    for proof, code in ((1000.0, 0), (1025.0, 1)):
        monkeypatch.setattr(
            bench, "measure", lambda *_, proof=proof: {"proof bytes": proof, "group rows/s": 1.0}
        )
        assert bench.main([]) == code
        assert ("FALLS SHORT" in capsys.readouterr().out) == bool(code)
