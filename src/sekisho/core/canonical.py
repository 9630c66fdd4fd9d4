"""One JSON form, tagged digests, ids and UTC time: what makes a record comparable byte for byte."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
"""Made once: `json.dumps` makes one a call."""
_CHUNK = 1 << 20
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_MODEL_FILES = ("config.json", "tokenizer.json", "model.safetensors.index.json")


def canonical_json(value: Any) -> bytes:
    """Encode `value` as the one JSON form used for digests: sorted keys, no spaces, UTF-8, no NaN.

    Strings are kept byte for byte (no Unicode normalisation), so NFC and NFD stay distinct.

    Raises:
        ValueError: for NaN or infinity, which JSON cannot carry, and for lone surrogates.
    """
    return _ENCODER.encode(value).encode("utf-8")


def json_lines(text: str) -> list[str]:
    """The lines of a JSON-lines text, blank ones at the end left out. Only a line feed ends one: a string may hold U+2028 and U+0085, which `splitlines` cuts at."""
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def digest(data: bytes) -> str:
    """Return the algorithm-tagged digest of `data`: `sha256:` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """Return the digest of the canonical JSON of `value`."""
    return digest(canonical_json(value))


def digest_text(text: str) -> str:
    """Return the digest of `text` in UTF-8."""
    return digest(text.encode("utf-8"))


def digest_file(path: Path) -> str:
    """Return the digest of a file's bytes, read in chunks."""
    h = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(_CHUNK):
            h.update(block)
    return "sha256:" + h.hexdigest()


def folder_digest(folder: Path) -> str:
    """Return the digest of a folder: that of the canonical JSON of its files' digests by relative name."""
    return digest_json(file_digests(folder))


def file_digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a folder, by relative name."""
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): digest_file(p) for p in files}


def model_digest(folder: Path) -> str:
    """Return the digest of what makes a model folder this model: config, weights, tokenizer. A README in it changes nothing."""
    files = [p for p in folder.iterdir() if p.name in _MODEL_FILES or p.suffix == ".safetensors"]
    return digest_json({p.name: digest_file(p) for p in files})


def plain(text: str) -> str:
    """A text without what nobody sees a difference in: widths of letters (NFKC) and blanks. Two spellings of one text must not lie on both sides of a split."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def pair_key(content: Mapping[str, Any]) -> tuple[str, str]:
    """What makes a pair of premise and hypothesis the same pair, however it is spelt."""
    return plain(str(content["premise"])), plain(str(content["hypothesis"]))


def short(tagged: str, length: int = 12) -> str:
    """Return the first hex digits of a tagged digest, for names people read."""
    return tagged.partition(":")[2][:length]


def utc_now() -> str:
    """Return the present time in UTC, ISO 8601 with microseconds and `Z`."""
    # A third of the time of `strftime`, and every record has one.
    return f"{datetime.now(UTC).isoformat(timespec='microseconds')[:-6]}Z"


def utc_after(at: str, seconds: float) -> str:
    """Return the UTC time so many seconds after `at`, both as `utc_now` writes them. Raises ValueError when `at` is no such time."""
    return (datetime.strptime(at, _TIME).replace(tzinfo=UTC) + timedelta(seconds=seconds)).strftime(_TIME)


def new_id(prefix: str) -> str:
    """Return a fresh id such as `jdg_01j…`: a time-ordered prefix and 80 random bits, in hex."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
