"""Calibrate: saved probabilities or logits and their ground truth in, calibration errors and what mends them out."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from ..core.errors import DataError

_MOST = 1 << 30
"""Bytes of a file's arrays; more would not fit beside their copies."""


def calibrate_file(path: Path, fit_rows: int | None = None) -> dict[str, Any]:
    """Measure and fit the arrays of a NumPy archive: `predictions` (probabilities) or `logits`, and `ground_truth`.

    Args:
        fit_rows: fit on so many first rows and measure on the rest; None: half of them.

    Raises:
        DataError: no such archive, or one without these arrays.
        ProofError: arrays that are no predictions.
    """
    from ..proof.sureness import calibrated, labels_from, logits_from

    arrays = _arrays(path)
    named = [n for n in ("predictions", "logits") if n in arrays]
    if len(named) != 1 or "ground_truth" not in arrays:
        there = ", ".join(sorted(arrays)) or "nothing"
        raise DataError(
            f"{path} holds {there}.",
            "It needs `ground_truth`, and one of `predictions` (probabilities) or `logits`.",
        )
    logits = logits_from(arrays[named[0]], probabilities=named[0] == "predictions")
    labels = labels_from(arrays["ground_truth"], *logits.shape)
    half = len(labels) // 2 or None  # of a single row there is no half
    rows = half if fit_rows is None else fit_rows
    return {"file": path.name, "kind": named[0], **calibrated(logits, labels, rows)}


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            if sum(i.file_size for i in archive.infolist()) > _MOST:
                raise DataError(f"{path} unpacks to more than {_MOST >> 20} MiB.", "Split it.")
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (
        *(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile),
        *(RuntimeError, NotImplementedError, MemoryError),  # encrypted, packed some other way, a false shape
    ) as e:
        raise DataError(f"{path} is no readable NumPy archive: {e}.", "Write it with numpy.savez.") from e
    odd = [f"{name} ({a.dtype})" for name, a in arrays.items() if a.dtype.kind not in "biuf"]
    if odd:
        raise DataError(f"{path} holds {', '.join(odd)}: no real numbers.", "Save floats and integers.")
    return arrays
