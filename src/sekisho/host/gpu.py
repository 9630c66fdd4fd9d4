"""The device that was asked for: found, or the start ends. Nothing falls back to the CPU in silence."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import DeviceError


@dataclass(frozen=True)
class Gpu:
    """A GPU as a library sees it. Memory is in bytes."""

    name: str
    free: int
    total: int


def _torch_gpus() -> list[Gpu]:
    torch = _library("torch")
    if not torch.cuda.is_available():
        return []
    gpus = []
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        gpus.append(Gpu(torch.cuda.get_device_name(i), free, total))
    return gpus


def _llamacpp_gpus() -> list[Gpu]:
    xllamacpp = _library("xllamacpp")
    kind = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_GPU
    return [
        Gpu(d["description"] or d["name"], d["memory_free"], d["memory_total"])
        for d in xllamacpp.get_device_info()
        if d["type"] == kind
    ]


def _library(name: str) -> Any:
    """Import a heavy library at its door. By name, so that what merely knows this file does not reach torch.

    Raises:
        DeviceError: when it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise DeviceError(
            f"device cuda was asked for, and {name} is not installed.", "pip install 'sekisho[train]'"
        ) from e


PROBES: Mapping[str, Callable[[], list[Gpu]]] = {"torch": _torch_gpus, "llamacpp": _llamacpp_gpus}
"""How each engine looks for GPUs. What one library sees another may not: a CPU build sees none on any machine."""


def require_device(
    device: str, engine: str, probes: Mapping[str, Callable[[], list[Gpu]]] = PROBES
) -> Gpu | None:
    """Check that `engine` can compute on `device`.

    Args:
        device: cpu or cuda.
        engine: llamacpp, torch or fake; the fake one computes nothing, and has no GPU to offer.
        probes: how to look.

    Returns:
        The first GPU for cuda, None for cpu.

    Raises:
        DeviceError: when cuda was asked for and this engine sees no GPU. Its exit code is 78 (EX_CONFIG).
    """
    if device == "cpu":
        return None
    gpus = probes[engine]() if engine in probes else []
    if not gpus:
        raise DeviceError(
            f"device {device} was asked for, and the {engine} engine sees no GPU here.",
            "Install its GPU build and the driver, or set device to cpu; nothing falls back by itself.",
        )
    return gpus[0]
