from __future__ import annotations

import subprocess
import sys

import pytest

from sekisho.core.errors import ShelfError
from sekisho.tasks.ngrams_fit import fit_ngrams
from sekisho.tasks.scope import fit_scope
from sekisho.tasks.sidecar import NGRAMS, SCOPE, copy_sidecar, read_sidecar

from .test_ngrams import ROWS


@pytest.fixture
def adapter(tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / SCOPE).write_text(fit_scope(["予約"], ["予約"]).model_dump_json())
    return folder


def test_a_release_has_what_its_adapter_has(adapter, tmp_path) -> None:
    fit_ngrams(ROWS, share=0.4, decay=0.1).save(adapter / NGRAMS)
    release = tmp_path / "release"
    release.mkdir()
    copy_sidecar(adapter, release)
    for name in (SCOPE, NGRAMS):
        assert (release / name).read_bytes() == (adapter / name).read_bytes()
    beside = read_sidecar(release)
    assert beside.ngrams is not None
    assert beside.ngrams.share == 0.4
    assert not beside.scope.unfamiliar("予約")


def test_an_adapter_that_was_made_without_a_reader_has_none(adapter, tmp_path) -> None:
    release = tmp_path / "release"
    release.mkdir()
    copy_sidecar(adapter, release)
    assert read_sidecar(release).ngrams is None
    assert not (release / NGRAMS).exists()


def test_a_damaged_file_is_told_by_its_name(adapter) -> None:
    (adapter / NGRAMS).write_bytes(b"no")
    with pytest.raises(ShelfError, match=NGRAMS):
        read_sidecar(adapter)
    (adapter / SCOPE).write_text("{}")
    with pytest.raises(ShelfError, match=SCOPE):
        read_sidecar(adapter)


def test_what_only_serves_needs_nothing_that_trains(adapter) -> None:
    fit_ngrams(ROWS, share=0.4, decay=0.1).save(adapter / NGRAMS)
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'sklearn', 'scipy', 'tokenizers'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from sekisho.tasks.sidecar import read_sidecar\n"
        "beside = read_sidecar(Path(sys.argv[1]))\n"
        "print(beside.ngrams.pool((-1.0, -1.0, -1.2), 'x') != (-1.0, -1.0, -1.2))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(adapter)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "True"
