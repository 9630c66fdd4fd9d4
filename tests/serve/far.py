"""Far servers for the remote engine's tests, each a real process of its own: llama.cpp's server, `transformers serve`."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

_LLAMA = """
import sys, threading, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.n_ctx, p.n_parallel = sys.argv[1], int(sys.argv[2]) * 2, 2
p.n_threads_http, p.cpuparams.n_threads, p.n_gpu_layers = 16, 1, 0
p.chat_template, p.mmproj.path = sys.argv[3], sys.argv[4]
p.hostnames, p.port, p.verbosity, p.ui = ["127.0.0.1"], 0, 1, False
p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
server = xllamacpp.Server(p)
print("AT", server.listening_address, flush=True)
threading.Event().wait()
"""


@contextlib.contextmanager
def _running(command: list[str], **env: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **env}
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def llama_server(gguf: Path, context: int, template: str = "") -> Iterator[str]:
    """llama.cpp's own HTTP server over a file, with a chat template in place of the file's own; yields its address."""
    with llama_process(gguf, context, template) as (address, _):
        yield address


@contextlib.contextmanager
def llama_process(
    gguf: Path, context: int, template: str = "", vision: Path | None = None
) -> Iterator[tuple[str, subprocess.Popen]]:
    """The same with the file of a vision part; yields its address, and the process, which may be killed."""
    arguments = [str(gguf), str(context), template, str(vision or "")]
    with _running([sys.executable, "-c", _LLAMA, *arguments]) as process:
        for line in process.stdout:
            if line.startswith("AT "):
                yield line.split()[1], process
                return
    raise AssertionError("llama.cpp did not start")


@contextlib.contextmanager
def transformers_server(folder: Path, seconds: float = 120) -> Iterator[str]:
    """`transformers serve` over a model folder; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    with _running([*command, *options], HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1"):
        address, until = f"http://127.0.0.1:{port}", time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{address}/health", timeout=2).status_code == 200:
                    yield address
                    return
            time.sleep(0.2)
        raise AssertionError("transformers serve did not start")
