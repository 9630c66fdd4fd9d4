"""The child process that holds llama.cpp: `python -m sekisho.serve.engines.child`.

One line of JSON comes in on stdin (`Launch`), one goes out on stdout: `{"address": …}`, `{"error": …}` or `{"no_device": …}`. Then the child serves until
stdin ends. The parent alone holds the other end of that pipe, so its death, also by `kill -9`, ends the child; on Linux the kernel is
asked to see to it too, which also covers a child that is busy loading.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

_PR_SET_PDEATHSIG = 1
_ERRORS_ONLY = 1
"""llama.cpp's verbosity at which a failed load still says why (0 hides it)."""


_LANDED = 0.5
"""Least share of the model file's size by which the GPUs' free memory must have shrunk when its layers lie there; other programs may free some meanwhile."""


class NoGpuError(Exception):
    """A GPU was asked for, and llama.cpp sees none or did not put the model there."""


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends; leave at once if that has already happened."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def keep_to(cores: Sequence[int]) -> None:
    """Run on these cores alone, with every thread that is started from now on; an empty list leaves things as they are."""
    if cores and sys.platform == "linux":
        with suppress(OSError):  # a core that went away meanwhile
            os.sched_setaffinity(0, cores)


def private_stdout() -> int:
    """Keep stdout for the handshake: whatever native code prints goes to stderr from now on. Returns the kept descriptor."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return kept


def parameters(launch: dict[str, Any]) -> Any:
    """Turn a launch into llama.cpp's parameters.

    Raises:
        NoGpuError: when a GPU was asked for and this build or machine has none.
    """
    import xllamacpp

    if launch["device"] == "cuda" and not _has_gpu(xllamacpp):
        raise NoGpuError("device cuda was asked for, and llama.cpp sees no GPU.")
    params = xllamacpp.CommonParams()
    params.model.path = launch["model"]
    params.n_ctx = launch["context"] * launch["slots"]
    params.n_parallel = launch["slots"]
    params.n_threads_http = launch["http_threads"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = launch["threads"]
    params.n_gpu_layers = -1 if launch["device"] == "cuda" else 0
    params.api_keys = [launch["key"]]
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.verbosity = _ERRORS_ONLY
    params.ui = params.fit_params = params.ctx_shift = False
    params.cache_idle_slots, params.cache_ram_mib = False, 0
    params.offline = True
    flash = xllamacpp.llama_flash_attn_type
    params.flash_attn_type = (
        flash.LLAMA_FLASH_ATTN_TYPE_AUTO
        if launch["flash_attention"]
        else flash.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{launch['kv_type']}")
    return params


def _has_gpu(xllamacpp: Any) -> bool:
    return bool(_gpus(xllamacpp))


def _gpus(xllamacpp: Any) -> list[dict[str, Any]]:
    kinds = xllamacpp.ggml_backend_dev_type
    gpus = {kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU}
    return [d for d in xllamacpp.get_device_info() if d["type"] in gpus]


def free_on_gpus(xllamacpp: Any) -> int:
    """Bytes that are free on all GPUs together."""
    return sum(int(d["memory_free"]) for d in _gpus(xllamacpp))


def require_landed(launch: dict[str, Any], before: int, after: int) -> None:
    """Check that a model which was to lie on the GPU took memory there.

    Args:
        before, after: bytes free on the GPUs before and after it was loaded.

    Raises:
        NoGpuError: when layers landed on the CPU, where they would be computed slowly and without a word.
    """
    if launch["device"] != "cuda":
        return
    size = os.stat(launch["model"]).st_size  # noqa: PTH116  (the child loads as little as it can)
    if before - after < _LANDED * size:
        raise NoGpuError(
            f"device cuda was asked for, but loading took {max(0, before - after) >> 20} MiB of the GPU for a model of {size >> 20} MiB: "
            "layers landed on the CPU."
        )


def main() -> None:
    """Read the launch, serve, and leave when stdin ends. Exits without cleaning up: freeing a busy server can hang."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the parent decides what it means
    launch = json.loads(sys.stdin.buffer.readline())
    die_with_parent(launch["parent"])
    out = private_stdout()
    keep_to(launch["cores"])
    threading.Thread(target=_leave_at_end_of_input, daemon=True).start()
    try:
        import xllamacpp

        before = free_on_gpus(xllamacpp)
        server = xllamacpp.Server(parameters(launch))
        require_landed(launch, before, free_on_gpus(xllamacpp))
    except NoGpuError as e:
        _say(out, {"no_device": str(e)})
        os._exit(1)
    except Exception as e:  # whatever went wrong, the parent is told in one line
        _say(out, {"error": str(e)})
        os._exit(1)
    _say(out, {"address": server.listening_address})
    threading.Event().wait()


def _say(descriptor: int, message: dict[str, str]) -> None:
    os.write(descriptor, json.dumps(message).encode() + b"\n")


def _leave_at_end_of_input() -> None:
    while sys.stdin.buffer.read(1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
