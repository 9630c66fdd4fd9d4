from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from sekisho.serve.engines.child import NoGpuError, free_on_gpus, parameters, require_landed

PARENT = """
import asyncio, sys
from pathlib import Path
from sekisho.serve.engines.llamacpp import LlamaCppEngine

async def main():
    engine = LlamaCppEngine(Path(sys.argv[1]), "tiny", context=512, slots=2, threads=1)
    await engine.start()
    print(engine.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def launch(model, **given) -> bytes:
    message = {
        "model": str(model),
        "context": 512,
        "slots": 1,
        "threads": 1,
        "device": "cpu",
        "flash_attention": False,
        "kv_type": "F32",
        "http_threads": 8,
        "cores": [],
        "key": "secret",
        "parent": os.getpid(),
        **given,
    }
    return json.dumps(message).encode() + b"\n"


def start_child():
    pipe = subprocess.PIPE
    command = [sys.executable, "-P", "-m", "sekisho.serve.engines.child"]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)


def gone(pid: int, seconds: float = 3.0) -> bool:
    """Whether a process ends within `seconds`; a zombie that nobody reaped counts as ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


def test_kill_9_of_the_parent_leaves_no_orphan(gguf_file):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(gguf_file)], stdout=subprocess.PIPE)
    try:
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert gone(pid)
    finally:
        parent.kill()
        parent.stdout.close()


def test_the_end_of_stdin_ends_the_child_also_without_the_kernels_help(gguf_file):
    child = start_child()
    child.stdin.write(launch(gguf_file))
    child.stdin.flush()
    assert json.loads(child.stdout.readline())["address"].startswith("http://127.0.0.1:")
    child.stdin.close()
    assert child.wait(3) == 0
    child.stdout.close()


def test_a_child_whose_parent_is_another_leaves_at_once(gguf_file):
    child = start_child()
    out, _ = child.communicate(launch(gguf_file, parent=1), timeout=10)
    assert (out, child.returncode) == (b"", 0)


def test_ctrl_c_is_the_parents_to_answer(gguf_file):
    child = start_child()
    child.stdin.write(launch(gguf_file))
    child.stdin.flush()
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.2)
    child.terminate()
    began = time.monotonic()
    child.wait(3)
    assert time.monotonic() - began < 1
    child.stdin.close()
    child.stdout.close()


def test_the_server_wants_the_key_and_prints_nothing_else(gguf_file):
    import httpx

    child = start_child()
    child.stdin.write(launch(gguf_file))
    child.stdin.flush()
    address = json.loads(child.stdout.readline())["address"]
    with httpx.Client(base_url=address, trust_env=False) as client:
        assert client.post("/tokenize", json={"content": "x"}).status_code == 401
        good = client.post("/tokenize", json={"content": "x"}, headers={"Authorization": "Bearer secret"})
        assert good.status_code == 200
    rest, _ = child.communicate(timeout=5)
    assert rest == b""


def test_a_gpu_that_is_absent_is_not_replaced_by_the_cpu(monkeypatch):
    import xllamacpp

    monkeypatch.setattr(xllamacpp, "get_device_info", lambda: [{"type": 0}])
    with pytest.raises(NoGpuError):
        parameters(json.loads(launch("m.gguf", device="cuda")))


def test_layers_that_landed_on_the_cpu_end_the_start(tmp_path):
    model = tmp_path / "m.gguf"
    model.write_bytes(bytes(1 << 20))
    asked = {"model": str(model), "device": "cuda"}
    require_landed(asked, 10 << 20, 9 << 20)
    require_landed({**asked, "device": "cpu"}, 10 << 20, 10 << 20)
    for after in (
        10 << 20,
        (10 << 20) - (1 << 18),
        11 << 20,
    ):  # nothing, a quarter, and another program freed some
        with pytest.raises(NoGpuError, match="landed on the CPU"):
            require_landed(asked, 10 << 20, after)


def test_the_cpus_memory_is_not_the_gpus():
    class Kinds:
        GGML_BACKEND_DEVICE_TYPE_GPU, GGML_BACKEND_DEVICE_TYPE_IGPU = 1, 2

    class Library:
        ggml_backend_dev_type = Kinds

        @staticmethod
        def get_device_info():
            return [{"type": kind, "memory_free": 10 ** (kind + 1)} for kind in (0, 1, 2)]

    assert free_on_gpus(Library) == 100 + 1000
