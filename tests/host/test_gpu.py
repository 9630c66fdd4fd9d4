from __future__ import annotations

import subprocess
import sys

import pytest

from sekisho.core.errors import DeviceError
from sekisho.host.gpu import PROBES, Gpu, require_device

CARD = Gpu("card", 7 << 30, 8 << 30)


def test_the_cpu_is_always_there_and_nothing_is_imported_for_it():
    code = (
        "import sys; from sekisho.host.gpu import require_device as r;"
        "assert r('cpu', 'torch') is None; sys.exit(any(m in sys.modules for m in ('torch', 'xllamacpp')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_gpu_that_is_there_is_found():
    assert require_device("cuda", "torch", {"torch": lambda: [CARD]}) == CARD


@pytest.mark.parametrize("engine", [*PROBES, "fake"])
def test_a_gpu_that_is_absent_ends_the_start(engine):
    with pytest.raises(DeviceError, match=f"the {engine} engine sees no GPU") as caught:
        require_device("cuda", engine, dict.fromkeys(PROBES, list))
    assert caught.value.exit_code == 78
    assert "cpu" in caught.value.do


@pytest.mark.parametrize("engine", list(PROBES))
def test_the_real_probes_agree_with_the_libraries(engine):
    import torch
    import xllamacpp

    kind = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_GPU
    expected = {
        "torch": torch.cuda.device_count(),
        "llamacpp": sum(d["type"] == kind for d in xllamacpp.get_device_info()),
    }[engine]
    assert len(PROBES[engine]()) == expected


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DeviceError, match="torch is not installed") as caught:
        require_device("cuda", "torch")
    assert "sekisho[train]" in caught.value.do
