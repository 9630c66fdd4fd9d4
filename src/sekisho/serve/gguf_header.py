"""The head of a GGUF file: its metadata and the size of its weights, read without loading anything. Standard library only."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..core.errors import EngineError

_SCALARS: Mapping[int, str] = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
"""Value types of the GGUF specification (version 3) that are one number; 8 is a string, 9 an array."""
_STRING, _ARRAY = 8, 9
_LONGEST = 1 << 26
"""No string and no array of an honest file is longer; a damaged length must not take all memory."""


@dataclass(frozen=True)
class Header:
    """What stands before the weights.

    Attributes:
        values: metadata by key.
        weight_bytes: bytes of the tensor data.
    """

    values: Mapping[str, Any]
    weight_bytes: int

    def of_arch(self, key: str, default: Any = None) -> Any:
        """The value of `<architecture>.<key>`."""
        return self.values.get(f"{self.values.get('general.architecture')}.{key}", default)


def read_header(path: Path) -> Header:
    """Read metadata and tensor table.

    Raises:
        EngineError: when it cannot be read, or is no GGUF file of version 2 or 3.
    """
    try:
        with path.open("rb") as file:
            return _header(file, path.stat().st_size)
    except (OSError, struct.error, ValueError, KeyError) as e:
        raise EngineError(f"{path} cannot be read as GGUF: {e}.", "Check the file, or bake again.") from e


def _header(file: BinaryIO, size: int) -> Header:
    if file.read(4) != b"GGUF":
        raise ValueError("invalid magic")
    version, tensors, count = _one(file, "<I"), _one(file, "<Q"), _one(file, "<Q")
    if version not in (2, 3):
        raise ValueError(f"version {version} is not spoken here")
    values = {_string(file).decode("utf-8"): _value(file, _one(file, "<I")) for _ in range(_sane(count))}
    for _ in range(_sane(tensors)):
        _string(file)
        dimensions = _one(file, "<I")
        _exactly(file, 8 * _sane(dimensions) + 4 + 8)  # sizes, type, place
    align = int(values.get("general.alignment", 32))
    start = -(-file.tell() // align) * align
    return Header(values, max(0, size - start))


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file).decode("utf-8", "replace")
    if kind != _ARRAY:
        return _one(file, _SCALARS[kind])
    inner, count = _one(file, "<I"), _sane(_one(file, "<Q"))
    if inner in (_STRING, _ARRAY):
        return [_value(file, inner) for _ in range(count)]
    form = _SCALARS[inner]
    data = _exactly(file, struct.calcsize(form) * count)
    return [value for (value,) in struct.iter_unpack(form, data)]


def _string(file: BinaryIO) -> bytes:
    return _exactly(file, _sane(_one(file, "<Q")))


def _one(file: BinaryIO, form: str) -> Any:
    return struct.unpack(form, _exactly(file, struct.calcsize(form)))[0]


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise ValueError("the file ends too early")
    return data


def _sane(count: int) -> int:
    if count > _LONGEST:
        raise ValueError(f"a length of {count}")
    return int(count)
